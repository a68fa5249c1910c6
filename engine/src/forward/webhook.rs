//! JSON over HTTP POST, signed by HMAC-SHA256.
//!
//! Headers: `X-Sentrail-Delivery` and `Idempotency-Key` hold `INCIDENT/REVISION`; `X-Sentrail-Timestamp` the time of sending in Unix
//! seconds; with a secret, `X-Sentrail-Signature: sha256=HEX` the HMAC-SHA256 of `TIMESTAMP.BODY`. A receiver recomputes it over
//! the bytes it received and refuses old timestamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use sha2::Sha256;

use super::sink::{CONNECT_TIMEOUT, Delivery, Outcome, SEND_TIMEOUT};
use crate::config::{Secret, WebhookUrl};

/// How much of a refusal's body is kept as the reason.
const REASON_BYTES_MAX: usize = 512;

/// Longest `Retry-After` that is followed: a receiver's mistake must not silence alerts for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
}

impl Webhook {
    pub(super) fn new(url: &WebhookUrl, secret: Option<Secret>) -> Result<Webhook, String> {
        let client = Client::builder()
            .user_agent(concat!("sentrail/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(SEND_TIMEOUT)
            // A redirect would take alerts, and their signature, to a place nobody configured.
            .redirect(redirect::Policy::none())
            // What is configured is where alerts go; the environment does not reroute them.
            .no_proxy()
            .build()
            .map_err(chain)?;
        Ok(Webhook {
            client,
            url: url.reveal().clone(),
            secret,
        })
    }

    pub(super) async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let timestamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-Sentrail-Timestamp", &timestamp)
            .header("X-Sentrail-Delivery", &delivery.id)
            .header("Idempotency-Key", &delivery.id);
        if let Some(secret) = &self.secret {
            request = request.header(
                "X-Sentrail-Signature",
                signature(secret.reveal(), &timestamp, &delivery.body),
            );
        }
        match request.body(delivery.body.clone()).send().await {
            Ok(response) => outcome(response).await,
            Err(error) if error.is_builder() => Outcome::Refused(format!("cannot be sent: {}", chain(error))),
            Err(error) => Outcome::retry(chain(error)),
        }
    }
}

pub(super) fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    // HMAC takes keys of any length; this error cannot occur.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

async fn outcome(mut response: Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?));
    let mut body = Vec::new();
    while body.len() < REASON_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(REASON_BYTES_MAX - body.len())]),
            _ => break,
        }
    }
    let reason = format!("HTTP {status}: {}", String::from_utf8_lossy(&body).trim());
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::Retry { reason, after },
        _ if status.is_client_error() => Outcome::Refused(reason),
        // A redirect too: it is not followed, and it says that the URL is wrong rather than that the record is.
        _ if status.is_redirection() => Outcome::retry(format!(
            "HTTP {status}: redirects are not followed; configure the final URL"
        )),
        _ => Outcome::Retry { reason, after },
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until: SystemTime = DateTime::parse_from_rfc2822(value.trim()).ok()?.into();
            until.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The error with its causes: reqwest's own text leaves out why. Without the URL, which may hold a token.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon"), None);
    }

    /// RFC 4231, test case 2, with the timestamp and the point as part of its text.
    #[test]
    fn signature_is_hmac_sha256_of_timestamp_point_body() {
        let plain = {
            let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
            mac.update(b"what do ya want for nothing?");
            hex::encode(mac.finalize().into_bytes())
        };
        assert_eq!(
            plain,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"1700000000.{}");
        assert_eq!(
            signature("Jefe", "1700000000", "{}"),
            format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
        );
    }
}
