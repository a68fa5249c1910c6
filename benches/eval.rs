//! How good the detectors are: labelled data sets through the engine's own normalizer and detectors, and what was found, missed and
//! flagged wrongly; and which techniques they are about. `cargo xtask eval detectors [--data DIR] [--json FILE] | coverage [--data DIR]`

#[path = "eval/cases.rs"]
mod cases;
#[path = "eval/cloudtrail.rs"]
mod cloudtrail;
#[path = "eval/coverage.rs"]
mod coverage;
#[path = "eval/goals.rs"]
mod goals;
#[path = "eval/prompts.rs"]
mod prompts;
#[path = "eval/report.rs"]
mod report;
#[path = "eval/run.rs"]
mod run;
#[path = "eval/score.rs"]
mod score;
#[path = "eval/set.rs"]
mod set;
#[path = "eval/taxonomy.rs"]
mod taxonomy;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sentrail_benches::{Scratch, given};

use goals::Goals;
use report::{GroupReport, SetReport};
use set::Set;

const USAGE: &str = "usage: cargo xtask eval detectors [--data DIR] [--json FILE] | coverage [--data DIR]";

/// Makes the sets of a data set's files.
type Read = fn(&[String]) -> Result<Vec<Set>>;

/// Files below the data directory, and what is made of them.
struct Source {
    files: &'static [&'static str],
    read: Read,
}

struct Group {
    title: &'static str,
    /// How the records were made, where they are not read as they lie.
    note: &'static str,
    sources: &'static [Source],
    goals: Goals,
}

const GROUPS: &[Group] = &[
    Group {
        title: "CloudTrail attack techniques",
        note: "Recall counts techniques: one is found when one of its calls is the decisive event of a detection. User agents and the\n\
               name of the tool that staged the attacks are taken out of all events. invictus is one account's log; every technique of\n\
               stratus is one of its own. What Terraform did (stratus_setup) is neither right nor wrong.",
        sources: &[
            Source {
                files: &["invictus/events_labelled.ndjson"],
                read: |texts| Ok(vec![cloudtrail::invictus(&texts[0])?]),
            },
            Source {
                files: &["stratus/detonations.ndjson"],
                read: |texts| Ok(vec![cloudtrail::stratus(&texts[0])?]),
            },
        ],
        goals: goals::cloudtrail,
    },
    Group {
        title: "Prompt injection and jailbreak",
        note: "The sets hold bare texts. Each is wrapped as LiteLLM logs a request, with no answer: a prompt as what the user says, an\n\
               indirect payload at the beginning, middle or end of a clean mail that a tool gives back, and the clean mails alone.",
        sources: &[Source {
            files: &["prompts/prompts.ndjson"],
            read: |texts| prompts::prompts(&texts[0]).map(|(direct, indirect)| vec![direct, indirect]),
        }],
        goals: goals::prompts,
    },
    Group {
        title: "Model Context Protocol",
        note: "The cases are without their author's verdict fields. Their fields are no product's, so each event is wrapped as an MCP\n\
               message: a tool that is described as an answer to tools/list, all else as the arguments of tools/call.",
        sources: &[Source {
            files: &["safe-mcp/safe_mcp_stripped.ndjson"],
            read: |texts| Ok(vec![cases::safe_mcp(&texts[0])?]),
        }],
        goals: goals::mcp,
    },
    Group {
        title: "Kubernetes audit",
        note: "INFO notes of normal activity are neither right nor wrong. No log says what the cluster's owner allows: a test that brings a list\n\
               of images runs under it; tests that expect nothing of a trace of which another test expects something for lists of another\n\
               kind are neither right nor wrong.",
        sources: &[Source {
            files: &["k8s-audit/k8s_audit_labelled.ndjson"],
            read: |texts| cases::kubernetes(&texts[0]),
        }],
        goals: goals::kubernetes,
    },
    Group {
        title: "Without a goal",
        note: "Labels that say that a call is known of attacks, or that one rule fires, and not that there is an attack. Records of\n\
               formats that are none of the engine's are rejected.",
        sources: &[
            Source {
                files: &["traildiscover/events.ndjson"],
                read: |texts| Ok(vec![cloudtrail::traildiscover(&texts[0])?]),
            },
            Source {
                files: &["panther/panther_tests.ndjson", "panther/rules_index.ndjson"],
                read: |texts| Ok(vec![cases::panther(&texts[0], &texts[1])?]),
            },
        ],
        goals: goals::none,
    },
];

struct Arguments {
    /// Instead of measuring.
    coverage: bool,
    data: PathBuf,
    json: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut words = std::env::args().skip(1);
        let coverage = match words.next().as_deref() {
            Some("detectors") => false,
            Some("coverage") => true,
            _ => bail!(USAGE),
        };
        let mut read = Arguments {
            coverage,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
            json: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--data" => read.data = words.next().context(USAGE)?.into(),
                "--json" if !coverage => read.json = Some(words.next().context(USAGE)?.into()),
                _ => bail!(USAGE),
            }
        }
        Ok(read)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let plugins = given("SENTRAIL_BENCH_PLUGINS")?;
    if arguments.coverage {
        return coverage::write(&plugins, &arguments.data);
    }
    // Detectors are compiled once and begin anew with every set.
    let cache = Scratch::new("eval")?;
    println!("A detector without a row found nothing in the data set.\n");
    let mut reports = Vec::new();
    for group in GROUPS {
        let mut outcomes = Vec::new();
        let mut skipped = Vec::new();
        for source in group.sources {
            let files: Vec<PathBuf> = source.files.iter().map(|file| arguments.data.join(file)).collect();
            if let Some(absent) = source.files.iter().zip(&files).find(|(_, path)| !path.exists()) {
                skipped.push(format!("{} is absent", absent.0));
                continue;
            }
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
            };
            let texts = files.iter().map(read).collect::<Result<Vec<String>>>()?;
            let sets = (source.read)(&texts).with_context(|| format!("{} cannot be understood", files[0].display()))?;
            for set in sets {
                let name = set.name;
                outcomes.push(run::run(set, &plugins, cache.path()).with_context(|| format!("set {name}"))?);
            }
        }
        let report = GroupReport {
            title: group.title,
            note: group.note,
            skipped,
            goals: (group.goals)(&outcomes),
            sets: outcomes.iter().map(SetReport::of).collect(),
        };
        print!("{report}");
        reports.push(report);
    }
    if let Some(file) = arguments.json {
        let text = serde_json::to_vec_pretty(&reports)?;
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}
