//! A sequence as it is judged: the steps that must be there, and where others must not.

use std::collections::BTreeSet;

use crate::config::{KeyPart, SequenceSettings};
use crate::model::Micros;

/// A step that must be there.
pub struct There {
    /// Its place among the steps.
    pub step: usize,
    pub count: usize,
    pub distinct: Option<KeyPart>,
    /// Least and longest time since the one before.
    pub after: Micros,
    pub within: Micros,
    /// Steps that must be absent between the one before and this.
    pub absent: Vec<usize>,
}

pub struct Plan {
    pub ordered: bool,
    pub within: Micros,
    pub there: Vec<There>,
    /// In order: steps that must be absent before the first, each for so long.
    pub absent_before: Vec<(usize, Micros)>,
    /// In order: those that must be absent after the last.
    pub absent_after: Vec<(usize, Micros)>,
    /// In any order: those that must be absent from every span that holds all others.
    pub absent_around: Vec<usize>,
    /// How long a detection can be needed after its own time has been judged.
    pub span: Micros,
    /// How much event time must pass behind a detection before it can be judged.
    pub wait: Micros,
}

impl Plan {
    pub fn new(sequence: &SequenceSettings) -> Plan {
        let mut plan = Plan {
            ordered: sequence.ordered,
            within: sequence.within,
            there: Vec::new(),
            absent_before: Vec::new(),
            absent_after: Vec::new(),
            absent_around: Vec::new(),
            span: 0,
            wait: 0,
        };
        // Absent steps since the last that must be there.
        let mut absent: Vec<(usize, Micros)> = Vec::new();
        for (number, step) in sequence.steps.iter().enumerate() {
            let within = step.within.unwrap_or(sequence.within);
            if step.absent {
                match sequence.ordered {
                    true => absent.push((number, within)),
                    false => plan.absent_around.push(number),
                }
                continue;
            }
            let before = std::mem::take(&mut absent);
            let is_first = plan.there.is_empty();
            plan.there.push(There {
                step: number,
                count: step.count,
                distinct: step.distinct.clone(),
                after: step.after,
                within,
                absent: before.iter().filter(|_| !is_first).map(|(number, _)| *number).collect(),
            });
            if is_first {
                plan.absent_before = before;
            }
        }
        plan.absent_after = absent;
        let longest = |absent: &[(usize, Micros)]| absent.iter().map(|(_, within)| *within).max().unwrap_or(0);
        let (before, after) = match plan.absent_around.is_empty() {
            true => (longest(&plan.absent_before), longest(&plan.absent_after)),
            false => (0, sequence.within),
        };
        plan.span = sequence.within.saturating_add(before);
        plan.wait = after;
        plan
    }

    /// The steps that must be there, as bits.
    pub fn there_bits(&self) -> u32 {
        self.there.iter().fold(0, |bits, there| bits | 1 << there.step)
    }
}

/// The layers whose watermarks a sequence waits for; `None`: all of them. `heard`: per plugin the layers that it reads, none for all.
pub fn layers(
    sequence: &SequenceSettings,
    heard: &std::collections::BTreeMap<String, Vec<String>>,
) -> Option<BTreeSet<String>> {
    let mut layers = BTreeSet::new();
    for step in &sequence.steps {
        if step.rules.is_empty() {
            return None;
        }
        for rule in &step.rules {
            let plugin = rule.split('/').next().unwrap_or_default();
            match heard.get(plugin) {
                // What is found in rows that wait for several layers comes when all of them are complete.
                Some(read) if !read.is_empty() => layers.extend(read.iter().cloned()),
                // Another tool's finding comes with its record.
                None if !plugin.contains(['*', '.']) && !step.layers.is_empty() => {
                    layers.extend(step.layers.iter().cloned());
                }
                _ => return None,
            }
        }
    }
    Some(layers)
}
