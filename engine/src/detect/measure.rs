//! What a guest's calls take, without what the engine does around them. For benchmarks.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;

use super::error::CallError;
use super::layout::{Copied, LaidBatch};
use super::load::{LookedInto, look_into};
use super::manifest::PluginManifest;
use super::order::{CALL_ROWS_MAX, Key, lay};
use super::saved::SavedState;
use super::select;
use super::wasm::{Evidence, Instance};
use crate::config::PluginSettings;

/// An instance that is at work, and the batches that it is called with, laid out once.
pub struct Measured {
    instance: Instance,
    name: String,
    /// Its state before it saw anything.
    fresh: SavedState,
    manifest: PluginManifest,
    batches: Vec<LaidBatch>,
}

/// One pass over all batches, from a fresh state on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Wall time inside the calls, crossing included.
    pub nanos: u64,
    pub detections: u64,
    /// Linear memory of the instance at the end.
    pub memory_bytes: u64,
}

impl Measured {
    /// The plugin in `path` and those of `events`, event columns in the order in which they are to be shown, that it wants to see.
    pub fn new(path: &Path, settings: &PluginSettings, events: &RecordBatch) -> Result<Measured, String> {
        let LookedInto {
            config,
            guest,
            manifest,
            ..
        } = look_into(path, settings)?;
        let key = Key::new(&manifest, events);
        let rows = select(events, &manifest);
        let batches = rows
            .chunks(CALL_ROWS_MAX)
            .map(|rows| lay(&manifest, events, &key, rows.to_vec(), false))
            .flat_map(|batch| batch.pieces(settings.memory_bytes_max / 4))
            .collect();
        let name = manifest.id.clone();
        let failed = |error: CallError| format!("{name} failed: {error}");
        let mut instance = guest.instantiate(name.as_str().into()).map_err(failed)?;
        instance.configure(&config).map_err(failed)?;
        let fresh = SavedState {
            version: manifest.state_version,
            bytes: instance.save().map_err(failed)?.into(),
        };
        let mut measured = Measured {
            instance,
            name,
            fresh,
            manifest,
            batches,
        };
        // Its memory is had from the system once in an instance's life, and is not what a call takes.
        measured.pass()?;
        Ok(measured)
    }

    pub fn manifest(&self) -> &PluginManifest {
        &self.manifest
    }

    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.rows() as u64).sum()
    }

    /// Those of `events` that it is shown, in their order.
    pub fn wanted(&self, events: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = select(events, &self.manifest);
        take_record_batch(events, &UInt32Array::from(rows.to_vec()))
    }

    /// What the guest takes in, in bytes.
    pub fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.bytes() as u64).sum()
    }

    /// Shows every batch to the instance, which has forgotten what it saw before.
    pub fn pass(&mut self) -> Result<Pass, String> {
        let failed = |error: CallError| format!("{} failed: {error}", self.name);
        self.instance.restore(&self.fresh).map_err(failed)?;
        let mut pass = Pass::default();
        for batch in &self.batches {
            let began = Instant::now();
            let found = self.instance.detect(batch).map_err(failed)?;
            pass.nanos += began.elapsed().as_nanos() as u64;
            let shown = found.detections.iter();
            pass.detections += shown
                .filter(|found| matches!(found.shown_by, Evidence::Rows(_)))
                .count() as u64;
        }
        pass.memory_bytes = self.instance.memory_bytes() as u64;
        Ok(pass)
    }

    /// Nanoseconds that copying the same cells once takes.
    pub fn copy(&self) -> u64 {
        let mut copy = Copied::default();
        if let Some(first) = self.batches.first() {
            first.copy_into(&mut copy);
        }
        let mut nanos = 0;
        for batch in &self.batches {
            let began = Instant::now();
            batch.copy_into(black_box(&mut copy));
            nanos += began.elapsed().as_nanos() as u64;
        }
        nanos
    }
}
