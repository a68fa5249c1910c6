//! Having something done to incidents: by the engine that runs on a data directory, or beside it where none does.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::model::{Answer, Command, harmless};
use crate::{pipeline, serve};

/// An engine that is busy makes two epochs durable before it answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
/// Far above any answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Who does it, where nobody says.
pub fn somebody(by: Option<String>) -> anyhow::Result<String> {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    let by = by.or_else(|| named.into_iter().find(|name| !name.is_empty()));
    by.context("nobody is named: say --by NAME")
}

/// Has the command carried out and says what was done; it is durable then.
pub async fn carry_out(data: &Path, command: Command) -> anyhow::Result<()> {
    let answer = match connect(data).await? {
        Some(engine) => timeout(ANSWER_PATIENCE, ask(engine, &command))
            .await
            .context("the engine took too long to answer; whether it took the change, the tables say")??,
        None => pipeline::carry_out(data, command).await??,
    };
    outln!("{}", harmless(&answer.message))
}

/// The engine that runs on the data directory, if one does.
async fn connect(data: &Path) -> anyhow::Result<Option<UnixStream>> {
    let connected = match serve::socket(data) {
        Ok((_held, path)) => UnixStream::connect(path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // Never made, or left by an engine that was killed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot reach the engine that runs on {}", data.display())),
    }
}

async fn ask(mut engine: UnixStream, command: &Command) -> anyhow::Result<Answer> {
    let body = serde_json::to_string(command)?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: sentrail\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        serve::PATH,
        body.len()
    );
    engine.write_all(head.as_bytes()).await?;
    engine.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    engine.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) =
        parts.context("the engine ended before it answered; whether it took the change, the tables say")?;
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(serde_json::from_str(body)?);
    }
    let refusal: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    bail!(
        "{}",
        harmless(refusal["error"].as_str().unwrap_or("the engine refused it"))
    )
}
