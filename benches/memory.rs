//! Peak resident memory of a run over a million simulated events. `cargo xtask bench memory [EVENTS]`

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sentrail_benches::{Scratch, configuration, given, number, write_simulation};

const LIMIT_MIB: u64 = 1024;

fn main() -> Result<()> {
    let events = number(1_000_000)?;
    let scratch = Scratch::new("memory")?;
    let (logs, bytes) = write_simulation(&scratch.path().join("logs"), 1, events)?;
    let file = scratch.path().join("bench.toml");
    std::fs::write(&file, configuration(&scratch.path().join("data"), &logs, "", "")?)?;
    let began = Instant::now();
    let mut child = Command::new(given("SENTRAIL_BENCH_BINARY")?)
        .args(["run", "--config"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .context("the engine cannot be started")?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // The kernel keeps the peak; the last reading before the end is at most a moment old.
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "the run ended with {status}");
    println!(
        "{events} events, {:.0} MB in {:.1} s: peak resident memory {} MiB (limit {LIMIT_MIB} MiB)",
        bytes as f64 / 1e6,
        began.elapsed().as_secs_f64(),
        peak / 1024
    );
    ensure!(peak / 1024 < LIMIT_MIB, "over the limit");
    Ok(())
}

/// VmHWM of a process, in KiB.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
