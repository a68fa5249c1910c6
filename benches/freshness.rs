//! From the moment an event is written to a followed file until a PostgreSQL client sees it. `cargo xtask bench freshness [EVENTS]`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sentrail_benches::{Scratch, configuration, given, number, write_simulation};

const PATIENCE: Duration = Duration::from_secs(60);
/// Not a multiple of anything in the engine, so that writes fall on all phases of its beat.
const PAUSE: Duration = Duration::from_millis(137);

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<()> {
    let samples = number(100)?;
    let scratch = Scratch::new("freshness")?;
    let (logs, _) = write_simulation(&scratch.path().join("logs"), 1, 2_000)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let serve = format!("[serve]\npostgres = \"127.0.0.1:{port}\"");
    let file = scratch.path().join("bench.toml");
    std::fs::write(
        &file,
        configuration(&scratch.path().join("data"), &logs, "follow = true", &serve)?,
    )?;
    let _engine = Engine(
        Command::new(given("SENTRAIL_BENCH_BINARY")?)
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .context("the engine cannot be started")?,
    );
    let mut client = Client::connect(port)?;
    let mut expected = 2_000;
    wait_for(&mut client, expected)?;
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
        wait_for(&mut client, expected)?;
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

fn wait_for(client: &mut Client, events: u64) -> Result<()> {
    let began = Instant::now();
    while client.count("SELECT count(*) FROM events")? < events {
        if began.elapsed() > PATIENCE {
            bail!("{events} events were not visible within {PATIENCE:?}");
        }
    }
    Ok(())
}

/// As much of the PostgreSQL protocol (version 3.0) as a count takes.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> Result<Client> {
        let began = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let parameters = b"\0\x03\0\0user\0sentrail\0database\0sentrail\0\0";
        stream.write_all(&(parameters.len() as u32 + 4).to_be_bytes())?;
        stream.write_all(parameters)?;
        let mut client = Client(stream);
        while client.message()?.0 != b'Z' {}
        Ok(client)
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.saturating_sub(4)];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    fn count(&mut self, sql: &str) -> Result<u64> {
        self.0.write_all(b"Q")?;
        self.0.write_all(&(sql.len() as u32 + 5).to_be_bytes())?;
        self.0.write_all(sql.as_bytes())?;
        self.0.write_all(b"\0")?;
        let mut count = None;
        loop {
            match self.message()? {
                // One row of one column: two bytes of column count, four of length, the digits.
                (b'D', body) => count = String::from_utf8_lossy(body.get(6..).unwrap_or_default()).parse().ok(),
                (b'E', body) => bail!("the query failed: {}", String::from_utf8_lossy(&body)),
                (b'Z', _) => return count.context("no row came back"),
                _ => {}
            }
        }
    }
}
