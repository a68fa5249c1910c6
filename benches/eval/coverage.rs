//! plugins/COVERAGE.md: which technique is found by which rule of which detector, and which fixture shows it; and which techniques of
//! real attacks on AI systems no rule names. Made of the detectors' manifests, their fixtures and schemas/atlas.tsv.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sentrail::config::PluginSettings;
use sentrail::detect;
use serde::Deserialize;

use super::taxonomy;

/// A technique of ATLAS that the case studies have, in steps that telemetry can show.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Technique {
    id: String,
    name: String,
    /// The technique of ATT&CK that it adapts.
    attack: String,
    steps: u32,
    cases: u32,
}

/// A rule that names a technique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    technique: String,
    detector: String,
    rule: String,
    /// Names of the fixtures that expect the rule.
    fixtures: Vec<String>,
}

/// Where the steps of the case studies lie below the data directory.
const STEPS: &str = "atlas/case_studies_steps.ndjson";
const NOTICE: &str = "# Techniques of MITRE ATLAS (https://atlas.mitre.org, Apache-2.0, (c) MITRE) in the steps of its case studies that a defender's\n\
                      # telemetry can show. Written by `cargo xtask eval coverage`.\n\
                      # id\tname\tATT&CK\tsteps\tcase studies\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes the page anew, and the table of techniques where `data` holds the case studies.
pub fn write(plugins: &Path, data: &Path) -> Result<()> {
    let table = root().join("schemas/atlas.tsv");
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        println!("wrote {}", path.display());
        Ok::<(), anyhow::Error>(())
    };
    match std::fs::read_to_string(data.join(STEPS)) {
        Ok(steps) => put(&table, &to_table(&techniques(&steps)?))?,
        Err(_) => println!("skipped: {STEPS} is absent, schemas/atlas.tsv stays as it is"),
    }
    let (names, mitigations) = (
        root().join("schemas/techniques.tsv"),
        root().join("schemas/mitigations.tsv"),
    );
    let held = std::fs::read_to_string(&mitigations).unwrap_or_default();
    match taxonomy::tables(data, &held)? {
        Some((of_techniques, of_mitigations)) => {
            put(&names, &of_techniques)?;
            put(&mitigations, &of_mitigations)?;
        }
        None => println!(
            "skipped: a taxonomy is absent, schemas/techniques.tsv and schemas/mitigations.tsv stay as they are"
        ),
    }
    put(&root().join("plugins/COVERAGE.md"), &page(plugins)?)
}

/// The page as it should be.
fn page(plugins: &Path) -> Result<String> {
    let table = root().join("schemas/atlas.tsv");
    let table = std::fs::read_to_string(&table).with_context(|| format!("{} cannot be read", table.display()))?;
    Ok(to_page(&found(plugins)?, &of_table(&table)?))
}

/// What the built detectors say of themselves, and what their fixtures expect.
fn found(plugins: &Path) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let source = root().join("plugins");
    for entry in std::fs::read_dir(&source).with_context(|| format!("{} cannot be read", source.display()))? {
        let dir = entry?.path();
        if !dir.join("Cargo.toml").is_file() {
            continue;
        }
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = plugins.join(format!("{name}.wasm"));
        let inspected = detect::inspect(&file, &PluginSettings::default())
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))?;
        let expected = fixtures(&dir.join("fixtures"))?;
        for rule in inspected.manifest.rules {
            let fixtures = expected.get(&rule.id).cloned().unwrap_or_default();
            all.extend(rule.techniques.iter().map(|technique| Found {
                technique: technique.clone(),
                detector: name.clone(),
                rule: rule.id.clone(),
                fixtures: fixtures.iter().cloned().collect(),
            }));
        }
    }
    all.sort();
    Ok(all)
}

#[derive(Deserialize)]
struct Fixture {
    #[serde(default)]
    detections: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    rule: String,
}

/// The fixtures that expect each rule.
fn fixtures(dir: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let fixture: Fixture = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for detection in fixture.detections {
            expected.entry(detection.rule).or_default().insert(name.clone());
        }
    }
    Ok(expected)
}

#[derive(Deserialize)]
struct Case {
    id: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    technique: String,
    technique_name: String,
    attack_ref: Option<String>,
    observable_by_defender: bool,
}

fn techniques(cases: &str) -> Result<Vec<Technique>> {
    let cases = cases
        .lines()
        .map(serde_json::from_str::<Case>)
        .collect::<Result<Vec<_>, _>>()?;
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen: BTreeMap<&str, (u32, BTreeSet<&str>, &str)> = BTreeMap::new();
    for case in &cases {
        for step in &case.steps {
            names.insert(&step.technique, &step.technique_name);
            if step.observable_by_defender {
                let held = seen.entry(&step.technique).or_default();
                held.0 += 1;
                held.1.insert(&case.id);
                held.2 = step.attack_ref.as_deref().unwrap_or(held.2);
            }
        }
    }
    let of = |(id, (steps, cases, attack)): (&&str, &(u32, BTreeSet<&str>, &str))| {
        let name = names.get(id).copied().unwrap_or_default();
        let parent = parent(id).and_then(|parent| names.get(parent));
        Technique {
            id: (*id).to_owned(),
            name: parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}: {name}")),
            attack: (*attack).to_owned(),
            steps: *steps,
            cases: cases.len() as u32,
        }
    };
    Ok(seen.iter().map(of).collect())
}

/// `AML.T0051` of `AML.T0051.001`.
pub fn parent(id: &str) -> Option<&str> {
    let (parent, sub) = id.rsplit_once('.')?;
    (sub.len() == 3 && sub.bytes().all(|byte| byte.is_ascii_digit())).then_some(parent)
}

fn to_table(techniques: &[Technique]) -> String {
    let mut text = NOTICE.to_owned();
    for technique in techniques {
        let Technique {
            id,
            name,
            attack,
            steps,
            cases,
        } = technique;
        let _ = writeln!(text, "{id}\t{name}\t{attack}\t{steps}\t{cases}");
    }
    text
}

fn of_table(text: &str) -> Result<Vec<Technique>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let [id, name, attack, steps, cases] = cells[..] else {
                anyhow::bail!("schemas/atlas.tsv: `{line}` has not five cells");
            };
            Ok(Technique {
                id: id.to_owned(),
                name: name.to_owned(),
                attack: attack.to_owned(),
                steps: steps.parse().context("steps of schemas/atlas.tsv")?,
                cases: cases.parse().context("case studies of schemas/atlas.tsv")?,
            })
        })
        .collect()
}

/// How well the rules cover a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    /// A rule names it, or a part of it, or the technique of ATT&CK that it adapts.
    Named,
    /// Only the technique that it is a part of is named.
    Whole,
    None,
}

fn cover(technique: &Technique, named: &BTreeSet<&str>) -> Cover {
    let names = |id: &str| !id.is_empty() && named.iter().any(|held| *held == id || parent(held) == Some(id));
    if names(&technique.id) || names(&technique.attack) {
        Cover::Named
    } else if parent(&technique.id).is_some_and(|parent| named.contains(parent)) {
        Cover::Whole
    } else {
        Cover::None
    }
}

fn to_page(found: &[Found], atlas: &[Technique]) -> String {
    let named: BTreeSet<&str> = found.iter().map(|found| found.technique.as_str()).collect();
    let name = |id: &str| {
        let known = atlas.iter().find(|technique| technique.id == id);
        known.map_or_else(String::new, |technique| format!(" {}", technique.name))
    };
    let mut text = String::from(
        "# What the detectors cover\n\n\
         Written by `cargo xtask eval coverage` from the detectors' manifests and fixtures. A rule names the techniques that it is about, and a\n\
         fixture that expects the rule shows that it fires; how much of a technique is found is another question, which `cargo xtask eval\n\
         detectors` measures.\n\n\
         ## Techniques, rules and fixtures\n\n\
         | technique | detector | rule | fixtures |\n|---|---|---|---|\n",
    );
    for found in found {
        let _ = writeln!(
            text,
            "| {}{} | {} | {} | {} |",
            found.technique,
            name(&found.technique),
            found.detector,
            found.rule,
            found.fixtures.join(", ")
        );
    }
    let of = |wanted: Cover| {
        let mut of: Vec<&Technique> = atlas
            .iter()
            .filter(|technique| cover(technique, &named) == wanted)
            .collect();
        of.sort_by_key(|technique| (std::cmp::Reverse(technique.steps), &technique.id));
        of
    };
    let (covered, part, none) = (of(Cover::Named), of(Cover::Whole), of(Cover::None));
    let steps = |of: &[&Technique]| of.iter().map(|technique| technique.steps).sum::<u32>();
    let _ = write!(
        text,
        "\n## ATLAS\n\n\
         The case studies of MITRE ATLAS have {} steps that a defender's telemetry can show, of {} techniques. Rules name {} of these\n\
         (or a part of them, or the technique of ATT&CK that they adapt), with {} of the steps; of {} more, with {} steps, they name only the\n\
         technique that it is a part of. The others no rule names:\n\n\
         | technique | steps | case studies |\n|---|---|---|\n",
        steps(&atlas.iter().collect::<Vec<_>>()),
        atlas.len(),
        covered.len(),
        steps(&covered),
        part.len(),
        steps(&part),
    );
    for technique in none {
        let Technique {
            id, name, steps, cases, ..
        } = technique;
        let _ = writeln!(text, "| {id} {name} | {steps} | {cases} |");
    }
    text.push_str("\nNames and ids of techniques: MITRE ATLAS, Apache-2.0, and MITRE ATT&CK, © MITRE.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn technique(id: &str, attack: &str) -> Technique {
        Technique {
            id: id.into(),
            name: "N".into(),
            attack: attack.into(),
            steps: 1,
            cases: 1,
        }
    }

    #[test]
    fn a_part_covers_the_whole_and_the_whole_a_part_only_in_name() {
        let named = BTreeSet::from(["AML.T0051.001", "AML.T0012", "T1078.004"]);
        for (id, attack, expected) in [
            ("AML.T0051.001", "", Cover::Named),
            ("AML.T0051", "", Cover::Named),
            ("AML.T0051.000", "", Cover::None),
            ("AML.T0012.003", "", Cover::Whole),
            ("AML.T0099", "T1078", Cover::Named),
            ("AML.T0099", "", Cover::None),
        ] {
            assert_eq!(cover(&technique(id, attack), &named), expected, "{id}");
        }
    }

    #[test]
    fn the_table_is_read_as_it_is_written() {
        let case = r#"{"id":"C","steps":[
            {"technique":"AML.T1","technique_name":"Whole","attack_ref":null,"observable_by_defender":false},
            {"technique":"AML.T1.001","technique_name":"Part","attack_ref":"T9","observable_by_defender":true},
            {"technique":"AML.T1.001","technique_name":"Part","attack_ref":null,"observable_by_defender":true}]}"#;
        let read = techniques(&case.replace('\n', "")).unwrap();
        let expected = Technique {
            id: "AML.T1.001".into(),
            name: "Whole: Part".into(),
            attack: "T9".into(),
            steps: 2,
            cases: 1,
        };
        assert_eq!(read, [expected]);
        assert_eq!(of_table(&to_table(&read)).unwrap(), read);
    }

    #[test]
    fn the_page_is_up_to_date() {
        let Some(plugins) = std::env::var_os("SENTRAIL_TEST_PLUGINS") else {
            println!("skipped: SENTRAIL_TEST_PLUGINS does not name built plugins; `cargo xtask test` builds them");
            return;
        };
        let held = std::fs::read_to_string(root().join("plugins/COVERAGE.md")).unwrap_or_default();
        let page = page(Path::new(&plugins)).unwrap();
        assert!(
            held == page,
            "plugins/COVERAGE.md is not up to date: `cargo xtask eval coverage` writes it"
        );
    }
}
