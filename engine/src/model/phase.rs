//! Phases of an attack, and which of them a technique of ATT&CK or ATLAS serves.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The phases that a technique serves, as numbers in the order of an attack.
static PHASES: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let lines = include_str!("phases.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (id, phases) = line.split_once(' ')?;
            Some((id, phases.split(' ').filter_map(|phase| phase.parse().ok()).collect()))
        })
        .collect()
});

/// The names of the phases, by their numbers less one.
pub const PHASE_NAMES: [&str; 17] = [
    "reconnaissance",
    "resource development",
    "initial access",
    "AI model access",
    "execution",
    "persistence",
    "privilege escalation",
    "stealth",
    "defense impairment",
    "credential access",
    "discovery",
    "lateral movement",
    "collection",
    "AI attack staging",
    "command and control",
    "exfiltration",
    "impact",
];

/// The phases that a technique, or the one that it is a part of, serves: numbers from 1 in the order of an attack. None for an id that the
/// table does not know.
pub fn phases_of(technique: &str) -> &'static [usize] {
    let whole = technique.rsplit_once('.').map(|(whole, _)| whole);
    let phases = PHASES.get(technique).or_else(|| PHASES.get(whole?));
    phases.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
#[test]
fn every_phase_of_the_table_has_a_name() {
    assert!(PHASES.len() > 300, "{} techniques", PHASES.len());
    for (id, phases) in PHASES.iter() {
        assert!(!phases.is_empty(), "{id}");
        assert!(
            phases.iter().all(|phase| (1..=PHASE_NAMES.len()).contains(phase)),
            "{id}"
        );
    }
    assert_eq!(phases_of("AML.T0051.000"), phases_of("AML.T0051"));
    assert!(phases_of("no technique").is_empty());
}
