//! Files → incidents with all plugins, beside the bare validation of the same JSON bytes by sonic-rs on one core.
//! `cargo xtask bench e2e [EVENTS]`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sentrail::{config, pipeline};
use sentrail_benches::{Scratch, configuration, given, number, write_simulation};

const SEED: u64 = 1;
/// The bare parse is repeated this often and the fastest pass counts.
const PASSES: usize = 5;

fn main() -> Result<()> {
    let events = number(200_000)?;
    let scratch = Scratch::new("e2e")?;
    let (logs, bytes) = write_simulation(&scratch.path().join("logs"), SEED, events)?;
    let megabytes = bytes as f64 / 1e6;

    let bare = bare(&scratch.path().join("all.ndjson"), &logs, events)?;

    let text = configuration(&scratch.path().join("data"), &logs, "", "")?;
    let settings = config::parse(&text, "bench.toml", &|_| None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let status = runtime.block_on(async { pipeline::start(settings).await?.join().await })?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.events == events, "{} of {events} events arrived", status.events);

    let bare_rate = megabytes / bare;
    let rate = megabytes / seconds;
    let stages = status.seconds;
    println!(
        "{events} events, {megabytes:.1} MB, {} detections, {:?} incidents",
        status.detections, status.incidents
    );
    println!(
        "sentrail, files to durable incidents   {:>9.0} events/s  {rate:>7.1} MB/s  {seconds:.2} s",
        events as f64 / seconds
    );
    println!(
        "sonic-rs validation, one core          {:>9.0} events/s  {bare_rate:>7.1} MB/s",
        events as f64 / bare
    );
    println!("ratio                                  {:.3}", rate / bare_rate);
    println!("where the time goes, seconds:");
    for (stage, spent) in [
        ("decode", stages.decode),
        ("detect: lay out, copy, check", stages.detect),
        ("guest", stages.guest),
        ("correlate", stages.correlate),
        ("publish: journal, index, views", stages.publish),
        ("write, beside the others", stages.write),
    ] {
        println!("  {stage:<32} {spent:>7.2}  {:>4.0} %", 100.0 * spent / seconds);
    }
    Ok(())
}

/// Seconds that the bare parser takes for the logs, which are put into one file for it.
fn bare(file: &Path, logs: &[PathBuf], events: u64) -> Result<f64> {
    let mut all = File::create(file)?;
    for log in logs {
        std::io::copy(&mut File::open(log)?, &mut all)?;
    }
    let output = Command::new(given("SENTRAIL_BENCH_BARE")?)
        .args(["sonic-rs", &PASSES.to_string(), &events.to_string()])
        .arg(file)
        .output()
        .context("the bare parser cannot be started")?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim()
        .parse()
        .with_context(|| format!("the bare parser failed: {}", String::from_utf8_lossy(&output.stderr)))
}
