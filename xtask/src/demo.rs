//! `cargo xtask demo [--once] [--data DIR]`: builds the plugins and the engine in release, then runs `sentrail demo`.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, plugins, target_dir};

pub fn main(arguments: &[String]) -> Result<()> {
    println!("building the detectors");
    plugins::build(&target_dir().join("plugins"))?;
    println!("building the engine in release; the first time this takes a while");
    let built = cargo()
        .args(["build", "--release", "--package", "sentrail", "--bin", "sentrail"])
        .status()
        .context("cargo cannot be started")?;
    if !built.success() {
        bail!("the engine did not build");
    }
    let sentrail = target_dir().join("release").join("sentrail");
    let status = Command::new(&sentrail)
        .arg("demo")
        .args(arguments)
        .status()
        .with_context(|| format!("{} cannot be started", sentrail.display()))?;
    if !status.success() {
        bail!("the demo ended with {status}");
    }
    Ok(())
}
