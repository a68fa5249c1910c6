//! What people do to incidents and silences: within a run, and beside it where none is under way. Either way it is durable, and in the
//! tables, before anybody is told so.

use std::collections::HashMap;
use std::path::Path;

use datafusion::prelude::SessionContext;

use super::PipelineError;
use super::boot::{columns, incidents, newest_time, now, remember_incidents};
use super::epoch::EpochRows;
use super::inhibits;
use super::run::Engine;
use super::waiting::MARK;
use crate::correlate::{self, Correlator};
use crate::forward::Journal;
use crate::model::silence::EVERY_RULE;
use crate::model::{
    Answer, Command, Detection, Entity, Id, Incident, IncidentUpdate, Micros, NewSilence, Refusal, Silence, one_line,
    time,
};
use crate::query;
use crate::redact;
use crate::search::Index;
use crate::serve::Ask;
use crate::store::{self, Store, Table};
use crate::triage::{Facts, Inhibits, SILENCES_MAX, Triage, Updated};

/// Merges that are followed from an incident to the one that has its findings now.
const MERGES_MAX: usize = 64;
/// Detections that are looked up by their ids in one statement.
const IDS_PER_STATEMENT: usize = 1_000;

type Outcome = Result<Answer, Refusal>;

impl Engine {
    pub(super) async fn answer(&mut self, ask: Ask) -> Result<(), PipelineError> {
        let outcome = self.carry_out(ask.command).await?;
        // Who asked may have gone.
        let _ = ask.answer.send(outcome);
        Ok(())
    }

    async fn carry_out(&mut self, command: Command) -> Result<Outcome, PipelineError> {
        if let Err(refusal) = command.check() {
            return Ok(Err(refusal));
        }
        // What the command is about is durable before it is: a restart finds it.
        self.seal().await?;
        self.settle().await?;
        let session = query::session(self.parts.views.clone(), None, None).await?;
        // The tables are asked only where nothing was read yet: there may be much in them.
        let newest = match self.parts.times.overall().filter(|newest| *newest > Micros::MIN) {
            Some(newest) => newest,
            None => newest_time(&session).await?.unwrap_or(Micros::MIN),
        };
        let correlate = &self.parts.settings.correlate;
        let horizon = Correlator::retention_start(correlate, newest).saturating_sub(correlate.span_max);
        let outcome = match command {
            Command::UpdateIncident(update) => self.update(&session, &update, (newest, horizon)).await?,
            Command::AddSilence(new) => {
                let redactor = &self.parts.redactor;
                let entity = |entity: Entity| Ok(redactor.entity(&entity));
                let silence = silence(new, entity);
                silence.and_then(|silence| add(&mut self.parts.triage, silence, horizon))
            }
            Command::RemoveSilence { silence, by } => remove(&mut self.parts.triage, &silence, &by),
        };
        if outcome.is_ok() {
            self.review()?;
            self.seal().await?;
            self.settle().await?;
        }
        Ok(outcome)
    }

    async fn update(
        &mut self,
        session: &SessionContext,
        update: &IncidentUpdate,
        times: (Micros, Micros),
    ) -> Result<Outcome, PipelineError> {
        let mut incident = match surviving(session, &update.incident_id).await? {
            Ok(incident) => incident,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut stored = HashMap::new();
        match self.parts.correlator.incident(&incident.incident_id) {
            Some(held) => incident = held.clone(),
            None => {
                stored = complete(session, &mut incident).await?;
                let span = (incident.first_time, incident.last_time);
                inhibits::add_stored(session, &mut self.parts.triage.inhibits, span).await?;
            }
        }
        let parts = &mut self.parts;
        let facts = Facts {
            find: &|tenant, id| parts.correlator.detection(tenant, id).or_else(|| stored.get(id)),
            standing: &|id| parts.journal.standing(id),
            backfill: parts.settings.backfill,
            now: now(),
        };
        let updated = parts.triage.update(incident, update, times, &facts);
        let fresh = self.journal(vec![updated.incident.clone()])?;
        Ok(told(update, &updated, &fresh))
    }

    /// Journals anew what is silenced, or is so no more, since silences came or went.
    pub(super) fn review(&mut self) -> Result<(), PipelineError> {
        let parts = &self.parts;
        let facts = Facts {
            find: &|tenant, id| parts.correlator.detection(tenant, id),
            standing: &|id| parts.journal.standing(id),
            backfill: parts.settings.backfill,
            now: now(),
        };
        let held = parts.correlator.incidents();
        let stale = held.filter(|incident| parts.triage.is_stale(incident, &facts)).cloned();
        let due = parts.triage.judge(stale.collect(), &[], &facts);
        self.journal(due)?;
        Ok(())
    }
}

/// Carries a command out on a data directory that no engine runs on.
pub async fn carry_out(dir: &Path, command: Command) -> Result<Outcome, PipelineError> {
    if let Err(refusal) = command.check() {
        return Ok(Err(refusal));
    }
    // Opening for writing would make one.
    store::open_readonly(dir).await?;
    let (mut store, recovered) = Store::open(dir).await?;
    let session = query::session(store.views(), None, None).await?;
    let mut journal = Journal::open(&dir.join("journal"))?;
    let revisions = remember_incidents(&session, &mut journal).await?;
    let unstored = journal.unstored(|id, revision| revisions.get(id).is_some_and(|newest| *newest >= revision))?;
    let inhibits = Inhibits::new(inhibits::stored(&session).await?);
    let mut triage = restore(&session, &unstored, inhibits).await?;
    // As a start of the engine does it.
    if !unstored.is_empty() {
        let mut epoch = EpochRows::new(store.epoch() + 1);
        epoch.add_incidents(&unstored, now())?;
        add_silences(&mut triage, &mut epoch)?;
        store.commit_rows(epoch.seal()?).await?;
    }
    let newest = newest_time(&session).await?.unwrap_or(Micros::MIN);
    let mut fresh = Vec::new();
    let outcome = match command {
        Command::UpdateIncident(update) => match surviving(&session, &update.incident_id).await? {
            Err(refusal) => Err(refusal),
            Ok(mut incident) => {
                let stored = complete(&session, &mut incident).await?;
                let span = (incident.first_time, incident.last_time);
                inhibits::add_stored(&session, &mut triage.inhibits, span).await?;
                // A source that a crash kept from the tables is found again by the next run.
                triage.inhibits.remember(&incident);
                let facts = Facts {
                    find: &|_, id| stored.get(id),
                    standing: &|id| journal.standing(id),
                    backfill: false,
                    now: now(),
                };
                let updated = triage.update(incident, &update, (newest, Micros::MIN), &facts);
                fresh = journal.append(vec![updated.incident.clone()])?;
                told(&update, &updated, &fresh)
            }
        },
        Command::AddSilence(new) => {
            let redacted = recovered.state.contains_key(MARK);
            let entity = |entity: Entity| match redacted && redact::is_clear(&entity) {
                true => Err(Refusal::Invalid(format!(
                    "`{}` is no stand-in, and this data directory holds no clear ones: give it as it stands in the entities of \
                     detections, or while the engine runs",
                    one_line(&entity.to_string(), 80)
                ))),
                false => Ok(entity),
            };
            silence(new, entity).and_then(|silence| add(&mut triage, silence, Micros::MIN))
        }
        Command::RemoveSilence { silence, by } => remove(&mut triage, &silence, &by),
    };
    if outcome.is_ok() {
        let mut index = Index::open_or_create(&dir.join("index"))?;
        let is_current = index.committed_epoch() == Some(store.epoch());
        let mut epoch = EpochRows::new(store.epoch() + 1);
        epoch.add_incidents(&fresh, now())?;
        add_silences(&mut triage, &mut epoch)?;
        store.commit_rows(epoch.seal()?).await?;
        // One that is behind is made anew by the next run.
        if is_current {
            index.apply(&fresh)?;
            index.commit(store.epoch())?;
        }
    }
    Ok(outcome)
}

fn add_silences(triage: &mut Triage, epoch: &mut EpochRows) -> Result<(), PipelineError> {
    let told = triage.silences.changes();
    if !told.is_empty() {
        epoch.add(Table::SilenceParts, store::silences_to_batch(&told, now())?);
    }
    Ok(())
}

/// What was decided before, from the tables and from `unstored`, the revisions that a crash kept from them. With those it also kept the
/// silences that they taught. `inhibits`: those in force.
pub(super) async fn restore(
    session: &SessionContext,
    unstored: &[Incident],
    inhibits: Inhibits,
) -> Result<Triage, PipelineError> {
    let mut triage = Triage::new(inhibits);
    let held =
        format!("SELECT * FROM silences WHERE removed_by IS NULL ORDER BY expires DESC, silence LIMIT {SILENCES_MAX}");
    let held = query::sql(session, &held).await?;
    triage.silences.restore(store::silences_from_batches(&held)?);
    const KEPT: &str = "workflow_status <> 'New' OR assignee IS NOT NULL OR verdict IS NOT NULL";
    let revisions = format!("SELECT * FROM incidents WHERE {KEPT}");
    // Of what nobody works on any more, all that it had since then; what left it meanwhile too.
    const KNOWN: &str = "SELECT e.incident_id, done.newest AS revision, min(e.position) AS position, \
                         min(e.detection_id) AS detection_id, e.fold \
                         FROM stored.incident_evidence e JOIN (SELECT incident_id, max(revision) AS newest, \
                         max(CASE WHEN workflow_status IN ('Resolved', 'Closed') THEN 0 ELSE revision END) AS worked_on \
                         FROM incident_revisions GROUP BY incident_id) done \
                         ON e.incident_id = done.incident_id AND e.revision > done.worked_on \
                         GROUP BY e.incident_id, done.newest, e.fold";
    let revisions = query::sql(session, &revisions).await?;
    let evidence = query::sql(session, KNOWN).await?;
    triage.learn(&store::incidents_from_batches(&revisions, &[], &evidence)?);
    triage.learn(unstored);
    for incident in unstored {
        triage.inhibits.remember(incident);
        let change = incident.case.change.as_ref();
        if let Some(change) = change.filter(|change| change.silences_until.is_some()) {
            let detections = detections(session, &incident.detection_ids).await?;
            let find = |_: &str, id: &str| detections.get(id);
            triage.silences.teach(incident, change, &find, Micros::MIN);
        }
    }
    Ok(triage)
}

/// The incident of that id, or the one that it was merged into at last; without its findings.
async fn surviving(session: &SessionContext, id: &str) -> Result<Result<Incident, Refusal>, PipelineError> {
    let unknown = |id: &str| {
        let id = one_line(id, 40);
        Refusal::Unknown(format!(
            "there is no incident `{id}`; `sentrail incident list` shows all"
        ))
    };
    let mut next = id.to_owned();
    for _ in 0..MERGES_MAX {
        let Some(id) = Id::parse(&next) else { break };
        let mut found = incidents(session, &format!("incident_id = '{id}'")).await?;
        let Some(incident) = found.pop() else { break };
        match incident.merged_into {
            Some(into) => next = into,
            None => return Ok(Ok(incident)),
        }
    }
    Ok(Err(unknown(&next)))
}

/// Fills what the tables of incidents leave to that of detections. Gives the detections by id.
async fn complete(
    session: &SessionContext,
    incident: &mut Incident,
) -> Result<HashMap<String, Detection>, PipelineError> {
    let detections = detections(session, &incident.detection_ids).await?;
    let members: Vec<&Detection> = incident
        .detection_ids
        .iter()
        .filter_map(|id| detections.get(id))
        .collect();
    incident.findings = correlate::findings(&members, &incident.path);
    Ok(detections)
}

async fn detections(session: &SessionContext, ids: &[String]) -> Result<HashMap<String, Detection>, PipelineError> {
    let ids: Vec<String> = ids
        .iter()
        .filter_map(|id| Some(format!("'{}'", Id::parse(id)?)))
        .collect();
    let mut found = HashMap::new();
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        let sql = format!(
            "SELECT {} FROM stored.detections WHERE detection_id IN ({})",
            columns(Table::Detections),
            ids.join(", ")
        );
        let rows = store::detections_from_batches(&query::sql(session, &sql).await?)?;
        found.extend(rows.into_iter().map(|row| (row.detection_id.clone(), row)));
    }
    Ok(found)
}

fn told(update: &IncidentUpdate, updated: &Updated, fresh: &[Incident]) -> Outcome {
    let Some(incident) = fresh.first() else {
        return Err(Refusal::Invalid(
            "the incident cannot be journaled; the engine's log says why".into(),
        ));
    };
    let case = &incident.case;
    let mut message = format!(
        "incident {} revision {}: {}",
        incident.incident_id,
        incident.revision,
        case.status.text()
    );
    if let Some(assignee) = &case.assignee {
        message += &format!(", assigned to {assignee}");
    }
    if let Some(verdict) = case.verdict {
        message += &format!(", verdict {}", verdict.text());
    }
    if update.incident_id != incident.incident_id {
        message += &format!("; {} was merged into it", update.incident_id);
    }
    let until = case.change.as_ref().and_then(|change| change.silences_until);
    if let Some(until) = until {
        message += &format!("; {} silences until {}", updated.taught.len(), time::to_rfc3339(until));
        if updated.left_out > 0 {
            message += &format!(
                ", {} kinds of findings are not silenced: they name nothing that tells them from others, or are too many",
                updated.left_out
            );
        }
    }
    Ok(Answer {
        id: incident.incident_id.clone(),
        revision: Some(incident.revision),
        silences: updated.taught.clone(),
        message,
    })
}

/// The silence that somebody wants; `kept` is what of an entity stands in detections.
fn silence(new: NewSilence, kept: impl Fn(Entity) -> Result<Entity, Refusal>) -> Result<Silence, Refusal> {
    let invalid = |message: String| Refusal::Invalid(message);
    if new.rule.as_deref().is_none_or(|rule| rule == EVERY_RULE) && new.entities.is_empty() {
        return Err(invalid(
            "a silence needs a rule, an entity or both; else it would silence everything".into(),
        ));
    }
    let mut entities = Vec::new();
    for text in &new.entities {
        let entity = Entity::parse(text).filter(|entity| !entity.kind.is_empty());
        let entity = entity.and_then(|entity| Entity::canonical(&entity.kind, &entity.value));
        let entity = entity.ok_or_else(|| {
            invalid(format!(
                "`{}` is no entity; valid is kind:value, such as principal:bob@example.com",
                one_line(text, 80)
            ))
        })?;
        entities.push(kept(entity)?.to_string());
    }
    entities.sort();
    entities.dedup();
    Ok(Silence {
        silence: String::new(),
        tenant: new.tenant.unwrap_or_else(|| "default".to_owned()),
        rule: new.rule.unwrap_or_else(|| EVERY_RULE.to_owned()),
        entities,
        incident_id: None,
        owner: new.by,
        reason: new.reason,
        created: now(),
        expires: time::parse(&new.until).map_err(|error| invalid(format!("until: {error}")))?,
    }
    .named())
}

fn add(triage: &mut Triage, silence: Silence, horizon: Micros) -> Outcome {
    let (id, expires) = (silence.silence.clone(), silence.expires);
    triage.silences.add(silence, horizon)?;
    Ok(Answer {
        message: format!("silence {id} holds until {}", time::to_rfc3339(expires)),
        id,
        ..Answer::default()
    })
}

fn remove(triage: &mut Triage, prefix: &str, by: &str) -> Outcome {
    let removed = triage.silences.remove(prefix, by)?;
    Ok(Answer {
        message: format!("silence {} does not hold any more", removed.silence),
        id: removed.silence,
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Case, IncidentStatus, Severity, Standing, WorkflowStatus};

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_start_all_is_known_that_a_closed_incident_had_since_it_was_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path()).await.unwrap();
        let revision = |revision: u32, status: WorkflowStatus, members: &[&str]| Incident {
            revision,
            case: Case {
                status,
                ..Case::default()
            },
            ..Incident::bare("i", members)
        };
        let mut epoch = EpochRows::new(store.epoch() + 1);
        let revisions = [
            revision(1, WorkflowStatus::New, &["a", "z"]),
            revision(2, WorkflowStatus::Closed, &["a", "b"]),
            revision(3, WorkflowStatus::Closed, &["a"]),
        ];
        epoch.add_incidents(&revisions, 0).unwrap();
        store.commit_rows(epoch.seal().unwrap()).await.unwrap();
        let session = query::session(store.views(), None, None).await.unwrap();
        let triage = restore(&session, &[], Inhibits::default()).await.unwrap();
        let standing = Standing {
            status: IncidentStatus::Open,
            severity: Severity::High,
            told: true,
            silenced: false,
        };
        let facts = Facts {
            find: &|_, _| None,
            standing: &|_| Some(standing),
            backfill: false,
            now: 0,
        };
        let judged = |members: &[&str]| {
            let judged = triage.judge(vec![Incident::bare("i", members)], &[], &facts);
            judged[0].case.status
        };
        assert_eq!(judged(&["a", "b"]), WorkflowStatus::Closed);
        assert_eq!(judged(&["a", "z"]), WorkflowStatus::New, "it had left before");
    }
}
