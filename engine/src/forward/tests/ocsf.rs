use super::*;
use crate::forward::ocsf::FINDING_BYTES_MAX;
use crate::model::{Change, Verdict, WorkflowStatus};

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
        findings: vec![],
        ..incident()
    };
    let mut large = incident();
    large.detection_ids = (0..1000).map(|n| format!("d{n}")).collect();
    large.detection_count = 1000;
    large.entities = (0..1000)
        .map(|n| format!("address:10.0.{}.{}", n / 250, n % 250))
        .collect();
    // As a run leaves one that ended between an incident and what it is made of.
    let untold = Incident {
        findings: vec![],
        ..incident()
    };
    let endless = Incident {
        title: "\"title\" ".repeat(2_000),
        entities: (0..500).map(|n| format!("principal:{n}{}", "\"".repeat(500))).collect(),
        techniques: (0..300).map(|n| format!("T{n}")).collect(),
        findings: (0..64)
            .map(|n| Finding {
                message: "\"message\" ".repeat(2_000),
                techniques: (0..16).map(|n| format!("T1078.0{n:02}")).collect(),
                ..finding(&format!("d{n}"), n, "a-rule", &"\"title\" ".repeat(2_000), &[])
            })
            .collect(),
        detection_ids: (0..64).map(|n| format!("d{n}")).collect(),
        path: (0..200)
            .map(|n| {
                let (from, to) = (format!("principal:{n}{}", "\"".repeat(500)), format!("tool:{n}"));
                step(
                    n + 1,
                    &from,
                    &to,
                    "Do",
                    None,
                    Some(&format!("d{n}")),
                    &"\"why\" ".repeat(2_000),
                )
            })
            .collect(),
        ..incident()
    };
    let decided = Incident {
        revision: 4,
        case: Case {
            status: WorkflowStatus::Closed,
            assignee: Some("bob".into()),
            verdict: Some(Verdict::Benign),
            silences: vec!["ab".repeat(16)],
            change: Some(Change {
                by: "ann".into(),
                at: START,
                note: Some("the nightly copy".into()),
                silences_until: None,
            }),
            ..Case::default()
        },
        ..incident()
    };
    let silenced = Incident {
        revision: 5,
        case: Case {
            silences: vec!["ab".repeat(16)],
            change: Some(Change {
                by: "sentrail".into(),
                at: START,
                note: Some("split: 1 finding left".into()),
                silences_until: None,
            }),
            ..Case::default()
        },
        ..incident()
    };
    vec![first, second, merged, bare, large, untold, endless, decided, silenced]
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
    let mut late = incident();
    (late.revision, late.case.first_sent) = (9, true);
    assert_eq!(
        incident_finding(&late)["activity_name"],
        "Create",
        "nobody was sent the others"
    );
}

#[test]
fn what_people_decide_is_told_in_ocsfs_own_words() {
    let decided = incident_finding(&revisions()[7]);
    for (name, value) in [
        ("activity_id", Value::from(3)),
        ("status_id", 5.into()),
        ("status", "Closed".into()),
        ("verdict_id", 5.into()),
        ("verdict", "Benign".into()),
        ("comment", "ann: the nightly copy".into()),
        ("assignee", serde_json::json!({ "name": "bob" })),
        ("assignee_group", Value::Null),
    ] {
        assert_eq!(decided[name], value, "{name}");
    }
    let silenced = incident_finding(&revisions()[8]);
    assert_eq!(
        (&silenced["status"], &silenced["status_id"]),
        (&"Silenced".into(), &99.into())
    );
    assert_eq!(silenced["status_detail"], "split: 1 finding left");
}

#[test]
fn every_message_is_bounded_and_says_what_was_cut() {
    for (incident, cut) in revisions()
        .iter()
        .zip([false, false, false, false, true, false, true, false, false])
    {
        let finding = incident_finding(incident);
        assert_eq!(finding["metadata"]["is_truncated"], cut, "{}", incident.title);
        let length = finding.to_string().len();
        assert!(length <= FINDING_BYTES_MAX, "{length}");
    }
}

fn infos(finding: &Value) -> &Vec<Value> {
    finding["finding_info_list"].as_array().unwrap()
}

#[test]
fn a_large_incident_keeps_its_path() {
    let finding = incident_finding(&revisions()[4]);
    assert_eq!(finding["count"], 1000);
    let uids: Vec<&Value> = infos(&finding).iter().map(|info| &info["uid"]).collect();
    assert!(uids.contains(&&Value::from("d1")) && uids.contains(&&Value::from("d2")));
    assert_eq!(infos(&finding)[0]["attack_graph"]["edges"].as_array().unwrap().len(), 3);
}

#[test]
fn a_finding_has_the_title_of_its_detection_and_the_graph_has_every_step() {
    let finding = incident_finding(&incident());
    let titles: Vec<&Value> = infos(&finding).iter().map(|info| &info["title"]).collect();
    assert_eq!(
        titles,
        ["A prompt asks to ignore its rules", "A mass read", "A mass read"]
    );
    assert_eq!(infos(&finding)[1]["analytic"]["uid"], "llm-abuse/mass-read");
    let graph = &infos(&finding)[0]["attack_graph"];
    let edges: Vec<(&str, &str)> = graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["name"].as_str().unwrap(), edge["relation"].as_str().unwrap()))
        .collect();
    assert_eq!(
        edges,
        [
            ("chat.completions", "detection"),
            ("issued", "relation"),
            ("scroll", "detection")
        ]
    );
    let nodes: Vec<&Value> = graph["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["uid"])
        .collect();
    for edge in graph["edges"].as_array().unwrap() {
        assert!(
            nodes.contains(&&edge["source"]) && nodes.contains(&&edge["target"]),
            "{edge}"
        );
    }
    assert!(
        infos(&finding)[1..]
            .iter()
            .all(|info| info.get("attack_graph").is_none())
    );
}
