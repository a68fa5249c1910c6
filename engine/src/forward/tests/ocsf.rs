use super::*;

fn revisions() -> Vec<Incident> {
    let first = Incident {
        revision: 1,
        ..incident()
    };
    let second = Incident {
        revision: 2,
        ..incident()
    };
    let merged = Incident {
        revision: 3,
        status: IncidentStatus::Merged,
        merged_into: Some("ff".repeat(16)),
        ..incident()
    };
    let bare = Incident {
        path: vec![],
        techniques: vec![],
        entities: vec![],
        layers: vec![],
        detection_ids: vec![],
        ..incident()
    };
    let mut large = incident();
    large.detection_ids = (0..1000).map(|n| format!("d{n}")).collect();
    large.entities = (0..1000)
        .map(|n| format!("address:10.0.{}.{}", n / 250, n % 250))
        .collect();
    vec![first, second, merged, bare, large]
}

/// The one place where a finding's whole form is written down. `SENTRAIL_GOLDEN=write` accepts a new one.
#[test]
fn golden() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/forward/golden/incident.json");
    let mut found = incident_finding(&Incident {
        revision: 1,
        ..incident()
    });
    // Versions change without the form changing.
    let text = serde_json::to_string_pretty(&found)
        .unwrap()
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    found = serde_json::from_str(&text).unwrap();
    if std::env::var("SENTRAIL_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        found, expected,
        "if this is meant, run again with SENTRAIL_GOLDEN=write"
    );
}

#[test]
fn every_kind_of_revision_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/ocsf-jsonschema/1.8.0_2005_incident_finding.base.schema.json");
    let Ok(schema) = std::fs::read_to_string(path) else {
        println!("skipped: ../shared/data is absent");
        return;
    };
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for incident in revisions() {
        let finding = incident_finding(&incident);
        let errors: Vec<String> = validator
            .iter_errors(&finding)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "revision {}: {errors:#?}", incident.revision);
    }
    let mut wrong = incident_finding(&incident());
    wrong["risk_score"] = 71.into();
    assert!(!validator.is_valid(&wrong), "the schema allows no other attributes");
}

#[test]
fn activity_follows_the_revision_and_the_merge() {
    let activities: Vec<Value> = revisions()[..3]
        .iter()
        .map(|i| incident_finding(i)["activity_name"].clone())
        .collect();
    assert_eq!(activities, ["Create", "Update", "Close"]);
}

#[test]
fn a_large_incident_is_cut_says_so_and_keeps_its_path() {
    let finding = incident_finding(&revisions()[4]);
    assert_eq!(finding["metadata"]["is_truncated"], true);
    assert_eq!(finding["count"], 1000);
    assert!(finding.to_string().len() < 64 << 10, "{}", finding.to_string().len());
    let uids: Vec<&Value> = finding["finding_info_list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| &info["uid"])
        .collect();
    assert!(uids.contains(&&Value::from("d1")) && uids.contains(&&Value::from("d2")));
}
