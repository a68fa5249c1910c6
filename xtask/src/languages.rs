//! `cargo xtask languages`: the example detectors in JavaScript and Python become components, by the Bytecode Alliance's tools,
//! which are installed below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::{root, target_dir};

/// The verb: builds both, and says why one cannot be.
pub fn main(arguments: &[String]) -> Result<()> {
    anyhow::ensure!(arguments.is_empty(), "usage: cargo xtask languages");
    for built in build(&target_dir().join("languages")) {
        match built {
            Ok(component) => println!("{}", component.display()),
            Err(why) => println!("skipped: {why}"),
        }
    }
    Ok(())
}

/// The components in `dir`, each or why there is none.
pub fn build(dir: &Path) -> [Result<PathBuf, String>; 2] {
    let why =
        |name: &'static str| move |error: anyhow::Error| format!("the {name} detector cannot be built: {error:#}");
    [
        javascript(dir).map_err(why("JavaScript")),
        python(dir).map_err(why("Python")),
    ]
}

fn javascript(dir: &Path) -> Result<PathBuf> {
    let source = root().join("plugin-sdk/javascript");
    let out = dir.join("root-use-javascript.wasm");
    if is_newer(&out, &source)? {
        return Ok(out);
    }
    // Node looks for packages beside the script that wants them.
    let work = dir.join("javascript");
    fs::create_dir_all(&work)?;
    for file in ["package.json", "build.mjs", "root-use-javascript.js"] {
        fs::copy(source.join(file), work.join(file)).with_context(|| format!("{file} cannot be copied"))?;
    }
    run(Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
        .args(["--fetch-retries", "0", "--fetch-timeout", "30000"])
        .current_dir(&work))?;
    run(Command::new("node")
        .args(["build.mjs", "root-use-javascript.js"])
        .args([wit(), work.join("detector.wasm")])
        .current_dir(&work))?;
    fs::rename(work.join("detector.wasm"), &out)?;
    Ok(out)
}

fn python(dir: &Path) -> Result<PathBuf> {
    let source = root().join("plugin-sdk/python");
    let out = dir.join("failed-calls-python.wasm");
    if is_newer(&out, &source)? {
        return Ok(out);
    }
    // A copy: what is compiled beside it is nobody's source.
    let venv = dir.join("python");
    fs::create_dir_all(&venv)?;
    fs::copy(
        source.join("failed_calls_python.py"),
        venv.join("failed_calls_python.py"),
    )?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(["--retries", "0", "--timeout", "30"])
        .arg("--requirement")
        .arg(source.join("requirements.txt")))?;
    // WASI's functions become traps: what it would do with a clock or a file ends the call.
    run(Command::new(venv.join("bin/componentize-py"))
        .arg("--wit-path")
        .arg(wit())
        .args([
            "--world",
            "plugin",
            "componentize",
            "failed_calls_python",
            "--stub-wasi",
        ])
        .arg("--output")
        .arg(venv.join("detector.wasm"))
        .current_dir(&venv))?;
    fs::rename(venv.join("detector.wasm"), &out)?;
    Ok(out)
}

fn wit() -> PathBuf {
    root().join("schemas/wit/plugin.wit")
}

/// Whether `out` is there and younger than all that it is made of.
fn is_newer(out: &Path, source: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(out).and_then(|out| out.modified()) else {
        return Ok(false);
    };
    let mut parts = vec![wit()];
    for entry in fs::read_dir(source).with_context(|| format!("{} cannot be read", source.display()))? {
        parts.push(entry?.path());
    }
    for part in parts {
        if fs::metadata(&part)?.modified()? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.trim().lines().last().unwrap_or_default();
    anyhow::ensure!(ended.status.success(), "{name}: {last}");
    Ok(())
}
