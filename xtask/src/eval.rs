//! `cargo xtask eval detectors [--data DIR] [--json FILE]`: builds the detectors and measures them on the labelled data sets.
//! `cargo xtask eval correlation [--seed N] [--events N] [--data DIR] [--show CASE|impure]`: and how well incidents tell attacks apart.
//! `cargo xtask eval sigma [--data DIR]`: compares what Sigma rules find with what rsigma finds with them.
//! `cargo xtask eval coverage [--data DIR]`: builds them and lists the techniques that they are about.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{bench, cargo, plugins, target_dir};

/// The verb.
pub fn main(arguments: &[String]) -> Result<()> {
    let program = match arguments.first().map(String::as_str) {
        Some("detectors" | "coverage") => "eval",
        Some("correlation") => "correlation",
        Some("sigma") => "sigma",
        _ => bail!("usage: cargo xtask eval detectors|correlation|sigma|coverage [ARGUMENTS]"),
    };
    let plugin_dir = target_dir().join("plugins");
    plugins::build(&plugin_dir)?;
    // Nothing here is about speed: what the tests build is taken, and built by the same words so that it is built once.
    let built = cargo()
        .args(["build", "--quiet", "--workspace", "--all-targets"])
        .status()
        .context("cargo cannot be started")?;
    if !built.success() {
        bail!("the evaluation did not build");
    }
    let mut command = Command::new(target_dir().join("debug").join(program));
    if program == "sigma" {
        match bench::rsigma() {
            Ok(rsigma) => command.env("SENTRAIL_BENCH_RSIGMA", rsigma),
            Err(why) => command.env("SENTRAIL_BENCH_NO_RSIGMA", why),
        };
    }
    let status = command
        .args(arguments)
        .env("SENTRAIL_BENCH_PLUGINS", &plugin_dir)
        .status()
        .context("the evaluation cannot be started")?;
    if !status.success() {
        bail!("{program} could not be measured; see above");
    }
    Ok(())
}
