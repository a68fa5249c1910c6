//! Who fails too often sees no more rows, and is tried again after a pause that doubles each time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Runner;
use crate::detect::error::CallError;
use crate::detect::health::PluginStatus;

/// A plugin that fails on this many batches …
const FAILURES_MAX: usize = 5;
/// … out of this many in a row is quarantined: a rare bad row is survived for ever, a broken plugin is not.
const FAILURE_WINDOW: u64 = 200;
/// How long a quarantine lasts at first: what was wrong with the traffic or the machine may have passed by then …
pub(in crate::detect) const PAUSE_MIN: Duration = Duration::from_secs(60);
/// … and at most, as it doubles each time. Who then runs as long as this begins with the shortest again.
pub(in crate::detect) const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What decides on a plugin's quarantines.
pub(super) struct Quarantine {
    /// Numbers of the batches that failed, newest last.
    failures: VecDeque<u64>,
    /// How long the next quarantine lasts.
    pause: Duration,
    /// When a quarantined plugin is tried again, and how long that is after its quarantine; `None` until the clock was looked at.
    retry_at: Option<(Instant, Duration)>,
    /// Since when it runs again after a quarantine.
    retried_at: Option<Instant>,
}

impl Default for Quarantine {
    fn default() -> Quarantine {
        Quarantine {
            failures: VecDeque::new(),
            pause: PAUSE_MIN,
            retry_at: None,
            retried_at: None,
        }
    }
}

impl Runner {
    pub(super) fn count_failure(&mut self) {
        self.counters.failures += 1;
        let batch = self.counters.batches;
        self.quarantine.failures.push_back(batch);
        while self
            .quarantine
            .failures
            .front()
            .is_some_and(|first| first + FAILURE_WINDOW <= batch)
        {
            self.quarantine.failures.pop_front();
        }
        if self.quarantine.failures.len() >= FAILURES_MAX {
            let count = self.quarantine.failures.len();
            self.quarantine(format!(
                "{count} of its last {FAILURE_WINDOW} batches failed, the last: {}",
                self.reason
            ));
        }
    }

    pub fn quarantine(&mut self, reason: String) {
        if self.is_running() {
            tracing::error!(plugin = &*self.name, "quarantined: {reason}");
            self.status = PluginStatus::Quarantined;
            self.reason = reason;
        }
        self.shards.iter_mut().for_each(|shard| shard.instance = None);
    }

    /// Tries a quarantined plugin again when its pause is over. `now` is the wall clock; called every now and then.
    pub fn retry(&mut self, now: Instant) {
        if self.is_running() {
            if self
                .quarantine
                .retried_at
                .is_some_and(|since| now.duration_since(since) >= PAUSE_MAX)
            {
                (self.quarantine.pause, self.quarantine.retried_at) = (PAUSE_MIN, None);
            }
            return;
        }
        match self.quarantine.retry_at {
            None => {
                self.quarantine.retry_at = Some((now + self.quarantine.pause, self.quarantine.pause));
                self.quarantine.pause = (self.quarantine.pause * 2).min(PAUSE_MAX);
            }
            Some((at, _)) if now >= at => {
                self.quarantine.retry_at = None;
                self.counters.retries += 1;
                self.quarantine.failures.clear();
                self.status = PluginStatus::Ok;
                match self.rebuild() {
                    Ok(()) => {
                        self.quarantine.retried_at = Some(now);
                        self.reason = format!("it runs again; it was quarantined: {}", self.reason);
                        tracing::info!(plugin = &*self.name, "{}", self.reason);
                    }
                    Err(error) => self.quarantine(format!("it cannot be rebuilt: {error}")),
                }
            }
            Some(_) => {}
        }
    }

    /// The last failure, or why it is quarantined and for how long.
    pub fn explanation(&self) -> String {
        match self.quarantine.retry_at {
            Some((_, pause)) => format!("{}; it is tried again after {} min", self.reason, pause.as_secs() / 60),
            None => self.reason.clone(),
        }
    }

    /// Gives every shard that has something to remember a fresh instance with its last good state.
    fn rebuild(&mut self) -> Result<(), CallError> {
        for index in 0..self.shards.len() {
            if self.manifest.is_stateful() && !self.shards[index].has_seen() {
                continue;
            }
            let first = self.ensure_instance(index);
            if first.is_err() && !self.shards[index].journal.is_empty() {
                // What it has digested since the last save may be what it does not bear.
                self.shards[index].forget_journal();
                self.counters.states_lost += 1;
                self.ensure_instance(index)?;
            } else {
                first?;
            }
        }
        Ok(())
    }
}
