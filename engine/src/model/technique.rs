//! Techniques of MITRE ATT&CK and ATLAS: their names, and what ATLAS has against them.

use std::collections::HashMap;
use std::sync::LazyLock;

use ahash::RandomState;

struct Technique {
    name: &'static str,
    /// The technique of ATT&CK that one of ATLAS adapts; empty where there is none.
    adapts: &'static str,
}

/// A mitigation of ATLAS.
#[derive(Debug, PartialEq, Eq)]
pub struct Mitigation {
    /// `AML.M0020`
    pub id: &'static str,
    pub name: &'static str,
    techniques: Vec<&'static str>,
    /// One sentence.
    pub what_to_do: &'static str,
}

/// The lines of a table without those that begin with `#`, in cells.
fn cells(table: &'static str) -> impl Iterator<Item = std::str::Split<'static, char>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t'))
}

static TECHNIQUES: LazyLock<HashMap<&'static str, Technique, RandomState>> = LazyLock::new(|| {
    let rows = cells(include_str!("../../../schemas/techniques.tsv"));
    rows.filter_map(|mut row| {
        let (id, name, adapts) = (row.next()?, row.next()?, row.next()?);
        Some((id, Technique { name, adapts }))
    })
    .collect()
});

static MITIGATIONS: LazyLock<Vec<Mitigation>> = LazyLock::new(|| {
    let rows = cells(include_str!("../../../schemas/mitigations.tsv"));
    rows.filter_map(|mut row| {
        let (id, name) = (row.next()?, row.next()?);
        let techniques = row.next()?.split(' ').collect();
        Some(Mitigation {
            id,
            name,
            techniques,
            what_to_do: row.next()?,
        })
    })
    .collect()
});

/// `AML.T0051` of `AML.T0051.001`, `T1078` of `T1078.004`.
fn whole(id: &str) -> Option<&str> {
    let (whole, part) = id.rsplit_once('.')?;
    (part.len() == 3).then_some(whole)
}

/// The name of a technique, `None` for an id that neither has.
pub fn technique_name(id: &str) -> Option<&'static str> {
    TECHNIQUES.get(id).map(|technique| technique.name)
}

/// What ATLAS has against `techniques`, each with those of them that it is for; what is for most of them first. A technique of ATT&CK has
/// the mitigations of those of ATLAS that adapt it, and a part of a technique those of the whole beside its own.
pub fn mitigations(techniques: &[String]) -> Vec<(&'static Mitigation, Vec<&str>)> {
    let mut found: Vec<(&Mitigation, Vec<&str>)> =
        MITIGATIONS.iter().map(|mitigation| (mitigation, Vec::new())).collect();
    for technique in techniques.iter().filter(|technique| !technique.is_empty()) {
        for (mitigation, of) in &mut found {
            let is_for = |id: &str| {
                let mut held = mitigation.techniques.iter();
                held.any(|of| *of == id || TECHNIQUES.get(of).is_some_and(|technique| technique.adapts == id))
            };
            if is_for(technique) || whole(technique).is_some_and(is_for) {
                of.push(technique);
            }
        }
    }
    found.retain(|(_, of)| !of.is_empty());
    // Stable: those that are for equally many stay in the order of their ids.
    found.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        assert!(TECHNIQUES.len() > 800 && MITIGATIONS.len() > 30);
        for mitigation in MITIGATIONS.iter() {
            assert!(mitigation.what_to_do.ends_with('.'), "{}", mitigation.id);
            for technique in &mitigation.techniques {
                assert!(TECHNIQUES.contains_key(technique), "{technique} of {}", mitigation.id);
            }
        }
        assert_eq!(technique_name("T1078.004"), Some("Valid Accounts: Cloud Accounts"));
        assert_eq!(technique_name("AML.T0051.001"), Some("LLM Prompt Injection: Indirect"));
        assert_eq!(technique_name("T9999"), None);
    }

    #[test]
    fn mitigations_are_found_by_technique_whole_and_adapted_one() {
        let of = |techniques: &[&str]| {
            let techniques: Vec<String> = techniques.iter().map(ToString::to_string).collect();
            let found = mitigations(&techniques);
            let found = found.into_iter();
            found
                .map(|(mitigation, of)| (mitigation.id, of.join(" ")))
                .collect::<Vec<_>>()
        };
        let has = |found: &[(&str, String)], id: &str, of: &str| found.iter().any(|held| *held == (id, of.to_owned()));
        let found = of(&["AML.T0051.000", "AML.T0053"]);
        assert_eq!(
            found[0].1, "AML.T0051.000 AML.T0053",
            "what is for most comes first: {found:?}"
        );
        // Guardrails are for the whole technique, checks of agents' input for the part too.
        let found = of(&["AML.T0051.000"]);
        assert!(has(&found, "AML.M0020", "AML.T0051.000") && has(&found, "AML.M0033", "AML.T0051.000"));
        assert!(has(&of(&["AML.T0080.001"]), "AML.M0031", "AML.T0080.001"));
        // One of ATT&CK has those of the technique of ATLAS that adapts it.
        assert!(has(&of(&["T1204.002"]), "AML.M0018", "T1204.002"));
        assert_eq!(of(&["T9999", ""]), []);
    }
}
