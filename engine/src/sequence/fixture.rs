//! Cases that show what sequences tell: detections in, what is told out. Each is run in several orders of arrival, in one go and bit by
//! bit, and over a restart: all must tell the same.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Sequences;
use crate::config::SequenceSet;
use crate::model::time::SECOND;
use crate::model::{Detection, Entity, EntityRole, LAYERS, Micros, RoledEntity, Severity};

/// 2026-01-01T00:00:00Z: where the seconds of cases begin.
const BEGIN: Micros = 1_767_225_600 * SECOND;
/// Longest time in a case, in seconds.
const SECONDS_MAX: i64 = 366 * 86_400;

/// A case of a fixture.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    detections: Vec<Given>,
    /// In order of time.
    tells: Vec<Told>,
}

impl Case {
    /// Names of the sequences that it tells.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.tells.iter().map(|told| told.sequence.as_str())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// Seconds.
    at: i64,
    /// `PLUGIN/RULE`
    rule: String,
    /// `KIND:VALUE` or `ROLE/KIND:VALUE`
    #[serde(default)]
    entities: Vec<String>,
    severity: Option<Severity>,
    layer: Option<String>,
    action: Option<String>,
    #[serde(default)]
    techniques: Vec<String>,
    tenant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    /// Seconds.
    at: i64,
    sequence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    #[serde(default)]
    case: Vec<Case>,
}

/// Reads the text of a fixture; the error is for a person, with the place.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let fixture: Fixture = toml::from_str(text).map_err(|error| error.to_string())?;
    for case in &fixture.case {
        for (number, given) in case.detections.iter().enumerate() {
            detection(number, given).map_err(|reason| format!("case `{}`: {reason}", case.name))?;
        }
    }
    Ok(fixture.case)
}

fn detection(number: usize, given: &Given) -> Result<Detection, String> {
    if !(0..=SECONDS_MAX).contains(&given.at) {
        return Err(format!("at = {}: valid are 0 to {SECONDS_MAX} seconds", given.at));
    }
    let Some((plugin, rule)) = given.rule.split_once('/') else {
        return Err(format!("rule = \"{}\": valid is PLUGIN/RULE", given.rule));
    };
    let layer = given.layer.as_deref().unwrap_or("gateway");
    if !LAYERS.contains(&layer) {
        return Err(format!("layer = \"{layer}\": valid are {}", LAYERS.join(", ")));
    }
    let mut entities: Vec<RoledEntity> = given
        .entities
        .iter()
        .map(|text| entity(text))
        .collect::<Result<_, _>>()?;
    entities.sort();
    entities.dedup();
    let tenant = given.tenant.as_deref().unwrap_or("default");
    let event = format!("event {number}");
    Ok(Detection {
        detection_id: Detection::id_of(tenant, plugin, rule, &[&event]).to_string(),
        tenant: tenant.to_owned(),
        time: BEGIN.saturating_add(given.at.saturating_mul(SECOND)),
        plugin: plugin.to_owned(),
        plugin_version: "1".to_owned(),
        rule: rule.to_owned(),
        severity: given.severity.unwrap_or(Severity::Medium),
        title: rule.to_owned(),
        message: String::new(),
        techniques: given.techniques.clone(),
        entities,
        event_ids: vec![event],
        layer: layer.to_owned(),
        action: given.action.clone().unwrap_or_default(),
        late: false,
    })
}

fn entity(text: &str) -> Result<RoledEntity, String> {
    let wrong =
        || format!("entity \"{text}\": valid is KIND:VALUE or ROLE/KIND:VALUE, the role one of actor, target, context");
    let (named, value) = text.split_once(':').ok_or_else(wrong)?;
    let (role, kind) = match named.split_once('/') {
        None => (EntityRole::Context, named),
        Some(("actor", kind)) => (EntityRole::Actor, kind),
        Some(("target", kind)) => (EntityRole::Target, kind),
        Some(("context", kind)) => (EntityRole::Context, kind),
        Some(_) => return Err(wrong()),
    };
    let entity = Entity::canonical(kind, value).ok_or_else(wrong)?;
    Ok(RoledEntity { role, entity })
}

/// Runs a case; the error says what was told instead, or which way of arrival tells other things.
pub fn run(case: &Case, set: &SequenceSet) -> Result<(), String> {
    let given = case.detections.iter().enumerate();
    let mut detections: Vec<Detection> = given
        .map(|(number, given)| detection(number, given))
        .collect::<Result<_, _>>()?;
    let at_once = arrive(set, &[detections.clone()], false);
    let mut told: Vec<Told> = at_once
        .iter()
        .map(|told| Told {
            at: (told.time - BEGIN) / SECOND,
            sequence: told.rule.clone(),
        })
        .collect();
    told.sort();
    let mut expected = case.tells.clone();
    expected.sort();
    if told != expected {
        return Err(format!(
            "it should tell {}, and tells {}",
            words(&expected),
            words(&told)
        ));
    }
    detections.reverse();
    if arrive(set, &[detections.clone()], false) != at_once {
        return Err("it tells other things when detections arrive in the reverse order".into());
    }
    detections.sort_by_key(|detection| detection.time);
    let one_by_one: Vec<Vec<Detection>> = detections
        .chunk_by(|a, b| a.time == b.time)
        .map(<[Detection]>::to_vec)
        .collect();
    if arrive(set, &one_by_one, false) != at_once {
        return Err("it tells other things when detections arrive one by one".into());
    }
    if arrive(set, &one_by_one, true) != at_once {
        return Err("it tells other things when it is started anew between detections".into());
    }
    Ok(())
}

/// What batches of detections make a set tell, event time passing behind each.
fn arrive(set: &SequenceSet, batches: &[Vec<Detection>], restarts: bool) -> Vec<Detection> {
    let mut sequences = Sequences::new(set.clone(), BTreeMap::new());
    let mut state = BTreeMap::new();
    let mut told = Vec::new();
    for batch in batches {
        told.extend(sequences.add(batch));
        let newest = batch.iter().map(|detection| detection.time).max();
        told.extend(sequences.advance(&BTreeMap::new(), newest));
        if restarts {
            for (name, text) in sequences.save() {
                match text.is_empty() {
                    true => state.remove(&name),
                    false => state.insert(name, text),
                };
            }
            sequences = Sequences::new(set.clone(), BTreeMap::new());
            sequences.restore(&state);
        }
    }
    told.extend(sequences.finish());
    told.sort_by(|a, b| (a.time, &a.detection_id).cmp(&(b.time, &b.detection_id)));
    told
}

fn words(told: &[Told]) -> String {
    if told.is_empty() {
        return "nothing".to_owned();
    }
    let told = told.iter().map(|told| format!("{} at {} s", told.sequence, told.at));
    told.collect::<Vec<_>>().join(", ")
}
