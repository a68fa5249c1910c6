mod journal;
mod kill;
mod ocsf;
mod receivers;

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::record::{frame, segment_path, segments};
use super::worker::BackOff;
use super::*;
use crate::config::{ForwardKind, ForwardSettings, Secret, WebhookUrl};
use crate::model::time::MINUTE;
use crate::model::{Case, Finding, Incident, IncidentStatus, PathStep, ScorePart, Severity, Standing};

const START: i64 = 1_769_940_000_000_000;
const QUICK: BackOff = BackOff {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
};

fn step(
    step: u32,
    from: &str,
    to: &str,
    action: &str,
    technique: Option<&str>,
    detection: Option<&str>,
    why: &str,
) -> PathStep {
    PathStep {
        step,
        time: START + i64::from(step) * MINUTE,
        from_entity: from.into(),
        to_entity: to.into(),
        action: action.into(),
        technique: technique.map(Into::into),
        detection_id: detection.map(Into::into),
        why: why.into(),
    }
}

fn finding(id: &str, minute: i64, rule: &str, title: &str, techniques: &[&str]) -> Finding {
    Finding {
        detection_id: id.into(),
        time: START + minute * MINUTE,
        plugin: "llm-abuse".into(),
        plugin_version: "1.2.0".into(),
        rule: rule.into(),
        severity: Severity::High,
        title: title.into(),
        message: format!("{title}, in numbers"),
        techniques: techniques.iter().map(|id| id.to_string()).collect(),
        layer: "gateway".into(),
    }
}

fn incident() -> Incident {
    Incident {
        tenant: "default".into(),
        score: 71.5,
        score_parts: vec![ScorePart {
            name: "severity".into(),
            points: 71.5,
            why: "one high detection".into(),
        }],
        title: "Stolen gateway key led to a mass read of support_docs".into(),
        first_time: START,
        last_time: START + 9 * MINUTE,
        techniques: vec!["AML.T0051.000".into(), "T1078.004".into(), "T1530".into()],
        entities: vec![
            "access_key:AKIAEXAMPLE".into(),
            "account:111122223333".into(),
            "address:203.0.113.7".into(),
            "collection:support_docs".into(),
            "conversation:c-1".into(),
            "principal:arn:aws:iam::111122223333:user/ci".into(),
            "principal:eve@example.com".into(),
        ],
        layers: vec!["cloud".into(), "gateway".into(), "vector_db".into()],
        path: vec![
            step(
                1,
                "address:203.0.113.7",
                "principal:eve@example.com",
                "chat.completions",
                Some("AML.T0051.000"),
                Some("d1"),
                "asks \"to ignore\" its rules",
            ),
            step(
                2,
                "principal:eve@example.com",
                "access_key:AKIAEXAMPLE",
                "issued",
                None,
                None,
                "the same address used both",
            ),
            step(
                3,
                "access_key:AKIAEXAMPLE",
                "collection:support_docs",
                "scroll",
                Some("T1078.004, T1530"),
                Some("d2"),
                "40 times its usual rows",
            ),
        ],
        findings: vec![
            finding(
                "d1",
                1,
                "asks-to-ignore",
                "A prompt asks to ignore its rules",
                &["AML.T0051.000"],
            ),
            finding("d2", 3, "mass-read", "A mass read", &["T1078.004", "T1530"]),
            Finding {
                plugin_version: String::new(),
                ..finding("d3", 9, "mass-read", "A mass read", &["T1078.004", "T1530"])
            },
        ],
        ..Incident::bare("00112233445566778899aabbccddeeff", &["d1", "d2", "d3"])
    }
}

pub(super) fn titled(id: &str, title: &str) -> Incident {
    Incident {
        incident_id: id.into(),
        title: title.into(),
        ..incident()
    }
}

/// (incident, revision, title) of everything in the journal.
fn journaled(journal: &Journal) -> Vec<(String, u32, String)> {
    let mut reader = journal.reader().unwrap();
    std::iter::from_fn(|| reader.read().unwrap())
        .map(|record| (record.incident_id, record.revision, record.payload.title))
        .collect()
}

/// Status and `Retry-After`.
type Answer = (u16, Option<&'static str>);

/// A webhook receiver that answers as scripted, then with 200.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    got: Arc<Mutex<Vec<(u16, HeaderMap, String)>>>,
}

impl Receiver {
    async fn listen(&self, listener: TcpListener) -> tokio::task::JoinHandle<()> {
        let handler = |State(receiver): State<Receiver>, headers: HeaderMap, body: String| async move {
            let (status, retry_after) = receiver.answers.lock().unwrap().pop_front().unwrap_or((200, None));
            receiver.got.lock().unwrap().push((status, headers, body));
            let mut answer = HeaderMap::new();
            retry_after.map(|value| answer.insert("retry-after", HeaderValue::from_static(value)));
            (StatusCode::from_u16(status).unwrap(), answer, "told you why")
        };
        let router = Router::new().route("/hook", post(handler)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    /// Deliveries that were accepted, in order.
    fn accepted(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        let ok = got.iter().filter(|(status, ..)| *status == 200);
        ok.map(|(_, headers, _)| headers["x-sentrail-delivery"].to_str().unwrap().to_owned())
            .collect()
    }
}

/// One that listens, and the settings of its sink.
async fn receiving(answers: impl IntoIterator<Item = Answer>) -> (Receiver, [ForwardSettings; 1]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = [webhook(&listener.local_addr().unwrap().to_string())];
    let receiver = Receiver::default();
    receiver.answers.lock().unwrap().extend(answers);
    receiver.listen(listener).await;
    (receiver, settings)
}

fn webhook(address: &str) -> ForwardSettings {
    ForwardSettings {
        name: "soar".into(),
        interval: Duration::ZERO,
        kind: ForwardKind::Webhook {
            url: WebhookUrl::parse(&format!("http://{address}/hook")).unwrap(),
            secret: Some(Secret::new("s3cret".into())),
        },
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

fn dirs(dir: &TempDir) -> (PathBuf, PathBuf) {
    (dir.path().join("journal"), dir.path().join("forward"))
}

#[tokio::test]
async fn a_receiver_that_is_down_costs_only_delay() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let address = free_address().await;
    let settings = [webhook(&address)];
    let mut journal = Journal::open(&journal_dir).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    assert!(matches!(
        check(&settings[0]).await,
        Err(ForwardError::Unreachable { .. })
    ));

    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    until("some retries", || forwarder.status()[0].retries > 2).await;
    journal.append(vec![titled("b", "1"), titled("a", "2")]).unwrap();
    assert_eq!(forwarder.status()[0].lag, 3);
    assert!(forwarder.status()[0].trouble.is_some());
    assert!(!forwarder.drain(Duration::ZERO).await, "nothing could be delivered");

    let receiver = Receiver::default();
    receiver
        .answers
        .lock()
        .unwrap()
        .extend([(500, None), (503, None), (429, Some("0")), (408, None)]);
    receiver.listen(TcpListener::bind(&address).await.unwrap()).await;
    check(&settings[0]).await.unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    until("all delivered", || forwarder.status()[0].lag == 0).await;
    assert_eq!(receiver.accepted(), ["a/1", "b/1", "a/2"]);
    let status = forwarder.status().remove(0);
    assert_eq!(
        (status.delivered, status.retries, status.dead_letters, status.trouble),
        (3, 4, 0, None)
    );
    assert!(forwarder.drain(Duration::ZERO).await);

    // The cursor is durable: another start sends nothing again, and what comes is sent at once.
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal.append(vec![titled("c", "1")]).unwrap();
    assert!(forwarder.drain(Duration::from_secs(5)).await);
    assert_eq!(receiver.accepted(), ["a/1", "b/1", "a/2", "c/1"]);
    journal.committed(journal.position()).unwrap();
}

#[tokio::test]
async fn what_the_receiver_refuses_is_kept_and_passed() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (receiver, settings) = receiving([(200, None), (400, None), (307, None)]).await;
    let mut journal = Journal::open(&journal_dir).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal
        .append(vec![titled("a", "1"), titled("b", "1"), titled("c", "1")])
        .unwrap();
    until("all passed", || forwarder.status()[0].lag == 0).await;
    let status = forwarder.status().remove(0);
    assert_eq!(
        (status.delivered, status.dead_letters, status.retries),
        (2, 1, 1),
        "{status:?}"
    );
    assert_eq!(status.trouble, None);
    let dead = std::fs::read_to_string(forward_dir.join("soar.dead.ndjson")).unwrap();
    let dead: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!(dead["delivery"], "b/1");
    assert_eq!(dead["reason"], "HTTP 400 Bad Request: told you why");
    assert_eq!(dead["body"]["class_uid"], 2005);
    assert_eq!(receiver.accepted(), ["a/1", "c/1"]);
}

#[tokio::test]
async fn a_receiver_can_check_signature_and_delivery() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (receiver, settings) = receiving([]).await;
    let mut journal = Journal::open(&journal_dir).unwrap();
    journal.append(vec![incident()]).unwrap();
    let forwarder = Forwarder::start(&settings, &forward_dir, journal.reader().unwrap()).unwrap();
    assert!(forwarder.drain(Duration::from_secs(5)).await);
    let got = receiver.got.lock().unwrap();
    let (_, headers, body) = &got[0];
    let timestamp = headers["x-sentrail-timestamp"].to_str().unwrap();
    assert_eq!(
        headers["x-sentrail-signature"],
        webhook::signature("s3cret", timestamp, body)
    );
    assert_ne!(
        headers["x-sentrail-signature"],
        webhook::signature("other", timestamp, body)
    );
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["idempotency-key"], headers["x-sentrail-delivery"]);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body["metadata"]["uid"],
        headers["x-sentrail-delivery"].to_str().unwrap()
    );
}

/// Reads one octet-counted frame.
async fn read_frame(stream: &mut tokio::net::TcpStream) -> String {
    let mut length = String::new();
    loop {
        match stream.read_u8().await.unwrap() {
            b' ' => break,
            digit => length.push(digit as char),
        }
    }
    let mut frame = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    String::from_utf8(frame).unwrap()
}

#[tokio::test]
async fn syslog_reconnects_after_the_receiver_hung_up() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let address = free_address().await;
    let settings = [ForwardSettings {
        name: "siem".into(),
        interval: Duration::ZERO,
        kind: ForwardKind::Syslog {
            address: address.clone(),
        },
    }];
    let mut journal = Journal::open(&journal_dir).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    until("refused connections", || forwarder.status()[0].retries > 2).await;

    let listener = TcpListener::bind(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let frame = read_frame(&mut stream).await;
    assert!(
        frame.starts_with("<163>1 2026-02-01T10:09:00.000Z ") && frame.contains("incident=\"a\" revision=\"1\""),
        "{frame}"
    );
    let body: Value = serde_json::from_str(&frame[frame.find("] {").unwrap() + 2..]).unwrap();
    assert_eq!(body["class_uid"], 2005);
    until("passed", || forwarder.status()[0].lag == 0).await;

    journal.append(vec![titled("a", "2")]).unwrap();
    assert!(
        read_frame(&mut stream).await.contains("revision=\"2\""),
        "the connection is used again"
    );
    until("passed", || forwarder.status()[0].lag == 0).await;
    drop(stream);
    journal.append(vec![titled("a", "3")]).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(read_frame(&mut stream).await.contains("revision=\"3\""));
    assert!(forwarder.drain(Duration::from_secs(5)).await);
    assert_eq!(std::fs::read_to_string(forward_dir.join("siem.cursor")).unwrap(), "3\n");
}

#[tokio::test]
async fn cursors_that_do_not_fit() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let mut journal = Journal::open(&journal_dir).unwrap();
    let start = |settings: &[ForwardSettings], journal: &Journal| {
        Forwarder::start_with(settings, &forward_dir, journal.reader().unwrap(), QUICK)
    };
    let address = free_address().await;
    journal.append(vec![titled("a", "1")]).unwrap();
    std::fs::create_dir_all(&forward_dir).unwrap();
    for cursor in ["", "x", "99"] {
        std::fs::write(forward_dir.join("soar.cursor"), cursor).unwrap();
        let forwarder = start(&[webhook(&address)], &journal).unwrap();
        assert_eq!(
            forwarder.status()[0].lag,
            1,
            "a cursor of `{cursor}` means repeats, not gaps"
        );
        forwarder.drain(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn an_incident_that_grows_quickly_is_sent_as_it_is_at_last_and_nothing_is_passed_before() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (receiver, mut settings) = receiving([]).await;
    settings[0].interval = Duration::from_secs(3600);
    let mut journal = Journal::open(&journal_dir).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal
        .append((1..6).map(|n| titled("a", &n.to_string())).collect())
        .unwrap();
    journal.append(vec![titled("b", "1")]).unwrap();
    until("the others are sent", || receiver.accepted().len() == 2).await;
    assert_eq!(receiver.accepted(), ["a/1", "b/1"]);
    // A crash now would look at what waits again.
    until("the cursor stays before it", || forwarder.status()[0].cursor == 4).await;
    assert!(
        forwarder.drain(Duration::from_secs(5)).await,
        "the end of a run holds nothing back"
    );
    assert_eq!(receiver.accepted(), ["a/1", "b/1", "a/5"]);

    settings[0].interval = Duration::from_millis(300);
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    let withheld = Incident {
        case: Case {
            withheld: true,
            ..Case::default()
        },
        ..titled("c", "1")
    };
    journal
        .append(vec![titled("a", "6"), titled("a", "7"), withheld, titled("a", "8")])
        .unwrap();
    until("the newest is due", || receiver.accepted().len() == 5).await;
    assert_eq!(receiver.accepted()[3..], ["a/6", "a/8"]);
    until("all is passed", || forwarder.status()[0].lag == 0).await;
}
