//! Sequences of detections: TOML text → validated settings. What they mean stands with the fields.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::ConfigError;
use super::document::{Document, Fault, Place};
use super::matching::{Condition, condition};
use super::source::Texts;
use super::wire::{Pause, Span};
use crate::model::detection::SEQUENCE;
use crate::model::{Detection, EntityRole, EventSchema, LAYERS, Micros, Severity, time};
use crate::watch::read_bounded;

/// The sequences of the build: file name and text.
const SEQUENCE_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sequence_files.rs"));

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 256;
/// Every detection is held against all of them.
const SEQUENCES_MAX: usize = 512;
/// Steps of one sequence.
const STEPS_MAX: usize = 16;
/// Longest `within`: what a sequence may come to need is held in memory for that long.
const WITHIN_MAX: Micros = 7 * 24 * time::HOUR;
/// Largest `count`.
pub const COUNT_MAX: usize = 1_000;
/// Parts of a key.
const KEY_PARTS_MAX: usize = 4;
const NAME_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 512;

/// All sequences that are in force together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceSet {
    /// By name.
    pub sequences: BTreeMap<String, SequenceSettings>,
    /// SHA-256 over the files that they are of, in hexadecimal; empty where there are none.
    pub digest: String,
}

/// Detections that mean something together.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceSettings {
    /// The rule of what it tells.
    pub name: String,
    pub title: String,
    pub description: String,
    pub severity: Severity,
    /// ATT&CK and ATLAS technique ids; none: those of the detections that it was found by.
    pub techniques: Vec<String>,
    /// Longest time from the first detection to the last, in event time.
    pub within: Micros,
    /// Each step comes after the one before it; else in any order.
    pub ordered: bool,
    /// What is told of a key is not told again for so long.
    pub repeat_after: Micros,
    pub steps: Vec<StepSettings>,
}

/// What one step of a sequence is: detections that are all that is named here.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSettings {
    pub name: String,
    /// `PLUGIN/RULE` or `PLUGIN`, with `*` for any text; one of them. Empty: any.
    pub rules: Vec<String>,
    /// A technique, with what it is divided into; one of them. Empty: any.
    pub techniques: Vec<String>,
    /// At least.
    pub severity: Option<Severity>,
    /// One of them. Empty: any.
    pub layers: Vec<String>,
    /// All of them.
    pub conditions: Vec<Condition>,
    /// What must have the same values in all steps.
    pub by: Vec<KeyPart>,
    /// At least so many detections, or so many values of `distinct`.
    pub count: usize,
    pub distinct: Option<KeyPart>,
    /// There is none.
    pub absent: bool,
    /// Least time since the step before.
    pub after: Micros,
    /// Longest time since the step before; of an absent first or last step, how far there is none.
    pub within: Option<Micros>,
}

/// Entities of one of several kinds, and in a role where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart {
    pub kinds: Vec<String>,
    pub role: Option<EntityRole>,
}

impl KeyPart {
    /// Values of these entities in a detection, in its order of them.
    pub fn values<'d>(&'d self, detection: &'d Detection) -> impl Iterator<Item = &'d Arc<str>> {
        let is_meant = |role: EntityRole| self.role.is_none_or(|wanted| wanted == role);
        let entities = detection.entities.iter();
        entities
            .filter(move |held| is_meant(held.role) && self.kinds.iter().any(|kind| **kind == *held.entity.kind))
            .map(|held| &held.entity.value)
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            None => "",
            Some(EntityRole::Actor) => "actor/",
            Some(EntityRole::Target) => "target/",
            Some(EntityRole::Context) => "context/",
        };
        write!(f, "{role}{}", self.kinds.join("|"))
    }
}

/// Reads the sequences of the build, if they are wanted, and the `*.toml` of `dir`, which replace those of the same name.
pub fn load_sequences(dir: Option<&Path>, shipped: bool) -> Result<SequenceSet, ConfigError> {
    let mut set = SequenceSet::default();
    let mut digest = Sha256::new();
    let mut add = |set: &mut SequenceSet, text: &str, file: &str| -> Result<Vec<String>, ConfigError> {
        let parsed = parse_sequences(text, file)?;
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
        let names = parsed.iter().map(|sequence| sequence.name.clone()).collect();
        set.sequences
            .extend(parsed.into_iter().map(|sequence| (sequence.name.clone(), sequence)));
        Ok(names)
    };
    for (name, text) in SEQUENCE_FILES.iter().filter(|_| shipped) {
        add(&mut set, text, &format!("schemas/sequences/{name}"))?;
    }
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for path in dir.map_or_else(|| Ok(Vec::new()), list)? {
        let file = path.display().to_string();
        let unreadable = |reason: String| ConfigError(format!("{file}: cannot read the sequences: {reason}"));
        let bytes = read_bounded(&path, FILE_BYTES_MAX).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
        for name in add(&mut set, &text, &file)? {
            if let Some(other) = own.insert(name.clone(), file.clone()) {
                let message =
                    format!("{file}: the sequence `{name}` stands in {other} too; every sequence needs its own name");
                return Err(ConfigError(message));
            }
        }
    }
    if set.sequences.len() > SEQUENCES_MAX {
        let message = format!("{} sequences; {SEQUENCES_MAX} are allowed", set.sequences.len());
        return Err(ConfigError(message));
    }
    if !set.sequences.is_empty() {
        set.digest = hex::encode(digest.finalize());
    }
    Ok(set)
}

/// The `*.toml` of a directory, sorted.
fn list(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |error: std::io::Error| {
        let dir = dir.display();
        ConfigError(format!("[sequences] dir: {dir}: cannot read it: {error}"))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        let (count, dir) = (paths.len(), dir.display());
        return Err(ConfigError(format!(
            "[sequences] dir: {dir}: {count} files; {FILES_MAX} are allowed"
        )));
    }
    paths.sort();
    Ok(paths)
}

/// Validates the text of a file of sequences; `file` names it in errors.
pub fn parse_sequences(text: &str, file: &str) -> Result<Vec<SequenceSettings>, ConfigError> {
    let document = Document::parse(text, file)?;
    let held: File = document.read()?;
    let mut sequences: Vec<SequenceSettings> = Vec::new();
    for (index, sequence) in held.sequence.into_iter().enumerate() {
        let sequence = sequence.validate(index).map_err(|fault| document.fault(&fault))?;
        if sequences.iter().any(|held| held.name == sequence.name) {
            let message = "this name stands twice; every sequence needs its own";
            return Err(document.fault(&Fault::new(Place::Entry(NAME, index), "name", message)));
        }
        sequences.push(sequence);
    }
    Ok(sequences)
}

const NAME: &str = "sequence";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sequence: Vec<Sequence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    name: String,
    title: String,
    #[serde(default)]
    description: String,
    severity: Severity,
    #[serde(default)]
    techniques: Vec<String>,
    by: Texts,
    within: Pause,
    #[serde(default = "yes")]
    ordered: bool,
    repeat_after: Option<Pause>,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    rules: Option<Texts>,
    techniques: Option<Texts>,
    severity: Option<Severity>,
    layers: Option<Texts>,
    #[serde(default, rename = "match")]
    matching: BTreeMap<String, Texts>,
    by: Option<Texts>,
    count: Option<usize>,
    distinct: Option<String>,
    #[serde(default)]
    absent: bool,
    after: Option<Pause>,
    within: Option<Pause>,
}

fn yes() -> bool {
    true
}

/// Where a step stands among those of its sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing that is there comes before it.
    First,
    Middle,
    /// Nothing that is there comes after it.
    Last,
}

impl Sequence {
    fn validate(self, index: usize) -> Result<SequenceSettings, Fault> {
        let place = Place::Entry(NAME, index);
        let wrong = |key: &'static str, message: String| Err(Fault::new(place, key, message));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(plain) {
            let message = format!("valid are 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`");
            return wrong("name", message);
        }
        if !is_line(&self.title) {
            return wrong(
                "title",
                format!("title: valid is one line of 1 to {TEXT_BYTES_MAX} bytes"),
            );
        }
        let techniques =
            texts(self.techniques, "techniques").map_err(|message| Fault::new(place, "techniques", message))?;
        let by = key(self.by).map_err(|message| Fault::new(place, "by", format!("by: {message}")))?;
        let within = span(self.within).map_err(|message| Fault::new(place, "within", format!("within: {message}")))?;
        if self.step.is_empty() || self.step.len() > STEPS_MAX {
            let message = format!("{} steps; valid are 1 to {STEPS_MAX}", self.step.len());
            return wrong("step", message);
        }
        let there = |step: &Step| !step.absent;
        let (Some(first), Some(last)) = (self.step.iter().position(there), self.step.iter().rposition(there)) else {
            return wrong("step", "all steps are absent; at least one must be there".into());
        };
        let steps = self.step.into_iter().enumerate().map(|(number, step)| {
            let standing = match number {
                _ if number <= first => Standing::First,
                _ if number > last => Standing::Last,
                _ => Standing::Middle,
            };
            step.validate(Place::Inner(NAME, index, "step", number), self.ordered, standing, &by)
        });
        let steps: Vec<StepSettings> = steps.collect::<Result<_, _>>()?;
        let repeat_after = self.repeat_after.map(span).transpose();
        let repeat_after =
            repeat_after.map_err(|message| Fault::new(place, "repeat_after", format!("repeat_after: {message}")))?;
        Ok(SequenceSettings {
            name: self.name,
            title: self.title,
            description: self.description,
            severity: self.severity,
            techniques,
            within,
            ordered: self.ordered,
            repeat_after: repeat_after.unwrap_or(within),
            steps,
        })
    }
}

impl Step {
    fn validate(self, place: Place, ordered: bool, standing: Standing, by: &[KeyPart]) -> Result<StepSettings, Fault> {
        let fault = |key: &'static str, message: String| Fault::new(place, key, message);
        let list = |key: &'static str, held: Option<Texts>| {
            let held = held.map(Texts::into_vec).unwrap_or_default();
            texts(held, key).map_err(|message| fault(key, message))
        };
        if !is_line(&self.name) || self.name.len() > NAME_BYTES_MAX {
            let message = format!("name: valid is one line of 1 to {NAME_BYTES_MAX} bytes");
            return Err(fault("name", message));
        }
        let rules = list("rules", self.rules)?;
        let of_sequences = |rule: &&String| rule.split('/').next() == Some(SEQUENCE);
        if let Some(rule) = rules.iter().find(of_sequences) {
            let message =
                format!("rules: `{rule}` is what sequences tell; a sequence reads what detectors and other tools tell");
            return Err(fault("rules", message));
        }
        let techniques = list("techniques", self.techniques)?;
        let layers = list("layers", self.layers)?;
        if let Some(layer) = layers.iter().find(|layer| !LAYERS.contains(&layer.as_str())) {
            let message = format!("layers: `{layer}` is no layer; valid are {}", LAYERS.join(", "));
            return Err(fault("layers", message));
        }
        let conditions = self.matching.into_iter().map(|(of, values)| match of.as_str() {
            "message" => Err("messages are not compared; valid are tenant, layer, action and the entities".to_owned()),
            _ => condition(of, values),
        });
        let conditions: Result<Vec<Condition>, String> = conditions.collect();
        let conditions = conditions.map_err(|message| fault("match", format!("match: {message}")))?;
        let names_nothing = rules.is_empty()
            && techniques.is_empty()
            && self.severity.is_none()
            && layers.is_empty()
            && conditions.is_empty();
        if names_nothing {
            let message =
                "it is every detection; valid is at least one of `rules`, `techniques`, `severity`, `layers`, `match`";
            return Err(fault("name", message.into()));
        }
        let own = self.by.map(key).transpose();
        let own = own.map_err(|message| fault("by", format!("by: {message}")))?;
        let own = own.unwrap_or_else(|| by.to_vec());
        if own.len() != by.len() {
            let message = format!(
                "by: {} of it, and {} of the sequence's own `by`, with which it is compared one by one",
                own.len(),
                by.len()
            );
            return Err(fault("by", message));
        }
        let distinct = self.distinct.map(|text| key_part(&text)).transpose();
        let distinct = distinct.map_err(|message| fault("distinct", format!("distinct: {message}")))?;
        let count = self.count.unwrap_or(1);
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(fault("count", format!("count = {count}: valid are 1 to {COUNT_MAX}")));
        }
        if self.absent && (self.count.is_some() || distinct.is_some() || self.after.is_some()) {
            let message = "absent: what is not there has no `count`, `distinct` or `after`";
            return Err(fault("absent", message.into()));
        }
        if self.after.is_some() || self.within.is_some() {
            let key = if self.after.is_some() { "after" } else { "within" };
            let between = if self.absent {
                standing != Standing::Middle
            } else {
                standing != Standing::First
            };
            if !ordered || !between {
                let message = match (ordered, self.absent) {
                    (false, _) => format!(
                        "{key}: steps in any order have no step before them; valid is the sequence's own `within`"
                    ),
                    (true, true) => format!(
                        "{key}: it is absent from the step before to the step behind it; valid is to leave it out"
                    ),
                    (true, false) => format!("{key}: no step that is there comes before it; valid is to leave it out"),
                };
                return Err(fault(key, message));
            }
        }
        let after = self.after.map_or(0, |after| Span(after.0).micros());
        let within = self.within.map(span).transpose();
        let within = within.map_err(|message| fault("within", format!("within: {message}")))?;
        if within.is_some_and(|within| within < after) {
            return Err(fault("within", "within: it is shorter than `after`".into()));
        }
        Ok(StepSettings {
            name: self.name,
            rules,
            techniques,
            severity: self.severity,
            layers,
            conditions,
            by: own,
            count,
            distinct,
            absent: self.absent,
            after,
            within,
        })
    }
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

fn texts(texts: Vec<String>, key: &str) -> Result<Vec<String>, String> {
    match texts.iter().all(|text| is_line(text)) && texts.len() <= COUNT_MAX {
        true => Ok(texts),
        false => Err(format!(
            "{key}: valid are up to {COUNT_MAX} texts, each one line of 1 to {TEXT_BYTES_MAX} bytes"
        )),
    }
}

fn span(pause: Pause) -> Result<Micros, String> {
    let span = Span(pause.0).micros();
    match span <= WITHIN_MAX {
        true => Ok(span),
        false => Err(format!(
            "{} days; valid is up to {}: what may be needed is held in memory for that long",
            span / (24 * time::HOUR),
            WITHIN_MAX / (24 * time::HOUR)
        )),
    }
}

fn key(texts: Texts) -> Result<Vec<KeyPart>, String> {
    let parts: Vec<KeyPart> = texts
        .into_vec()
        .iter()
        .map(|text| key_part(text))
        .collect::<Result<_, _>>()?;
    match parts.len() <= KEY_PARTS_MAX {
        true => Ok(parts),
        false => Err(format!("{} entities; {KEY_PARTS_MAX} are allowed", parts.len())),
    }
}

/// Kinds that no event column has: what the engine finds of its sources names them.
const OTHER_KINDS: [&str; 1] = ["log_source"];

fn key_part(text: &str) -> Result<KeyPart, String> {
    let (role, kinds) = text
        .split_once('/')
        .map_or((None, text), |(role, kinds)| (Some(role), kinds));
    let role = match role {
        None => None,
        Some("actor") => Some(EntityRole::Actor),
        Some("target") => Some(EntityRole::Target),
        Some("context") => Some(EntityRole::Context),
        Some(other) => {
            return Err(format!(
                "`{other}` is no role; valid are actor, target and context, as in `actor/principal`"
            ));
        }
    };
    let known = EventSchema::get().entity_kinds();
    let kinds: Vec<String> = kinds.split('|').map(str::to_owned).collect();
    let is_known = |kind: &str| known.contains(kind) || OTHER_KINDS.contains(&kind);
    if let Some(kind) = kinds.iter().find(|kind| !is_known(kind)) {
        let valid: Vec<&str> = known.into_iter().chain(OTHER_KINDS).collect();
        return Err(format!(
            "`{kind}` is no kind of entity; valid are {}, and several joined by `|`",
            valid.join(", ")
        ));
    }
    Ok(KeyPart { kinds, role })
}
