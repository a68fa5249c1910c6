//! From the moment an event is written to a followed file until a PostgreSQL client sees it. `cargo xtask bench freshness [EVENTS]`

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sentrail_benches::engine::{Client, Engine, PATIENCE, free_port};
use sentrail_benches::{Scratch, configuration, number, write_simulation};

/// Not a multiple of anything in the engine, so that writes fall on all phases of its beat.
const PAUSE: Duration = Duration::from_millis(137);

fn main() -> Result<()> {
    let samples = number(100)?;
    let scratch = Scratch::new("freshness")?;
    let (logs, _) = write_simulation(&scratch.path().join("logs"), 1, 2_000)?;
    let port = free_port()?;
    let serve = format!("[serve]\npostgres = \"127.0.0.1:{port}\"");
    let file = scratch.path().join("bench.toml");
    std::fs::write(
        &file,
        configuration(&scratch.path().join("data"), &logs, "follow = true", &serve)?,
    )?;
    let _engine = Engine::start(&file)?;
    let mut client = Client::connect(port)?;
    let mut expected = 2_000;
    client.wait_for(expected, PATIENCE, Duration::ZERO)?;
    let path = logs.first().context("no log was written")?;
    let line = std::fs::read_to_string(path)?
        .lines()
        .next()
        .context("an empty log")?
        .to_owned();
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    let mut waits = Vec::new();
    for sample in 0..samples {
        std::thread::sleep(PAUSE);
        // Another id each time: a repeat would be counted as a duplicate.
        writeln!(
            file,
            "{}",
            line.replacen("\"eventID\":\"", &format!("\"eventID\":\"{sample}-"), 1)
        )?;
        let written = Instant::now();
        expected += 1;
        client.wait_for(expected, PATIENCE, Duration::ZERO)?;
        waits.push(written.elapsed());
    }
    waits.sort();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize].as_millis();
    println!(
        "{samples} events, each written alone: visible to a PostgreSQL client after {} ms (median), {} ms (p99), {} ms (most); limit 1000 ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    ensure!(at(1.0) < 1000, "over the limit");
    Ok(())
}
