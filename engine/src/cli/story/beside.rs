//! Incidents that have no field in common with this one and still may be part of the same attack: in another system, right before or after
//! it, further along an attack, and rare. A weaker reason than any link, so it joins nothing; it is told with how likely it is chance.

use datafusion::prelude::SessionContext;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::incident::objects;
use crate::correlate::{PHASE_NAMES, phases_of};
use crate::model::{Incident, Micros, time};

use super::duration;
use super::facts::{at, text};

/// Incidents further apart than this are not compared.
const GAP_MAX: Micros = 6 * time::HOUR;
/// How often such incidents begin is counted over so much time before.
const HISTORY: Micros = 7 * 24 * time::HOUR;
/// What chance puts this near more often than so is not told.
const CHANCE_MAX: f64 = 0.05;
/// Incidents nearby that are compared.
const NEARBY_MAX: usize = 50;

#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    pub incident_id: String,
    pub title: String,
    /// How likely chance alone puts one as severe as near.
    pub chance: f64,
    /// Why it may belong to it.
    pub why: String,
}

/// What the table says of an incident.
struct Known {
    incident_id: String,
    title: String,
    severity_id: i64,
    first_time: Micros,
    last_time: Micros,
    techniques: Vec<String>,
    layers: Vec<String>,
}

/// Those that may belong to `incident`, the likeliest first.
pub async fn beside(session: &SessionContext, incident: &Incident) -> anyhow::Result<Vec<Beside>> {
    let tenant = incident.tenant.replace('\'', "''");
    let nearby = format!(
        "SELECT incident_id, title, severity_id, arrow_cast(first_time, 'Int64') AS first_time, \
         arrow_cast(last_time, 'Int64') AS last_time, techniques, layers FROM incidents WHERE tenant = '{tenant}' AND status = 'open' \
         AND first_time <= {} AND last_time >= {} \
         ORDER BY incident_id = '{}' DESC, severity_id DESC, incident_id LIMIT {NEARBY_MAX}",
        at(incident.last_time.saturating_add(GAP_MAX)),
        at(incident.first_time.saturating_sub(GAP_MAX)),
        incident.incident_id,
    );
    let rows = objects(session, &nearby).await?;
    let nearby: Vec<Known> = rows.iter().filter_map(known).collect();
    let Some(own) = nearby.iter().find(|known| known.incident_id == incident.incident_id) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for other in &nearby {
        let (first, then) = if own.first_time <= other.first_time {
            (own, other)
        } else {
            (other, own)
        };
        let Some(further) = goes_on(first, then) else { continue };
        let count = format!(
            "SELECT count(*) AS count FROM incidents WHERE tenant = '{tenant}' AND status = 'open' AND severity_id >= {} \
             AND first_time >= {} AND first_time <= {} AND incident_id NOT IN ('{}', '{}')",
            then.severity_id,
            at(then.first_time.saturating_sub(HISTORY)),
            at(then.first_time),
            first.incident_id,
            then.incident_id,
        );
        let counted = objects(session, &count).await?;
        let count = counted.first().and_then(|row| row.get("count")?.as_u64());
        let gap = then.first_time.saturating_sub(first.last_time).max(0);
        let chance = chance(count.unwrap_or(0), gap);
        if chance > CHANCE_MAX {
            continue;
        }
        let order = if other.first_time >= own.first_time {
            "after"
        } else {
            "before"
        };
        let apart = if gap == 0 {
            "beside it".to_owned()
        } else {
            format!("{} {order} it", duration(gap))
        };
        found.push(Beside {
            incident_id: other.incident_id.clone(),
            title: other.title.clone(),
            chance,
            why: format!("{apart}, in {}, {further}", other.layers.join(", ")),
        });
    }
    found.sort_by(|a, b| a.chance.total_cmp(&b.chance).then(a.incident_id.cmp(&b.incident_id)));
    Ok(found)
}

/// How likely one of `count` in [`HISTORY`], and of the one that is not known yet, begins within `gap` of something.
fn chance(count: u64, gap: Micros) -> f64 {
    let expected = (count as f64 + 1.0) * (gap.max(time::MINUTE) as f64) / HISTORY as f64;
    1.0 - (-expected).exp()
}

/// In words, how the second of two incidents goes on where the first ended; `None` where it does not, or they are of one system.
fn goes_on(first: &Known, then: &Known) -> Option<String> {
    let apart = !first.layers.is_empty() && !then.layers.is_empty();
    if first.incident_id == then.incident_id || !apart || first.layers.iter().any(|layer| then.layers.contains(layer)) {
        return None;
    }
    let (came, goes) = (furthest(first)?, furthest(then)?);
    (goes > came).then(|| {
        let name = |phase: usize| PHASE_NAMES.get(phase - 1).copied().unwrap_or_default();
        format!("going on from {} to {}", name(came), name(goes))
    })
}

/// The furthest phase of an attack that one of its techniques serves; one that serves several counts as the earliest.
fn furthest(incident: &Known) -> Option<usize> {
    let phases = incident.techniques.iter();
    phases
        .filter_map(|technique| phases_of(technique).iter().min().copied())
        .max()
}

fn known(row: &Map<String, Value>) -> Option<Known> {
    let texts = |name: &str| {
        let list = row.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some(item.as_str()?.to_owned())).collect()
    };
    Some(Known {
        incident_id: text(row, "incident_id")?.to_owned(),
        title: text(row, "title")?.to_owned(),
        severity_id: row.get("severity_id")?.as_i64()?,
        first_time: row.get("first_time")?.as_i64()?,
        last_time: row.get("last_time")?.as_i64()?,
        techniques: texts("techniques"),
        layers: texts("layers"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(id: &str, layer: &str, technique: &str) -> Known {
        Known {
            incident_id: id.into(),
            title: id.into(),
            severity_id: 4,
            first_time: 0,
            last_time: 0,
            techniques: vec![technique.into()],
            layers: vec![layer.into()],
        }
    }

    #[test]
    fn what_goes_on_in_another_system_may_belong_to_it() {
        let (prompt, copy) = (
            incident("a", "gateway", "AML.T0051.000"),
            incident("b", "cloud", "T1537"),
        );
        let why = goes_on(&prompt, &copy).expect("execution, then exfiltration");
        assert!(why.contains("execution") && why.contains("exfiltration"), "{why}");
        assert_eq!(goes_on(&copy, &prompt), None, "an attack does not go backwards");
        assert_eq!(goes_on(&prompt, &incident("c", "gateway", "T1537")), None, "one system");
        assert_eq!(goes_on(&prompt, &prompt), None);
    }

    #[test]
    fn chance_grows_with_time_and_with_what_happens_here() {
        let near = chance(0, 10 * time::MINUTE);
        assert!(near < 0.002, "{near}");
        assert!(chance(0, time::HOUR) > near && chance(60, 10 * time::MINUTE) > CHANCE_MAX);
        assert!(chance(0, 0) > 0.0);
    }
}
