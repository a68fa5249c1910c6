//! What a story is told of: an incident, its findings, and what the tables say around them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};

use super::beside::{Beside, beside};
use crate::cli::incident::objects;
use crate::model::{Detection, Entity, Incident, Micros, time};
use crate::query::{self, at};
use crate::store;

/// Different things that events say of an incident's entities; who needs more asks in SQL.
const NOTED_MAX: usize = 2_000;

/// Events that show a finding are no older than it by more: so that files of other days are not read.
const EVENTS_BEFORE: Micros = 24 * time::HOUR;

pub struct Facts {
    pub incident: Incident,
    /// Ordered by (time, id); of a detection and its repeats the first.
    pub detections: Vec<Detection>,
    /// How many detections each stands for, by its id.
    pub counts: HashMap<String, usize>,
    /// What events say of entities beyond their names.
    pub notes: BTreeMap<String, BTreeSet<String>>,
    /// What rules say of themselves, by `PLUGIN/RULE`.
    pub advice: BTreeMap<String, String>,
    /// What may be part of the same attack.
    pub beside: Vec<Beside>,
    /// What may have kept findings away.
    pub doubts: Vec<String>,
}

/// Columns of events that say more of an entity: its kind, the column that names it, and what to show of it.
const NOTES: [(&str, &str, &[&str]); 4] = [
    (
        "principal",
        "actor_user_uid",
        &["actor_user_full_name", "actor_user_org_ou_name", "actor_user_org_name"],
    ),
    (
        "address",
        "src_endpoint_ip",
        &[
            "src_endpoint_name",
            "src_endpoint_zone",
            "src_endpoint_location_city",
            "src_endpoint_location_country",
            "src_endpoint_autonomous_system_name",
        ],
    ),
    (
        "resource",
        "resource_uid",
        &["resource_criticality", "resource_owner_name"],
    ),
    ("gateway_key", "gateway_key_uid", &["gateway_key_alias"]),
];

impl Facts {
    /// Of one view of the tables.
    pub async fn of(session: &SessionContext, incident: Incident) -> anyhow::Result<Facts> {
        // What stands for repeats tells of them. Ids that this engine gave are hexadecimal.
        let members = format!(
            "SELECT detection_id FROM stored.incident_evidence WHERE incident_id = '{}' AND revision = {}",
            incident.incident_id, incident.revision
        );
        let found =
            format!("SELECT * FROM stored.detections WHERE detection_id IN ({members}) ORDER BY time, detection_id");
        let detections = store::detections_from_batches(&query::sql(session, &found).await?)?;
        let counted = format!(
            "SELECT e.detection_id, count(*) AS count FROM stored.incident_evidence e JOIN stored.detections d ON d.fold = e.fold \
             WHERE e.incident_id = '{}' AND e.revision = {} GROUP BY e.detection_id HAVING count(*) > 1",
            incident.incident_id, incident.revision
        );
        let mut counts = HashMap::new();
        for row in objects(session, &counted).await? {
            let count = row.get("count").and_then(Value::as_u64).unwrap_or(1);
            counts.extend(text(&row, "detection_id").map(|id| (id.to_owned(), count as usize)));
        }
        let rules: BTreeSet<String> = detections
            .iter()
            .map(|detection| format!("{}/{}", detection.plugin, detection.rule))
            .collect();
        let mut doubts = doubts(session, &rules).await?;
        // Over very many findings it can need more memory than questions have; the rest of the story stands without it.
        let beside = beside(session, &incident).await.unwrap_or_else(|error| {
            doubts.push(format!("What may belong to it could not be looked up: {error}"));
            Vec::new()
        });
        Ok(Facts {
            notes: notes(session, &incident, &members).await?,
            advice: advice(session, &rules).await?,
            doubts,
            beside,
            incident,
            detections,
            counts,
        })
    }
}

impl Facts {
    /// How many detections the finding is with its repeats.
    pub fn count(&self, detection: &Detection) -> usize {
        self.counts.get(&detection.detection_id).copied().unwrap_or(1)
    }
}

pub(super) fn text<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str).filter(|text| !text.is_empty())
}

async fn notes(
    session: &SessionContext,
    incident: &Incident,
    members: &str,
) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let columns: Vec<String> = NOTES
        .iter()
        .flat_map(|(_, name, said)| [*name].into_iter().chain(said.iter().copied()))
        .chain(["actor_session_issuer"])
        .map(|column| format!("e.{column}"))
        .collect();
    let sql = format!(
        "SELECT DISTINCT {} FROM events e \
         JOIN (SELECT unnest(event_ids) AS event_id FROM stored.detections WHERE detection_id IN ({members})) s \
         ON e.event_id = s.event_id WHERE e.tenant = '{}' AND e.time >= {} AND e.time <= {} LIMIT {NOTED_MAX}",
        columns.join(", "),
        incident.tenant.replace('\'', "''"),
        at(incident.first_time.saturating_sub(EVENTS_BEFORE)),
        at(incident.last_time),
    );
    let mut notes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in objects(session, &sql).await? {
        for (kind, name, said) in NOTES {
            let Some(entity) = text(&row, name).and_then(|value| Entity::canonical(kind, value)) else {
                continue;
            };
            let said = said.iter().filter_map(|column| text(&row, column));
            let said = said.collect::<Vec<_>>().join(", ");
            if !said.is_empty() {
                notes.entry(entity.to_string()).or_default().insert(said);
            }
        }
        let actor = text(&row, "actor_user_uid").and_then(|value| Entity::canonical("principal", value));
        if let (Some(actor), Some(issuer)) = (actor, text(&row, "actor_session_issuer")) {
            let by = format!("issued by {issuer}");
            notes.entry(actor.to_string()).or_default().insert(by);
        }
    }
    Ok(notes)
}

async fn advice(session: &SessionContext, rules: &BTreeSet<String>) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = objects(
        session,
        "SELECT plugin, rule, description FROM rules WHERE description IS NOT NULL",
    )
    .await?;
    let advice = rows.iter().filter_map(|row| {
        let rule = format!("{}/{}", text(row, "plugin")?, text(row, "rule")?);
        Some((rule, text(row, "description")?.to_owned()))
    });
    Ok(advice.filter(|(rule, _)| rules.contains(rule)).collect())
}

async fn doubts(session: &SessionContext, rules: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let mut doubts = Vec::new();
    let sql = "SELECT exception, rule, hits FROM exceptions WHERE hits > 0 ORDER BY exception";
    for row in objects(session, sql).await? {
        let (Some(name), Some(of)) = (text(&row, "exception"), text(&row, "rule")) else {
            continue;
        };
        let is_about = |rule: &String| rule == of || rule.split_once('/').is_some_and(|(plugin, _)| plugin == of);
        if rules.iter().any(is_about) {
            let hits = row.get("hits").and_then(Value::as_i64).unwrap_or_default();
            let findings = if hits == 1 {
                "1 finding".to_owned()
            } else {
                format!("{hits} findings")
            };
            doubts.push(format!("The exception \"{name}\" took {findings} of {of} away so far."));
        }
    }
    let sql = "SELECT plugin, status FROM (SELECT *, row_number() OVER (PARTITION BY plugin ORDER BY time DESC) AS age \
               FROM plugin_health) WHERE age = 1 AND status IN ('quarantined', 'refused') ORDER BY plugin";
    for row in objects(session, sql).await? {
        if let (Some(plugin), Some(status)) = (text(&row, "plugin"), text(&row, "status")) {
            doubts.push(format!(
                "The detector {plugin} is {status}: what it would find is missing; `plugin_health` says why."
            ));
        }
    }
    Ok(doubts)
}
