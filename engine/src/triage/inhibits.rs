//! The inhibitions that are in force, and the sources by which they hold: whether a finding is inhibited follows from event times alone, of
//! the findings that were ever made, so that neither order nor restarts show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::{Equal, InhibitSettings};
use crate::model::{Detection, EntityRole, Id, Incident, Micros, time};

/// Sources of one tenant, one for each entity that it names. Beyond it the oldest are let go of, and their targets are told.
const SOURCES_MAX: usize = 65_536;

#[derive(Default)]
pub struct Inhibits {
    /// In the file's order.
    settings: Vec<InhibitSettings>,
    sources: BTreeMap<String, BTreeSet<Source>>,
    /// Sources came since that was asked last.
    moved: bool,
    /// Sources from before are forgotten.
    horizon: Micros,
    /// By detection, the inhibitions by which a revision from before the start is silenced: a source that a crash kept from the tables is
    /// found again, but not at once.
    journaled: HashMap<Id, Arc<[String]>>,
}

/// Place of the inhibition, whether it is one of its targets too, what must be equal, and the event time.
type Source = (usize, bool, String, Micros);

impl Inhibits {
    pub fn new(settings: Vec<InhibitSettings>) -> Inhibits {
        Inhibits {
            settings,
            horizon: Micros::MIN,
            ..Inhibits::default()
        }
    }

    pub fn settings(&self) -> &[InhibitSettings] {
        &self.settings
    }

    /// Others from now on; their sources are to be added.
    pub fn replace(&mut self, settings: Vec<InhibitSettings>) {
        self.settings = settings;
        self.sources.clear();
        self.journaled.clear();
        self.horizon = Micros::MIN;
    }

    /// How far before a finding its source may lie.
    pub fn reach(&self) -> Micros {
        self.settings.iter().map(|inhibit| inhibit.within).max().unwrap_or(0)
    }

    /// Remembers those that are a source.
    pub fn add(&mut self, detections: &[Detection]) {
        for detection in detections {
            for (place, inhibit) in self.settings.iter().enumerate() {
                if !inhibit.is_source(detection) {
                    continue;
                }
                let is_target = inhibit.is_target(detection);
                let sources = self.sources.entry(detection.tenant.clone()).or_default();
                for key in keys(inhibit.equal, detection, |_| true) {
                    self.moved |= sources.insert((place, is_target, key, detection.time));
                }
                if sources.len() > SOURCES_MAX {
                    // An eighth at once, so that a flood does not look through all with each.
                    let mut times: Vec<Micros> = sources.iter().map(|(.., time)| *time).collect();
                    let eighth = times.len() / 8;
                    let (_, cut, _) = times.select_nth_unstable(eighth);
                    let cut = *cut;
                    sources.retain(|(.., time)| *time > cut);
                }
            }
        }
    }

    /// Whether sources came since the last call.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Takes up what a revision from before the start says. One that silences hold back as well does not say which of its findings they do.
    pub fn remember(&mut self, incident: &Incident) {
        let names: Arc<[String]> = incident.case.inhibited.as_slice().into();
        for id in &incident.detection_ids {
            match names.is_empty() || !incident.case.silences.is_empty() {
                true => drop(self.journaled.remove(&Id::of_text(id))),
                false => drop(self.journaled.insert(Id::of_text(id), Arc::clone(&names))),
            }
        }
    }

    /// The name of the first inhibition that holds the finding back: while one of its sources, which is not that finding itself, has come
    /// at its time or at most `within` before. What is source and target both holds back targets alone, so that two such do not hold back
    /// each other.
    pub fn holding(&self, detection: &Detection) -> Option<&str> {
        let held = self.settings.iter().enumerate().find(|(place, inhibit)| {
            if detection.time >= inhibit.expires || !inhibit.is_target(detection) {
                return false;
            }
            let journaled = self.journaled.get(&Id::of_text(&detection.detection_id));
            if journaled.is_some_and(|names| names.contains(&inhibit.name)) {
                return true;
            }
            let Some(sources) = self.sources.get(&detection.tenant) else {
                return false;
            };
            let from = detection.time.saturating_sub(inhibit.within);
            let has = |is_target: bool, key: &String| {
                let at = |time: Micros| (*place, is_target, key.clone(), time);
                sources.range(at(from)..=at(detection.time)).next().is_some()
            };
            let is_source = inhibit.is_source(detection);
            let acted = detection.entities.iter().any(|held| held.role == EntityRole::Actor);
            let is_decisive = |role: EntityRole| !acted || role == EntityRole::Actor;
            let mut keys = keys(inhibit.equal, detection, is_decisive);
            keys.any(|key| has(false, &key) || (!is_source && has(true, &key)))
        });
        held.map(|(_, inhibit)| inhibit.name.as_str())
    }

    /// Forgets what no finding of `oldest` or later can be inhibited by.
    pub fn forget_before(&mut self, oldest: Micros) {
        let horizon = oldest.saturating_sub(self.reach());
        if self.settings.is_empty() || horizon < self.horizon.saturating_add(time::HOUR) {
            return;
        }
        self.horizon = horizon;
        for sources in self.sources.values_mut() {
            sources.retain(|(.., time)| *time >= horizon);
        }
        self.sources.retain(|_, sources| !sources.is_empty());
    }
}

/// What must be equal, of a source or a target.
fn keys(equal: Equal, detection: &Detection, is_wanted: impl Fn(EntityRole) -> bool) -> impl Iterator<Item = String> {
    let whole = (equal == Equal::Tenant).then(String::new);
    let entities = detection.entities.iter();
    let entities = entities.filter(move |held| equal == Equal::Entity && is_wanted(held.role));
    whole.into_iter().chain(entities.map(|held| held.entity.to_string()))
}
