//! Receivers that misbehave: whatever one does, alerts wait or are kept, nothing of it is followed blindly, and health says what is now.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::forward::sink::{Delivery, Outcome};
use crate::forward::webhook::Webhook;

/// What one delivery to a receiver comes to that writes `answer` when it has the request's head, and then hangs up.
async fn answered(answer: Vec<u8>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook/t0ken?key=k3yy", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let _ = stream.write_all(&answer).await;
    });
    let webhook = Webhook::new(&WebhookUrl::parse(&url).unwrap(), Some(Secret::new("s3cret".into()))).unwrap();
    webhook.deliver(&Delivery::of(&titled("a", "1"))).await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn what_is_no_answer_is_tried_again() {
    let garbage = (0..=255u8).cycle().take(100_000).collect();
    for answer in [
        Vec::new(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        garbage,
        b"HTTP/1.1 200".to_vec(),
        b"HTTP/1.1 200 OK\r\nx: ".to_vec(),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 << 20)).into_bytes(),
    ] {
        let begin = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
        let outcome = answered(answer).await;
        assert!(
            matches!(&outcome, Outcome::Retry { reason, after: None } if !reason.is_empty() && reason.len() < 1000),
            "{begin:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let body = vec![b'x'; 100 << 20];
    assert!(matches!(
        answered(response("200 OK", "", &body)).await,
        Outcome::Delivered
    ));
    let Outcome::Refused(reason) = answered(response("413 Payload Too Large", "", &body)).await else {
        panic!("a 413 is a refusal");
    };
    assert!(
        reason.starts_with("HTTP 413 Payload Too Large: xxx") && reason.len() < 600,
        "{}",
        reason.len()
    );
}

#[tokio::test]
async fn statuses_mean_what_the_documentation_says() {
    for (status, waits) in [
        ("301 Moved", true),
        ("307 Temporary Redirect", true),
        ("400 Bad Request", false),
        ("401 Unauthorized", true),
        ("403 Forbidden", false),
        ("404 Not Found", true),
        ("405 Method Not Allowed", true),
        ("407 Proxy Authentication Required", true),
        ("408 Request Timeout", true),
        ("410 Gone", true),
        ("413 Content Too Large", false),
        ("422 Unprocessable Content", false),
        ("429 Too Many Requests", true),
        ("500 Internal Server Error", true),
        ("503 Service Unavailable", true),
        ("999 What", true),
    ] {
        let outcome = answered(response(status, "", b"")).await;
        assert_eq!(matches!(outcome, Outcome::Retry { .. }), waits, "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn silly_pauses_are_not_kept() {
    for (value, longest) in [
        ("-5", None),
        ("1e9", None),
        ("99999999999999999999999999", None),
        ("", None),
        ("soon", None),
        ("0", Some(0)),
        ("99999999", Some(900)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(900)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
    ] {
        let headers = format!("retry-after: {value}\r\n");
        let outcome = answered(response("429 Too Many Requests", &headers, b"slow down")).await;
        let Outcome::Retry { after, .. } = outcome else {
            panic!("{value}: {outcome:?}");
        };
        assert_eq!(after.map(|after| after.as_secs()), longest, "{value}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("location: http://{}/\r\n", elsewhere.local_addr().unwrap());
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let outcome = answered(response(status, &location, b"")).await;
        assert!(
            matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("redirects are not followed")),
            "{outcome:?}"
        );
    }
    let knock = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(knock.is_err(), "somebody came");
}

#[tokio::test]
async fn what_a_receiver_says_is_made_harmless() {
    let said = "no \x1b]0;owned\x07 \u{202e}txt.exe\r\nSep 1 root: forged\n/hook/t0ken?key=k3yy s3cret \u{0}";
    let Outcome::Refused(reason) = answered(response("400 Bad Request", "", said.as_bytes())).await else {
        panic!("a 400 is a refusal");
    };
    assert!(
        !reason.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{reason:?}"
    );
    for hidden in ["t0ken", "k3yy", "s3cret"] {
        assert!(!reason.contains(hidden), "{reason}");
    }
    // Not even the beginning of one that stands where the text is cut.
    for before in 480..520 {
        let said = format!("{} s3cret-s3cret", "x".repeat(before));
        let Outcome::Refused(reason) = answered(response("400 Bad Request", "", said.as_bytes())).await else {
            panic!("a 400 is a refusal");
        };
        assert!(!reason.contains("s3"), "{before}: {reason}");
    }
}

#[tokio::test]
async fn health_says_what_is_now() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (receiver, settings) = receiving([(400, None), (401, None), (401, None)]).await;
    let mut journal = Journal::open(&journal_dir).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    until("refused", || forwarder.status()[0].dead_letters == 1).await;
    until("passed", || forwarder.status()[0].lag == 0).await;
    assert_eq!(forwarder.status()[0].trouble, None, "a receiver that refuses is there");
    journal.append(vec![titled("b", "1")]).unwrap();
    until("delivered", || forwarder.status()[0].delivered == 1).await;
    let status = forwarder.status().remove(0);
    assert_eq!((status.retries, status.dead_letters, status.trouble), (2, 1, None));
    assert_eq!(receiver.accepted(), ["b/1"], "a wrong secret costs no alert");
}

#[tokio::test]
async fn a_cursor_that_could_not_be_written_is_written_later() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (_, settings) = receiving([]).await;
    // A directory where the cursor is written first: stands for a disk that is full.
    let in_the_way = forward_dir.join("soar.cursor.new");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let mut journal = Journal::open(&journal_dir).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    until("the failure shows", || forwarder.status()[0].trouble.is_some()).await;
    assert_eq!(forwarder.status()[0].delivered, 1);
    std::fs::remove_dir(&in_the_way).unwrap();
    until("the failure is over", || forwarder.status()[0].trouble.is_none()).await;
    assert_eq!(std::fs::read_to_string(forward_dir.join("soar.cursor")).unwrap(), "1\n");
}

#[tokio::test]
async fn a_refused_alert_waits_for_a_place_to_be_kept_in() {
    let dir = TempDir::new().unwrap();
    let (journal_dir, forward_dir) = dirs(&dir);
    let (_, settings) = receiving([(400, None); 1000]).await;
    std::fs::create_dir_all(&forward_dir).unwrap();
    let dead = forward_dir.join("soar.dead.ndjson");
    std::os::unix::fs::symlink("/dev/full", &dead).unwrap();
    let mut journal = Journal::open(&journal_dir).unwrap();
    let forwarder = Forwarder::start_with(&settings, &forward_dir, journal.reader().unwrap(), QUICK).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    until("the full disk shows", || {
        let trouble = forwarder.status().remove(0).trouble;
        trouble.is_some_and(|trouble| trouble.contains("soar.dead.ndjson") && trouble.contains("No space left"))
    })
    .await;
    assert_eq!(forwarder.status()[0].lag, 1, "it is not given up");
    // As a kill leaves it: with the beginning of a line.
    std::fs::remove_file(&dead).unwrap();
    std::fs::write(&dead, "{\"delivery\":\"x/1\",\"bo").unwrap();
    until("kept", || forwarder.status()[0].dead_letters == 1).await;
    assert_eq!(forwarder.status()[0].trouble, None);
    let text = std::fs::read_to_string(&dead).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let kept: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((lines.len(), &kept["delivery"]), (2, &Value::from("a/1")));
}
