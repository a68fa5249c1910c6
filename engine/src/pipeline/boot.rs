//! Starting: from the data directory's last durable epoch to running stages.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use tokio::sync::watch;

use super::PipelineError;
use super::commit::Committer;
use super::epoch::EpochRows;
use super::history::{self, Span};
use super::inhibits;
use super::lookups;
use super::run::Engine;
use super::sequences::{self, SequenceReloads};
use super::waiting::{MARK, Waiting};
use super::watermark::{InputTimes, SourceTime};
use crate::config::{self, Settings};
use crate::correlate::Correlator;
use crate::detect::{Detectors, Loader, Reloads};
use crate::forward::{Forwarder, Journal};
use crate::model::{EventBatch, Incident, IncidentStatus, Micros, Severity, Standing, time, time::to_rfc3339};
use crate::normalize::{DEDUPE_IDS_MAX, Normalizer};
use crate::query::{self, QueryError, at};
use crate::redact::{Redactor, Sealer, seal};
use crate::search::Index;
use crate::sequence::Sequences;
use crate::source::{self, Progress};
use crate::source_health::{SourceHealth, Watched};
use crate::store::{self, Recovered, Store, StoreError, Table, Views};
use crate::triage::Inhibits;

/// How far back ids of events are looked up at first; further, until as many are known as a run remembers.
const DEDUPE_SPAN: Micros = 24 * time::HOUR;

/// Key of the state that says up to where the correlator had let go.
pub const WATERMARK: &str = "pipeline/watermark";

pub async fn boot(settings: Settings, stopped: watch::Receiver<bool>) -> Result<Engine, PipelineError> {
    let dir = settings.storage.dir.clone();
    let mut normalizer = Normalizer::new(
        &settings.sources,
        &config::read_formats(settings.formats_dir.as_deref())?,
    )?;
    let (loader, mut detectors) = Loader::start(
        &settings.plugins,
        Some(&dir.join("cache")),
        super::rules::others(&normalizer),
    )?;
    // A file that is missing or broken is told before anything else is touched.
    let declared = SequenceReloads::load(&settings.sequences)?;
    let tables = lookups::read(&settings.lookups).await?;
    let (store, mut recovered) = Store::open(&dir).await?;
    let redactor = Redactor::new(settings.redact.as_ref());
    let sealer = settings
        .redact
        .as_ref()
        .map(|redact| Arc::new(Sealer::new(redact.key.reveal())));
    unseal(&mut recovered.state, sealer.as_deref())?;
    let mut waiting = Waiting::default();
    let views = store.views();
    let mut journal = Journal::open(&dir.join("journal"))?;
    let mut correlator = Correlator::new(redactor.correlate(&settings.correlate));
    let mut epoch = EpochRows::new(recovered.epoch + 1);
    let mut index = Index::open_or_create(&dir.join("index"))?;

    detectors.restore(&recovered.state, &recovered.plugins);
    let session = query::session(Views::fixed(views.current()), None, None).await?;
    let revisions = remember_incidents(&session, &mut journal).await?;
    // What was journaled after the last durable epoch may have left already: the tables must come to know it.
    let unstored = journal.unstored(|id, revision| revisions.get(id).is_some_and(|newest| *newest >= revision))?;
    epoch.add_incidents(&unstored, now())?;
    let inhibits = Inhibits::new(detectors.rules().settings().inhibits.clone());
    let mut triage = super::desk::restore(&session, &unstored, inhibits).await?;
    if index.committed_epoch() != Some(recovered.epoch) {
        index.clear()?;
        index.apply(&incidents(&session, "true").await?)?;
    }
    index.apply(&unstored)?;
    index.commit(recovered.epoch)?;
    if recovered.epoch > 0 {
        let watermark = recovered
            .state
            .get(WATERMARK)
            .and_then(|bytes| bytes.as_ref().try_into().ok());
        let watermark = watermark.map(Micros::from_le_bytes);
        if !triage.inhibits.settings().is_empty() {
            let newest = newest_time(&session).await?.unwrap_or(Micros::MIN);
            let complete = watermark.map_or(newest, |watermark| watermark.min(newest));
            let oldest = inhibits::oldest(&settings.correlate, complete);
            inhibits::add_stored(&session, &mut triage.inhibits, (oldest, Micros::MAX)).await?;
            inhibits::remember_stored(&session, &mut triage.inhibits, &unstored, oldest).await?;
        }
        resume(
            &session,
            &mut normalizer,
            &mut detectors,
            &mut correlator,
            &settings,
            watermark,
            Kept {
                recovered: &recovered,
                waiting: &mut waiting,
            },
        )
        .await?;
    }
    if let Some(span) = settings.plugins.warm_up {
        warm_up(&session, &mut detectors, &recovered, span).await?;
    }
    // The journal is ahead of the tables: of two revisions of an incident the later one, which comes last, counts.
    correlator.resume(Vec::new(), Vec::new(), unstored);
    drop(session);
    let lookups = lookups::start(tables, &settings.lookups, &views).await?;

    let sources: HashMap<Arc<str>, SourceTime> = settings
        .sources
        .iter()
        .map(|source| {
            let layers = normalizer.layers(&source.name);
            let layers = layers.iter().map(|layer| &**layer);
            (
                source.name.as_str().into(),
                SourceTime::new(normalizer.lateness(&source.name), layers),
            )
        })
        .collect();
    let mut source_health = SourceHealth::new(
        settings.sources.iter().map(|source| Watched {
            name: source.name.clone(),
            tenant: source.tenant.clone(),
            layers: normalizer
                .layers(&source.name)
                .iter()
                .map(ToString::to_string)
                .collect(),
            lateness: normalizer.lateness(&source.name),
            silent_after: source.is_live().then_some(source.silent_after),
        }),
        now(),
    );
    source_health.restore(&recovered.state);
    let (sequence_set, sequence_reloads) = declared;
    let mut sequences = Sequences::new(sequence_set, sequences::heard(&detectors));
    sequences.restore(&recovered.state);
    // A port that is taken is told before anything is read or sent.
    let serve = super::servers::start(&settings.serve, &dir, &views).await?;
    let forwarder = Forwarder::start(&settings.forward, &dir.join("forward"), journal.reader()?)?;
    let progress = Arc::new(Progress::default());
    let (sources_handle, events) = source::start(
        &settings.sources,
        &recovered.offsets,
        &dir.join("spool"),
        sealer.clone(),
        &|source| source::Framing {
            wrappers: normalizer.wrappers(&source.name),
            row_fields: normalizer.row_fields(&source.name),
        },
        progress.clone(),
    )?;
    Ok(Engine::new(super::run::Parts {
        times: InputTimes::new(sources),
        source_health,
        sequences,
        sequence_reloads,
        committer: Committer::start(store),
        settings,
        normalizer,
        detectors,
        reloads: Reloads::start(loader),
        correlator,
        journal,
        index,
        epoch,
        views,
        forwarder,
        sources: sources_handle,
        events,
        progress,
        stopped,
        recovered_epoch: recovered.epoch,
        offsets: recovered.offsets,
        serve,
        redactor,
        sealer,
        waiting,
        lookups,
        triage,
    }))
}

/// What the last run kept that is not in the tables.
struct Kept<'a> {
    recovered: &'a Recovered,
    waiting: &'a mut Waiting,
}

fn unseal(state: &mut BTreeMap<String, Bytes>, sealer: Option<&Sealer>) -> Result<(), PipelineError> {
    for (name, value) in state {
        *value = seal::open(sealer, name, value.clone()).map_err(|error| PipelineError::Sealed {
            name: name.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Microseconds now.
pub fn now() -> Micros {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_micros() as Micros
}

/// What every incident's newest revision is made of, without the repeats that the name `incident_evidence` shows.
const FOLDED_EVIDENCE: &str = "(SELECT e.* FROM stored.incident_evidence e JOIN incidents newest \
    ON e.incident_id = newest.incident_id AND e.revision = newest.revision)";

/// The incidents whose id is in the stored revisions, each in its newest one; `condition` is over the columns of `incidents`.
pub async fn incidents(session: &SessionContext, condition: &str) -> Result<Vec<Incident>, PipelineError> {
    let of = |table: Table| {
        let sql = format!(
            "SELECT {} FROM {} WHERE incident_id IN (SELECT incident_id FROM incidents WHERE {condition})",
            columns(table),
            match table {
                Table::IncidentRevisions => "incidents",
                Table::IncidentEvidence => FOLDED_EVIDENCE,
                _ => table.name(),
            }
        );
        async move { query::sql(session, &sql).await }
    };
    let revisions = of(Table::IncidentRevisions).await?;
    let (path, evidence) = (of(Table::IncidentPath).await?, of(Table::IncidentEvidence).await?);
    Ok(store::incidents_from_batches(&revisions, &path, &evidence)?)
}

/// Tells the journal of every revision that the tables hold; the newest of each incident.
pub(super) async fn remember_incidents(
    session: &SessionContext,
    journal: &mut Journal,
) -> Result<HashMap<String, u32>, PipelineError> {
    let mut newest = HashMap::new();
    let sql = "SELECT i.incident_id, i.content_id, i.status, i.severity, i.revision, t.told, coalesce(i.silenced_by, i.inhibited_by) IS NOT NULL AS silenced \
               FROM incidents i JOIN (SELECT incident_id, bool_or(coalesce(forwarded, true)) AS told FROM incident_revisions \
               GROUP BY incident_id) t ON i.incident_id = t.incident_id";
    let mut batches = stream(session, sql).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(QueryError::from)?;
        let texts = |column: usize| cast(batch.column(column), &DataType::Utf8View);
        let (ids, contents, statuses, severities) = (texts(0)?, texts(1)?, texts(2)?, texts(3)?);
        let text = |column: &ArrayRef, row| column.as_string_view().value(row).to_owned();
        let revisions = batch.column(4).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (id, status, severity) = (text(&ids, row), text(&statuses, row), text(&severities, row));
            let revision = u32::try_from(revisions.value(row)).unwrap_or(u32::MAX);
            let (Some(status), Ok(severity)) = (IncidentStatus::parse(&status), severity.parse::<Severity>()) else {
                return Err(PipelineError::Store(StoreError::Rows {
                    table: Table::IncidentRevisions,
                    reason: format!(
                        "incident {id} has status `{status}` and severity `{severity}`, which this version does not know"
                    ),
                }));
            };
            let standing = Standing {
                status,
                severity,
                told: batch.column(5).as_boolean().value(row),
                silenced: batch.column(6).as_boolean().value(row),
            };
            journal.remember(&id, revision, &text(&contents, row), standing);
            newest.insert(id, revision);
        }
    }
    Ok(newest)
}

pub fn columns(table: Table) -> String {
    let names: Vec<String> = table
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    names.join(", ")
}

/// Gives every stage back what it held when the last epoch was sealed, from the tables.
async fn resume(
    session: &SessionContext,
    normalizer: &mut Normalizer,
    detectors: &mut Detectors,
    correlator: &mut Correlator,
    settings: &Settings,
    watermark: Option<Micros>,
    kept: Kept<'_>,
) -> Result<(), PipelineError> {
    let Some(newest) = newest_time(session).await? else {
        // No event is durable yet, but incidents that the journal knew before may be.
        correlator.resume(Vec::new(), Vec::new(), incidents(session, "status = 'open'").await?);
        return Ok(());
    };
    tracing::info!(
        newest_event = to_rfc3339(newest),
        "resuming from the last durable epoch"
    );

    // What the last run had let go of; a source that lags behind the others holds it back.
    let complete = watermark.map_or(newest, |watermark| watermark.min(newest));

    let ids = format!(
        "SELECT event_id, raw_hash, time FROM events WHERE time >= {} AND format IN ({})",
        at(remembered_since(session, complete).await?),
        formats_with_ids(normalizer)
    );
    let mut batches = stream(session, &ids).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(QueryError::from)?;
        let ids = cast(batch.column(0), &DataType::Utf8View)?;
        let (ids, times) = (
            ids.as_string_view(),
            batch.column(2).as_primitive::<TimestampMicrosecondType>(),
        );
        let hashes = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            normalizer.remember(ids.value(row), hashes.value(row), times.value(row));
        }
    }

    let in_tables = !kept.recovered.state.contains_key(MARK);
    let sealed = kept.waiting.restore(&kept.recovered.state);
    for events in sealed? {
        detectors.refeed(&events);
    }
    if let Some(from) = detectors.refeed_from().filter(|_| in_tables) {
        let sql = format!(
            "SELECT {} FROM events WHERE time > {}",
            columns(Table::Events),
            at(from)
        );
        let mut batches = stream(session, &sql).await?;
        let schema = Table::Events.schema();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(QueryError::from)?;
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns
                .map(|(column, field)| cast(column, field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            let batch = RecordBatch::try_new(schema.clone(), columns).map_err(arrow_error)?;
            let events = EventBatch::new(batch);
            detectors.refeed(&events);
            if settings.redact.is_some() {
                kept.waiting.add(&events);
            }
        }
    }

    let start = Correlator::retention_start(&settings.correlate, complete);
    let oldest = oldest_member(session, start).await?;
    let relations_start = at(Correlator::relations_start(&settings.correlate, oldest));
    let start = at(start);
    // Members of incidents that are still young may be older than the retention itself.
    let young = format!("status = 'open' AND last_time >= {start}");
    let detections = format!(
        "SELECT {} FROM stored.detections WHERE time >= {start} OR detection_id IN (SELECT e.detection_id FROM incident_evidence e \
         JOIN incidents i ON e.incident_id = i.incident_id WHERE {young})",
        columns(Table::Detections)
    );
    let relations = format!(
        "SELECT {} FROM stored.relation_parts WHERE bucket >= {relations_start}",
        columns(Table::RelationParts)
    );
    history::learn(session, correlator, oldest, complete).await?;
    correlator.resume(
        store::detections_from_batches(&query::sql(session, &detections).await?)?,
        store::relations_from_batches(&query::sql(session, &relations).await?)?,
        incidents(session, &young).await?,
    );
    Ok(())
}

/// Shows plugins that keep state and are new in this data directory what is stored of the last `span`, so that they know what is
/// usual. What they find in it is old, and dropped.
async fn warm_up(
    session: &SessionContext,
    detectors: &mut Detectors,
    recovered: &Recovered,
    span: Micros,
) -> Result<(), PipelineError> {
    let mut new = detectors.take_new(&recovered.state, &recovered.plugins);
    let newest = newest_time(session).await?.filter(|_| !new.manifests().is_empty());
    let mut note = String::new();
    if let Some(newest) = newest {
        let plugins: Vec<&str> = new.manifests().iter().map(|manifest| manifest.id.as_str()).collect();
        let plugins = plugins.join(", ");
        let from = newest.saturating_sub(span);
        tracing::info!(
            plugins,
            from = to_rfc3339(from),
            "new plugins are shown what is stored before anything is read"
        );
        let began = Instant::now();
        let span = Span {
            from: Some(from),
            to: None,
        };
        let shown = history::replay(session, &mut new, span, |_| Ok::<(), PipelineError>(())).await?;
        if let Some((first, last)) = shown.first.zip(shown.last) {
            note = format!(
                "warmed up with {} stored events, from {} to {}",
                shown.events,
                to_rfc3339(first),
                to_rfc3339(last)
            );
            tracing::info!(plugins, seconds = began.elapsed().as_secs_f64(), "{note}");
        }
    }
    detectors.put_back(new, &note);
    Ok(())
}

/// The time from which on the tables hold as many ids as a run remembers, or all.
async fn remembered_since(session: &SessionContext, newest: Micros) -> Result<Micros, PipelineError> {
    let oldest = time_of(&query::sql(session, "SELECT min(time) FROM events").await?).unwrap_or(newest);
    let mut span = DEDUPE_SPAN;
    loop {
        let from = newest.saturating_sub(span);
        let count = format!("SELECT count(*) FROM events WHERE time >= {}", at(from));
        let count = query::sql(session, &count).await?;
        let count = count
            .first()
            .map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        if from <= oldest || usize::try_from(count).is_ok_and(|count| count >= DEDUPE_IDS_MAX) {
            return Ok(from);
        }
        span = span.saturating_mul(4);
    }
}

/// Names of the formats whose records have ids of their own, as SQL: events of the others are told apart by their places.
fn formats_with_ids(normalizer: &Normalizer) -> String {
    let formats = normalizer.formats().into_iter().filter(|format| format.own_id);
    let names: Vec<String> = formats
        .map(|format| format!("'{}'", format.name.replace('\'', "''")))
        .collect();
    names.join(", ")
}

pub fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, PipelineError> {
    arrow::compute::cast(column, to).map_err(arrow_error)
}

pub fn arrow_error(error: ArrowError) -> PipelineError {
    QueryError::from(DataFusionError::from(error)).into()
}

pub async fn stream(session: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream, PipelineError> {
    let frame = session.sql(sql).await.map_err(QueryError::from)?;
    Ok(frame.execute_stream().await.map_err(QueryError::from)?)
}

/// The time of the oldest finding that an incident which can still grow is made of, at most `start`.
async fn oldest_member(session: &SessionContext, start: Micros) -> Result<Micros, PipelineError> {
    let sql = format!(
        "SELECT min(first_time) FROM incidents WHERE status = 'open' AND last_time >= {}",
        at(start)
    );
    Ok(time_of(&query::sql(session, &sql).await?).map_or(start, |oldest| oldest.min(start)))
}

/// The one time that a query gave.
fn time_of(batches: &[RecordBatch]) -> Option<Micros> {
    let batch = batches.first().filter(|batch| batch.num_rows() > 0)?;
    let column = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>()?;
    column.is_valid(0).then(|| column.value(0))
}

/// The newest event time that is no flagged guess; `None` without events.
pub async fn newest_time(session: &SessionContext) -> Result<Option<Micros>, PipelineError> {
    let sql = "SELECT max(time) FROM events WHERE flags IS NULL OR NOT (array_has(flags, 'future_time') OR array_has(flags, 'no_time'))";
    Ok(time_of(&query::sql(session, sql).await?))
}
