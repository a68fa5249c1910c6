//! JSON over HTTP POST, signed by HMAC-SHA256.
//!
//! Headers: `X-Sentrail-Delivery` and `Idempotency-Key` hold `INCIDENT/REVISION`; `X-Sentrail-Timestamp` the time of sending in Unix
//! seconds; with a secret, `X-Sentrail-Signature: sha256=HEX` the HMAC-SHA256 of `TIMESTAMP.BODY`. A receiver recomputes it over
//! the bytes it received and refuses old timestamps.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use hmac::{Hmac, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Request, Response, StatusCode, Url, redirect};
use sha2::Sha256;
use url::form_urlencoded;

use super::sink::{CONNECT_TIMEOUT, Delivery, Outcome, SEND_TIMEOUT};
use crate::config::{Secret, WebhookUrl};
use crate::model::one_line;

/// How much of a refusal's body is kept as the reason.
const REASON_BYTES_MAX: usize = 512;

/// Parts of a URL shorter than this are no tokens, and hiding them would garble what a receiver says.
const TOKEN_BYTES_MIN: usize = 4;

/// Longest `Retry-After` that is followed: a receiver's mistake must not silence alerts for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
    /// What receivers may repeat of the configuration and nobody may read, the longest first.
    hidden: Vec<String>,
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
        let url = url.reveal().clone();
        let request = client.post(url.clone()).build().map_err(chain)?;
        Ok(Webhook {
            hidden: hidden(&request, &url, secret.as_ref()),
            client,
            url,
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
            Ok(response) => self.outcome(response).await,
            Err(error) if error.is_builder() => {
                Outcome::Refused(format!("cannot be sent: {}", self.fit_to_show(&chain(error))))
            }
            Err(error) if error.is_timeout() && !error.is_connect() => {
                Outcome::retry(format!("no answer within {} s", SEND_TIMEOUT.as_secs()))
            }
            Err(error) => Outcome::retry(self.fit_to_show(&chain(error))),
        }
    }

    async fn outcome(&self, mut response: Response) -> Outcome {
        let status = response.status();
        if status.is_success() {
            return Outcome::Delivered;
        }
        // A redirect too says that the URL is wrong rather than that the record is.
        if status.is_redirection() {
            return Outcome::retry(format!(
                "HTTP {status}: redirects are not followed; configure the final URL"
            ));
        }
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?));
        // Far enough that what is hidden is seen whole wherever it begins in what is kept.
        let bytes_max = REASON_BYTES_MAX + self.hidden.first().map_or(0, String::len);
        let mut body = Vec::new();
        while body.len() < bytes_max {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(bytes_max - body.len())]),
                _ => break,
            }
        }
        let mut reason = format!("HTTP {status}");
        let said = self.fit_to_show(&String::from_utf8_lossy(&body));
        if !said.is_empty() {
            reason = format!("{reason}: {said}");
        }
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::Retry { reason, after },
            // These speak of the URL and of who is asking: no other record would fare better, and none may be lost for it. Not 403, with
            // which filters answer to what stands in a record, as attacks do in ours.
            StatusCode::UNAUTHORIZED
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::GONE => Outcome::Retry {
                reason: format!("{reason}; alerts wait: check the URL and the secret of this receiver"),
                after,
            },
            _ if status.is_client_error() => Outcome::Refused(reason),
            _ => Outcome::Retry { reason, after },
        }
    }

    /// What somebody else said, without what it may repeat of the configuration.
    fn fit_to_show(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for hidden in &self.hidden {
            text = text.replace(hidden, "…");
        }
        one_line(&text, REASON_BYTES_MAX)
    }
}

/// The secret, and every part of the URL before and behind host and port that may be a token, as written and decoded; the longest
/// first, for one may be part of another. `request` is one to that URL.
fn hidden(request: &Request, url: &Url, secret: Option<&Secret>) -> Vec<String> {
    let query = url.query().into_iter().flat_map(|query| query.split('&'));
    let pieces = url.path().split('/').chain(query).chain(url.fragment());
    let mut parts: BTreeSet<String> = BTreeSet::new();
    for piece in pieces.chain([url.username()]) {
        let value = piece.split_once('=').map_or(piece, |(_, value)| value);
        parts.extend([piece.to_owned(), value.to_owned()]);
        parts.extend(form_urlencoded::parse(value.as_bytes()).map(|(decoded, _)| decoded.into_owned()));
    }
    parts.retain(|part| part.len() >= TOKEN_BYTES_MIN);
    // User and password as they travel.
    let authorization = request.headers().get(AUTHORIZATION);
    let credentials = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    parts.extend(credentials.map(str::to_owned));
    parts.extend(url.password().map(str::to_owned));
    parts.extend(secret.map(|secret| secret.reveal().to_owned()));
    parts.remove("");
    let mut parts: Vec<String> = parts.into_iter().collect();
    parts.sort_by_key(|part| Reverse(part.len()));
    parts
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

    #[test]
    fn what_a_receiver_repeats_of_the_configuration_is_hidden() {
        let url =
            WebhookUrl::parse("https://us3r:pa%2Bs@soar.example.com/hook/t0ken%2Fx/b?key=k3yy&other=%41%42%43%44#fr4g")
                .unwrap();
        let webhook = Webhook::new(&url, Some(Secret::new("s3cret".into()))).unwrap();
        let said = "/hook/t0ken%2Fx/b t0ken/x key=k3yy k3yy ABCD %41%42%43%44 fr4g us3r pa%2Bs dXMzcjpwYStz s3cret\n\u{1b}[31mok";
        let shown = webhook.fit_to_show(said);
        for hidden in [
            "t0ken", "k3yy", "ABCD", "%41", "fr4g", "us3r", "pa%2Bs", "dXMz", "s3cret", "\n", "\u{1b}",
        ] {
            assert!(!shown.contains(hidden), "{hidden}: {shown}");
        }
        assert!(shown.ends_with("\\u{1b}[31mok"), "{shown}");
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
