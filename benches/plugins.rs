//! What the sandbox costs: each first-party detector as a guest and natively, the crossing alone, and a start with compiled guests at
//! hand. `cargo xtask bench plugins [EVENTS]`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sentrail::config::PluginSettings;
use sentrail::detect::{CALL_ROWS_MAX, Detectors};
use sentrail_benches::{Scratch, given, number, write_simulation};
use serde_json::Value;

/// WebAssembly to native, for each detector.
const RATIO_GOAL: f64 = 1.5;
/// The crossing to one copy of the same bytes.
const CROSSING_GOAL: f64 = 2.5;
/// A start with `STARTED` plugins whose compiled form is cached.
const START_GOAL: Duration = Duration::from_secs(1);
const STARTED: usize = 15;
const STARTS: usize = 5;

fn main() -> Result<()> {
    let (plugins, sentrail) = (given("SENTRAIL_BENCH_PLUGINS")?, given("SENTRAIL_BENCH_BINARY")?);
    let scratch = Scratch::new("plugins")?;
    let (logs, _) = write_simulation(&scratch.path().join("logs"), 1, number(50_000)?)?;
    let cloudtrail = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/invictus/CloudTrail");
    let real = files(&cloudtrail, "json").unwrap_or_default();
    if real.is_empty() {
        println!("skipped: ../shared/data is absent, only simulated events are measured\n");
    }
    let logs: Vec<PathBuf> = logs.into_iter().chain(real).collect();

    println!(
        "Median ns per event, wall time of the calls alone, guests with epoch interruption, batches of {CALL_ROWS_MAX}\n"
    );
    println!(
        "{:26}  {:9} {:>8} {:>12} {:>8} {:>7}",
        "detector", "events", "rows", "WebAssembly", "native", "ratio"
    );
    let mut above = Vec::new();
    let names: Vec<String> = files(&plugins, "wasm")?.iter().map(|file| stem(file)).collect();
    for name in &names {
        // Where none of the logs is of its layer, its own fixtures.
        for (events, logs) in [("logs", logs.as_slice()), ("fixtures", &[][..])] {
            let Some(report) = bench(&sentrail, name, logs)? else {
                continue;
            };
            let median = |side: &str| report[side]["median"].as_f64().context("no median");
            let ratio = report["ratio"].as_f64().context("no ratio")?;
            println!(
                "{name:26}  {events:9} {:>8} {:>12.1} {:>8.1} {ratio:>7.2}",
                report["rows"],
                median("wasm_ns")?,
                median("native_ns")?
            );
            if ratio > RATIO_GOAL {
                above.push(format!("{name} on {events}"));
            }
        }
    }
    println!("goal: {RATIO_GOAL} at most; above it: {}", list(&above));

    let report = bench(&sentrail, &given("SENTRAIL_BENCH_CROSSING")?.to_string_lossy(), &logs)?;
    let report = report.context("the crossing sees every event")?;
    let of = |side: &str| report[side]["median"].as_f64().context("no median");
    let (crossing, copy) = (of("wasm_ns")?, of("copy_ns")?);
    println!(
        "\ncrossing alone, five text columns, {} bytes an event: {crossing:.1} ns per event, one copy {copy:.1}, ratio {:.2}; goal: \
         {CROSSING_GOAL} at most",
        report["bytes"].as_u64().unwrap_or_default() / report["rows"].as_u64().unwrap_or(1).max(1),
        crossing / copy
    );
    starts(&plugins, &names, scratch.path())
}

/// `None` where the detector wants none of the events.
fn bench(sentrail: &Path, plugin: &str, logs: &[PathBuf]) -> Result<Option<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(sentrail)
        .args(["plugin", "bench", plugin, "--json"])
        .args(logs)
        .current_dir(root)
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("{} cannot be started", sentrail.display()))?;
    if output.status.success() {
        return Ok(Some(serde_json::from_slice(&output.stdout)?));
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("none of the") {
        return Ok(None);
    }
    bail!("sentrail plugin bench {plugin}: {error}")
}

/// Times loading as many plugins as a full set has, each from the cache of compiled guests. Missing ones are copies under another id.
fn starts(plugins: &Path, names: &[String], scratch: &Path) -> Result<()> {
    let (dir, cache) = (scratch.join("plugins"), scratch.join("cache"));
    std::fs::create_dir_all(&dir)?;
    ensure!(!names.is_empty(), "{} holds no plugin", plugins.display());
    for number in 0..STARTED.max(names.len()) {
        let name = &names[number % names.len()];
        let bytes = std::fs::read(plugins.join(format!("{name}.wasm")))?;
        match number / names.len() {
            0 => std::fs::write(dir.join(format!("{name}.wasm")), bytes)?,
            copy => {
                let id = format!("{}{copy}", &name[..name.len() - 1]);
                std::fs::write(dir.join(format!("{id}.wasm")), renamed(bytes, name, &id))?;
            }
        }
    }
    let settings = PluginSettings {
        dir,
        ..PluginSettings::default()
    };
    let mut times = Vec::new();
    for _ in 0..=STARTS {
        let began = Instant::now();
        let detectors = Detectors::load(&settings, Some(&cache))?;
        times.push(began.elapsed());
        if let Some(problem) = detectors.problems().first() {
            bail!("{problem}");
        }
    }
    let first = times.remove(0);
    times.sort();
    println!(
        "start: {} plugins are ready after {:.3} s with nothing compiled before, after {:.3} s (median of {STARTS}) with all of it cached; \
         goal: {:.0} s at most",
        STARTED.max(names.len()),
        first.as_secs_f64(),
        times[times.len() / 2].as_secs_f64(),
        START_GOAL.as_secs_f64()
    );
    Ok(())
}

/// The file with another id of the same length in it: another plugin, which is compiled for itself.
fn renamed(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .windows(from.len())
        .position(|window| window == from.as_bytes())
    {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
