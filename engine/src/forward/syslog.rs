//! RFC 5424 over TCP, framed by octet counting (RFC 6587, 3.4.1).
//!
//! Plain TCP syslog has no acknowledgement. A record counts as delivered when the operating system took it and the receiver did not
//! close the connection right after; what the receiver loses later, or what was on its way when it died, is not sent again. From
//! there on it is at least once as far as acceptance by TCP goes, no further; a webhook is what gives more.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sink::{CONNECT_TIMEOUT, Delivery, Outcome, SEND_TIMEOUT};
use crate::model::time::to_rfc3339;
use crate::model::{Micros, Severity};

/// local4: the facilities for security (4, 10) are where a host's own login daemons write, and receivers route and restrict them for
/// that; the local ones are for a site's own use.
const FACILITY: u8 = 20;

/// The enterprise number that RFC 5612 reserves for examples; Sentrail has none of its own.
const SD_ID: &str = "sentrail@32473";

/// How long a connection is watched after a record for the receiver's hang-up: longer than a round trip within one site, short
/// enough that a backlog drains at about 100 records a second.
const SETTLE: Duration = Duration::from_millis(10);

/// What a receiver wrote back is read and ignored, this much at a time.
const READ_BYTES: usize = 256;

pub(super) struct Syslog {
    address: String,
    host: String,
    stream: Option<TcpStream>,
}

impl Syslog {
    pub(super) fn new(address: &str) -> Syslog {
        Syslog {
            address: address.to_owned(),
            host: host_name(),
            stream: None,
        }
    }

    pub(super) async fn deliver(&mut self, delivery: &Delivery) -> Outcome {
        let Some(frame) = frame(delivery, &self.host) else {
            return Outcome::Refused("its incident id does not fit a syslog parameter".to_owned());
        };
        match timeout(SEND_TIMEOUT, self.send(frame.as_bytes())).await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(reason)) => {
                self.stream = None;
                Outcome::retry(reason)
            }
            Err(_) => {
                // Part of the frame may be out: only a new connection has a frame boundary to start at.
                self.stream = None;
                Outcome::retry(format!(
                    "{} took no data for {} s",
                    self.address,
                    SEND_TIMEOUT.as_secs()
                ))
            }
        }
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        let usable = self.stream.take().filter(|stream| closed(stream).is_none());
        let mut stream = match usable {
            Some(stream) => stream,
            None => match timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(format!("cannot connect to {}: {error}", self.address)),
                Err(_) => {
                    return Err(format!(
                        "{} did not answer within {} s",
                        self.address,
                        CONNECT_TIMEOUT.as_secs()
                    ));
                }
            },
        };
        stream
            .write_all(frame)
            .await
            .map_err(|error| format!("{} broke the connection: {error}", self.address))?;
        let _ = timeout(SETTLE, stream.readable()).await;
        if let Some(reason) = closed(&stream) {
            return Err(format!("{} closed the connection: {reason}", self.address));
        }
        self.stream = Some(stream);
        Ok(())
    }
}

/// Why the connection is of no use any more, as far as its reading side says. Syslog receivers send nothing.
fn closed(stream: &TcpStream) -> Option<String> {
    let mut ignored = [0u8; READ_BYTES];
    match stream.try_read(&mut ignored) {
        Ok(0) => Some("end of stream".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => Some(error.to_string()),
    }
}

fn frame(delivery: &Delivery, host: &str) -> Option<String> {
    let message = message(delivery, host)?;
    Some(format!("{} {message}", message.len()))
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD] MSG`. The message is UTF-8 without a byte order mark, which JSON readers
/// behind receivers choke on. No process id: what is sent twice is the same twice.
fn message(delivery: &Delivery, host: &str) -> Option<String> {
    let (incident, revision) = delivery.id.split_once('/')?;
    if incident.contains(['"', '\\', ']']) {
        return None;
    }
    let priority = FACILITY * 8 + level(delivery.severity);
    Some(format!(
        "<{priority}>1 {} {host} sentrail - incident [{SD_ID} incident=\"{incident}\" revision=\"{revision}\" severity=\"{}\"] {}",
        timestamp(delivery.time),
        delivery.severity,
        delivery.body
    ))
}

/// RFC 5424 severities: 0 and 1 call for action on a system that is unusable, which no incident says; 7 is for debugging.
fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Informational => 6,
    }
}

/// The incident's last event; `-` when the calendar has no such time.
fn timestamp(time: Micros) -> String {
    let text = to_rfc3339(time);
    if text.len() == "2026-01-01T00:00:00.000Z".len() && text.ends_with('Z') {
        text
    } else {
        "-".to_owned()
    }
}

fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name: String = name
        .unwrap_or_default()
        .trim()
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            id: "ab12/3".into(),
            severity: Severity::Critical,
            time: 1_769_940_000_000_000,
            body: "{\"é\":1}".into(),
        }
    }

    #[test]
    fn message_is_rfc_5424() {
        assert_eq!(
            message(&delivery(), "host").unwrap(),
            "<162>1 2026-02-01T10:00:00.000Z host sentrail - incident \
             [sentrail@32473 incident=\"ab12\" revision=\"3\" severity=\"Critical\"] {\"é\":1}"
        );
    }

    #[test]
    fn frame_counts_octets_not_characters() {
        let frame = frame(&delivery(), "host").unwrap();
        let (count, message) = frame.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), message.len());
        assert!(message.len() > message.chars().count());
    }

    #[test]
    fn a_time_outside_the_calendar_is_the_nil_value() {
        assert_eq!(timestamp(i64::MAX), "-");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
    }
}
