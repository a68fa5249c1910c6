//! The silences that are in force, and how often each held.

use std::collections::{BTreeMap, BTreeSet};

use super::Find;
use crate::model::case::Change;
use crate::model::silence::EVERY_RULE;
use crate::model::{About, Detection, Incident, Micros, Refusal, Silence, SilencePart};

/// Silences at once: every detection is held against those of its plugin.
pub const SILENCES_MAX: usize = 2_000;

/// Silences that one verdict teaches.
pub const TAUGHT_MAX: usize = 64;

#[derive(Default)]
pub struct Silences {
    /// By tenant, then by plugin, or [`EVERY_RULE`].
    held: BTreeMap<String, BTreeMap<String, Vec<Silence>>>,
    count: usize,
    /// By id, how often each held since that was told, and the newest event time at which it did.
    hits: BTreeMap<String, (u64, Micros)>,
    /// What is to be written of silences that came or went.
    told: Vec<SilencePart>,
}

fn plugin_of(rule: &str) -> &str {
    rule.split_once('/').map_or(rule, |(plugin, _)| plugin)
}

impl Silences {
    /// Takes back what is written down already.
    pub fn restore(&mut self, silences: Vec<Silence>) {
        silences.into_iter().for_each(|silence| self.insert(silence));
    }

    fn insert(&mut self, silence: Silence) {
        let of_tenant = self.held.entry(silence.tenant.clone()).or_default();
        let of_plugin = of_tenant.entry(plugin_of(&silence.rule).to_owned()).or_default();
        if of_plugin.iter().all(|held| held.silence != silence.silence) {
            of_plugin.push(silence);
            self.count += 1;
        }
    }

    /// Puts a silence into force. Those that expired before `horizon`, an event time that no finding can have any more, make room.
    pub fn add(&mut self, silence: Silence, horizon: Micros) -> Result<(), Refusal> {
        if self.count >= SILENCES_MAX {
            self.retain(|held| held.expires > horizon);
        }
        if self.count >= SILENCES_MAX {
            return Err(Refusal::Invalid(format!(
                "there are {SILENCES_MAX} silences, which is the most; remove some first"
            )));
        }
        self.told.push(SilencePart {
            silence: silence.clone(),
            hits: 0,
            last_hit: None,
            removed_by: None,
        });
        self.insert(silence);
        Ok(())
    }

    /// Takes the one silence away whose id begins with `prefix`.
    pub fn remove(&mut self, prefix: &str, by: &str) -> Result<Silence, Refusal> {
        let mut found = self.iter().filter(|held| held.silence.starts_with(prefix));
        let (first, more) = (found.next().cloned(), found.count());
        let Some(silence) = first.filter(|_| !prefix.is_empty()) else {
            return Err(Refusal::Unknown(format!(
                "no silence that is in force has an id that begins with `{}`; `sentrail silence list` shows all",
                crate::model::one_line(prefix, 40)
            )));
        };
        if more > 0 {
            let message = format!("{} silences begin with `{prefix}`; give more characters", more + 1);
            return Err(Refusal::Unknown(message));
        }
        self.retain(|held| held.silence != silence.silence);
        let hits = self.hits.remove(&silence.silence);
        self.told.push(SilencePart {
            silence: silence.clone(),
            hits: hits.map_or(0, |(hits, _)| hits),
            last_hit: hits.map(|(_, last)| last),
            removed_by: Some(by.to_owned()),
        });
        Ok(silence)
    }

    fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.held.values().flat_map(BTreeMap::values).flatten()
    }

    fn retain(&mut self, keep: impl Fn(&Silence) -> bool) {
        for of_plugin in self.held.values_mut().flat_map(BTreeMap::values_mut) {
            of_plugin.retain(&keep);
        }
        for of_tenant in self.held.values_mut() {
            of_tenant.retain(|_, silences| !silences.is_empty());
        }
        self.held.retain(|_, of_tenant| !of_tenant.is_empty());
        self.count = self.iter().count();
    }

    /// The first silence that covers the detection.
    pub fn holding(&self, detection: &Detection) -> Option<&Silence> {
        let of_tenant = self.held.get(&detection.tenant)?;
        let lists = [detection.plugin.as_str(), EVERY_RULE].map(|plugin| of_tenant.get(plugin));
        let about = About::new(detection);
        lists.into_iter().flatten().flatten().find(|held| held.holds(&about))
    }

    /// Counts those that hold.
    pub fn count(&mut self, detections: &[Detection]) {
        if self.count == 0 {
            return;
        }
        for detection in detections {
            if let Some(id) = self.holding(detection).map(|held| held.silence.clone()) {
                let (hits, last) = self.hits.entry(id).or_insert((0, Micros::MIN));
                *hits += 1;
                *last = (*last).max(detection.time);
            }
        }
    }

    /// What is to be written down since this was asked last.
    pub fn changes(&mut self) -> Vec<SilencePart> {
        let mut told = std::mem::take(&mut self.told);
        let hits = std::mem::take(&mut self.hits);
        for silence in self.iter() {
            if let Some((hits, last_hit)) = hits.get(&silence.silence) {
                told.push(SilencePart {
                    silence: silence.clone(),
                    hits: *hits,
                    last_hit: Some(*last_hit),
                    removed_by: None,
                });
            }
        }
        told
    }

    /// Puts into force what a verdict teaches of the incident's findings. Gives the ids, and how many kinds of findings are not silenced:
    /// because they name nothing that tells them from others, or because there are too many.
    pub fn teach(
        &mut self,
        incident: &Incident,
        change: &Change,
        find: Find<'_>,
        horizon: Micros,
    ) -> (Vec<String>, usize) {
        let mut taught = Vec::new();
        let mut left_out = BTreeSet::new();
        let Some(until) = change.silences_until else {
            return (taught, 0);
        };
        for detection in incident
            .detection_ids
            .iter()
            .filter_map(|id| find(&incident.tenant, id))
        {
            if self.holding(detection).is_some_and(|held| held.expires >= until) {
                continue;
            }
            let silence =
                Silence::taught(detection, &incident.incident_id, change).filter(|_| taught.len() < TAUGHT_MAX);
            let added = silence.and_then(|silence| {
                let id = silence.silence.clone();
                self.add(silence, horizon).ok().map(|()| id)
            });
            match added {
                Some(id) => taught.push(id),
                None => drop(left_out.insert((&detection.plugin, &detection.rule))),
            }
        }
        (taught, left_out.len())
    }
}
