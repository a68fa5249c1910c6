//! What a plugin that keeps state needs around its runner: rows in order, and the right rows in the right shard.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::DetectOutput;
use super::findings::needed_columns;
use super::layout::{LaidBatch, LaidColumn, LaidText, column, text_at, times};
use super::manifest::PluginManifest;
use super::reorder::{ReorderBuffer, WAITING_BYTES_MAX, order};
use super::runner::Runner;
use crate::model::event::is_future;
use crate::model::{EventSchema, Micros, time};

/// Shards of every plugin that keeps state. Part of what is saved: changing it loses the states.
pub const SHARDS: usize = 16;
/// Rows of one call.
pub const CALL_ROWS_MAX: usize = 8192;

/// What parts the tenant, whose name never holds it, from the rest of a routing key.
pub(super) const KEY_SEPARATOR: char = '\0';
/// Event time has to have passed by this much before a plugin is told again. What is found does not depend on it.
const TICK_STEP: Micros = time::SECOND;

/// How far a plugin has come, as it is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Everything up to this event time has been released; what comes now and is not newer is late. `None`: nothing yet.
    pub released: Option<Micros>,
    /// Least event time that waits; `None`: nothing waits.
    pub waiting: Option<Micros>,
}

impl Progress {
    /// Rows newer than this waited when this was saved.
    pub fn refeed_after(&self) -> Option<Micros> {
        let waiting = self.waiting?.saturating_sub(1);
        Some(self.released.map_or(waiting, |released| released.max(waiting)))
    }
}

pub(super) struct Ordered {
    /// Event columns that are kept while a row waits, in the schema's order.
    columns: Vec<usize>,
    waiting: ReorderBuffer,
    released: Option<Micros>,
    /// What was saved last.
    saved: Option<Progress>,
    /// The time that the plugin was told last, where it wants to know.
    told: Option<Micros>,
    /// Rows newer than this are to be fed again after a start.
    pub refeed_after: Option<Micros>,
}

impl Ordered {
    pub fn new(manifest: &PluginManifest) -> Ordered {
        let schema = EventSchema::get();
        let own = manifest
            .columns
            .iter()
            .chain(&manifest.key)
            .filter_map(|name| schema.index_of(name));
        let needed = needed_columns().filter_map(|name| schema.index_of(name));
        let mut columns: Vec<usize> = own.chain(needed).collect();
        columns.sort_unstable();
        columns.dedup();
        Ordered {
            columns,
            waiting: ReorderBuffer::new(WAITING_BYTES_MAX),
            released: None,
            saved: None,
            told: None,
            refeed_after: None,
        }
    }

    /// Goes on where the last run stopped. `refeed`: the plugin was part of that run, so that what waited is known and little.
    pub fn restore(&mut self, progress: Progress, refeed: bool) {
        self.released = progress.released;
        self.refeed_after = progress.refeed_after().filter(|_| refeed);
        self.saved = Some(progress);
    }

    /// Whether the rows that wait in `other` have all that this one keeps of a row.
    pub fn needs_no_more_than(&self, other: &Ordered) -> bool {
        self.columns.iter().all(|column| other.columns.contains(column))
    }

    /// Goes on where `before` stopped, with nothing waiting.
    pub fn go_on_from(&mut self, before: &Ordered) {
        self.released = before.released;
        self.saved = before.saved;
        self.told = before.told;
    }

    /// Shows what waits at once, before the watermark: it is counted as early.
    pub fn release_all(&mut self, runner: &mut Runner, output: &mut DetectOutput) -> Result<(), ArrowError> {
        runner.counters.rows_early += self.waiting.rows() as u64;
        match self.waiting.newest() {
            Some(newest) => self.release(runner, newest, output),
            None => Ok(()),
        }
    }

    /// Event columns that are kept while a row waits.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    pub fn progress(&self) -> Progress {
        Progress {
            released: self.released,
            waiting: self.waiting.oldest(),
        }
    }

    /// The progress, when it is another than at the last call.
    pub fn save(&mut self) -> Option<Progress> {
        let now = self.progress();
        let changed = self.saved != Some(now) && now != Progress::default();
        self.saved = Some(now);
        changed.then_some(now)
    }

    /// Rows `rows` of `events` arrive: late ones are processed at once, the others wait.
    pub fn arrive(
        &mut self,
        runner: &mut Runner,
        events: &RecordBatch,
        rows: &[u32],
        output: &mut DetectOutput,
    ) -> Result<(), ArrowError> {
        let batch = take_record_batch(&events.project(&self.columns)?, &UInt32Array::from(rows.to_vec()))?;
        // A time that lies in the future is not to be believed: waiting for it would never end.
        let is_future = is_future(events);
        let future = rows.iter().map(|row| is_future(*row as usize));
        let released = self.released;
        let late: Vec<bool> = times(&batch)
            .iter()
            .zip(future)
            .map(|(time, future)| future || released.is_some_and(|released| *time <= released))
            .collect();
        if late.iter().any(|late| *late) {
            let late = BooleanArray::from(late);
            let now = filter_record_batch(&batch, &late)?;
            runner.counters.rows_late += now.num_rows() as u64;
            let now = take_record_batch(&now, &UInt32Array::from(order(&now)))?;
            route(runner, &now, true, output);
            self.waiting
                .push(filter_record_batch(&batch, &arrow::compute::not(&late)?)?)?;
        } else {
            self.waiting.push(batch)?;
        }
        while self.waiting.is_full()
            && let Some(middle) = self.waiting.median()
        {
            let before = self.waiting.rows();
            self.release(runner, middle, output)?;
            runner.counters.rows_early += (before - self.waiting.rows()) as u64;
        }
        Ok(())
    }

    /// Rows that waited when the state was saved come again. Nothing can be released early here: what goes far beyond the buffer's
    /// bound, which held when they waited, is left out and counted.
    pub fn refeed(&mut self, runner: &mut Runner, events: &RecordBatch, rows: &[u32]) -> Result<(), ArrowError> {
        let Some(after) = self.refeed_after else { return Ok(()) };
        let is_future = is_future(events);
        let times = times(events);
        let rows: Vec<u32> = rows
            .iter()
            .filter(|row| !is_future(**row as usize) && times[**row as usize] > after)
            .copied()
            .collect();
        if self.waiting.bytes() > 2 * WAITING_BYTES_MAX {
            runner.counters.rows_unseen += rows.len() as u64;
            return Ok(());
        }
        self.waiting.push(take_record_batch(
            &events.project(&self.columns)?,
            &UInt32Array::from(rows),
        )?)
    }

    /// Everything up to `watermark` is known to have arrived; `None`: no more is expected at all.
    pub fn advance(
        &mut self,
        runner: &mut Runner,
        watermark: Option<Micros>,
        output: &mut DetectOutput,
    ) -> Result<(), ArrowError> {
        if let Some(through) = watermark.or_else(|| self.waiting.newest())
            && self.released.is_none_or(|released| through > released)
            && through > Micros::MIN
        {
            self.release(runner, through, output)?;
        }
        if let Some(passed) = self.released.filter(|_| runner.manifest.wants_time) {
            // At the end the last part of a step counts, too.
            let step = if watermark.is_none() { 1 } else { TICK_STEP };
            if self.told.is_none_or(|told| passed.saturating_sub(told) >= step) {
                self.told = Some(passed);
                runner.tick(passed, output);
            }
        }
        Ok(())
    }

    /// Drops what waits, for a plugin that will not see it.
    pub fn abandon(&mut self, runner: &mut Runner) {
        runner.counters.rows_unseen += self.waiting.rows() as u64;
        self.released = self.released.max(self.waiting.newest());
        self.waiting.clear();
    }

    fn release(&mut self, runner: &mut Runner, through: Micros, output: &mut DetectOutput) -> Result<(), ArrowError> {
        let due = self.waiting.release(through, CALL_ROWS_MAX)?;
        self.released = self.released.max(Some(through));
        due.iter().for_each(|batch| route(runner, batch, false, output));
        Ok(())
    }
}

/// Shows the rows, which are in order, to the shards that their keys belong to.
fn route(runner: &mut Runner, batch: &RecordBatch, late: bool, output: &mut DetectOutput) {
    let key = Key::new(&runner.manifest, batch);
    let mut shards: Vec<Vec<u32>> = vec![Vec::new(); SHARDS];
    for row in 0..batch.num_rows() {
        let tenant = text_at(batch, "tenant", row).unwrap_or_default();
        shards[shard_of(tenant, key.of(row).unwrap_or_default())].push(row as u32);
    }
    for (shard, rows) in shards.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let laid = lay(&runner.manifest, batch, &key, rows, late);
        runner.feed(shard, laid, batch, output);
    }
}

/// The columns that route a plugin's rows.
pub(super) struct Key<'a>(Vec<&'a StringViewArray>);

impl<'a> Key<'a> {
    pub fn new(manifest: &PluginManifest, batch: &'a RecordBatch) -> Key<'a> {
        let names = manifest.key.iter();
        Key(names.map(|name| column(batch, name).as_string_view()).collect())
    }

    fn of(&self, row: usize) -> Option<&'a str> {
        self.0.iter().find(|key| key.is_valid(row)).map(|key| key.value(row))
    }
}

/// The rows of one call, with the keys that route them where the plugin has any.
pub(super) fn lay(manifest: &PluginManifest, batch: &RecordBatch, key: &Key, rows: Vec<u32>, late: bool) -> LaidBatch {
    let keys = match manifest.is_stateful() {
        true => laid_keys(batch, key, &rows),
        false => LaidText::none(),
    };
    let times = times(batch);
    LaidBatch {
        time: rows.iter().map(|row| times[*row as usize]).collect(),
        late: if late { vec![1; rows.len()] } else { Vec::new() },
        key: keys,
        columns: manifest
            .columns
            .iter()
            .map(|name| Arc::new(LaidColumn::of(column(batch, name), &rows)))
            .collect(),
        source: rows.into(),
    }
}

fn laid_keys(batch: &RecordBatch, key: &Key, rows: &[u32]) -> LaidText {
    let mut keys = LaidText::with_capacity(rows.len());
    for row in rows {
        match key.of(*row as usize) {
            Some(value) => keys.push(&[
                text_at(batch, "tenant", *row as usize).unwrap_or_default(),
                KEY_SEPARATOR.encode_utf8(&mut [0]),
                value,
            ]),
            None => keys.push(&[]),
        };
    }
    keys
}

/// The shard of a key: FNV-1a over tenant, NUL and key, folded. Part of what is saved, as `SHARDS` is.
pub(super) fn shard_of(tenant: &str, key: &str) -> usize {
    let bytes = tenant.bytes().chain([0]).chain(key.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash ^ (hash >> 32)) % SHARDS as u64) as usize
}
