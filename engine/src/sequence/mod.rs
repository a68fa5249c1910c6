//! Sequences of detections, declared as data: a detector of the engine's own that reads what all others found. Synchronous, no I/O, and
//! time is an argument: the watermarks.
//!
//! A detection waits until everything up to its time has arrived, and, where a sequence asks for what is absent, until as much event
//! time has passed as that takes. Then it is judged with those that share its key: see `judge`. What is needed for that is kept as long
//! as a sequence reaches back, and saved with the epoch.

pub mod fixture;
mod judge;
mod plan;
mod step;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::{SequenceSet, SequenceSettings};
use crate::model::detection::SEQUENCE;
use crate::model::time::HOUR;
use crate::model::{Detection, Entity, Micros};
use judge::Hit;
use plan::Plan;
use step::Key;

/// What is kept of one tenant's detections, as it is estimated, in bytes. Beyond it those that are needed for the shortest time are let
/// go of.
const TENANT_BYTES_MAX: usize = 32 << 20;
/// Detections under one key of one sequence: more than any `count`. Beyond it the oldest is let go of.
const HITS_MAX: usize = 2 * crate::config::SEQUENCE_COUNT_MAX;
/// Times at which something was told of a tenant's keys and is not told again yet.
const TOLD_MAX: usize = 65_536;

/// Names of the state that is kept.
const PROGRESS: &str = "sequence/progress";
/// A number follows: the hour of event time.
const HOURS: &str = "sequence/hour/";

/// What the unit did since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceFigures {
    /// Detections that are a step of a sequence.
    pub seen: u64,
    /// Sequences that were completed.
    pub told: u64,
    /// Detections that came after their time had been judged.
    pub late: u64,
    /// Detections that were let go of before their time, to stay within a bound.
    pub evicted: u64,
    /// Saved states that could not be read.
    pub lost: u64,
}

/// The unit.
pub struct Sequences {
    set: SequenceSet,
    rules: Vec<Rule>,
    /// Per plugin the layers that it reads; none for all.
    heard: BTreeMap<String, Vec<String>>,
    tenants: BTreeMap<String, Tenant>,
    figures: SequenceFigures,
    /// The newest event time that was read.
    newest: Option<Micros>,
    /// Hours whose detections changed since they were saved.
    changed: BTreeSet<i64>,
    /// Something else did.
    moved: bool,
}

/// A sequence in force.
struct Rule {
    settings: SequenceSettings,
    plan: Plan,
    /// Layers whose watermarks it waits for; `None`: all.
    layers: Option<BTreeSet<String>>,
    /// Event time up to which it has been judged.
    judged: Micros,
}

/// Tenants never mix.
#[derive(Default)]
struct Tenant {
    /// By the time at which nothing can need it any more, its own time, and its id.
    kept: BTreeMap<(Micros, Micros, String), Arc<Detection>>,
    bytes: usize,
    /// Per rule, by its place, and key: the hits in their order.
    hits: HashMap<(usize, Key), Vec<Hit>>,
    /// Per rule, what has not been judged, in order.
    due: BTreeMap<usize, BTreeMap<(Micros, String), Arc<Detection>>>,
    /// Sequence, key and time of what was told: all, for a late detection may complete what lies before the newest.
    told: BTreeSet<(String, Key, Micros)>,
}

/// What survives a restart beside the detections.
#[derive(Default, Serialize, Deserialize)]
struct Progress {
    /// By sequence.
    judged: BTreeMap<String, Micros>,
    /// Tenant, sequence, key, time.
    told: Vec<(String, String, Key, Micros)>,
    newest: Option<Micros>,
}

/// The keys under which a detection counts for a rule, each with the steps that it can be.
type Place = (usize, BTreeMap<Key, u32>);

impl Sequences {
    /// `heard`: per plugin that is loaded, the layers that it reads, none for all. A sequence waits for the watermarks of those.
    pub fn new(set: SequenceSet, heard: BTreeMap<String, Vec<String>>) -> Sequences {
        let mut sequences = Sequences {
            set: SequenceSet::default(),
            rules: Vec::new(),
            heard,
            tenants: BTreeMap::new(),
            figures: SequenceFigures::default(),
            newest: None,
            changed: BTreeSet::new(),
            moved: false,
        };
        sequences.put(set, &BTreeMap::new());
        sequences
    }

    pub fn set(&self) -> &SequenceSet {
        &self.set
    }

    pub fn figures(&self) -> SequenceFigures {
        self.figures
    }

    /// Other plugins are loaded.
    pub fn hear(&mut self, heard: BTreeMap<String, Vec<String>>) {
        self.heard = heard;
        for rule in &mut self.rules {
            rule.layers = plan::layers(&rule.settings, &self.heard);
        }
    }

    /// Puts other sequences in the place of those in force. What is kept and still wanted stays; a new sequence is judged from here on.
    /// Called between two epochs.
    pub fn replace(&mut self, set: SequenceSet) {
        let judged = self.judged();
        self.put(set, &judged);
        self.moved = true;
    }

    fn judged(&self) -> BTreeMap<String, Micros> {
        let of = |rule: &Rule| (rule.settings.name.clone(), rule.judged);
        self.rules.iter().map(of).collect()
    }

    fn put(&mut self, set: SequenceSet, judged: &BTreeMap<String, Micros>) {
        let newest = judged.values().copied().max().unwrap_or(Micros::MIN);
        let rule = |settings: &SequenceSettings| Rule {
            plan: Plan::new(settings),
            layers: plan::layers(settings, &self.heard),
            judged: judged.get(&settings.name).copied().unwrap_or(newest),
            settings: settings.clone(),
        };
        self.rules = set.sequences.values().map(rule).collect();
        self.set = set;
        for (name, tenant) in std::mem::take(&mut self.tenants) {
            let mut told = tenant.told;
            told.retain(|(sequence, ..)| self.set.sequences.contains_key(sequence));
            self.tenants.entry(name).or_default().told = told;
            for detection in tenant.kept.into_values() {
                self.changed.insert(hour(&detection));
                let places = self.places(&detection);
                if !places.is_empty() {
                    self.keep(detection, &places);
                }
            }
        }
    }

    /// Takes up what `save` gave before the last stop. Called once, before anything else.
    pub fn restore(&mut self, state: &BTreeMap<String, Bytes>) {
        let mut progress = Progress::default();
        if let Some(text) = state.get(PROGRESS) {
            match serde_json::from_slice(text) {
                Ok(held) => progress = held,
                Err(error) => self.lost(PROGRESS, &error),
            }
        }
        let set = std::mem::take(&mut self.set);
        self.put(set, &progress.judged);
        self.newest = progress.newest;
        for (tenant, sequence, key, time) in progress.told {
            let tenant = self.tenants.entry(tenant).or_default();
            tenant.told.insert((sequence, key, time));
        }
        for (name, text) in state.iter().filter(|(name, _)| name.starts_with(HOURS)) {
            match serde_json::from_slice::<Vec<Detection>>(text) {
                Ok(detections) => {
                    for detection in detections {
                        let places = self.places(&detection);
                        let at = hour(&detection);
                        // Under other sequences it may not be wanted any more, or not for so long.
                        if places.is_empty() || !self.keep(shared(detection), &places) {
                            self.changed.insert(at);
                        }
                    }
                }
                Err(error) => self.lost(name, &error),
            }
        }
    }

    fn lost(&mut self, name: &str, error: &serde_json::Error) {
        self.figures.lost += 1;
        tracing::warn!(
            name,
            "what sequences remembered is unreadable, they begin anew: {error}"
        );
    }

    /// State that changed since the last call, by name; empty where it is to be removed. Called when an epoch is sealed.
    pub fn save(&mut self) -> BTreeMap<String, Bytes> {
        let mut saved = BTreeMap::new();
        let changed = std::mem::take(&mut self.changed);
        if !changed.is_empty() {
            let mut hours: BTreeMap<i64, Vec<&Detection>> = changed.iter().map(|hour| (*hour, Vec::new())).collect();
            for detection in self.tenants.values().flat_map(|tenant| tenant.kept.values()) {
                if let Some(held) = hours.get_mut(&hour(detection)) {
                    held.push(detection);
                }
            }
            for (hour, held) in hours {
                let text = match held.is_empty() {
                    true => Bytes::new(),
                    false => serde_json::to_vec(&held).unwrap_or_default().into(),
                };
                saved.insert(format!("{HOURS}{hour}"), text);
            }
        }
        if std::mem::take(&mut self.moved) {
            self.forget_told();
            let told = self.tenants.iter().flat_map(|(tenant, held)| {
                let of = move |(sequence, key, time): &(String, Key, Micros)| {
                    (tenant.clone(), sequence.clone(), key.clone(), *time)
                };
                held.told.iter().map(of)
            });
            let progress = Progress {
                judged: self.judged(),
                told: told.collect(),
                newest: self.newest,
            };
            let text = serde_json::to_vec(&progress).unwrap_or_default();
            saved.insert(PROGRESS.to_owned(), text.into());
        }
        saved
    }

    /// Lets go of what is told again anyhow.
    fn forget_told(&mut self) {
        let rules: BTreeMap<&str, &Rule> = self
            .rules
            .iter()
            .map(|rule| (rule.settings.name.as_str(), rule))
            .collect();
        // As long as what is kept can complete it again, wherever an epoch ends.
        let span = self.rules.iter().map(|rule| rule.plan.span).max().unwrap_or(0);
        let kept_from = self.passed().saturating_sub(span);
        for tenant in self.tenants.values_mut() {
            tenant.told.retain(|(sequence, _, time)| {
                let rule = rules.get(sequence.as_str());
                rule.is_some_and(|rule| time.saturating_add(rule.settings.repeat_after) > kept_from)
            });
        }
    }

    /// Takes in detections, in clear and as the rules in force want them. What is told at once is what late ones complete: the time of all
    /// others is yet to come.
    pub fn add(&mut self, detections: &[Detection]) -> Vec<Detection> {
        let mut late: Vec<(usize, Arc<Detection>)> = Vec::new();
        for detection in detections.iter().filter(|detection| detection.plugin != SEQUENCE) {
            let places = self.places(detection);
            if places.is_empty() {
                continue;
            }
            self.figures.seen += 1;
            let behind: Vec<usize> = places
                .iter()
                .map(|(rule, _)| *rule)
                .filter(|rule| detection.time <= self.rules[*rule].judged)
                .collect();
            if !behind.is_empty() {
                self.figures.late += 1;
            }
            let held = shared(trimmed(detection));
            if self.keep(held.clone(), &places) {
                self.changed.insert(hour(&held));
                late.extend(behind.into_iter().map(|rule| (rule, held.clone())));
            }
        }
        late.sort_by(|(_, a), (_, b)| (a.time, &a.detection_id).cmp(&(b.time, &b.detection_id)));
        let mut told = Vec::new();
        for (rule, detection) in late {
            told.extend(self.judge_late(rule, &detection));
        }
        told
    }

    /// What a late detection completes: with it as the last, or with those behind it that have been judged without it.
    fn judge_late(&mut self, rule: usize, late: &Arc<Detection>) -> Vec<Detection> {
        let Rule {
            settings, plan, judged, ..
        } = &self.rules[rule];
        let end = late.time.saturating_add(plan.within).min(*judged);
        let Some(tenant) = self.tenants.get(&late.tenant) else {
            return Vec::new();
        };
        let mut behind: BTreeMap<(Micros, String), Arc<Detection>> = BTreeMap::new();
        for key in keys(settings, late).into_keys() {
            let hits = tenant.hits.get(&(rule, key)).into_iter().flatten();
            for hit in hits.filter(|hit| (late.time..=end).contains(&hit.time())) {
                let detection = hit.detection.clone();
                behind.insert((detection.time, detection.detection_id.clone()), detection);
            }
        }
        let behind = behind.into_values();
        behind
            .flat_map(|detection| self.judge(rule, &detection, Some(&late.detection_id)))
            .collect()
    }

    /// Lets event time pass. `watermarks` are per layer, `Micros::MIN` while an input has not brought anything yet; a layer that is
    /// absent has no live input. Where none of a sequence's layers has one, time has come as far as `newest`, the newest event time
    /// that was read, and no further: what is absent is known to be absent only up to there.
    pub fn advance(&mut self, watermarks: &BTreeMap<String, Micros>, newest: Option<Micros>) -> Vec<Detection> {
        // After a start nothing may be left to read that says how far time had come.
        let newest = newest.max(self.newest);
        self.moved |= newest != self.newest;
        self.newest = newest;
        let mut told = Vec::new();
        for place in 0..self.rules.len() {
            let rule = &mut self.rules[place];
            let held = watermarks
                .iter()
                .filter(|(layer, _)| rule.layers.as_ref().is_none_or(|layers| layers.contains(*layer)))
                .map(|(_, time)| *time);
            let Some(passed) = held.min().or(newest).filter(|passed| *passed > Micros::MIN) else {
                continue;
            };
            let passed = passed.saturating_sub(rule.plan.wait);
            if passed <= rule.judged {
                continue;
            }
            rule.judged = passed;
            self.moved = true;
            let mut ready: Vec<Arc<Detection>> = Vec::new();
            for tenant in self.tenants.values_mut() {
                let Some(due) = tenant.due.get_mut(&place) else {
                    continue;
                };
                while due.first_key_value().is_some_and(|((time, _), _)| *time <= passed) {
                    ready.extend(due.pop_first().map(|(_, detection)| detection));
                }
                if due.is_empty() {
                    tenant.due.remove(&place);
                }
            }
            for detection in ready {
                told.extend(self.judge(place, &detection, None));
            }
        }
        self.expire();
        told
    }

    /// Everything there is has arrived, and all time behind it has passed.
    pub fn finish(&mut self) -> Vec<Detection> {
        self.advance(&BTreeMap::new(), Some(Micros::MAX))
    }

    /// What a detection completes, if that has not been told lately. `with`: only what the detection of this id is part of.
    fn judge(&mut self, place: usize, last: &Arc<Detection>, with: Option<&str>) -> Vec<Detection> {
        let Rule { settings, plan, .. } = &self.rules[place];
        let Some(tenant) = self.tenants.get_mut(&last.tenant) else {
            return Vec::new();
        };
        let mut all: Vec<Detection> = Vec::new();
        for key in keys(settings, last).into_keys() {
            // Within that time before it and behind it.
            let at = |time: Micros| (settings.name.clone(), key.clone(), time);
            let reach = settings.repeat_after.saturating_sub(1);
            let near = at(last.time.saturating_sub(reach))..=at(last.time.saturating_add(reach));
            if settings.repeat_after > 0 && tenant.told.range(near).next().is_some() {
                continue;
            }
            let named = at(last.time);
            let Some(hits) = tenant.hits.get(&(place, key)) else {
                continue;
            };
            let order = (last.time, last.detection_id.as_str());
            let Ok(at) = hits.binary_search_by(|hit| hit.order().cmp(&order)) else {
                continue;
            };
            let Some(found) = judge::judge(plan, hits, at) else {
                continue;
            };
            let mut used = found.iter().flat_map(|(_, places)| places);
            if with.is_some_and(|id| !used.any(|place| hits[*place].detection.detection_id == id)) {
                continue;
            }
            let detection = tell::detection(settings, &named.1, hits, &found, at);
            tenant.told.insert(named);
            // The same detections under another key tell nothing more.
            if all.iter().all(|told| told.detection_id != detection.detection_id) {
                all.push(detection);
            }
        }
        if tenant.told.len() > TOLD_MAX {
            // An eighth at once, so that a flood does not look through all with each.
            let mut times: Vec<Micros> = tenant.told.iter().map(|(.., time)| *time).collect();
            let eighth = times.len() / 8;
            let (_, cut, _) = times.select_nth_unstable(eighth);
            let cut = *cut;
            tenant.told.retain(|(.., time)| *time > cut);
        }
        self.figures.told += all.len() as u64;
        self.moved |= !all.is_empty();
        all
    }

    /// Of each rule that wants the detection, the keys under which it counts.
    fn places(&self, detection: &Detection) -> Vec<Place> {
        let of = |(place, rule): (usize, &Rule)| (place, keys(&rule.settings, detection));
        let places = self.rules.iter().enumerate().map(of);
        places.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// Keeps a detection until nothing can need it. False where it is kept already, or nothing can need it any more.
    fn keep(&mut self, detection: Arc<Detection>, places: &[Place]) -> bool {
        let expires = self.expires(&detection, places);
        if expires < self.passed() {
            return false;
        }
        let tenant = self.tenants.entry(detection.tenant.clone()).or_default();
        let named = (expires, detection.time, detection.detection_id.clone());
        if tenant.kept.contains_key(&named) {
            return false;
        }
        tenant.kept.insert(named, detection.clone());
        tenant.bytes += bytes_of(&detection, places);
        for (rule, keys) in places {
            for (key, steps) in keys {
                let hits = tenant.hits.entry((*rule, key.clone())).or_default();
                let hit = Hit {
                    detection: detection.clone(),
                    steps: *steps,
                };
                let at = hits.partition_point(|held| held.order() < hit.order());
                hits.insert(at, hit);
                if hits.len() > HITS_MAX {
                    hits.remove(0);
                    self.figures.evicted += 1;
                }
            }
            if detection.time > self.rules[*rule].judged {
                let due = tenant.due.entry(*rule).or_default();
                due.insert((detection.time, detection.detection_id.clone()), detection.clone());
            }
        }
        while let Some(tenant) = self.tenants.get(&detection.tenant)
            && tenant.bytes > TENANT_BYTES_MAX
        {
            self.figures.evicted += 1;
            self.let_go(&detection.tenant);
        }
        true
    }

    /// When every rule that wants it has been judged so far that it cannot be part of anything.
    fn expires(&self, detection: &Detection, places: &[Place]) -> Micros {
        let spans = places.iter().map(|(rule, _)| self.rules[*rule].plan.span);
        detection.time.saturating_add(spans.max().unwrap_or(0))
    }

    /// Event time up to which every rule has been judged.
    fn passed(&self) -> Micros {
        self.rules.iter().map(|rule| rule.judged).min().unwrap_or(Micros::MAX)
    }

    fn expire(&mut self) {
        let passed = self.passed();
        let is_over = |tenant: &Tenant| {
            let first = tenant.kept.first_key_value();
            first.is_some_and(|((expires, _, _), _)| *expires < passed)
        };
        let over = self.tenants.iter().filter(|(_, tenant)| is_over(tenant));
        let names: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for name in names {
            while self.tenants.get(&name).is_some_and(is_over) {
                self.let_go(&name);
            }
        }
    }

    /// Lets go of the tenant's detection that is needed for the shortest time.
    fn let_go(&mut self, name: &str) {
        let Some((_, detection)) = self.tenants.get_mut(name).and_then(|tenant| tenant.kept.pop_first()) else {
            return;
        };
        self.changed.insert(hour(&detection));
        let places = self.places(&detection);
        let Some(tenant) = self.tenants.get_mut(name) else {
            return;
        };
        tenant.bytes = tenant.bytes.saturating_sub(bytes_of(&detection, &places));
        let order = (detection.time, detection.detection_id.as_str());
        for (rule, keys) in places {
            for key in keys.into_keys() {
                let named = (rule, key);
                let Some(hits) = tenant.hits.get_mut(&named) else {
                    continue;
                };
                if let Ok(at) = hits.binary_search_by(|hit| hit.order().cmp(&order)) {
                    hits.remove(at);
                }
                if hits.is_empty() {
                    tenant.hits.remove(&named);
                }
            }
            if let Some(due) = tenant.due.get_mut(&rule) {
                due.remove(&(detection.time, detection.detection_id.clone()));
            }
        }
    }
}

/// The keys of a detection, each with the steps that it can be, as bits.
fn keys(sequence: &SequenceSettings, detection: &Detection) -> BTreeMap<Key, u32> {
    let mut keys: BTreeMap<Key, u32> = BTreeMap::new();
    for (number, step) in sequence.steps.iter().enumerate() {
        if step::is_hit(step, detection) {
            for key in step::keys(&step.by, detection) {
                *keys.entry(key).or_default() |= 1 << number;
            }
        }
    }
    keys
}

/// What is needed of a detection: who said what of whom when, and the event that decided.
fn trimmed(detection: &Detection) -> Detection {
    Detection {
        message: String::new(),
        plugin_version: String::new(),
        title: String::new(),
        event_ids: detection.event_ids.last().cloned().into_iter().collect(),
        ..detection.clone()
    }
}

fn shared(detection: Detection) -> Arc<Detection> {
    Arc::new(detection)
}

fn hour(detection: &Detection) -> i64 {
    detection.time.div_euclid(HOUR)
}

/// What a detection takes with its places, as an estimate.
fn bytes_of(detection: &Detection, places: &[Place]) -> usize {
    let entity = |entity: &Entity| 96 + entity.kind.len() + entity.value.len();
    let entities: usize = detection.entities.iter().map(|held| entity(&held.entity)).sum();
    let texts = [&detection.plugin, &detection.rule, &detection.layer, &detection.action];
    let texts: usize = texts.into_iter().map(String::len).sum::<usize>()
        + detection
            .techniques
            .iter()
            .map(|technique| 24 + technique.len())
            .sum::<usize>();
    let keys = places.iter().flat_map(|(_, keys)| keys.keys());
    let keys: usize = keys
        .map(|key| 160 + key.iter().map(|value| 16 + value.len()).sum::<usize>())
        .sum();
    768 + entities + texts + keys
}
