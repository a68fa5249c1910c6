//! `cargo xtask train [--data DIR] [--leave-one-out]`: makes the weights of the detectors that have learned any, the same bits from
//! the same texts.

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// The verb.
pub fn main(arguments: &[String]) -> Result<()> {
    let status = cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "prompt-injection",
            "--example",
            "train",
            "--",
        ])
        .args(arguments)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("the weights could not be made; see above");
    }
    Ok(())
}
