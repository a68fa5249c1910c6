//! What the engine counts, in OpenMetrics text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! Label values come from the configuration (sources, plugins, sinks), from Kafka's brokers (partitions), from the mappings (layers) and from
//! fixed lists (statuses, reasons), never from telemetry, so an attacker cannot make series. A guard bounds them all the same: see [`LABELS_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::model::InputId;

/// Series per metric; what would be more is counted under `other`. Above any sane number of configured sources, plugins or sinks.
pub const LABELS_MAX: usize = 1024;

/// Upper bounds of the epoch time buckets, in seconds: from a tail flush in memory to a slow object store.
const EPOCH_SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// One partition of a Kafka source, written `topic/partition`, or a listening source's `spool`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct PartitionLabel {
    source: String,
    partition: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PluginLabel {
    plugin: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LayerLabel {
    layer: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExceptionLabel {
    exception: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LookupLabel {
    lookup: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabel {
    status: String,
}

/// Counters of one source. Records in = events + rejected + duplicates.
#[derive(Clone, Debug, Default)]
pub struct SourceMetrics {
    pub records: Counter,
    pub bytes: Counter,
    pub events: Counter,
    pub rejected: Counter,
    pub duplicates: Counter,
    /// Events whose time is more than ten minutes ahead of their arrival.
    pub future: Counter,
}

/// Counters of one plugin.
#[derive(Clone, Debug, Default)]
pub struct PluginMetrics {
    pub detections: Counter,
    pub relations: Counter,
}

/// What befell a plugin: absolute figures since the start of the process, as the detectors keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginFigures {
    /// Batches that it was called with, and the rows in them.
    pub batches: u64,
    pub rows: u64,
    pub relations: u64,
    /// Batches that it failed on: trap, time, memory, error, invalid output.
    pub traps: u64,
    /// Rows that came later than the watermark.
    pub rows_late: u64,
    /// Rows that it saw before the watermark had passed them, because too many waited.
    pub rows_early: u64,
    /// Rows that passed while it was quarantined.
    pub rows_unseen: u64,
    /// Rows that it could not be shown without failing.
    pub rows_skipped: u64,
    /// Shards that began empty because their saved state could not be restored.
    pub states_lost: u64,
    /// Keys that it let go before their time, to stay within a bound.
    pub keys_evicted: u64,
    /// How often it was tried again after a quarantine.
    pub retries: u64,
    /// Lines beyond its allowance of log.
    pub log_dropped: u64,
}

/// How a sink stands: absolute figures, as the forwarder keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkFigures {
    pub delivered: u64,
    pub retries: u64,
    pub dead_letters: u64,
    /// Journaled alerts not passed yet.
    pub lag: u64,
}

/// How a lookup stands: absolute figures, as it keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LookupFigures {
    pub rows: u64,
    /// When the table in use was read, in Unix seconds.
    pub loaded: f64,
    pub loads: u64,
    pub failures: u64,
}

type BySource = Family<SourceLabel, Counter>;
type ByPlugin = Family<PluginLabel, Counter>;
type BySink = Family<SinkLabel, Counter>;

/// All metrics. Handles are handed out once per source or plugin and counted on directly.
pub struct Metrics {
    registry: Registry,
    sources: Names,
    partitions: Names,
    plugins: Names,
    layers: Names,
    sinks: Names,
    lookups: Names,
    exceptions: Names,
    records: BySource,
    bytes: BySource,
    events: BySource,
    rejected: BySource,
    duplicates: BySource,
    future: BySource,
    partition_records: Family<PartitionLabel, Counter>,
    partition_bytes: Family<PartitionLabel, Counter>,
    partition_lag: Family<PartitionLabel, Gauge>,
    detections: ByPlugin,
    relations: ByPlugin,
    batches: ByPlugin,
    rows: ByPlugin,
    traps: ByPlugin,
    rows_late: ByPlugin,
    rows_early: ByPlugin,
    rows_unseen: ByPlugin,
    rows_skipped: ByPlugin,
    states_lost: ByPlugin,
    keys_evicted: ByPlugin,
    plugin_retries: ByPlugin,
    log_dropped: ByPlugin,
    incidents: Family<StatusLabel, Gauge>,
    watermark_lag: Family<LayerLabel, Gauge<f64, AtomicU64>>,
    forward_delivered: BySink,
    forward_retries: BySink,
    forward_dead_letters: BySink,
    forward_lag: Family<SinkLabel, Gauge>,
    lookup_rows: Family<LookupLabel, Gauge>,
    lookup_loaded: Family<LookupLabel, Gauge<f64, AtomicU64>>,
    lookup_loads: Family<LookupLabel, Counter>,
    lookup_failures: Family<LookupLabel, Counter>,
    exception_hits: Family<ExceptionLabel, Counter>,
    /// Incident revisions given by the alert journal.
    pub revisions: Counter,
    /// Epochs that became durable.
    pub epochs: Counter,
    /// Seconds from sealing an epoch to its being durable.
    pub epoch_seconds: Histogram,
    /// Bytes of Parquet that epochs wrote.
    pub stored_bytes: Counter,
    /// Rows that can be queried but are not in a durable epoch yet.
    pub tail_rows: Gauge,
    pub graph_entities: Gauge,
    pub graph_edges: Gauge,
    pub graph_detections: Gauge,
    pub graph_incidents: Gauge,
    pub graph_bytes: Gauge,
    pub graph_evicted: Gauge,
    /// Times that the SQL server had to be started anew.
    pub sql_restarts: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::default(),
            sources: Names::default(),
            partitions: Names::default(),
            plugins: Names::default(),
            layers: Names::default(),
            sinks: Names::default(),
            lookups: Names::default(),
            exceptions: Names::default(),
            records: Family::default(),
            bytes: Family::default(),
            events: Family::default(),
            rejected: Family::default(),
            duplicates: Family::default(),
            future: Family::default(),
            partition_records: Family::default(),
            partition_bytes: Family::default(),
            partition_lag: Family::default(),
            detections: Family::default(),
            relations: Family::default(),
            batches: Family::default(),
            rows: Family::default(),
            traps: Family::default(),
            rows_late: Family::default(),
            rows_early: Family::default(),
            rows_unseen: Family::default(),
            rows_skipped: Family::default(),
            states_lost: Family::default(),
            keys_evicted: Family::default(),
            plugin_retries: Family::default(),
            log_dropped: Family::default(),
            incidents: Family::default(),
            watermark_lag: Family::default(),
            forward_delivered: Family::default(),
            forward_retries: Family::default(),
            forward_dead_letters: Family::default(),
            forward_lag: Family::default(),
            lookup_rows: Family::default(),
            lookup_loaded: Family::default(),
            lookup_loads: Family::default(),
            lookup_failures: Family::default(),
            exception_hits: Family::default(),
            revisions: Counter::default(),
            epochs: Counter::default(),
            epoch_seconds: Histogram::new(EPOCH_SECONDS),
            stored_bytes: Counter::default(),
            tail_rows: Gauge::default(),
            graph_entities: Gauge::default(),
            graph_edges: Gauge::default(),
            graph_detections: Gauge::default(),
            graph_incidents: Gauge::default(),
            graph_bytes: Gauge::default(),
            graph_evicted: Gauge::default(),
            sql_restarts: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let mut registry = Registry::with_prefix("sentrail");
        // Counters get `_total` when they are written out.
        registry.register(
            "records",
            "Records read: as many as events, rejected and duplicates together",
            self.records.clone(),
        );
        registry.register_with_unit("read", "Bytes of records read", Unit::Bytes, self.bytes.clone());
        registry.register("events", "Records that became events", self.events.clone());
        registry.register("rejected", "Records that could not be decoded", self.rejected.clone());
        registry.register("duplicates", "Records seen before", self.duplicates.clone());
        registry.register(
            "future_events",
            "Events dated ahead of their arrival",
            self.future.clone(),
        );
        registry.register(
            "source_records",
            "Records read from a partition",
            self.partition_records.clone(),
        );
        registry.register_with_unit(
            "source_read",
            "Bytes of records read from a partition",
            Unit::Bytes,
            self.partition_bytes.clone(),
        );
        registry.register(
            "source_lag",
            "Records of a partition that are there and not read yet",
            self.partition_lag.clone(),
        );
        registry.register("detections", "Detections by plugin", self.detections.clone());
        registry.register("relations", "Relations by plugin", self.relations.clone());
        for (name, help, family) in [
            ("plugin_batches", "Batches that a plugin was called with", &self.batches),
            ("plugin_rows", "Rows that a plugin was called with", &self.rows),
            ("plugin_traps", "Batches that a plugin failed on", &self.traps),
            ("plugin_rows_late", "Rows later than the watermark", &self.rows_late),
            ("plugin_rows_early", "Rows shown before the watermark", &self.rows_early),
            (
                "plugin_rows_unseen",
                "Rows that passed in quarantine",
                &self.rows_unseen,
            ),
            (
                "plugin_rows_skipped",
                "Rows that cannot be digested",
                &self.rows_skipped,
            ),
            ("plugin_states_lost", "Saved states not restored", &self.states_lost),
            (
                "plugin_keys_evicted",
                "Keys a plugin forgot before their time",
                &self.keys_evicted,
            ),
            ("plugin_retries", "Ends of a quarantine", &self.plugin_retries),
            (
                "plugin_log_dropped",
                "Log lines beyond the allowance",
                &self.log_dropped,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register("incidents", "Incidents by status", self.incidents.clone());
        registry.register(
            "incident_revisions",
            "Incident revisions journaled",
            self.revisions.clone(),
        );
        registry.register_with_unit(
            "watermark_lag",
            "How far the event time that is complete is behind the clock",
            Unit::Seconds,
            self.watermark_lag.clone(),
        );
        registry.register("epochs", "Epochs made durable", self.epochs.clone());
        registry.register_with_unit(
            "epoch",
            "Time to make an epoch durable",
            Unit::Seconds,
            self.epoch_seconds.clone(),
        );
        registry.register_with_unit(
            "stored",
            "Bytes written to the tables",
            Unit::Bytes,
            self.stored_bytes.clone(),
        );
        for (name, help, gauge) in [
            ("graph_entities", "Entities in memory", &self.graph_entities),
            ("graph_edges", "Relations between them, by the hour", &self.graph_edges),
            ("graph_detections", "Detections in memory", &self.graph_detections),
            (
                "graph_incidents",
                "Incidents that can still change",
                &self.graph_incidents,
            ),
            ("graph_bytes", "Memory that the graph takes, roughly", &self.graph_bytes),
            (
                "graph_evicted",
                "Relations and detections let go of too early, for want of memory",
                &self.graph_evicted,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register("tail_rows", "Rows not in a durable epoch yet", self.tail_rows.clone());
        registry.register(
            "sql_restarts",
            "Times the SQL server ended and was started anew",
            self.sql_restarts.clone(),
        );
        registry.register("forward_delivered", "Alerts delivered", self.forward_delivered.clone());
        registry.register(
            "forward_retries",
            "Deliveries that failed and are repeated",
            self.forward_retries.clone(),
        );
        registry.register(
            "forward_dead_letters",
            "Alerts a receiver refused",
            self.forward_dead_letters.clone(),
        );
        registry.register(
            "forward_lag_alerts",
            "Alerts a sink has not passed yet",
            self.forward_lag.clone(),
        );
        registry.register("lookup_rows", "Rows of a lookup's table", self.lookup_rows.clone());
        registry.register_with_unit(
            "lookup_loaded_timestamp",
            "When a lookup's table was read",
            Unit::Seconds,
            self.lookup_loaded.clone(),
        );
        registry.register("lookup_loads", "Tables that a lookup read", self.lookup_loads.clone());
        registry.register(
            "lookup_failures",
            "Times that a lookup's table could not be read",
            self.lookup_failures.clone(),
        );
        registry.register(
            "exception_hits",
            "Detections that an exception took away",
            self.exception_hits.clone(),
        );
        self.registry = registry;
    }

    /// The counters of the configured source `name`.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let label = SourceLabel {
            source: self.sources.bounded(name),
        };
        SourceMetrics {
            records: self.records.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            events: self.events.get_or_create_owned(&label),
            rejected: self.rejected.get_or_create_owned(&label),
            duplicates: self.duplicates.get_or_create_owned(&label),
            future: self.future.get_or_create_owned(&label),
        }
    }

    /// Counts what was read from a partition.
    pub fn read_partition(&self, input: &InputId, records: u64, bytes: u64) {
        let label = self.partition(input);
        self.partition_records.get_or_create(&label).inc_by(records);
        self.partition_bytes.get_or_create(&label).inc_by(bytes);
    }

    /// Shows how many records of the partitions wait to be read; a partition that is not among them any more is not shown.
    pub fn set_source_lags(&self, lags: &BTreeMap<InputId, u64>) {
        let mut shown: BTreeMap<PartitionLabel, u64> = BTreeMap::new();
        for (input, lag) in lags {
            *shown.entry(self.partition(input)).or_default() += lag;
        }
        for (label, lag) in &shown {
            self.partition_lag.get_or_create(label).set(signed(*lag));
        }
        for name in self.partitions.all() {
            let label = partition_label(&name);
            if !shown.contains_key(&label) {
                self.partition_lag.remove(&label);
            }
        }
    }

    fn partition(&self, input: &InputId) -> PartitionLabel {
        partition_label(&self.partitions.bounded(&input.0))
    }

    /// The counters of the plugin `id`. Relations and detections that mappings state have the id `mapping`.
    pub fn plugin(&self, id: &str) -> PluginMetrics {
        let label = PluginLabel {
            plugin: self.plugins.bounded(id),
        };
        PluginMetrics {
            detections: self.detections.get_or_create_owned(&label),
            relations: self.relations.get_or_create_owned(&label),
        }
    }

    /// The detections that the exception `name` took away.
    pub fn exception_hits(&self, name: &str) -> Counter {
        self.exception_hits.get_or_create_owned(&ExceptionLabel {
            exception: self.exceptions.bounded(name),
        })
    }

    /// Shows a plugin's absolute figures. They start at 0 with the process, so the counters never run backwards.
    pub fn set_plugin(&self, id: &str, figures: PluginFigures) {
        let label = PluginLabel {
            plugin: self.plugins.bounded(id),
        };
        for (family, value) in [
            (&self.batches, figures.batches),
            (&self.rows, figures.rows),
            (&self.relations, figures.relations),
            (&self.traps, figures.traps),
            (&self.rows_late, figures.rows_late),
            (&self.rows_early, figures.rows_early),
            (&self.rows_unseen, figures.rows_unseen),
            (&self.rows_skipped, figures.rows_skipped),
            (&self.states_lost, figures.states_lost),
            (&self.keys_evicted, figures.keys_evicted),
            (&self.plugin_retries, figures.retries),
            (&self.log_dropped, figures.log_dropped),
        ] {
            family.get_or_create(&label).inner().store(value, Ordering::Relaxed);
        }
    }

    pub fn set_incidents(&self, status: &'static str, count: u64) {
        self.incidents
            .get_or_create(&StatusLabel {
                status: status.to_owned(),
            })
            .set(signed(count));
    }

    /// Shows how far the layers' watermarks are behind the clock; a layer that has none at present is not shown.
    pub fn set_watermark_lags(&self, seconds: &BTreeMap<String, f64>) {
        let label = |layer: &str| LayerLabel {
            layer: layer.to_owned(),
        };
        for (layer, seconds) in seconds {
            self.watermark_lag
                .get_or_create(&label(&self.layers.bounded(layer)))
                .set(*seconds);
        }
        for layer in self.layers.all().iter().filter(|layer| !seconds.contains_key(*layer)) {
            self.watermark_lag.remove(&label(layer));
        }
    }

    /// Shows a sink's absolute figures. They start at 0 with the process, so the counters never run backwards.
    pub fn set_sink(&self, name: &str, figures: SinkFigures) {
        let label = SinkLabel {
            sink: self.sinks.bounded(name),
        };
        let set = |family: &BySink, value| {
            family.get_or_create(&label).inner().store(value, Ordering::Relaxed);
        };
        set(&self.forward_delivered, figures.delivered);
        set(&self.forward_retries, figures.retries);
        set(&self.forward_dead_letters, figures.dead_letters);
        self.forward_lag.get_or_create(&label).set(signed(figures.lag));
    }

    /// Shows a lookup's absolute figures. They start with the process, so the counters never run backwards.
    pub fn set_lookup(&self, name: &str, figures: LookupFigures) {
        let label = LookupLabel {
            lookup: self.lookups.bounded(name),
        };
        self.lookup_rows.get_or_create(&label).set(signed(figures.rows));
        self.lookup_loaded.get_or_create(&label).set(figures.loaded);
        let loads = self.lookup_loads.get_or_create(&label);
        loads.inner().store(figures.loads, Ordering::Relaxed);
        drop(loads);
        let failures = self.lookup_failures.get_or_create(&label);
        failures.inner().store(figures.failures, Ordering::Relaxed);
    }

    /// Everything as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string fails only if a label cannot be formatted; an empty exposition is still a valid one.
            Err(_) => "# EOF\n".to_owned(),
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Of an input's name. What is beyond the bound belongs to no source.
fn partition_label(input: &str) -> PartitionLabel {
    let (source, partition) = input.split_once('|').unwrap_or((input, input));
    PartitionLabel {
        source: source.to_owned(),
        partition: partition.to_owned(),
    }
}

/// The values that one label has had.
#[derive(Default)]
struct Names(Mutex<BTreeSet<String>>);

impl Names {
    fn all(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `name`, or `other` when it would be one too many.
    fn bounded(&self, name: &str) -> String {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contains(name) {
            if held.len() >= LABELS_MAX {
                return "other".to_owned();
            }
            held.insert(name.to_owned());
        }
        name.to_owned()
    }
}
