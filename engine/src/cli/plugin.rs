//! `sentrail plugin`

mod bench;
pub mod named;
mod native;
mod run;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use anyhow::{Context as _, bail};

use super::out;
use crate::config::PluginSettings;
use crate::detect::{self, Inspection};
pub use run::{lines, troubles};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Begin a detector in a clone of Sentrail: a crate in plugins/ that builds and passes its test.
    New {
        /// Its id and the name of its folder: a-z, 0-9 and `-`.
        name: String,
    },
    /// Build a detector of a clone into target/plugins/NAME.wasm.
    Build { name: String },
    /// Run the tests of a detector of a clone natively: its fixtures in every order and batch size.
    Test { name: String },
    /// Try a detector on log files, or on what a data directory holds. Nothing is stored.
    Run(run::Arguments),
    /// Measure what a detector takes per event, as a guest and natively.
    Bench(bench::Arguments),
    /// Show what a built detector says of itself and what it may use.
    Inspect {
        /// The detector's .wasm file.
        file: PathBuf,
        /// A configuration file: what a detector says of itself may depend on its settings there.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

pub async fn plugin(command: Command) -> anyhow::Result<()> {
    match command {
        Command::New { name } => new(&clone()?, &name),
        Command::Build { name } => cargo(&existing(&name)?, &["xtask", "plugins", &name]),
        Command::Test { name } => cargo(&existing(&name)?, &["test", "--package", &name]),
        Command::Run(arguments) => run::run(arguments).await,
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Inspect { file, config } => {
            let settings = named::settings(config.as_deref())?.0;
            let found =
                detect::inspect(&file, &settings).map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))?;
            out(&text(&found, &settings))
        }
    }
}

/// The clone of Sentrail that holds the working directory.
fn clone() -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("the working directory cannot be read")?;
    match here.ancestors().find(|dir| is_clone(dir)) {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not in a clone of Sentrail, which has the folders plugin-sdk and plugins; change to one first",
            here.display()
        ),
    }
}

fn is_clone(dir: &Path) -> bool {
    dir.join("plugin-sdk/Cargo.toml").is_file() && dir.join("plugins").is_dir()
}

fn existing(name: &str) -> anyhow::Result<PathBuf> {
    let root = clone()?;
    let manifest = root.join("plugins").join(name).join("Cargo.toml");
    if check_name(name).is_err() || !manifest.is_file() {
        bail!("there is no detector `{name}`: {} does not exist", manifest.display());
    }
    Ok(root)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if !begins || !name.bytes().all(plain) || name.ends_with('-') || name.len() > detect::ID_BYTES_MAX {
        bail!(
            "`{name}` cannot be a detector's name: valid are a-z, 0-9 and `-`, beginning with a letter, {} bytes at most",
            detect::ID_BYTES_MAX
        );
    }
    Ok(())
}

fn new(root: &Path, name: &str) -> anyhow::Result<()> {
    check_name(name)?;
    let dir = root.join("plugins").join(name);
    if dir.exists() {
        bail!("{} exists already; choose another name", dir.display());
    }
    for (file, template) in [
        ("Cargo.toml", include_str!("plugin/Cargo.toml.in")),
        ("src/lib.rs", include_str!("plugin/lib.rs.in")),
        ("fixtures/found.json", include_str!("plugin/found.json")),
        ("fixtures/quiet.json", include_str!("plugin/quiet.json")),
    ] {
        let path = dir.join(file);
        let text = template.replace("@NAME@", name).replace("@TYPE@", &type_name(name));
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    out(&format!(
        "wrote {}\nnext: sentrail plugin test {name}, sentrail plugin build {name}; CONTRIBUTING.md says how detectors are written\n",
        dir.display()
    ))
}

/// `some-name` as the name of a type: `SomeName`.
fn type_name(name: &str) -> String {
    let part = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    let parts: String = name.split('-').filter(|part| !part.is_empty()).map(part).collect();
    parts
}

/// Runs cargo in the clone; what it says is for the user to read.
fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut cargo = cargo_command(root);
    cargo.args(arguments);
    finish(cargo, arguments)
}

/// The same, where standard output is for results.
fn cargo_quietly(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut cargo = cargo_command(root);
    cargo.args(arguments).stdout(std::io::stderr());
    finish(cargo, arguments)
}

fn cargo_command(dir: &Path) -> process::Command {
    let mut command = process::Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    command
}

fn finish(mut cargo: process::Command, arguments: &[&str]) -> anyhow::Result<()> {
    let status = cargo
        .status()
        .context("cargo cannot be started; detectors are built with Rust, which rustup installs")?;
    if !status.success() {
        bail!("cargo {} did not succeed; see above", arguments.join(" "));
    }
    Ok(())
}

/// What a person wants to know of a plugin before running it.
fn text(found: &Inspection, settings: &PluginSettings) -> String {
    let manifest = &found.manifest;
    let list = |items: &[String], none: &str| {
        if items.is_empty() {
            none.to_owned()
        } else {
            items.join(", ")
        }
    };
    let state = if manifest.is_stateful() {
        format!("per {}, version {}", manifest.key.join(" or "), manifest.state_version)
    } else {
        "none".to_owned()
    };
    let limits = format!(
        "{} MiB of memory, {} ms a call, {} rows a call, {} MiB of output a call{}",
        settings.memory_bytes_max >> 20,
        settings.call_time_max.as_millis(),
        detect::CALL_ROWS_MAX,
        detect::OUTPUT_BYTES_MAX >> 20,
        if manifest.is_stateful() {
            format!(
                ", {} MiB of state for each of {} shards",
                detect::STATE_BYTES_MAX >> 20,
                detect::SHARDS
            )
        } else {
            String::new()
        }
    );
    let mut text = String::new();
    for (name, value) in [
        ("plugin", format!("{} {}", manifest.id, manifest.version)),
        ("", manifest.description.clone()),
        ("file", format!("{} bytes, SHA-256 {}", found.bytes, found.digest)),
        (
            "signed by",
            found
                .signed_by
                .clone()
                .unwrap_or_else(|| match settings.signed_by.is_empty() {
                    true => "not asked: `--config` names no [plugins] signed_by".to_owned(),
                    false => "nobody".to_owned(),
                }),
        ),
        ("imports", list(&found.imports, "nothing")),
        ("layers", list(&manifest.layers, "all")),
        ("classes", list(&manifest.classes, "all")),
        ("columns", list(&manifest.columns, "none")),
        ("state", state),
        (
            "time",
            if manifest.wants_time {
                "is told when event time passes"
            } else {
                "is not told"
            }
            .to_owned(),
        ),
        ("limits", limits),
        ("rules", manifest.rules.len().to_string()),
    ] {
        let _ = writeln!(text, "{name:10}{value}");
    }
    for rule in &manifest.rules {
        let techniques = list(&rule.techniques, "no technique");
        let _ = writeln!(
            text,
            "  {} ({}; {techniques}): {}",
            rule.id,
            rule.severity.text(),
            rule.title
        );
    }
    let schema: serde_json::Value = serde_json::from_str(&manifest.config_schema).unwrap_or_default();
    let properties = schema["properties"].as_object();
    let _ = writeln!(text, "{:10}{}", "settings", properties.map_or(0, serde_json::Map::len));
    for (name, property) in properties.into_iter().flatten() {
        let meaning = property["description"].as_str().unwrap_or_default();
        let _ = writeln!(text, "  {name} = {}: {meaning}", property["default"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_detector_is_written_once_and_only_under_a_good_name() {
        let root = tempfile::tempdir().expect("a temporary directory");
        new(root.path(), "odd-calls-2").expect("written");
        let dir = root.path().join("plugins/odd-calls-2");
        let code = fs::read_to_string(dir.join("src/lib.rs")).expect("there");
        assert!(
            code.contains("pub struct OddCalls2 {") && code.contains("id: \"odd-calls-2\""),
            "{code}"
        );
        assert!(!code.contains('@'));
        assert!(dir.join("fixtures/quiet.json").is_file());
        let twice = new(root.path(), "odd-calls-2").expect_err("exists");
        assert!(twice.to_string().contains("exists already"), "{twice}");
        for name in ["", "Odd", "odd_calls", "-odd", "odd-", "2odd", "../odd"] {
            let error = new(root.path(), name).expect_err(name).to_string();
            assert!(error.contains("valid are a-z, 0-9 and `-`"), "{error}");
        }
    }
}
