//! `cargo xtask bench NAME [NUMBER]`: builds in release and runs one of the programs in benches/.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, plugins, target_dir};

const NAMES: [&str; 3] = ["e2e", "memory", "freshness"];

pub fn main(arguments: &[String]) -> Result<()> {
    let Some((name, more)) = arguments
        .split_first()
        .filter(|(name, _)| NAMES.contains(&name.as_str()))
    else {
        bail!("usage: cargo xtask bench {} [NUMBER]", NAMES.join("|"));
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
    let status = Command::new(release.join(name))
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
