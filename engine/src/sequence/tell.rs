//! The detection that a sequence tells.

use std::collections::BTreeSet;

use super::judge::{Found, Hit};
use super::step::Key;
use crate::config::SequenceSettings;
use crate::model::detection::{ENTITIES_PER_DETECTION_MAX, SEQUENCE};
use crate::model::text::{cut, harmless_line};
use crate::model::time::{SECOND, to_rfc3339};
use crate::model::{Detection, Micros, RoledEntity};

/// Events that it names: the decisive ones of the newest detections.
const EVENTS_MAX: usize = 128;
const TECHNIQUES_MAX: usize = 32;
const MESSAGE_BYTES_MAX: usize = 2_048;
const VALUE_BYTES_MAX: usize = 128;

/// `at`: the place of the detection that completes it, which gives it its time, layer and action.
pub fn detection(sequence: &SequenceSettings, key: &Key, hits: &[Hit], found: &Found, at: usize) -> Detection {
    let last = &hits[at].detection;
    let mut places: Vec<usize> = found.iter().flat_map(|(_, places)| places.iter().copied()).collect();
    places.sort_unstable();
    let ids: Vec<&str> = places
        .iter()
        .map(|place| hits[*place].detection.detection_id.as_str())
        .collect();

    let mut entities: BTreeSet<RoledEntity> = BTreeSet::new();
    let newest_first = [at].into_iter().chain(places.iter().rev().copied());
    let of_key = |held: &&RoledEntity| key.contains(&held.entity.value);
    // What holds the steps together first, then what completes it.
    let joining = newest_first
        .clone()
        .flat_map(|place| hits[place].detection.entities.iter().filter(of_key));
    let all = newest_first
        .clone()
        .flat_map(|place| hits[place].detection.entities.iter());
    for entity in joining.chain(all) {
        if entities.len() >= ENTITIES_PER_DETECTION_MAX {
            break;
        }
        entities.insert(entity.clone());
    }

    let mut event_ids: Vec<String> = Vec::new();
    for place in newest_first {
        let decisive = hits[place].detection.event_ids.last();
        if let Some(event) = decisive.filter(|event| !event_ids.contains(event) && event_ids.len() < EVENTS_MAX) {
            event_ids.push(event.clone());
        }
    }
    event_ids.reverse();

    let mut techniques = sequence.techniques.clone();
    if techniques.is_empty() {
        for technique in places.iter().flat_map(|place| &hits[*place].detection.techniques) {
            if !techniques.contains(technique) && techniques.len() < TECHNIQUES_MAX {
                techniques.push(technique.clone());
            }
        }
    }
    Detection {
        detection_id: Detection::id_of(&last.tenant, SEQUENCE, &sequence.name, &ids).to_string(),
        tenant: last.tenant.clone(),
        time: last.time,
        plugin: SEQUENCE.to_owned(),
        plugin_version: env!("CARGO_PKG_VERSION").to_owned(),
        rule: sequence.name.clone(),
        severity: sequence.severity,
        title: sequence.title.clone(),
        message: message(sequence, key, hits, found),
        techniques,
        entities: entities.into_iter().collect(),
        event_ids,
        layer: last.layer.clone(),
        action: last.action.clone(),
        late: places.iter().any(|place| hits[*place].detection.late),
    }
}

/// `Within 4 min, same conversation c-1: injection (prompt-injection/jailbreak) at …, then …; no approval`
fn message(sequence: &SequenceSettings, key: &Key, hits: &[Hit], found: &Found) -> String {
    let times = found
        .iter()
        .flat_map(|(_, places)| places.iter().map(|place| hits[*place].time()));
    let (first, last) = times.fold((Micros::MAX, Micros::MIN), |(first, last), time| {
        (first.min(time), last.max(time))
    });
    let by = sequence.steps.iter().find(|step| !step.absent).map(|step| &step.by);
    let same: Vec<String> = by
        .into_iter()
        .flatten()
        .zip(key)
        .map(|(part, value)| {
            let value = cut(&harmless_line(value), VALUE_BYTES_MAX);
            format!("{} {value}", part.kinds.join(" or "))
        })
        .collect();
    let same = match same.is_empty() {
        true => String::new(),
        false => format!(", same {}", same.join(" and ")),
    };
    let joined = if sequence.ordered { ", then " } else { ", and " };
    let steps: Vec<String> = found
        .iter()
        .map(|(step, places)| told(sequence, *step, places, hits))
        .collect();
    let absent: Vec<&str> = sequence
        .steps
        .iter()
        .filter(|step| step.absent)
        .map(|step| step.name.as_str())
        .collect();
    let absent = match absent.is_empty() {
        true => String::new(),
        false => format!("; no {}", absent.join(", no ")),
    };
    let text = format!(
        "Within {}{same}: {}{absent}",
        length(last.saturating_sub(first)),
        steps.join(joined)
    );
    cut(&text, MESSAGE_BYTES_MAX)
}

fn told(sequence: &SequenceSettings, step: usize, places: &[usize], hits: &[Hit]) -> String {
    let mut rules: Vec<String> = Vec::new();
    for place in places {
        let detection = &hits[*place].detection;
        let rule = harmless_line(&format!("{}/{}", detection.plugin, detection.rule));
        let rule = cut(&rule, VALUE_BYTES_MAX);
        if !rules.contains(&rule) && rules.len() < 4 {
            rules.push(rule);
        }
    }
    let name = sequence.steps.get(step).map_or("", |step| step.name.as_str());
    let time = |place: &usize| to_rfc3339(hits[*place].time());
    match places {
        [only] => format!("{name} ({}) at {}", rules.join(", "), time(only)),
        [first, .., last] => format!(
            "{name} ({}) {} times from {} to {}",
            rules.join(", "),
            places.len(),
            time(first),
            time(last)
        ),
        [] => name.to_owned(),
    }
}

/// A length of time for people.
pub fn length(span: Micros) -> String {
    let seconds = span / SECOND;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
