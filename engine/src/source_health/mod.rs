//! Whether the sources themselves are as they use to be: a detector of the engine's own. A source that falls silent, whose volume or
//! whose share of records that cannot be decoded leaves what is normal for it, raises a detection. Synchronous, no I/O, and time is
//! an argument: wall-clock time for silence, event time for the rest.

mod hours;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::SilentAfter;
use crate::model::detection::SOURCE_HEALTH;
use crate::model::time::{HOUR, MINUTE, SECOND, to_rfc3339};
use crate::model::{Detection, Entity, EntityRole, EventBatch, InputId, Micros, Rejected, RoledEntity, Severity};
use hours::{Hours, Odd, Side};
use silence::{Silence, Silent};

/// Kind of the entity that a source is.
const ENTITY_KIND: &str = "log_source";

/// What the engine finds of a source.
struct Rule {
    id: &'static str,
    title: &'static str,
    severity: Severity,
    /// It is what an attacker who turns logs off would cause.
    impairs: bool,
}

const SILENT: Rule = Rule {
    id: "silent",
    title: "A log source has fallen silent",
    severity: Severity::High,
    impairs: true,
};
const VOLUME_LOW: Rule = Rule {
    id: "volume-low",
    title: "A log source brings far fewer events than normal",
    severity: Severity::Medium,
    impairs: true,
};
const VOLUME_HIGH: Rule = Rule {
    id: "volume-high",
    title: "A log source brings far more events than normal",
    severity: Severity::Low,
    impairs: false,
};
const REJECTS: Rule = Rule {
    id: "rejects",
    title: "Far more records of a log source than normal cannot be decoded",
    severity: Severity::Medium,
    impairs: true,
};

/// What the engine can find of sources: id, title, severity and techniques of each rule.
pub fn rules() -> impl Iterator<Item = (&'static str, &'static str, Severity, &'static [&'static str])> {
    let techniques = |impairs| if impairs { &[TOOLS, CLOUD_LOG][..] } else { &[] };
    let rules = [SILENT, VOLUME_LOW, VOLUME_HIGH, REJECTS].into_iter();
    rules.map(move |rule| (rule.id, rule.title, rule.severity, techniques(rule.impairs)))
}

/// ATT&CK: Disable or Modify Tools; Cloud Log.
const TOOLS: &str = "T1685";
const CLOUD_LOG: &str = "T1685.002";

/// Begins the names of the state that is kept; source and tenant follow.
const STATE: &str = "source-health/";

/// Who did not look for this long cannot say that nothing came: the engine was held up, or the machine slept.
const LOOK_PAUSE_MAX: Micros = MINUTE;

/// A configured source.
pub struct Watched {
    pub name: String,
    pub tenant: String,
    /// Layers of the stack that its events can belong to.
    pub layers: BTreeSet<String>,
    pub lateness: Micros,
    /// `None`: it is read to its end, which is no silence.
    pub silent_after: Option<SilentAfter>,
}

/// A batch of one input, decoded.
pub struct Arrived<'a> {
    pub source: &'a str,
    pub input: &'a InputId,
    pub events: &'a EventBatch,
    pub rejected: &'a [Rejected],
    /// Events, rejected records and duplicates.
    pub records: u64,
    /// Newest event time in it that can be believed.
    pub newest: Option<Micros>,
}

/// What the engine knows of a source's hearing at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Nothing of the source is for this engine to read at present.
    pub is_deaf: bool,
    /// It would read, but knows that it cannot.
    pub is_troubled: bool,
}

/// The unit.
pub struct SourceHealth {
    sources: BTreeMap<Arc<str>, Source>,
    /// Wall clock when `look` was last called.
    looked: Micros,
    /// What `advance` was told last.
    advanced: BTreeMap<String, Micros>,
    /// Names of saved state of sources that are configured no more, until that has been saved.
    dropped: Vec<String>,
}

struct Source {
    watched: Watched,
    kept: Kept,
    /// Wall clock since which the engine has been listening without a break.
    listening: Micros,
    has_changed: bool,
}

/// What survives a restart.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    silence: Silence,
    hours: Hours,
}

impl SourceHealth {
    /// `now` is the wall clock: what came or did not come before is not known here.
    pub fn new(watched: impl IntoIterator<Item = Watched>, now: Micros) -> SourceHealth {
        let source = |watched: Watched| {
            let source = Source {
                kept: Kept::default(),
                listening: now,
                has_changed: false,
                watched,
            };
            (Arc::from(source.watched.name.as_str()), source)
        };
        SourceHealth {
            sources: watched.into_iter().map(source).collect(),
            looked: now,
            advanced: BTreeMap::new(),
            dropped: Vec::new(),
        }
    }

    /// Takes up what `save` gave before the last stop. What is kept of a source that is configured no more is let go.
    pub fn restore(&mut self, state: &BTreeMap<String, Bytes>) {
        for (name, text) in state.iter().filter(|(name, _)| name.starts_with(STATE)) {
            let of = |source: &&mut Source| source.watched.state_name() == *name;
            let Some(source) = self.sources.values_mut().find(of) else {
                self.dropped.push(name.clone());
                continue;
            };
            match serde_json::from_slice(text) {
                Ok(kept) => source.kept = kept,
                Err(error) => tracing::warn!(
                    source = source.watched.name,
                    "what was learned of it is unreadable, learning begins anew: {error}"
                ),
            }
        }
    }

    /// State that changed since the last call, by name; empty where it is to be removed. Called when an epoch is sealed.
    pub fn save(&mut self) -> BTreeMap<String, Bytes> {
        let dropped = std::mem::take(&mut self.dropped).into_iter();
        let mut saved: BTreeMap<String, Bytes> = dropped.map(|name| (name, Bytes::new())).collect();
        for source in self.sources.values_mut() {
            if std::mem::take(&mut source.has_changed) {
                let text = serde_json::to_vec(&source.kept).unwrap_or_default();
                saved.insert(source.watched.state_name(), text.into());
            }
        }
        saved
    }

    /// Counts a batch, which came at `now` of the wall clock.
    pub fn arrived(&mut self, batch: &Arrived, now: Micros) {
        let Some(source) = self.sources.get_mut(batch.source) else {
            return;
        };
        if batch.records == 0 {
            return;
        }
        let refused = batch.rejected.len() as u64;
        let read = batch.records.saturating_sub(refused);
        source.kept.silence.arrived(read, refused, source.listening, now);
        source.kept.hours.count(batch);
        source.has_changed = true;
    }

    /// The input brings nothing more.
    pub fn ended(&mut self, input: &InputId) {
        let name = input.0.split_once('|').map_or("", |(source, _)| source);
        if let Some(source) = self.sources.get_mut(name) {
            source.has_changed |= source.kept.hours.ended(input);
        }
    }

    /// Event time has passed: judges the hours that are complete. `watermarks` are per layer, `Micros::MIN` while an input has not
    /// brought anything yet; a layer without a live input is absent, and then nobody can say how late it is.
    pub fn advance(&mut self, watermarks: &BTreeMap<String, Micros>) -> Vec<Detection> {
        let mut found = Vec::new();
        if self.advanced == *watermarks {
            return found;
        }
        self.advanced.clone_from(watermarks);
        for source in self.sources.values_mut() {
            let layers = source.watched.layers.iter();
            let passed = layers.filter_map(|layer| watermarks.get(layer)).min();
            // The watermark is that of the inputs that are live. One of this source that is idle may still bring what is late.
            let complete = passed.map_or(Micros::MIN, |passed| passed.saturating_sub(source.watched.lateness));
            if complete > Micros::MIN {
                source.close(complete.div_euclid(HOUR), &mut found);
            }
        }
        found
    }

    /// Every source is read to its end: nothing is missing of the hours before its newest.
    pub fn finish(&mut self) -> Vec<Detection> {
        let mut found = Vec::new();
        for source in self.sources.values_mut() {
            if let Some(newest) = source.kept.hours.newest() {
                source.close(newest, &mut found);
            }
        }
        found
    }

    /// Whether sources have been silent for too long at `now` of the wall clock; to be called about once a second. `hearing` says how
    /// it stands with a source.
    pub fn look(&mut self, now: Micros, hearing: impl Fn(&str) -> Hearing) -> Vec<Detection> {
        let has_paused = now < self.looked || now.saturating_sub(self.looked) > LOOK_PAUSE_MAX;
        self.looked = now;
        let mut found = Vec::new();
        for source in self.sources.values_mut() {
            let Some(setting) = source.watched.silent_after else {
                continue;
            };
            let hearing = hearing(&source.watched.name);
            if has_paused || hearing.is_deaf {
                source.listening = now;
                continue;
            }
            if let Some(silent) = source.kept.silence.look(setting, source.listening, now) {
                found.push(source.watched.fell_silent(&silent, hearing.is_troubled));
                source.has_changed = true;
            }
        }
        found
    }

    /// Sources that are silent for too long, and since when of the wall clock nothing of them could be read, in words.
    pub fn silent(&self) -> impl Iterator<Item = (&str, String)> {
        let listened_to = |source: &&Source| !matches!(source.watched.silent_after, None | Some(SilentAfter::Never));
        self.sources.values().filter(listened_to).filter_map(|source| {
            let since = source.kept.silence.told()?;
            let name = source.watched.name.as_str();
            Some((name, format!("no record could be read since {}", to_rfc3339(since))))
        })
    }
}

impl Source {
    /// Judges the hours before `limit`, by number.
    fn close(&mut self, limit: i64, found: &mut Vec<Detection>) {
        // Where a file that is read to its end stops, nothing is missing.
        let limit = match self.watched.silent_after {
            Some(_) => limit,
            None => limit.min(self.kept.hours.newest().unwrap_or(Micros::MIN)),
        };
        if !self.kept.hours.can_close(limit) {
            return;
        }
        let odd = self.kept.hours.close(limit);
        found.extend(odd.iter().map(|odd| self.watched.is_odd(odd)));
        self.has_changed = true;
    }
}

impl Watched {
    fn state_name(&self) -> String {
        format!("{STATE}{}/{}", self.name, self.tenant)
    }

    fn fell_silent(&self, silent: &Silent, is_troubled: bool) -> Detection {
        let name = &self.name;
        let mut message = match silent.last {
            Some(last) => format!(
                "No record of source {name} could be read for {}; the last came at {}",
                span(silent.allowed),
                to_rfc3339(last)
            ),
            None => format!(
                "No record of source {name} could be read for {}, nor any before",
                span(silent.allowed)
            ),
        };
        message += &match silent.longest {
            Some(longest) => format!(
                ". Normally, in the last 7 days, at most {} lay between two of its records",
                span(longest)
            ),
            None => ". That is the time that its `silent_after` allows".to_owned(),
        };
        if silent.refused > 0 {
            message += &format!("; {} records that came since could not be decoded", silent.refused);
        }
        if is_troubled {
            message += "; the engine itself cannot read the source properly at present, its health says why";
        }
        let number = silent.records.to_string();
        self.detection(&SILENT, silent.time, &number, message)
    }

    fn is_odd(&self, odd: &Odd) -> Detection {
        let name = &self.name;
        let hour = format!("In the hour from {}", to_rfc3339(odd.hour.saturating_mul(HOUR)));
        let days = odd.days;
        let (rule, message) = match odd.side {
            Side::Fewer | Side::More => {
                let (least, most) = odd.events_normal;
                let events = odd.count.events;
                let message = format!(
                    "{hour} source {name} brought {events} events; normally, in this hour of the {days} days before, it brought {least} to {most}"
                );
                let rule = if odd.side == Side::Fewer {
                    VOLUME_LOW
                } else {
                    VOLUME_HIGH
                };
                (rule, message)
            }
            Side::Rejected => {
                let (refused, all) = (odd.count.rejected, odd.count.records());
                let message = format!(
                    "{hour} {refused} of {all} records of source {name} ({:.1} %) could not be decoded; normally, in this hour of the {days} \
                     days before, at most {:.1} %. Table `rejected` says why",
                    odd.count.share() * 100.0,
                    odd.share_normal * 100.0
                );
                (REJECTS, message)
            }
        };
        let end = odd.hour.saturating_add(1).saturating_mul(HOUR);
        self.detection(&rule, end, &odd.hour.to_string(), message)
    }

    /// `which` tells one finding of the rule on this source from another.
    fn detection(&self, rule: &Rule, time: Micros, which: &str, message: String) -> Detection {
        let mut layers = self.layers.iter();
        let layer = match (layers.next(), layers.next()) {
            (Some(only), None) => only.clone(),
            _ => String::new(),
        };
        let technique = if layer == "cloud" { CLOUD_LOG } else { TOOLS };
        let named = [self.name.as_str(), which];
        Detection {
            detection_id: Detection::id_of(&self.tenant, SOURCE_HEALTH, rule.id, &named).to_string(),
            tenant: self.tenant.clone(),
            time,
            plugin: SOURCE_HEALTH.to_owned(),
            plugin_version: env!("CARGO_PKG_VERSION").to_owned(),
            rule: rule.id.to_owned(),
            severity: rule.severity,
            title: rule.title.to_owned(),
            message,
            techniques: rule.impairs.then(|| technique.to_owned()).into_iter().collect(),
            entities: vec![RoledEntity {
                role: EntityRole::Target,
                entity: Entity::new(ENTITY_KIND, &self.name),
            }],
            event_ids: Vec::new(),
            layer,
            action: String::new(),
            late: false,
        }
    }
}

/// A length of time for people.
fn span(length: Micros) -> String {
    let units = [(HOUR, "h"), (MINUTE, "min"), (SECOND, "s")];
    // In the largest unit of which it is at least two: 90 min, not 1 h.
    match units.iter().find(|(unit, _)| length >= 2 * unit) {
        Some((unit, name)) => format!("{} {name}", length / unit),
        None => format!("{} ms", length / 1_000),
    }
}
