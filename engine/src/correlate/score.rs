//! What an incident weighs: each contribution with its reason. More evidence never makes an incident weigh less.

use std::collections::{BTreeSet, HashSet};

use ahash::RandomState;

use crate::config::CorrelateSettings;
use crate::model::phase::{PHASE_NAMES, phases_of};
use crate::model::{Detection, Entity, ScorePart, Severity};

use super::incident::{layers, techniques};

/// Points for each technique after the first, and the most that techniques can add.
const TECHNIQUE_POINTS: (f64, f64) = (2.0, 10.0);
/// Points for each phase of an attack that follows an earlier one, and the most that progress can add.
const PROGRESS_POINTS: (f64, f64) = (4.0, 16.0);
/// Points for each time that chance is ten times less likely to make it than it may be, and the most that rarity can add.
const RARITY_POINTS: (f64, f64) = (2.0, 8.0);
/// Points for each layer of the stack after the first, and the most that layers can add.
const LAYER_POINTS: (f64, f64) = (8.0, 24.0);

/// Points for the worst finding, by severity.
fn severity_points(severity: Severity) -> f64 {
    match severity {
        Severity::Informational => 5.0,
        Severity::Low => 15.0,
        Severity::Medium => 30.0,
        Severity::High => 50.0,
        Severity::Critical => 70.0,
    }
}

/// The severity that a score amounts to. One finding alone stays in its own band, unless what it reached is worth more; breadth lifts an
/// incident by one.
pub fn band(score: f64) -> Severity {
    match score {
        85.0.. => Severity::Critical,
        60.0.. => Severity::High,
        35.0.. => Severity::Medium,
        15.0.. => Severity::Low,
        _ => Severity::Informational,
    }
}

/// The contributions of `members`, which are ordered by (time, id).
pub fn score(members: &[&Detection], chance: f64, settings: &CorrelateSettings) -> Vec<ScorePart> {
    let mut parts = Vec::new();
    let worst = members.iter().max_by(|a, b| {
        let first = (b.time, &b.detection_id).cmp(&(a.time, &a.detection_id));
        a.severity.cmp(&b.severity).then(first)
    });
    if let Some(worst) = worst {
        let why = format!(
            "the worst finding is {}: {}",
            worst.severity.text().to_lowercase(),
            worst.title
        );
        parts.push(part("severity", severity_points(worst.severity), why));
    }
    if members.len() > 1 && chance.is_finite() {
        let why = format!("chance brings together what is as rare {}", rarity(chance));
        let points = (settings.chance_max / chance).log10() * RARITY_POINTS.0;
        parts.push(part("rarity", points.clamp(0.0, RARITY_POINTS.1).round(), why));
    }
    let techniques = techniques(members).len();
    if techniques > 1 {
        let why = format!("{techniques} different techniques");
        parts.push(part("techniques", capped(techniques, TECHNIQUE_POINTS), why));
    }
    let phases = progress(members);
    if phases.len() > 1 {
        let names = phases.iter().filter_map(|phase| PHASE_NAMES.get(phase - 1).copied());
        let why = format!("it went on through {}", names.collect::<Vec<_>>().join(", "));
        parts.push(part("progress", capped(phases.len(), PROGRESS_POINTS), why));
    }
    let layers = layers(members).len();
    if layers > 1 {
        let why = format!("{layers} different layers");
        parts.push(part("layers", capped(layers, LAYER_POINTS), why));
    }
    parts.extend(criticality(members, settings));
    parts
}

/// How often chance makes something, for people.
fn rarity(a_day: f64) -> String {
    let days = 1.0 / a_day;
    match days {
        ..1.5 => "once a day".to_owned(),
        ..60.0 => format!("once in {days:.0} days"),
        ..730.0 => format!("once in {:.0} months", days / 30.4),
        ..36_500.0 => format!("once in {:.0} years", days / 365.25),
        _ => "less than once in a hundred years".to_owned(),
    }
}

fn part(name: &str, points: f64, why: String) -> ScorePart {
    ScorePart {
        name: name.to_owned(),
        points,
        why,
    }
}

/// Points for each after the first.
fn capped(count: usize, (each, most): (f64, f64)) -> f64 {
    ((count - 1) as f64 * each).min(most)
}

/// The longest row of phases, each later in an attack than the one before it, that findings, ordered by time, show one after the other.
pub fn progress(members: &[&Detection]) -> Vec<usize> {
    // By phase: the longest row that ends with it.
    let mut rows: [Vec<usize>; PHASE_NAMES.len() + 1] = Default::default();
    for detection in members {
        let phases = detection.techniques.iter().flat_map(|technique| phases_of(technique));
        let phases: BTreeSet<usize> = phases.copied().filter(|phase| *phase < rows.len()).collect();
        // The last first: one finding is one step.
        for phase in phases.into_iter().rev() {
            let mut longest: &Vec<usize> = &rows[0];
            for row in &rows[..phase] {
                if row.len() > longest.len() {
                    longest = row;
                }
            }
            if longest.len() + 1 > rows[phase].len() {
                let mut row = longest.clone();
                row.push(phase);
                rows[phase] = row;
            }
        }
    }
    let mut longest = Vec::new();
    for row in rows {
        if row.len() > longest.len() {
            longest = row;
        }
    }
    longest
}

/// The most that any entity of the findings is worth.
fn criticality(members: &[&Detection], settings: &CorrelateSettings) -> Option<ScorePart> {
    if settings.criticality.is_empty() {
        return None;
    }
    let entities = members.iter().flat_map(|detection| &detection.entities);
    let entities: HashSet<&Entity, RandomState> = entities.map(|roled| &roled.entity).collect();
    let worth = |entity: &Entity| {
        let text = entity.to_string();
        let mut tags = settings.criticality.iter();
        let tag = tags.find(|tag| tag.entity.matches(&text))?;
        Some((tag.weight, text))
    };
    let most = entities.into_iter().filter_map(worth);
    let (weight, entity) = most.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    Some(part("criticality", weight, format!("it reached {entity}")))
}
