//! `cargo xtask fuzz [TARGET…] [--seconds N] [--replay FILE]`: looks with libFuzzer for inputs that break a decoder.
//!
//! Coverage is counted in the workspace's own crates alone: this program stands in for the compiler there (`RUSTC_WORKSPACE_WRAPPER`)
//! and adds the flags, which stable compilers take, so the dependencies are those that the tests have built already.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, root, target_dir};

/// As in fuzz/src/lib.rs.
const TARGETS: [&str; 6] = ["json", "template", "csv", "otlp", "syslog", "mapping"];
const SECONDS: u64 = 60;
/// Set for the compiler's stand-in.
const WRAPS: &str = "SENTRAIL_FUZZ_WRAPS_RUSTC";

/// Longest input that is made; what is longer finds little more and is tried less often.
const INPUT_BYTES_MAX: u32 = 4096;
/// An input that takes longer than this, or a process that grows beyond this, is a finding.
const INPUT_SECONDS_MAX: u32 = 5;
const MEMORY_MIB_MAX: u32 = 2048;

const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Overflows and failed assertions are findings, as in tests; without optimisation there are ten times fewer runs.
    "-Copt-level=1",
    "-Cdebug-assertions=yes",
];

pub fn main(arguments: &[String]) -> Result<()> {
    let usage = || {
        format!(
            "usage: cargo xtask fuzz [{}] [--seconds N] [--replay FILE]",
            TARGETS.join("|")
        )
    };
    let (mut targets, mut seconds, mut replay) = (Vec::new(), SECONDS, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds = words.next().and_then(|word| word.parse().ok()).with_context(usage)?,
            "--replay" => replay = Some(words.next().with_context(usage)?),
            name if TARGETS.contains(&name) => targets.push(name),
            _ => bail!(usage()),
        }
    }
    let binary = build()?;
    if let Some(file) = replay {
        let [target] = targets[..] else {
            bail!("--replay needs the target that the file is of\n{}", usage());
        };
        let file = std::path::absolute(file)?;
        let status = fuzzer(&binary, target).arg(file).status()?;
        return if status.success() {
            Ok(())
        } else {
            bail!("{target} ended with {status}")
        };
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    let mut broken = Vec::new();
    for target in targets {
        if !run(&binary, target, seconds)? {
            broken.push(target);
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => bail!("found something: {}", broken.join(", ")),
    }
}

fn build() -> Result<PathBuf> {
    let status = cargo()
        .args([
            "build",
            "--workspace",
            "--features",
            "sentrail-fuzz/libfuzzer",
            "--example",
            "fuzz",
        ])
        .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
        .env(WRAPS, "1")
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("the fuzzer did not build");
    }
    Ok(target_dir().join("debug/examples/fuzz"))
}

fn fuzzer(binary: &Path, target: &str) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(root()).env("SENTRAIL_FUZZ_TARGET", target).args([
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
    ]);
    command
}

/// False when an input broke something. What was learnt stays in the target directory and the next run goes on from it.
fn run(binary: &Path, target: &str, seconds: u64) -> Result<bool> {
    let dir = target_dir().join("fuzz").join(target);
    let [corpus, seeds, found] = ["corpus", "seeds", "found"].map(|name| dir.join(name));
    for dir in [&corpus, &seeds, &found] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    println!("{target}: {seconds} s");
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(&found);
    prefix.push("/");
    let status = fuzzer(binary, target)
        .env("SENTRAIL_FUZZ_SEEDS", &seeds)
        .arg(format!("-max_total_time={seconds}"))
        .args(["-print_final_stats=1", "-verbosity=1"])
        .arg(prefix)
        .args([&corpus, &seeds])
        .status()
        .context("the fuzzer cannot be started")?;
    if !status.success() {
        println!(
            "{target}: the input is in {}; again with: cargo xtask fuzz {target} --replay FILE",
            found.display()
        );
    }
    Ok(status.success())
}

/// Where this is called as the compiler: passes the call on, with the flags for what is ours. `None`: it is not.
pub fn as_compiler(arguments: &[String]) -> Option<Result<std::process::ExitStatus>> {
    std::env::var_os(WRAPS)?;
    let (compiler, rest) = arguments.split_first()?;
    let mut command = Command::new(compiler);
    command.args(rest);
    // Cargo also asks the compiler about itself, and a build script is linked without libFuzzer.
    let named = rest.iter().skip_while(|argument| *argument != "--crate-name").nth(1);
    let is_source = rest.iter().any(|argument| argument.ends_with(".rs"));
    if is_source && named.is_some_and(|name| !name.starts_with("build_script_")) {
        command.args(FLAGS);
    }
    Some(command.status().context("the compiler cannot be started"))
}
