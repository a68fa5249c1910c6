//! Which detections are a step's, and under which key.

use std::sync::Arc;

use crate::config::{KeyPart, StepSettings, is_like, is_rule};
use crate::model::Detection;

/// The values that steps must share, in the order of `by`.
pub type Key = Vec<Arc<str>>;

/// Keys of one detection in one step: entities times entities would be many.
const KEYS_MAX: usize = 8;

/// Whether the detection is all that the step names.
pub fn is_hit(step: &StepSettings, detection: &Detection) -> bool {
    let any = |list: &[String], is: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(is);
    any(&step.layers, &|layer| *layer == detection.layer)
        && step.severity.is_none_or(|least| detection.severity >= least)
        && any(&step.rules, &|pattern| is_rule(pattern, detection))
        && any(&step.techniques, &|pattern| {
            detection
                .techniques
                .iter()
                .any(|technique| is_technique(pattern, technique))
        })
        && step.conditions.iter().all(|condition| condition.holds(detection))
}

/// A technique holds what it is divided into.
fn is_technique(pattern: &str, technique: &str) -> bool {
    let rest = technique.strip_prefix(pattern);
    rest.is_some_and(|rest| rest.starts_with('.')) || is_like(technique, pattern)
}

/// The keys under which a detection counts: one of each combination of its values; none where it lacks one.
pub fn keys(by: &[KeyPart], detection: &Detection) -> Vec<Key> {
    let mut keys: Vec<Key> = vec![Vec::new()];
    for part in by {
        let mut longer = Vec::new();
        for key in &keys {
            for value in part.values(detection) {
                let one: Key = key.iter().chain([value]).cloned().collect();
                if !longer.contains(&one) && longer.len() < KEYS_MAX {
                    longer.push(one);
                }
            }
        }
        keys = longer;
    }
    keys
}
