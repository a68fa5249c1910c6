//! Why a request was not accepted, before a protocol puts it in its own words.

use std::time::Duration;

use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::source::spool::Refused;

/// How long a sender that was turned away should wait: about as long as an epoch takes to become durable, which frees the spool.
const RETRY_AFTER_SECONDS: u16 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoToken,
    WrongToken,
    Malformed(String),
    /// The body's type or encoding.
    Unsupported(String),
    TooLong(String),
    Slow(Duration),
    /// Retrying helps once the pipeline has caught up.
    Busy(String),
    /// Retrying helps once a person has helped.
    Unavailable(String),
}

impl Refusal {
    pub(super) fn busy(what: &str) -> Refusal {
        Refusal::Busy(format!("{what}; try again in {RETRY_AFTER_SECONDS} s"))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::NoToken | Refusal::WrongToken => StatusCode::UNAUTHORIZED,
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Refusal::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Refusal::NoToken => {
                "a token is needed: `Authorization: Bearer TOKEN` or `Authorization: Splunk TOKEN`".into()
            }
            Refusal::WrongToken => "the token is not one of this source's".into(),
            Refusal::Slow(limit) => format!("the body did not arrive within {} s", limit.as_secs()),
            Refusal::Malformed(what)
            | Refusal::Unsupported(what)
            | Refusal::TooLong(what)
            | Refusal::Busy(what)
            | Refusal::Unavailable(what) => what.clone(),
        }
    }

    /// Says in the headers what the status asks for: when to come again, how to log in.
    pub(super) fn mark<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        match self {
            Refusal::Busy(_) | Refusal::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            Refusal::NoToken | Refusal::WrongToken => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Full => Refusal::busy("the spool is full"),
            Refused::Disk(reason) => Refusal::Unavailable(reason),
            Refused::Stopping => Refusal::Unavailable("the engine is stopping".into()),
        }
    }
}
