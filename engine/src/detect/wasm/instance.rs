//! One instance: its store with what it may still use, and the calls into it.

use std::sync::Arc;

use wasmtime::{Error, ResourceLimiter, Store, Trap};

use super::bindings::sentrail::plugin::host::{self, Level};
use super::bindings::sentrail::plugin::types::{self, Batch, Column, TextColumn, Values};
use super::{
    CORE_INSTANCES_MAX, Findings, Limits, MEMORIES_MAX, OUTPUT_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX, bindings,
};
use crate::config::HIDDEN;
use crate::detect::error::{CallError, CallFault, cut};
use crate::detect::layout::{LaidBatch, LaidColumn, LaidText, LaidValues};
use crate::detect::manifest::{PluginManifest, PluginRule};
use crate::detect::saved::SavedState;
use crate::model::{Micros, Severity};

/// Log lines of one call.
const LOG_LINES_MAX: u32 = 16;
/// Longest log line, in bytes.
const LOG_BYTES_MAX: usize = 512;
/// Longest reason that a guest's error gives, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// What the host keeps per instance.
pub(in crate::detect) struct State {
    plugin: Arc<str>,
    memory_bytes_max: usize,
    hide_words: bool,
    /// Linear memory of all its memories, in bytes.
    memory_bytes: usize,
    /// Set when it asked for more than it may have.
    memory_refused: bool,
    log_lines_left: u32,
    log_dropped: u64,
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes + desired.saturating_sub(current);
        if total > self.memory_bytes_max {
            self.memory_refused = true;
            // A refusal the guest sees would only become another trap, without the reason.
            return Err(Error::msg("memory limit"));
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

impl types::Host for State {}

impl host::Host for State {
    fn log(&mut self, level: Level, message: String) {
        if self.log_lines_left == 0 {
            self.log_dropped += 1;
            return;
        }
        self.log_lines_left -= 1;
        let message = if self.hide_words {
            HIDDEN
        } else {
            cut(&message, LOG_BYTES_MAX)
        };
        let plugin = &*self.plugin;
        match level {
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Error => tracing::error!(plugin, "{message}"),
        }
    }
}

/// A live instance. After an error it must be dropped: what it holds cannot be trusted.
pub(in crate::detect) struct Instance {
    store: Store<State>,
    plugin: bindings::Plugin,
    limits: Limits,
}

impl Instance {
    pub(super) fn new(pre: &bindings::PluginPre<State>, limits: Limits, name: Arc<str>) -> Result<Instance, CallError> {
        let state = State {
            plugin: name,
            memory_bytes_max: limits.memory_bytes_max,
            hide_words: limits.hide_words,
            memory_bytes: 0,
            memory_refused: false,
            log_lines_left: LOG_LINES_MAX,
            log_dropped: 0,
        };
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(OUTPUT_BYTES_MAX);
        store.set_epoch_deadline(limits.ticks());
        match pre.instantiate(&mut store) {
            Ok(plugin) => Ok(Instance { store, plugin, limits }),
            Err(error) => Err(fault(&error, store.data(), limits)),
        }
    }

    pub fn configure(&mut self, json: &str) -> Result<PluginManifest, CallError> {
        self.call(|plugin, store| plugin.call_configure(store, json))?
            .map(manifest)
            .map_err(|reason| refused(&reason))
    }

    pub fn detect(&mut self, batch: &LaidBatch) -> Result<Findings, CallError> {
        let columns: Vec<Column<'_>> = batch.columns.iter().map(|column| lower(column)).collect();
        let key = lower_text(&batch.key);
        let batch = Batch {
            rows: batch.rows() as u32,
            time: &batch.time,
            late: &batch.late,
            key,
            columns: &columns,
        };
        self.call(|plugin, store| plugin.call_detect(store, batch))?
            .map_err(|reason| self.refused(&reason))
    }

    pub fn save(&mut self) -> Result<Vec<u8>, CallError> {
        self.call(|plugin, store| plugin.call_save(store))
    }

    pub fn advance(&mut self, time: Micros) -> Result<Findings, CallError> {
        self.call(|plugin, store| plugin.call_advance(store, time))?
            .map_err(|reason| self.refused(&reason))
    }

    pub fn restore(&mut self, state: &SavedState) -> Result<(), CallError> {
        self.call(|plugin, store| plugin.call_restore(store, state.version, &state.bytes))?
            .map_err(|reason| self.refused(&reason))
    }

    /// Linear memory it has, in bytes. It never gives any back.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    /// Log lines dropped since the last call of this.
    pub fn take_log_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.store.data_mut().log_dropped)
    }

    fn refused(&self, reason: &str) -> CallError {
        refused(if self.limits.hide_words { HIDDEN } else { reason })
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&bindings::Plugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        self.store.data_mut().log_lines_left = LOG_LINES_MAX;
        self.store.set_epoch_deadline(self.limits.ticks());
        call(&self.plugin, &mut self.store).map_err(|error| fault(&error, self.store.data(), self.limits))
    }
}

/// The guest itself said no.
fn refused(reason: &str) -> CallError {
    CallError {
        fault: CallFault::Refused,
        reason: cut(reason, REASON_BYTES_MAX).to_owned(),
    }
}

fn fault(error: &Error, state: &State, limits: Limits) -> CallError {
    if state.memory_refused {
        let reason = format!("it wanted more than its {} bytes of memory", limits.memory_bytes_max);
        return CallError {
            fault: CallFault::Memory,
            reason,
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallError {
            fault: CallFault::Time,
            reason: format!("it ran longer than its {} ms a call", limits.call_time_max.as_millis()),
        },
        Some(trap) => CallError {
            fault: CallFault::Trap,
            reason: trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        },
        // The runtime has no type for this one; a test watches its words.
        None if format!("{error:#}").contains("fuel allocated for hostcalls") => CallError {
            fault: CallFault::Output,
            reason: format!("more than {OUTPUT_BYTES_MAX} bytes in one call"),
        },
        None => CallError {
            fault: CallFault::Trap,
            reason: cut(&format!("{error:#}"), REASON_BYTES_MAX).to_owned(),
        },
    }
}

fn lower(column: &LaidColumn) -> Column<'_> {
    let values = match &column.values {
        LaidValues::Text(text) => Values::Text(lower_text(text)),
        LaidValues::TextList { rows, items } => Values::TextList(types::TextListColumn {
            rows,
            items: lower_text(items),
        }),
        LaidValues::Int64(values) => Values::Int64(values),
        LaidValues::Float64(values) => Values::Float64(values),
        LaidValues::Boolean(values) => Values::Boolean(values),
        LaidValues::Timestamp(values) => Values::Timestamp(values),
    };
    Column {
        values,
        valid: &column.valid,
    }
}

fn lower_text(text: &LaidText) -> TextColumn<'_> {
    TextColumn {
        offsets: &text.offsets,
        data: &text.data,
    }
}

fn manifest(found: types::Manifest) -> PluginManifest {
    PluginManifest {
        id: found.id,
        version: found.version,
        description: found.description,
        classes: found.classes,
        layers: found.layers,
        columns: found.columns,
        key: found.key,
        state_version: found.state_version,
        wants_time: found.wants_time,
        rules: found
            .rules
            .into_iter()
            .map(|rule| PluginRule {
                id: rule.id,
                title: rule.title,
                description: rule.description,
                severity: severity(rule.severity),
                techniques: rule.techniques,
            })
            .collect(),
        config_schema: found.config_schema,
    }
}

pub(in crate::detect) fn severity(found: types::Severity) -> Severity {
    match found {
        types::Severity::Informational => Severity::Informational,
        types::Severity::Low => Severity::Low,
        types::Severity::Medium => Severity::Medium,
        types::Severity::High => Severity::High,
        types::Severity::Critical => Severity::Critical,
    }
}
