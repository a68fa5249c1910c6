//! Real and documented records beside the project, where they are.

use super::*;

/// The format of a log type of the rule set, as the source names it.
fn format_of(log_type: &str, log: &Value) -> Option<&'static str> {
    Some(match log_type {
        "AWS.CloudTrail" => "aws_cloudtrail",
        "AWS.BedrockModelInvocation" => "bedrock_invocation",
        "Amazon.EKS.Audit" => "kubernetes_audit",
        "Anthropic.Activity" => "anthropic_activity",
        "Azure.Audit" => "entra",
        "Azure.MonitorActivity"
            if log["category"]
                .as_str()
                .is_some_and(|name| name.starts_with("kube-audit")) =>
        {
            "aks_audit"
        }
        "Azure.MonitorActivity" => "azure_activity",
        "Databricks.Audit" => "databricks_audit",
        "GCP.AuditLog" => "gcp_audit",
        "GitHub.Audit" => "github_audit",
        "OCSF.NetworkActivity" | "OCSF.DnsActivity" => "ocsf",
        "Okta.SystemLog" => "okta",
        "OpenAI.Audit" => "openai_audit",
        "Snowflake.QueryHistory" | "Snowflake.LoginHistory" => "snowflake",
        _ => return None,
    })
}

/// A data set, a record of it, and its format; `None`: none that is known here.
type Labelled = (&'static str, Option<&'static str>, Value);

fn records(data: &Path) -> Vec<Labelled> {
    let lines = |file: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(data.join(file)).expect("readable");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let mut records = Vec::new();
    for file in [
        "invictus/events_labelled.ndjson",
        "stratus/detonations.ndjson",
        "traildiscover/events.ndjson",
    ] {
        records.extend(
            lines(file)
                .into_iter()
                .map(|case| (file, Some("aws_cloudtrail"), case["event"].clone())),
        );
    }
    let file = "k8s-audit/k8s_audit_labelled.ndjson";
    for case in lines(file) {
        let events = case["events"].as_array().cloned().unwrap_or_default();
        records.extend(events.into_iter().map(|event| (file, Some("kubernetes_audit"), event)));
    }
    let file = "panther/panther_tests.ndjson";
    for case in lines(file).into_iter().filter(|case| case["type"] == "rule") {
        let log = case["log"].clone();
        records.push((file, format_of(case["logtype"].as_str().unwrap_or_default(), &log), log));
    }
    records
}

/// Tests of rules cut records down to what a rule looks at. Of so few members nobody can tell what it was, and no source writes such.
const STUB_MEMBERS_MAX: usize = 4;

/// `p_` begins what the rule set's own platform adds.
fn is_stub(record: &Value) -> bool {
    let members = record.as_object().into_iter().flatten();
    members.filter(|(name, _)| !name.starts_with("p_")).count() <= STUB_MEMBERS_MAX
}

/// Of every data set at least 99 of 100 records are recognised as what they are; printed is how often they say what, per format.
#[test]
fn real_records_are_recognised() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.is_dir() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    let mut auto = normalizer(AUTO);
    let mut fills = Fills::default();
    // Recognised, and all.
    let mut sets: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut foreign, mut taken, mut stubs, mut stubs_right) = (0, 0, 0, 0);
    for (set, format, record) in records(&data) {
        let text = record.to_string();
        // Some sets repeat a record; each is looked at as if it were the first.
        auto.dedupe = Dedupe::new(1);
        let normalized = decode(&mut auto, &[text.as_bytes()]);
        let found = normalized.events.text("format").iter().flatten().next();
        let Some(format) = format else {
            foreign += 1;
            taken += usize::from(found.is_some());
            continue;
        };
        if is_stub(&record) {
            stubs += 1;
            stubs_right += usize::from(found == Some(format));
            continue;
        }
        let (right, all) = sets.entry(set).or_default();
        *all += 1;
        if found == Some(format) {
            *right += 1;
            fills.add(&normalized.events);
        } else {
            let begin: String = text.chars().take(200).collect();
            println!("{set}: {format} taken for {found:?}: {begin}");
        }
    }
    print!("{fills}");
    println!("of {foreign} records in formats unknown here {taken} were taken for another");
    println!("of {stubs} stubs of at most {STUB_MEMBERS_MAX} members {stubs_right} were recognised");
    for (set, (right, all)) in &sets {
        println!("{set}: {right} of {all} recognised");
    }
    for (set, (right, all)) in sets {
        assert!(right * 100 >= all * 99, "{set}: {right} of {all}");
    }
}
