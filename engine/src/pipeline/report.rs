//! What a run says of itself: health, metrics, rows of plugin_health.

use std::time::Duration;

use super::boot::now;
use super::run::Engine;
use crate::detect::{self, PluginStatus};
use crate::model::{Detection, Micros, RawBatch, time};
use crate::normalize::Normalized;
use crate::serve::{Health, Part, SinkFigures, State};
use crate::store::{self, Table};

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
        for (layer, watermark) in parts.times.by_layer() {
            if watermark > Micros::MIN {
                let lag = now().saturating_sub(watermark) as f64 / time::SECOND as f64;
                metrics.set_watermark_lag(&layer, lag);
            }
        }
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
            store: State::Ok,
            sources: self.source_parts(),
            plugins: parts.detectors.health_now().iter().map(plugin_part).collect(),
            sinks: sinks
                .into_iter()
                .map(|sink| Part {
                    name: sink.name,
                    status: if sink.last_error.is_some() {
                        State::Degraded
                    } else {
                        State::Ok
                    },
                    detail: sink.last_error.unwrap_or_default(),
                })
                .collect(),
        });
    }

    fn source_parts(&self) -> Vec<Part> {
        let part = |source: &crate::config::SourceSettings| {
            let trouble = self.troubles.get(source.name.as_str()).cloned();
            let status = if trouble.is_some() { State::Degraded } else { State::Ok };
            Part {
                name: source.name.clone(),
                status,
                detail: trouble.unwrap_or_default(),
            }
        };
        self.parts.settings.sources.iter().map(part).collect()
    }

    /// Rows of plugin_health: of the plugins that have something to tell, or of all.
    pub(super) fn tell_plugin_health(&mut self, all: bool) -> Result<(), store::StoreError> {
        let detectors = &mut self.parts.detectors;
        let health = if all && !self.parts.epoch.is_empty() {
            detectors.health_now()
        } else {
            detectors.health()
        };
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
        retries: health.counters.retries,
        keys_evicted: health.counters.keys_evicted,
    }
}
