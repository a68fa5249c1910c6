//! `cargo xtask eval detectors [--data DIR] [--json FILE]`: builds the detectors and measures them on the labelled data sets.

use anyhow::{Context as _, Result, bail};

use crate::{cargo, plugins, target_dir};

/// The verb. Nothing here is about speed: the tests' profile is built already where the tests were run.
pub fn main(arguments: &[String]) -> Result<()> {
    let plugin_dir = target_dir().join("plugins");
    plugins::build(&plugin_dir)?;
    let status = cargo()
        .args(["run", "--quiet", "--package", "sentrail-benches", "--bin", "eval", "--"])
        .args(arguments)
        .env("SENTRAIL_BENCH_PLUGINS", &plugin_dir)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("the detectors could not be measured; see above");
    }
    Ok(())
}
