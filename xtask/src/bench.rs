//! `cargo xtask bench NAME [ARGUMENTS]`: builds in release and runs one of the programs in benches/.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, plugins, target_dir};

const NAMES: [&str; 9] = [
    "e2e",
    "decode",
    "memory",
    "freshness",
    "alert",
    "correlate",
    "graph",
    "sigma",
    "plugins",
];

/// What `decode` is compared with: releases of one day, so that the figures can be repeated.
const PYTHON_READERS: [&str; 2] = ["duckdb==2.0.0", "polars==2.1.0"];
/// What the Sigma rules are compared with.
const RSIGMA: &str = "0.23.0";

pub fn main(arguments: &[String]) -> Result<()> {
    let Some((name, more)) = arguments
        .split_first()
        .filter(|(name, _)| NAMES.contains(&name.as_str()))
    else {
        bail!("usage: cargo xtask bench {} [ARGUMENTS]", NAMES.join("|"));
    };
    let plugin_dir = target_dir().join("plugins");
    plugins::build(&plugin_dir)?;
    let built = cargo()
        .args([
            "build",
            "--release",
            "--package",
            "sentrail",
            "--package",
            "sentrail-benches",
            "--bins",
        ])
        .status()
        .context("cargo cannot be started")?;
    if !built.success() {
        bail!("the benchmarks did not build");
    }
    let release = target_dir().join("release");
    let mut command = Command::new(release.join(name));
    let mut give = |what: &str, made| {
        match made {
            Ok(program) => command.env(format!("SENTRAIL_BENCH_{what}"), program),
            Err(why) => command.env(format!("SENTRAIL_BENCH_NO_{what}"), why),
        };
    };
    if matches!(name.as_str(), "decode" | "e2e") {
        give("BARE", apart("bare"));
    }
    if name == "correlate" {
        give("GROUPING", apart("grouping"));
    }
    if name == "decode" {
        give("PYTHON", python(&target_dir().join("bench-venv")));
    }
    if name == "sigma" {
        give("RSIGMA", rsigma());
        command.arg("speed");
    }
    if name == "plugins" {
        let crossing = plugins::build_one(&target_dir().join("try"), "crossing")?;
        command.env("SENTRAIL_BENCH_CROSSING", crossing);
    }
    let status = command
        .args(more)
        .env("SENTRAIL_BENCH_PLUGINS", &plugin_dir)
        .env("SENTRAIL_BENCH_BINARY", release.join("sentrail"))
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// A program of benches/ that is no part of the workspace, or why there is none: `bare` has the bare parsers in it, `grouping` another
/// correlation engine.
fn apart(name: &str) -> Result<PathBuf, String> {
    let dir = target_dir().join(name);
    let built = cargo()
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(format!("benches/{name}/Cargo.toml"))
        .arg("--target-dir")
        .arg(&dir)
        .status();
    match built {
        Ok(status) if status.success() => Ok(dir.join("release").join(name)),
        _ => Err(format!("benches/{name} did not build")),
    }
}

/// A Python that has the readers, made where it is not there yet; or why there is none.
fn python(venv: &Path) -> Result<PathBuf, String> {
    let python = venv.join("bin/python");
    // What was installed is written down when it is complete.
    let mark = venv.join("readers.txt");
    let wanted = PYTHON_READERS.join(" ");
    if std::fs::read_to_string(&mark).is_ok_and(|held| held == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command, what: &str| {
        let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        match done {
            Ok(status) if status.success() => Ok(()),
            _ => Err(what.to_owned()),
        }
    };
    run(
        Command::new("python3").args(["-m", "venv"]).arg(venv),
        "there is no Python 3 with venv",
    )?;
    run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--timeout", "20", "--retries", "1"])
            .args(PYTHON_READERS),
        "PyPI has not given DuckDB and Polars",
    )?;
    std::fs::write(&mark, &wanted).map_err(|error| format!("cannot write {}: {error}", mark.display()))?;
    Ok(python)
}

/// The command line of rsigma, installed below the target directory where it is not there yet; or why there is none.
pub(crate) fn rsigma() -> Result<PathBuf, String> {
    let dir = target_dir().join(format!("rsigma-{RSIGMA}"));
    let program = dir.join("bin/rsigma");
    if program.is_file() {
        return Ok(program);
    }
    // Its server is not needed, and is most of it; without any feature this release does not build.
    let installed = cargo()
        .args([
            "install",
            "--quiet",
            "--locked",
            "--no-default-features",
            "--features",
            "logfmt",
            "--root",
        ])
        .arg(&dir)
        .arg("--target-dir")
        .arg(dir.join("build"))
        .arg(format!("rsigma@{RSIGMA}"))
        // What lints our own code would only be in the way.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    match installed {
        Ok(status) if status.success() => Ok(program),
        _ => Err(format!("rsigma {RSIGMA} could not be installed")),
    }
}
