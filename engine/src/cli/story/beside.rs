//! What no link joins to an incident and still may be part of the same attack, as people read it.

use datafusion::prelude::SessionContext;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::incident::objects;
use crate::model::{Incident, time};

use super::duration;
use super::facts::text;

/// The likeliest that are told.
const TOLD_MAX: usize = 50;

/// An incident, or a finding that belongs to none.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    pub incident_id: Option<String>,
    pub detection_id: Option<String>,
    pub title: String,
    /// How likely it is that this is not there by chance.
    pub confidence: f64,
    /// Why it may belong to it.
    pub why: String,
}

/// Those that may belong to `incident`, the likeliest first.
pub async fn beside(session: &SessionContext, incident: &Incident) -> anyhow::Result<Vec<Beside>> {
    let sql = format!(
        "SELECT incident_id, detection_id, title, layers, follows, gap_seconds, from_phase, to_phase, confidence FROM bridges('{}') \
         ORDER BY confidence DESC, incident_id, detection_id LIMIT {TOLD_MAX}",
        incident.incident_id.replace('\'', "''")
    );
    let rows = objects(session, &sql).await?;
    Ok(rows.iter().filter_map(told).collect())
}

fn told(row: &Map<String, Value>) -> Option<Beside> {
    let layers = row.get("layers")?.as_array()?.iter().filter_map(Value::as_str);
    let layers: Vec<&str> = layers.collect();
    let gap = row.get("gap_seconds")?.as_i64()?.saturating_mul(time::SECOND);
    let apart = match (gap, row.get("follows")?.as_bool()?) {
        (0, _) => "beside it".to_owned(),
        (gap, true) => format!("{} after it", duration(gap)),
        (gap, false) => format!("{} before it", duration(gap)),
    };
    let (from, to) = (text(row, "from_phase")?, text(row, "to_phase")?);
    let id = |column| text(row, column).map(str::to_owned);
    Some(Beside {
        incident_id: id("incident_id"),
        detection_id: id("detection_id"),
        title: text(row, "title")?.to_owned(),
        confidence: row.get("confidence")?.as_f64()?,
        why: format!("{apart}, in {}, going on from {from} to {to}", layers.join(", ")),
    })
}
