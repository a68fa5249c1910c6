//! What /healthz says.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The pipeline reports at least every few seconds; after this long without a report it is taken to hang.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Ok,
    /// Works, with something to look at: a receiver is down, a plugin is quarantined, a file or a lookup's new table cannot be read.
    Degraded,
    /// Does not do its work: nothing of a source can be read, an epoch does not become durable.
    Failed,
}

/// A source, a lookup, a plugin, a sink or the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    pub name: String,
    pub status: State,
    /// Why it is not `ok`, or how far it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One report of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The newest durable epoch.
    pub epoch: Option<u64>,
    pub store: Part,
    pub sources: Vec<Part>,
    pub lookups: Vec<Part>,
    pub plugins: Vec<Part>,
    pub sinks: Vec<Part>,
    /// What answers clients, but for this answer's own server.
    pub servers: Vec<Part>,
}

impl Health {
    /// The worst of its parts; a lookup, a sink, a plugin or a server alone never makes the whole `failed`, for the stream goes on without it.
    pub fn overall(&self) -> State {
        let worst = |parts: &[Part]| parts.iter().map(|part| part.status).max().unwrap_or_default();
        let side = [&self.lookups, &self.plugins, &self.sinks, &self.servers].map(|parts| worst(parts));
        let side = side.into_iter().max().unwrap_or_default().min(State::Degraded);
        self.store.status.max(worst(&self.sources)).max(side)
    }
}

/// The answer of /healthz.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub version: &'static str,
    #[serde(flatten)]
    pub health: &'a Health,
}

/// Status and whether it means 200.
pub(super) fn judge(health: &Health, reported: Option<Instant>, now: Instant) -> (&'static str, Option<String>, bool) {
    let Some(reported) = reported else {
        return ("starting", Some("the pipeline has not reported yet".to_owned()), false);
    };
    let silent = now.saturating_duration_since(reported);
    if silent > STALE_AFTER {
        return (
            "failed",
            Some(format!("the pipeline has not reported for {} s", silent.as_secs())),
            false,
        );
    }
    match health.overall() {
        State::Ok => ("ok", None, true),
        State::Degraded => ("degraded", None, true),
        State::Failed => ("failed", None, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(status: State) -> Part {
        Part {
            name: "x".into(),
            status,
            detail: String::new(),
        }
    }

    #[test]
    fn sinks_and_plugins_degrade_sources_and_the_store_fail() {
        assert_eq!(Health::default().overall(), State::Ok);
        assert_eq!(
            Health {
                sinks: vec![part(State::Failed)],
                ..Health::default()
            }
            .overall(),
            State::Degraded
        );
        assert_eq!(
            Health {
                plugins: vec![part(State::Degraded)],
                ..Health::default()
            }
            .overall(),
            State::Degraded
        );
        assert_eq!(
            Health {
                lookups: vec![part(State::Degraded)],
                ..Health::default()
            }
            .overall(),
            State::Degraded
        );
        assert_eq!(
            Health {
                sources: vec![part(State::Ok), part(State::Failed)],
                ..Health::default()
            }
            .overall(),
            State::Failed
        );
        assert_eq!(
            Health {
                store: part(State::Failed),
                ..Health::default()
            }
            .overall(),
            State::Failed
        );
    }

    #[test]
    fn silence_is_a_failure() {
        let now = Instant::now();
        let health = Health::default();
        assert_eq!(judge(&health, None, now).0, "starting");
        assert_eq!(judge(&health, Some(now), now + STALE_AFTER).0, "ok");
        let (status, detail, good) = judge(&health, Some(now), now + STALE_AFTER + Duration::from_secs(1));
        assert_eq!((status, good), ("failed", false));
        assert_eq!(detail.unwrap(), "the pipeline has not reported for 31 s");
    }
}
