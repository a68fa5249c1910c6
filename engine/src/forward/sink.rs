//! What a record looks like to a sink, what can become of it there, and where a sink's target is.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ocsf::delivery_id;
use super::syslog::Syslog;
use super::webhook::Webhook;
use super::{ForwardError, Result, incident_finding};
use crate::config::{ForwardKind, ForwardSettings};
use crate::model::{Incident, Micros, Severity};

/// A receiver that has not accepted a connection by now is taken to be down.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A receiver that has not taken and answered one record by now is taken to be down.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// One revision of an incident, ready to be sent.
pub(super) struct Delivery {
    /// `INCIDENT/REVISION`
    pub id: String,
    pub severity: Severity,
    pub time: Micros,
    /// OCSF JSON.
    pub body: String,
}

impl Delivery {
    pub(super) fn of(incident: &Incident) -> Delivery {
        Delivery {
            id: delivery_id(incident),
            severity: incident.severity,
            time: incident.last_time,
            body: incident_finding(incident).to_string(),
        }
    }
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Outcome {
    Delivered,
    /// The receiver will never take this record.
    Refused(String),
    /// Not now; `after` when the receiver said how long to wait.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
}

impl Outcome {
    pub(super) fn retry(reason: String) -> Outcome {
        Outcome::Retry { reason, after: None }
    }
}

pub(super) enum Sink {
    Webhook(Webhook),
    Syslog(Syslog),
}

impl Sink {
    pub(super) fn new(settings: &ForwardSettings) -> Result<Sink> {
        match &settings.kind {
            ForwardKind::Webhook { url, secret } => match Webhook::new(url, secret.clone()) {
                Ok(webhook) => Ok(Sink::Webhook(webhook)),
                Err(reason) => Err(ForwardError::Client {
                    name: settings.name.clone(),
                    reason,
                }),
            },
            ForwardKind::Syslog { address } => Ok(Sink::Syslog(Syslog::new(address))),
        }
    }

    pub(super) async fn deliver(&mut self, delivery: &Delivery) -> Outcome {
        match self {
            Sink::Webhook(webhook) => webhook.deliver(delivery).await,
            Sink::Syslog(syslog) => syslog.deliver(delivery).await,
        }
    }
}

/// Whether the sink's target takes a TCP connection. Nothing is sent.
pub async fn check(settings: &ForwardSettings) -> Result<()> {
    Sink::new(settings)?;
    let target = match &settings.kind {
        ForwardKind::Syslog { address } => address.clone(),
        ForwardKind::Webhook { url, .. } => url.address(),
    };
    let reason = match timeout(CONNECT_TIMEOUT, TcpStream::connect(&target)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    Err(ForwardError::Unreachable {
        name: settings.name.clone(),
        target,
        reason,
    })
}
