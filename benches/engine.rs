//! The engine as a process of its own, and what a benchmark asks of it over the PostgreSQL port.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::given;

/// How long the engine may take for what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running engine; it is killed when this goes.
pub struct Engine(Child);

impl Engine {
    pub fn start(configuration: &Path) -> Result<Engine> {
        let child = Command::new(given("SENTRAIL_BENCH_BINARY")?)
            .args(["run", "--config"])
            .arg(configuration)
            .stderr(Stdio::null())
            .spawn();
        Ok(Engine(child.context("the engine cannot be started")?))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of the loopback address on which nothing listens.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// As much of the PostgreSQL protocol (version 3.0) as a column of text takes.
pub struct Client(TcpStream);

impl Client {
    /// Tries until the engine listens.
    pub fn connect(port: u16) -> Result<Client> {
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

    /// The rows of a query with one column.
    pub fn column(&mut self, sql: &str) -> Result<Vec<String>> {
        self.0.write_all(b"Q")?;
        self.0.write_all(&(sql.len() as u32 + 5).to_be_bytes())?;
        self.0.write_all(sql.as_bytes())?;
        self.0.write_all(b"\0")?;
        let mut rows = Vec::new();
        loop {
            match self.message()? {
                // Two bytes of column count, four of length, the text.
                (b'D', body) => rows.push(String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned()),
                (b'E', body) => bail!("the query failed: {}", String::from_utf8_lossy(&body)),
                (b'Z', _) => return Ok(rows),
                _ => {}
            }
        }
    }

    pub fn events(&mut self) -> Result<u64> {
        let rows = self.column("SELECT count(*) FROM events")?;
        let count = rows.first().and_then(|count| count.parse().ok());
        count.context("no count came back")
    }

    /// Waits until so many events are visible.
    pub fn wait_for(&mut self, events: u64, patience: Duration, pause: Duration) -> Result<()> {
        let began = Instant::now();
        while self.events()? < events {
            if began.elapsed() > patience {
                bail!("{events} events were not visible within {patience:?}");
            }
            std::thread::sleep(pause);
        }
        Ok(())
    }
}
