//! `sentrail sequence`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::config::{self, SequenceSet};
use crate::model::harmless;
use crate::sequence::fixture;

#[derive(Subcommand)]
pub enum Command {
    /// List the sequences that would be in force, and what to do about what they tell.
    List {
        /// The configuration file (TOML); without it, those of the build.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Run the fixtures of sequences: for NAME.toml, the cases in fixtures/NAME.toml beside it.
    Test {
        /// Files of sequences, or directories of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

pub fn sequence(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List { config } => list(config.as_deref()),
        Command::Test { paths } => test(paths),
    }
}

fn list(config: Option<&Path>) -> anyhow::Result<()> {
    let (dir, shipped) = match config {
        Some(config) => {
            let sequences = config::load(config)?.sequences;
            (sequences.dir, sequences.shipped)
        }
        None => (None, true),
    };
    for sequence in config::load_sequences(dir.as_deref(), shipped)?.sequences.values() {
        outln!("{} ({}): {}", sequence.name, sequence.severity, sequence.title)?;
        if !sequence.description.is_empty() {
            outln!("    {}", harmless(&sequence.description))?;
        }
    }
    Ok(())
}

fn test(paths: &[PathBuf]) -> anyhow::Result<()> {
    let (mut passed, mut failed) = (0, 0);
    for file in files(paths)? {
        let text = read(&file)?;
        let sequences = config::parse_sequences(&text, &file.display().to_string())?;
        let sequences = sequences.into_iter().map(|sequence| (sequence.name.clone(), sequence));
        let set = SequenceSet {
            sequences: sequences.collect(),
            digest: String::new(),
        };
        let fixture = fixture_of(&file);
        if !fixture.exists() {
            outln!("{}: no cases; they go to {}", file.display(), fixture.display())?;
            continue;
        }
        let cases =
            fixture::parse(&read(&fixture)?).map_err(|reason| anyhow::anyhow!("{}: {reason}", fixture.display()))?;
        for case in cases {
            match fixture::run(&case, &set) {
                Ok(()) => passed += 1,
                Err(reason) => {
                    failed += 1;
                    outln!("FAIL  {}: {}: {reason}", fixture.display(), case.name)?;
                }
            }
        }
    }
    outln!("{passed} passed, {failed} failed")?;
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} cases failed"),
    }
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("{}: cannot read it", path.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// `DIR/NAME.toml` → `DIR/fixtures/NAME.toml`
fn fixture_of(file: &Path) -> PathBuf {
    let dir = file.parent().unwrap_or(Path::new("")).join("fixtures");
    dir.join(file.file_name().unwrap_or_default())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{}: cannot read it", path.display()))
}
