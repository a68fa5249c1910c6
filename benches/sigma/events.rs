//! Which rules meet which events of the data.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

pub struct Group {
    pub title: &'static str,
    /// Below sigma/ in the data.
    pub rules: &'static str,
    /// The format that the rules' log source is.
    pub format: &'static str,
    from: &'static [From],
}

/// Where events are, in an NDJSON file.
struct From {
    file: &'static str,
    /// Only lines whose `logtype` this is.
    logtype: Option<&'static str>,
    /// The member of a line that is the event, or a list of them.
    member: &'static str,
}

const fn panther(logtype: &'static str) -> From {
    From {
        file: "panther/panther_tests.ndjson",
        logtype: Some(logtype),
        member: "log",
    }
}

const fn events(file: &'static str, member: &'static str) -> From {
    From {
        file,
        logtype: None,
        member,
    }
}

/// CloudTrail comes first: it is what speed is measured on.
pub const GROUPS: &[Group] = &[
    Group {
        title: "AWS CloudTrail",
        rules: "rules/cloud/aws",
        format: "aws_cloudtrail",
        from: &[
            events(INVICTUS, "event"),
            events("stratus/detonations.ndjson", "event"),
            events("traildiscover/events.ndjson", "event"),
            panther("AWS.CloudTrail"),
        ],
    },
    Group {
        title: "Azure activity",
        rules: "rules/cloud/azure/activity_logs",
        format: "azure_activity",
        from: &[panther("Azure.MonitorActivity")],
    },
    Group {
        title: "Entra audit",
        rules: "rules/cloud/azure/audit_logs",
        format: "entra",
        from: &[panther("Azure.Audit")],
    },
    Group {
        title: "Google Cloud audit",
        rules: "rules/cloud/gcp/audit",
        format: "gcp_audit",
        from: &[panther("GCP.AuditLog")],
    },
    Group {
        title: "Kubernetes audit",
        rules: "rules/application/kubernetes/audit",
        format: "kubernetes_audit",
        from: &[
            panther("Amazon.EKS.Audit"),
            events("k8s-audit/k8s_audit_labelled.ndjson", "events"),
        ],
    },
    Group {
        title: "GitHub audit",
        rules: "rules/application/github",
        format: "github_audit",
        from: &[panther("GitHub.Audit")],
    },
    Group {
        title: "Okta",
        rules: "rules/identity/okta",
        format: "okta",
        from: &[panther("Okta.SystemLog")],
    },
];

const INVICTUS: &str = "invictus/events_labelled.ndjson";

impl Group {
    /// The events, each with its number as the member `sentrail_row`: what both evaluators find is told by it.
    pub fn events(&self, data: &Path) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for from in self.from {
            from.read(data, &mut found)?;
        }
        found.retain(Value::is_object);
        for (row, event) in found.iter_mut().enumerate() {
            event["sentrail_row"] = row.into();
        }
        Ok(found.iter().map(Value::to_string).collect())
    }
}

impl From {
    fn read(&self, data: &Path, found: &mut Vec<Value>) -> Result<()> {
        let path = data.join(self.file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for line in text.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            if self.logtype.is_some_and(|wanted| line["logtype"] != wanted) {
                continue;
            }
            match line[self.member].take() {
                Value::Array(events) => found.extend(events),
                event => found.push(event),
            }
        }
        Ok(())
    }
}

/// As many CloudTrail events, over and over, each with an id of its own.
pub fn repeated(data: &Path, count: usize) -> Result<Vec<String>> {
    let mut events = Vec::new();
    self::events(INVICTUS, "event").read(data, &mut events)?;
    let text = |(row, event): (usize, &mut Value)| {
        event["eventID"] = format!("{row:08x}-0000-4000-8000-000000000000").into();
        event.to_string()
    };
    let mut texts = Vec::with_capacity(count);
    while texts.len() < count {
        let (from, left) = (texts.len(), count - texts.len());
        texts.extend(
            events
                .iter_mut()
                .take(left)
                .enumerate()
                .map(|(at, event)| text((from + at, event))),
        );
    }
    Ok(texts)
}
