//! `POST /v1/triage`: what people do to incidents and silences; a JSON [`Command`], answered when it is durable.
//!
//! Over TCP a request must carry a configured token, and without a configured one all are turned away: a page in a browser can send no
//! such header elsewhere. Beside it the data directory holds a socket that its owner alone can open, which needs none; `sentrail incident
//! update` uses that.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State as AxumState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Secret;
use crate::model::{Answer, Command, Refusal};

/// Where commands are sent to.
pub const PATH: &str = "/v1/triage";

/// The directory of the socket in the data directory.
const SOCKET_DIR: &str = "control";

/// A note and a list of entities fit well within it.
const BODY_BYTES_MAX: usize = 256 << 10;

/// A command, and whom to answer.
pub struct Ask {
    pub command: Command,
    pub answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// Takes commands in.
#[derive(Clone)]
pub struct Asks {
    to: mpsc::Sender<Ask>,
    who: Who,
}

/// Who may give commands.
#[derive(Clone)]
enum Who {
    /// Whoever can open the socket.
    Owner,
    /// SHA-256 of each token: of one length, whatever the tokens are.
    Token(Arc<[[u8; 32]]>),
}

impl Asks {
    /// From whoever has one of `tokens`; from nobody where there is none.
    pub fn with_tokens(to: mpsc::Sender<Ask>, tokens: &[Secret]) -> Asks {
        let tokens = tokens.iter().map(|token| digest(token.reveal()));
        Asks {
            to,
            who: Who::Token(tokens.collect()),
        }
    }

    /// Every token is compared, in constant time.
    fn admit(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let Who::Token(tokens) = &self.who else { return Ok(()) };
        if tokens.is_empty() {
            return Err((
                StatusCode::FORBIDDEN,
                "nobody may change incidents over HTTP: set [serve] token_env, or use `sentrail incident update` on this machine",
            ));
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err((
                StatusCode::UNAUTHORIZED,
                "a token is needed: `Authorization: Bearer TOKEN`",
            ));
        };
        let given = digest(token.trim());
        let known = tokens.iter().map(|token| token.ct_eq(&given));
        match bool::from(known.fold(Choice::from(0), |any, is| any | is)) {
            true => Ok(()),
            false => Err((StatusCode::UNAUTHORIZED, "the token is not one of [serve] token_env")),
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

pub(super) fn router(asks: Asks) -> Router {
    Router::new()
        .route(PATH, post(triage))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(asks)
}

async fn triage(
    AxumState(asks): AxumState<Asks>,
    headers: HeaderMap,
    body: Result<Json<Command>, JsonRejection>,
) -> Response {
    let refused = |status: StatusCode, message: &str| (status, Json(json!({ "error": message }))).into_response();
    if let Err((status, message)) = asks.admit(&headers) {
        return refused(status, message);
    }
    let command = match body {
        Ok(Json(command)) => command,
        Err(error) => return refused(error.status(), &error.body_text()),
    };
    let (answer, answered) = oneshot::channel();
    let is_taken = asks.to.send(Ask { command, answer }).await.is_ok();
    match (is_taken, answered.await) {
        (true, Ok(Ok(answer))) => Json(answer).into_response(),
        (true, Ok(Err(refusal @ Refusal::Unknown(_)))) => refused(StatusCode::NOT_FOUND, &refusal.to_string()),
        (true, Ok(Err(refusal @ Refusal::Invalid(_)))) => refused(StatusCode::BAD_REQUEST, &refusal.to_string()),
        _ => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine is stopping; whether it took the change, it says after its next start",
        ),
    }
}

/// The socket in the data directory `dir`, by a path that is short however long that of `dir` is; valid while the file is held.
pub fn socket(dir: &Path) -> io::Result<(File, PathBuf)> {
    let held = File::open(dir.join(SOCKET_DIR))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", held.as_raw_fd()));
    Ok((held, path))
}

/// Takes commands from the owner of the data directory `dir`, whose lock the caller holds, until `stop` holds `true`.
pub async fn serve_locally(dir: &Path, to: mpsc::Sender<Ask>, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let parent = dir.join(SOCKET_DIR);
    match DirBuilder::new().mode(0o700).create(&parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => std::fs::set_permissions(&parent, Permissions::from_mode(0o700))?,
    }
    let (held, path) = socket(dir)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    tokio::spawn(async move {
        let router = router(Asks { to, who: Who::Owner });
        tokio::select! {
            ended = async { axum::serve(listener, router).await } => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the data directory's socket ended");
                }
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let _ = std::fs::remove_file(&path);
        drop(held);
    });
    Ok(())
}
