//! What senders deliver, taken apart without a network or a disk: for the fuzzer.

use bytes::Bytes;

use super::{http, syslog};

/// Payloads of the records of an OTLP request; `None` when it is refused.
pub fn otlp(bytes: &[u8], traces: bool, is_json: bool) -> Option<Vec<Bytes>> {
    let records = http::otlp_request(bytes, traces, is_json)?.read();
    Some(records.into_iter().map(|record| record.payload).collect())
}

/// The messages of a syslog connection on which `bytes` arrive in pieces of this length, with all that is kept of each.
pub fn syslog(bytes: &[u8], piece: usize) -> Vec<String> {
    let records = syslog::connection(bytes, piece).read();
    records.iter().map(|record| format!("{record:?}")).collect()
}
