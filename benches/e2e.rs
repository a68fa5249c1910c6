//! Files → incidents with all plugins, beside the bare validation of the same JSON bytes by sonic-rs on one core.
//! `cargo xtask bench e2e [EVENTS]`

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sentrail::{config, pipeline};
use sentrail_benches::{Scratch, configuration, number, write_simulation};

const SEED: u64 = 1;
/// The bare parse is repeated this often and the fastest pass counts.
const PASSES: usize = 5;

fn main() -> Result<()> {
    let events = number(200_000)?;
    let scratch = Scratch::new("e2e")?;
    let (logs, bytes) = write_simulation(&scratch.path().join("logs"), SEED, events)?;
    let megabytes = bytes as f64 / 1e6;

    let mut bare = Duration::MAX;
    let texts = logs
        .iter()
        .map(std::fs::read)
        .collect::<Result<Vec<_>, _>>()
        .context("cannot read the logs")?;
    for _ in 0..PASSES {
        let began = Instant::now();
        for text in &texts {
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                sonic_rs::from_slice::<serde::de::IgnoredAny>(line).context("a simulated line is no JSON")?;
            }
        }
        bare = bare.min(began.elapsed());
    }
    drop(texts);

    let text = configuration(&scratch.path().join("data"), &logs, "", "")?;
    let settings = config::parse(&text, "bench.toml", &|_| None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let status = runtime.block_on(async { pipeline::start(settings).await?.join().await })?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.events == events, "{} of {events} events arrived", status.events);

    let bare_rate = megabytes / bare.as_secs_f64();
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
        events as f64 / bare.as_secs_f64()
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
