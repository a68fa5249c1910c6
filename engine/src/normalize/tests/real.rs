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

/// Records with their formats; `None`: of no format that is known here.
fn records(data: &Path) -> Vec<(Option<&'static str>, Value)> {
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
                .map(|case| (Some("aws_cloudtrail"), case["event"].clone())),
        );
    }
    for case in lines("k8s-audit/k8s_audit_labelled.ndjson") {
        let events = case["events"].as_array().cloned().unwrap_or_default();
        records.extend(events.into_iter().map(|event| (Some("kubernetes_audit"), event)));
    }
    for case in lines("panther/panther_tests.ndjson")
        .into_iter()
        .filter(|case| case["type"] == "rule")
    {
        let log = case["log"].clone();
        records.push((format_of(case["logtype"].as_str().unwrap_or_default(), &log), log));
    }
    records
}

/// At least 99 of 100 records are recognised as what they are, and how much of the columns they fill is printed.
#[test]
fn real_records_are_recognised() {
    const SHOWN: [&str; 5] = [
        "actor_user_uid",
        "api_operation",
        "src_endpoint_ip",
        "src_endpoint_name",
        "status",
    ];
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.is_dir() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    let mut auto = normalizer(AUTO);
    let mut fills: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    let (mut known, mut right, mut foreign, mut taken) = (0, 0, 0, 0);
    for (format, record) in records(&data) {
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
        known += 1;
        right += usize::from(found == Some(format));
        if found != Some(format) {
            println!(
                "{format} taken for {found:?}: {}",
                text.chars().take(200).collect::<String>()
            );
            continue;
        }
        let (rows, columns) = fills.entry(format.to_owned()).or_default();
        *rows += 1;
        let flagged = flags(&normalized, 0).contains(&"no_time".to_owned());
        *columns.entry("time".to_owned()).or_default() += usize::from(!flagged);
        for (name, _) in row(&normalized.events, 0)
            .into_iter()
            .filter(|(name, _)| name != "time")
        {
            *columns.entry(name).or_default() += 1;
        }
    }
    println!("{right} of {known} recognised; of {foreign} in formats unknown here {taken} were taken for another");
    let percent = |count: usize, of: usize| format!("{:.0} %", 100.0 * count as f64 / of as f64);
    for (format, (rows, columns)) in &fills {
        let of = |name: &str| percent(columns.get(name).copied().unwrap_or_default(), *rows);
        let shown: Vec<String> = SHOWN.iter().map(|name| format!("{name} {}", of(name))).collect();
        println!(
            "{format:20} {rows:5} records: time {}, {}",
            of("time"),
            shown.join(", ")
        );
        let required = |name: &str| {
            EventSchema::get()
                .columns()
                .iter()
                .any(|column| column.name == name && column.required)
        };
        let others = columns
            .iter()
            .filter(|(name, _)| !SHOWN.contains(&name.as_str()) && !required(name));
        let others: Vec<String> = others
            .map(|(name, count)| format!("{name} {}", percent(*count, *rows)))
            .collect();
        println!("  {}", others.join(", "));
    }
    assert!(right * 100 >= known * 99, "{right} of {known}");
}
