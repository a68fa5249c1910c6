//! Rows to Parquet files that no log names yet, and the add actions that will name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, UInt32Array};
use arrow::compute::{max, max_string_view, min, min_string_view, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat};
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use crate::model::Micros;

use super::disk;
use super::error::StoreError;
use super::tables::Table;

/// Rows of one row group: small enough that a reader can skip within an epoch's file, large enough to compress well.
const ROW_GROUP_ROWS: usize = 65_536;

/// A longer least or greatest value is left out of the statistics: it would only bloat the log.
const STATISTIC_TEXT_MAX: usize = 256;

const DAY: Micros = 24 * crate::model::time::HOUR;
/// 2000-01-01 and 2100-01-01 as days since 1970-01-01. Times beyond are invented, and fall on these days: each day that a log makes
/// up would cost a file in every epoch.
const FIRST_DAY: i64 = 10_957;
const LAST_DAY: i64 = 47_482;

/// Rows of `events` with the derived `date`.
pub(super) fn with_date(batch: &RecordBatch) -> Result<RecordBatch, StoreError> {
    let bad = StoreError::rows(Table::Events);
    let Some(time) = batch
        .column_by_name("time")
        .filter(|time| time.data_type() == &crate::model::event::timestamp())
    else {
        return Err(StoreError::Rows {
            table: Table::Events,
            reason: "the column `time` is missing".to_string(),
        });
    };
    let time = time.as_primitive::<TimestampMicrosecondType>();
    let dates: Date32Array = time
        .values()
        .iter()
        .map(|time| Some(time.div_euclid(DAY).clamp(FIRST_DAY, LAST_DAY) as i32))
        .collect();
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(dates) as ArrayRef);
    RecordBatch::try_new(Table::Events.stored_schema().clone(), columns).map_err(bad)
}

/// Writes one table's rows of an epoch. The files carry the epoch in their names, by which a start knows those that came to nothing.
pub(super) fn write_table(
    dir: &Path,
    table: Table,
    epoch: u64,
    batches: &[RecordBatch],
) -> Result<Vec<Add>, StoreError> {
    let mut partitions: BTreeMap<Partition, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        check_schema(table, batch)?;
        for (partition, rows) in divide(table, batch)? {
            partitions.entry(partition).or_default().push(rows);
        }
    }
    let mut dirs = BTreeSet::new();
    let mut adds = Vec::with_capacity(partitions.len());
    // One after the other: a writer takes a good megabyte, and a log with invented times can make very many partitions.
    for (number, (partition, batches)) in partitions.into_iter().enumerate() {
        let mut file = PartFile::create(dir, table, epoch, number, &partition)?;
        for rows in &batches {
            file.write(rows)?;
        }
        dirs.extend(file.path.ancestors().skip(1).take(3).map(Path::to_path_buf));
        adds.push(file.close(&partition)?);
    }
    for dir in dirs {
        disk::sync_dir(&dir)?;
    }
    Ok(adds)
}

/// Epoch in the name of a file that `write_table` wrote; `None` for anybody else's.
pub(super) fn epoch_of(path: &Path) -> Option<u64> {
    let (epoch, number) = path.file_name()?.to_str()?.strip_suffix(".parquet")?.split_once('-')?;
    (epoch.len() == 20 && number.parse::<u32>().is_ok())
        .then(|| epoch.parse().ok())
        .flatten()
}

fn check_schema(table: Table, batch: &RecordBatch) -> Result<(), StoreError> {
    let (expected, found) = (table.schema(), batch.schema());
    for (expected, found) in expected.fields().iter().zip(found.fields()) {
        if (expected.name(), expected.data_type()) != (found.name(), found.data_type()) {
            let reason = format!(
                "column `{}` of type {} stands where `{}` of type {} belongs",
                found.name(),
                found.data_type(),
                expected.name(),
                expected.data_type()
            );
            return Err(StoreError::Rows { table, reason });
        }
    }
    if expected.fields().len() != found.fields().len() {
        let reason = format!("{} columns, expected {}", found.fields().len(), expected.fields().len());
        return Err(StoreError::Rows { table, reason });
    }
    Ok(())
}

/// Class and day of events; one and the same for every other table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Partition {
    Whole,
    ClassDay(String, i32),
}

impl Partition {
    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Partition::Whole => Vec::new(),
            Partition::ClassDay(class, day) => vec![("class", class.clone()), ("date", date_text(*day))],
        }
    }

    /// Where its files lie. Only for people: a Delta log, not the path, says which partition a file belongs to, so that characters
    /// with a meaning in paths can be replaced.
    fn path(&self) -> String {
        let safe = |value: &str| -> String {
            value
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
                .take(64)
                .collect()
        };
        self.values()
            .iter()
            .map(|(name, value)| format!("{name}={}/", safe(value)))
            .collect()
    }
}

fn date_text(day: i32) -> String {
    let midnight = DateTime::from_timestamp(i64::from(day) * 86_400, 0).unwrap_or_default();
    midnight.format("%Y-%m-%d").to_string()
}

/// Rows by partition, without the partition's columns.
fn divide(table: Table, batch: &RecordBatch) -> Result<Vec<(Partition, RecordBatch)>, StoreError> {
    if table.partition_columns().is_empty() {
        return Ok(vec![(Partition::Whole, batch.clone())]);
    }
    let bad = StoreError::rows(table);
    let dated = with_date(batch)?;
    let missing = || StoreError::Rows {
        table,
        reason: "the column `class` is missing".to_string(),
    };
    let class = dated.column_by_name("class").ok_or_else(missing)?.as_string_view();
    let days = dated
        .column(dated.num_columns() - 1)
        .as_primitive::<arrow::datatypes::Date32Type>();
    let mut rows: BTreeMap<(&str, i32), Vec<u32>> = BTreeMap::new();
    for row in 0..dated.num_rows() {
        // To Delta an empty partition value is a missing one.
        let class = if class.is_valid(row) && !class.value(row).is_empty() {
            class.value(row)
        } else {
            "unknown"
        };
        rows.entry((class, days.value(row))).or_default().push(row as u32);
    }
    let kept: Vec<usize> = (0..dated.num_columns())
        .filter(|i| !is_partition_column(table, dated.schema().field(*i).name()))
        .collect();
    let stripped = dated.project(&kept).map_err(&bad)?;
    let mut parts = Vec::with_capacity(rows.len());
    for ((class, day), rows) in rows {
        let part = if rows.len() == stripped.num_rows() {
            stripped.clone()
        } else {
            take_record_batch(&stripped, &UInt32Array::from(rows)).map_err(&bad)?
        };
        parts.push((Partition::ClassDay(class.to_string(), day), part));
    }
    Ok(parts)
}

fn is_partition_column(table: Table, name: &str) -> bool {
    table.partition_columns().contains(&name)
}

struct PartFile {
    table: Table,
    path: PathBuf,
    /// As the log names it.
    relative: String,
    writer: ArrowWriter<BufWriter<File>>,
    statistics: Statistics,
}

impl PartFile {
    fn create(
        dir: &Path,
        table: Table,
        epoch: u64,
        number: usize,
        partition: &Partition,
    ) -> Result<PartFile, StoreError> {
        let relative = format!("{}{epoch:020}-{number:05}.parquet", partition.path());
        let path = dir.join(&relative);
        if let Some(parent) = path.parent() {
            disk::create_dir(parent)?;
        }
        let file = File::create(&path).map_err(StoreError::io("create", &path))?;
        let fields = table
            .schema()
            .fields()
            .iter()
            .filter(|field| !is_partition_column(table, field.name()));
        let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields.cloned().collect::<Vec<_>>()));
        // The Arrow schema stays out of the file: every reader derives its own from the Delta log.
        let options = ArrowWriterOptions::new()
            .with_properties(writer_properties(table).map_err(StoreError::parquet(&path))?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(BufWriter::new(file), schema, options)
            .map_err(StoreError::parquet(&path))?;
        Ok(PartFile {
            table,
            path,
            relative,
            writer,
            statistics: Statistics::default(),
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        self.statistics.add(self.table, rows);
        self.writer.write(rows).map_err(StoreError::parquet(&self.path))
    }

    fn close(self, partition: &Partition) -> Result<Add, StoreError> {
        // Also writes the footer.
        let buffered = self.writer.into_inner().map_err(StoreError::parquet(&self.path))?;
        let file = buffered
            .into_inner()
            .map_err(|error| StoreError::io("write", &self.path)(error.into_error()))?;
        file.sync_all().map_err(StoreError::io("flush", &self.path))?;
        let size = file.metadata().map_err(StoreError::io("measure", &self.path))?.len();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Add {
            path: self.relative,
            partition_values: partition
                .values()
                .into_iter()
                .map(|(k, v)| (k.to_string(), Some(v)))
                .collect(),
            size: size as i64,
            modification_time: now.as_millis() as i64,
            data_change: true,
            stats: Some(self.statistics.to_json(self.table).to_string()),
            ..Default::default()
        })
    }
}

impl StoreError {
    fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Parquet { path, source }
    }
}

fn writer_properties(table: Table) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        // Level 1: an epoch is written while the next one is collected, on the same few cores.
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_coerce_types(true)
        .set_created_by(format!("sentrail {}", env!("CARGO_PKG_VERSION")));
    for column in table.plain_columns() {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(*column), false)
            .set_column_statistics_enabled(ColumnPath::from(*column), EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// Least and greatest values and nulls per column, in the form Delta logs carry them.
#[derive(Default)]
struct Statistics {
    rows: usize,
    times: BTreeMap<&'static str, (Micros, Micros)>,
    texts: BTreeMap<&'static str, (String, String)>,
    nulls: BTreeMap<&'static str, usize>,
}

impl Statistics {
    fn add(&mut self, table: Table, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        for name in table.statistics_columns() {
            let Some(column) = rows.column_by_name(name) else {
                continue;
            };
            match column.data_type() {
                DataType::Timestamp(..) => {
                    let times = column.as_primitive::<TimestampMicrosecondType>();
                    if let (Some(low), Some(high)) = (min(times), max(times)) {
                        let held = self.times.entry(name).or_insert((low, high));
                        *held = (held.0.min(low), held.1.max(high));
                    }
                }
                DataType::Utf8View => {
                    let texts = column.as_string_view();
                    if let (Some(low), Some(high)) = (min_string_view(texts), max_string_view(texts)) {
                        let held = self
                            .texts
                            .entry(name)
                            .or_insert_with(|| (low.to_string(), high.to_string()));
                        if low < held.0.as_str() {
                            held.0 = low.to_string();
                        }
                        if high > held.1.as_str() {
                            held.1 = high.to_string();
                        }
                    }
                }
                _ => continue,
            }
            *self.nulls.entry(name).or_default() += column.null_count();
        }
    }

    fn to_json(&self, table: Table) -> Value {
        let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
        for name in table.statistics_columns() {
            let bounds = match (self.times.get(name), self.texts.get(name)) {
                (Some((first, last)), _) => time_text(*first).zip(time_text(*last)),
                (_, Some((first, last))) => {
                    (first.len().max(last.len()) <= STATISTIC_TEXT_MAX).then(|| (first.clone(), last.clone()))
                }
                _ => None,
            };
            if let Some((first, last)) = bounds {
                low.insert(name.to_string(), Value::String(first));
                high.insert(name.to_string(), Value::String(last));
            }
            if let Some(count) = self.nulls.get(name) {
                nulls.insert(name.to_string(), json!(count));
            }
        }
        json!({ "numRecords": self.rows, "minValues": low, "maxValues": high, "nullCount": nulls })
    }
}

/// As Delta writes it; `None` outside the calendar.
fn time_text(time: Micros) -> Option<String> {
    let time = DateTime::from_timestamp_micros(time)?;
    let in_range = (1..=9999).contains(&chrono::Datelike::year(&time));
    in_range.then(|| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}
