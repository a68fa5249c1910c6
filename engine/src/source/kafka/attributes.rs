//! What a Kafka record says beside its value.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::model::Attributes;

/// Headers of one record that are kept, the first ones: tracing and routing use a handful.
const HEADERS_MAX: usize = 64;
/// Bytes of a key or of a header's value that are kept, and of a header's name: a header with a longer name is left out.
const VALUE_BYTES_MAX: usize = 4 << 10;
const NAME_BYTES_MAX: usize = 256;

/// `kafka.key` and `kafka.header.NAME`, and how many bytes they hold; of several headers with one name the last counts. Nothing is
/// allocated for a record that has neither.
pub(super) fn attributes(message: &BorrowedMessage<'_>) -> (Option<Arc<Attributes>>, usize) {
    let (key, headers) = (message.key(), message.headers());
    if key.is_none() && headers.is_none() {
        return (None, 0);
    }
    let mut found = Attributes::new();
    let kept = |value: &[u8]| Bytes::copy_from_slice(&value[..value.len().min(VALUE_BYTES_MAX)]);
    if let Some(key) = key {
        found.insert("kafka.key".into(), kept(key));
    }
    for header in headers.into_iter().flat_map(|headers| headers.iter().take(HEADERS_MAX)) {
        if header.key.len() <= NAME_BYTES_MAX {
            let name = format!("kafka.header.{}", header.key);
            found.insert(name.into(), kept(header.value.unwrap_or_default()));
        }
    }
    let bytes = found.iter().map(|(name, value)| name.len() + value.len()).sum();
    (Some(Arc::new(found)), bytes)
}
