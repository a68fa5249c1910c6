//! What a run says of itself: health, metrics, rows of plugin_health.

use std::collections::BTreeMap;
use std::time::Duration;

use super::boot::now;
use super::run::Engine;
use crate::detect::{self, PluginStatus};
use crate::lookup::LookupStatus;
use crate::model::detection::SEQUENCE;
use crate::model::event::is_future;
use crate::model::{Detection, InputOffset, Micros, RawBatch, time};
use crate::normalize::Normalized;
use crate::serve::{Health, LookupFigures, Part, PluginFigures, STALE_AFTER, SinkFigures, State};
use crate::source::Harm;
use crate::store::{self, Table};

/// Under which relations that mappings state are counted: they come from no plugin.
const MAPPING: &str = "mapping";

/// How often health and gauges are brought up to date: well inside the time after which a silent run counts as failed.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn count_batch(&self, raw: &RawBatch, decoded: &Normalized) {
        let source = self.parts.serve.state.metrics.source(&raw.source);
        source.records.inc_by(decoded.records);
        source.bytes.inc_by(decoded.bytes);
        source.events.inc_by(decoded.events.rows() as u64);
        source.rejected.inc_by(decoded.rejected.len() as u64);
        source.duplicates.inc_by(decoded.duplicates);
        let is_future = is_future(decoded.events.batch());
        let future = (0..decoded.events.rows()).filter(|row| is_future(*row));
        source.future.inc_by(future.count() as u64);
        // Files are many, and each is read once.
        if !matches!(raw.next, InputOffset::File { .. }) {
            let metrics = &self.parts.serve.state.metrics;
            metrics.read_partition(&raw.input, decoded.records, decoded.bytes);
        }
        let mapping = self.parts.serve.state.metrics.plugin(MAPPING);
        mapping.relations.inc_by(decoded.relations.len() as u64);
    }

    pub(super) fn count_detections(&self, detections: &[Detection]) {
        for detection in detections {
            self.parts
                .serve
                .state
                .metrics
                .plugin(&detection.plugin)
                .detections
                .inc();
        }
    }

    /// Health and gauges as of now.
    pub(super) fn report(&self) {
        let parts = &self.parts;
        let metrics = &parts.serve.state.metrics;
        // A source counts from 0 on, before its first record: a rise can be seen only from a series that is there.
        for source in &parts.settings.sources {
            metrics.source(&source.name);
        }
        let sinks = parts.forwarder.status();
        for sink in &sinks {
            let figures = SinkFigures {
                delivered: sink.delivered,
                retries: sink.retries,
                dead_letters: sink.dead_letters,
                lag: sink.lag,
            };
            metrics.set_sink(&sink.name, figures);
        }
        let lookups = parts.lookups.status();
        for lookup in &lookups {
            let figures = LookupFigures {
                rows: lookup.rows,
                loaded: lookup.loaded as f64 / time::SECOND as f64,
                loads: lookup.loads,
                failures: lookup.failures,
            };
            metrics.set_lookup(&lookup.name, figures);
        }
        // A layer of which nothing is read at present is complete as far as anybody can know, and one whose inputs have yet to bring
        // something is complete up to no time that could be named: neither lags.
        let watermarks = parts.times.by_layer().into_iter();
        let lag = |watermark: Micros| now().saturating_sub(watermark) as f64 / time::SECOND as f64;
        let lags: BTreeMap<String, f64> = watermarks
            .filter(|(_, watermark)| *watermark > Micros::MIN)
            .map(|(layer, watermark)| (layer, lag(watermark)))
            .collect();
        metrics.set_watermark_lags(&lags);
        metrics.set_source_lags(&parts.progress.lags());
        let plugins = parts.detectors.health_now();
        for health in &plugins {
            metrics.set_plugin(&health.plugin, plugin_figures(health));
        }
        let sequences = super::sequences::health(&parts.sequences);
        metrics.set_plugin(&sequences.plugin, plugin_figures(&sequences));
        let graph = parts.correlator.size();
        metrics.graph_entities.set(graph.entities as i64);
        metrics.graph_edges.set(graph.edges as i64);
        metrics.graph_detections.set(graph.detections as i64);
        metrics.graph_incidents.set(graph.incidents as i64);
        metrics.graph_bytes.set(graph.bytes() as i64);
        metrics.graph_evicted.set(graph.evicted as i64);
        for (status, count) in &self.status.borrow().incidents {
            metrics.set_incidents(status, *count);
        }
        let tail: usize = parts
            .views
            .current()
            .tables
            .values()
            .flat_map(|table| &table.tail)
            .map(|batch| batch.num_rows())
            .sum();
        metrics.tail_rows.set(tail as i64);
        parts.serve.state.report(Health {
            epoch: Some(self.status.borrow().epoch),
            store: self.store_part(),
            sources: self.source_parts(),
            lookups: lookups.into_iter().map(lookup_part).collect(),
            plugins: plugins
                .iter()
                .map(plugin_part)
                .chain(parts.detectors.problems().iter().map(refused_part))
                .chain(parts.sequence_reloads.trouble().map(|reason| Part {
                    name: SEQUENCE.to_owned(),
                    status: State::Degraded,
                    detail: format!("{reason}; the sequences in force stay"),
                }))
                .collect(),
            sinks: sinks
                .into_iter()
                .map(|sink| Part {
                    name: sink.name,
                    status: if sink.trouble.is_some() {
                        State::Degraded
                    } else {
                        State::Ok
                    },
                    detail: sink.trouble.unwrap_or_default(),
                })
                .collect(),
            servers: parts.serve.sql_health().into_iter().collect(),
        });
    }

    /// An epoch that cannot be written ends the run; one that takes very long shows here.
    fn store_part(&self) -> Part {
        let waiting = self.in_flight.front().map(|sealed| sealed.elapsed());
        let (status, detail) = match waiting {
            Some(waiting) if waiting > STALE_AFTER => (
                State::Failed,
                format!("an epoch has been waiting for the disk for {} s", waiting.as_secs()),
            ),
            _ => (State::Ok, String::new()),
        };
        Part {
            name: "store".to_owned(),
            status,
            detail,
        }
    }

    fn source_parts(&self) -> Vec<Part> {
        let silent: BTreeMap<&str, String> = self.parts.source_health.silent().collect();
        let part = |source: &crate::config::SourceSettings| {
            let name = source.name.as_str();
            let missing = self.missing.get(name).and_then(|missing| missing.split_first());
            let (status, detail) = match (self.troubles.get(name), missing) {
                (Some((Harm::Total, message)), _) => (State::Failed, message.clone()),
                (Some((_, message)), _) | (None, Some((message, []))) => (State::Degraded, message.clone()),
                (None, Some((message, more))) => (State::Degraded, format!("{message} (and {} more)", more.len())),
                (None, None) => match silent.get(name) {
                    Some(words) => (State::Degraded, words.clone()),
                    None => (State::Ok, String::new()),
                },
            };
            Part {
                name: name.to_owned(),
                status,
                detail,
            }
        };
        self.parts.settings.sources.iter().map(part).collect()
    }

    /// Rows of plugin_health: of the plugins whose status changed, or whose figures did too. Figures are told once per epoch, so that
    /// the table grows with time and not with traffic.
    pub(super) fn tell_plugin_health(&mut self, figures: bool) -> Result<(), store::StoreError> {
        let detectors = &mut self.parts.detectors;
        let mut health = match figures {
            true => detectors.health_changes(),
            false => detectors.health(),
        };
        let sequences = super::sequences::health(&self.parts.sequences);
        let is_new = self.sequences_told.as_ref() != Some(&sequences);
        if is_new && (figures || self.sequences_told.is_none()) {
            health.push(sequences.clone());
            self.sequences_told = Some(sequences);
        }
        if health.is_empty() {
            return Ok(());
        }
        let rows: Vec<store::PluginHealth> = health.into_iter().map(health_row).collect();
        self.parts
            .epoch
            .add(Table::PluginHealth, store::plugin_health_to_batch(&rows)?);
        Ok(())
    }
}

fn lookup_part(lookup: LookupStatus) -> Part {
    let (status, detail) = match lookup.trouble {
        Some(trouble) => {
            let read = time::to_rfc3339(lookup.loaded);
            (
                State::Degraded,
                format!("{trouble}; the table read at {read} is in use"),
            )
        }
        None => (State::Ok, String::new()),
    };
    Part {
        name: lookup.name,
        status,
        detail,
    }
}

fn plugin_part(health: &detect::PluginHealth) -> Part {
    let status = if health.status == PluginStatus::Ok {
        State::Ok
    } else {
        State::Degraded
    };
    Part {
        name: health.plugin.clone(),
        status,
        detail: health.reason.clone(),
    }
}

/// A file that could not be used as a plugin or for rules.
fn refused_part(problem: &detect::PluginProblem) -> Part {
    let name = problem.path.file_name().unwrap_or(problem.path.as_os_str());
    Part {
        name: name.to_string_lossy().into_owned(),
        status: State::Degraded,
        detail: problem.reason.clone(),
    }
}

fn health_row(health: detect::PluginHealth) -> store::PluginHealth {
    store::PluginHealth {
        plugin: health.plugin,
        version: health.version,
        digest: health.digest,
        time: now(),
        status: health.status.text().to_owned(),
        reason: (!health.reason.is_empty()).then_some(health.reason),
        batches: health.counters.batches,
        rows: health.counters.rows,
        detections: health.counters.detections,
        relations: health.counters.relations,
        traps: health.counters.failures,
        rows_skipped: health.counters.rows_skipped,
        rows_unseen: health.counters.rows_unseen,
        rows_late: health.counters.rows_late,
        rows_early: health.counters.rows_early,
        states_lost: health.counters.states_lost,
        log_dropped: health.counters.log_dropped,
        retries: health.counters.retries,
        keys_evicted: health.counters.keys_evicted,
    }
}

fn plugin_figures(health: &detect::PluginHealth) -> PluginFigures {
    PluginFigures {
        batches: health.counters.batches,
        rows: health.counters.rows,
        relations: health.counters.relations,
        traps: health.counters.failures,
        rows_late: health.counters.rows_late,
        rows_early: health.counters.rows_early,
        rows_unseen: health.counters.rows_unseen,
        rows_skipped: health.counters.rows_skipped,
        states_lost: health.counters.states_lost,
        keys_evicted: health.counters.keys_evicted,
        retries: health.counters.retries,
        log_dropped: health.counters.log_dropped,
    }
}
