//! schemas/techniques.tsv and schemas/mitigations.tsv: names of techniques, and what MITRE ATLAS has against them. Made of the taxonomies; what
//! to do against a technique is said in our own words, which stay when the table is written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Older names first: the newer ones replace them.
const ATTACK: [&str; 2] = ["attack-taxonomy/attack_v15.ndjson", "attack-taxonomy/attack_v19.ndjson"];
const ATLAS: &str = "atlas/ATLAS.yaml";

const TECHNIQUES: &str = "\
# Names of the techniques of MITRE ATT&CK (Enterprise) and MITRE ATLAS. Written by `cargo xtask eval coverage`.
#
# ATT&CK: (c) The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation.
# ATLAS: Copyright 2021-2025 MITRE. Licensed under the Apache License, Version 2.0; changed: ids and names alone.
#
# id\tname\ttechnique of ATT&CK that it adapts
";

const MITIGATIONS: &str = "\
# Mitigations of MITRE ATLAS and the techniques that they are for. Written by `cargo xtask eval coverage`, which keeps the last column: what
# to do is said in our own words.
#
# ATLAS: Copyright 2021-2025 MITRE. Licensed under the Apache License, Version 2.0; changed: ids, names and links alone.
#
# id\tname\ttechniques\twhat to do
";

#[derive(Deserialize)]
struct Attack {
    kind: String,
    id: String,
    name: String,
    domain: Option<String>,
}

#[derive(Deserialize)]
struct Atlas {
    matrices: Vec<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    techniques: Vec<Technique>,
    mitigations: Vec<Mitigation>,
}

#[derive(Deserialize)]
struct Technique {
    id: String,
    name: String,
    #[serde(rename = "ATT&CK-reference")]
    adapts: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct Mitigation {
    id: String,
    name: String,
    #[serde(default)]
    techniques: Vec<Reference>,
}

/// Both tables, of the taxonomies below `data` and of the mitigations as they are in `held`; `None` where a taxonomy is absent.
pub fn tables(data: &Path, held: &str) -> Result<Option<(String, String)>> {
    let read = |file: &str| std::fs::read_to_string(data.join(file)).ok();
    let attack: Option<Vec<String>> = ATTACK.into_iter().map(read).collect();
    let (Some(attack), Some(atlas)) = (attack, read(ATLAS)) else {
        return Ok(None);
    };
    let atlas: Atlas = yaml_serde::from_str(&atlas).context(ATLAS)?;
    let matrix = atlas
        .matrices
        .first()
        .with_context(|| format!("{ATLAS} has no matrix"))?;
    Ok(Some((techniques(&attack, matrix)?, mitigations(matrix, held)?)))
}

fn techniques(attack: &[String], atlas: &Matrix) -> Result<String> {
    let mut all: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in attack.iter().flat_map(|file| file.lines()) {
        let found: Attack = serde_json::from_str(line).context("attack-taxonomy")?;
        if found.kind == "technique" && found.domain.is_none_or(|domain| domain == "ENT") {
            all.insert(found.id, (found.name, String::new()));
        }
    }
    for technique in &atlas.techniques {
        let adapts = technique.adapts.as_ref().map_or(String::new(), |of| of.id.clone());
        all.insert(technique.id.clone(), (technique.name.clone(), adapts));
    }
    let mut text = TECHNIQUES.to_owned();
    for (id, (name, adapts)) in &all {
        let whole = super::coverage::parent(id).and_then(|whole| all.get(whole));
        let name = whole.map_or_else(|| name.clone(), |(whole, _)| format!("{whole}: {name}"));
        let _ = writeln!(text, "{id}\t{}\t{adapts}", cell(&name));
    }
    Ok(text)
}

fn mitigations(atlas: &Matrix, held: &str) -> Result<String> {
    let held = held.lines().filter(|line| !line.starts_with('#'));
    let own: BTreeMap<&str, &str> = held
        .filter_map(|line| Some((line.split('\t').next()?, line.split('\t').nth(3)?)))
        .collect();
    let mut sorted: Vec<&Mitigation> = atlas.mitigations.iter().collect();
    sorted.sort_by_key(|mitigation| &mitigation.id);
    let mut text = MITIGATIONS.to_owned();
    for Mitigation { id, name, techniques } in sorted {
        let what_to_do = own.get(id.as_str()).copied().unwrap_or_default();
        ensure!(
            !what_to_do.is_empty(),
            "schemas/mitigations.tsv does not say what {id} ({name}) means: add a line for it with a last cell of one sentence"
        );
        let techniques: BTreeSet<&str> = techniques.iter().map(|of| of.id.as_str()).collect();
        let techniques: Vec<&str> = techniques.into_iter().collect();
        let _ = writeln!(text, "{id}\t{}\t{}\t{what_to_do}", cell(name), techniques.join(" "));
    }
    Ok(text)
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_the_taxonomies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let held = |name: &str| std::fs::read_to_string(root.join("schemas").join(name)).unwrap();
        let Some((techniques, mitigations)) = tables(&root.join("../shared/data"), &held("mitigations.tsv")).unwrap()
        else {
            println!("skipped: ../shared/data is absent");
            return;
        };
        assert!(
            techniques == held("techniques.tsv"),
            "`cargo xtask eval coverage` writes it"
        );
        assert!(
            mitigations == held("mitigations.tsv"),
            "`cargo xtask eval coverage` writes it"
        );
    }

    #[test]
    fn what_to_do_is_kept_and_asked_for_where_it_is_missing() {
        let matrix = Matrix {
            techniques: Vec::new(),
            mitigations: vec![Mitigation {
                id: "M1".into(),
                name: "Two\n lines".into(),
                techniques: ["T2", "T1", "T2"].map(|id| Reference { id: id.into() }).into(),
            }],
        };
        let written = mitigations(&matrix, "# id\nM1\told\tT9\tDo it.\n").unwrap();
        assert_eq!(written, format!("{MITIGATIONS}M1\tTwo lines\tT1 T2\tDo it.\n"));
        let missing = mitigations(&matrix, "").unwrap_err().to_string();
        assert!(missing.contains("M1 (Two"), "{missing}");
    }
}
