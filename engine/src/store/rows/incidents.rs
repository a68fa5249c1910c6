//! Incidents are spread over three tables: revisions, path and evidence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Float64Array, Int32Array, RecordBatch};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{Case, Id, Incident, Micros, PathStep, ScorePart, Verdict, WorkflowStatus};

use super::columns::{Rows, batch, list_at, lists, maybe_texts, numbers, text_at, texts, times};
use super::{StoreError, Table};

/// Between the ids in `silenced_by`, and the names in `inhibited_by`, which have no comma.
const SEPARATOR: &str = ", ";

/// Rows of `incident_revisions`, `incident_path` and `incident_evidence`. `updated_time` is when the engine learned it, but of what somebody
/// did when that was done.
pub fn incidents_to_batches(
    incidents: &[Incident],
    updated_time: Micros,
) -> Result<BTreeMap<Table, RecordBatch>, StoreError> {
    let of = |get: fn(&Incident) -> &str| texts(incidents.iter().map(get));
    let score_parts: Vec<String> = incidents
        .iter()
        .map(|i| serde_json::to_string(&i.score_parts).unwrap_or_else(|_| "[]".to_string()))
        .collect();
    let joined = |of: fn(&Case) -> &Vec<String>| -> Vec<Option<String>> {
        let lists = incidents.iter().map(|i| of(&i.case));
        lists
            .map(|list| (!list.is_empty()).then(|| list.join(SEPARATOR)))
            .collect()
    };
    let (silenced, inhibited) = (joined(|case| &case.silences), joined(|case| &case.inhibited));
    let changes = || incidents.iter().map(|i| i.case.change.as_ref());
    let revisions = batch(
        Table::IncidentRevisions,
        vec![
            of(|i| &i.incident_id),
            of(|i| &i.tenant),
            numbers(incidents.iter().map(|i| i64::from(i.revision))),
            of(|i| i.status.text()),
            of(|i| i.severity.text()),
            Arc::new(Int32Array::from_iter_values(incidents.iter().map(|i| i.severity.id()))),
            Arc::new(Float64Array::from_iter_values(incidents.iter().map(|i| i.score))),
            of(|i| &i.title),
            times(incidents.iter().map(|i| i.first_time)),
            times(incidents.iter().map(|i| i.last_time)),
            lists(incidents.iter().map(|i| &i.techniques)),
            lists(incidents.iter().map(|i| &i.entities)),
            lists(incidents.iter().map(|i| &i.layers)),
            numbers(incidents.iter().map(|i| i.detection_count as i64)),
            maybe_texts(incidents.iter().map(|i| i.merged_into.as_deref())),
            texts(score_parts.iter()),
            times(
                incidents
                    .iter()
                    .map(|i| i.case.change.as_ref().map_or(updated_time, |change| change.at)),
            ),
            texts(incidents.iter().map(|i| i.content_id().to_string())),
            texts(incidents.iter().map(|i| i.case.status.text())),
            maybe_texts(incidents.iter().map(|i| i.case.assignee.as_deref())),
            maybe_texts(incidents.iter().map(|i| i.case.verdict.map(Verdict::text))),
            maybe_texts(silenced.iter().map(Option::as_deref)),
            Arc::new(BooleanArray::from_iter(
                incidents.iter().map(|i| Some(!i.case.withheld)),
            )),
            maybe_texts(changes().map(|change| Some(change?.by.as_str()))),
            maybe_texts(changes().map(|change| change?.note.as_deref())),
            maybe_texts(inhibited.iter().map(Option::as_deref)),
        ],
    )?;
    let steps: Vec<(&Incident, &PathStep)> = incidents
        .iter()
        .flat_map(|i| i.path.iter().map(move |s| (i, s)))
        .collect();
    let path = batch(
        Table::IncidentPath,
        vec![
            texts(steps.iter().map(|(i, _)| &i.incident_id)),
            numbers(steps.iter().map(|(i, _)| i64::from(i.revision))),
            numbers(steps.iter().map(|(_, s)| i64::from(s.step))),
            times(steps.iter().map(|(_, s)| s.time)),
            texts(steps.iter().map(|(_, s)| &s.from_entity)),
            texts(steps.iter().map(|(_, s)| &s.to_entity)),
            texts(steps.iter().map(|(_, s)| &s.action)),
            maybe_texts(steps.iter().map(|(_, s)| s.technique.as_deref())),
            maybe_texts(steps.iter().map(|(_, s)| s.detection_id.as_deref())),
            texts(steps.iter().map(|(_, s)| &s.why)),
        ],
    )?;
    let members: Vec<(&Incident, usize, (&String, &Id))> = incidents
        .iter()
        .flat_map(|i| {
            let members = i.detection_ids.iter().zip(&i.folds).enumerate();
            members.map(move |(n, member)| (i, n, member))
        })
        .collect();
    let evidence = batch(
        Table::IncidentEvidence,
        vec![
            texts(members.iter().map(|(i, _, _)| &i.incident_id)),
            numbers(members.iter().map(|(i, _, _)| i64::from(i.revision))),
            numbers(members.iter().map(|(_, n, _)| *n as i64 + 1)),
            texts(members.iter().map(|(_, _, (id, _))| *id)),
            texts(members.iter().map(|(_, _, (_, fold))| fold.to_string())),
        ],
    )?;
    Ok(BTreeMap::from([
        (Table::IncidentRevisions, revisions),
        (Table::IncidentPath, path),
        (Table::IncidentEvidence, evidence),
    ]))
}

/// Incidents from their rows in the three tables, in whatever order these come. Their findings are left to the table of detections.
pub fn incidents_from_batches(
    revisions: &[RecordBatch],
    path: &[RecordBatch],
    evidence: &[RecordBatch],
) -> Result<Vec<Incident>, StoreError> {
    let mut steps = steps_by_revision(path)?;
    let mut members = evidence_by_revision(evidence)?;
    let mut incidents = Vec::new();
    for batch in revisions {
        let rows = Rows {
            table: Table::IncidentRevisions,
            batch,
        };
        let (incident_id, tenant) = (rows.texts("incident_id")?, rows.texts("tenant")?);
        let (revision, status, severity) = (
            rows.numbers("revision")?,
            rows.texts("status")?,
            rows.texts("severity")?,
        );
        let (score, score_parts, title) = (rows.floats("score")?, rows.texts("score_parts")?, rows.texts("title")?);
        let (first_time, last_time) = (rows.times("first_time")?, rows.times("last_time")?);
        let (techniques, entities, layers) = (
            rows.lists("techniques")?,
            rows.lists("entities")?,
            rows.lists("layers")?,
        );
        let (detection_count, merged_into) = (rows.numbers("detection_count")?, rows.texts("merged_into")?);
        let (workflow_status, assignee) = (rows.texts("workflow_status")?, rows.texts("assignee")?);
        let (verdict, silenced_by) = (rows.texts("verdict")?, rows.texts("silenced_by")?);
        let inhibited_by = rows.texts("inhibited_by")?;
        let names = |column, row| -> Vec<String> {
            let names = text_at(column, row);
            names.map_or_else(Vec::new, |names| names.split(SEPARATOR).map(str::to_owned).collect())
        };
        let forwarded = rows.bools("forwarded")?;
        for row in 0..batch.num_rows() {
            let key = (incident_id.value(row).to_string(), revision.value(row));
            let score_parts =
                read_score_parts(score_parts.value(row)).map_err(|error| rows.bad("score_parts", error))?;
            let mut members = members.remove(&key).unwrap_or_default();
            members.sort();
            let mut path = steps.remove(&key).unwrap_or_default();
            path.sort_by_key(|step| step.step);
            incidents.push(Incident {
                tenant: tenant.value(row).to_string(),
                revision: rows.count("revision", key.1)?,
                status: serde_json::from_value(Value::String(status.value(row).to_string()))
                    .map_err(|error| rows.bad("status", error))?,
                severity: severity
                    .value(row)
                    .parse()
                    .map_err(|error: String| rows.bad("severity", error))?,
                score: score.value(row),
                score_parts,
                title: title.value(row).to_string(),
                first_time: first_time.value(row),
                last_time: last_time.value(row),
                techniques: list_at(&techniques, row),
                entities: list_at(&entities, row),
                layers: list_at(&layers, row),
                detection_count: rows.count("detection_count", detection_count.value(row))?,
                folds: members.iter().map(|(_, _, fold)| *fold).collect(),
                detection_ids: members.into_iter().map(|(_, id, _)| id).collect(),
                merged_into: text_at(&merged_into, row),
                path,
                findings: Vec::new(),
                case: Case {
                    status: text_at(&workflow_status, row)
                        .map_or(Ok(WorkflowStatus::New), |text| text.parse())
                        .map_err(|error: String| rows.bad("workflow_status", error))?,
                    assignee: text_at(&assignee, row),
                    verdict: text_at(&verdict, row)
                        .map(|text| text.parse())
                        .transpose()
                        .map_err(|error: String| rows.bad("verdict", error))?,
                    silences: names(&silenced_by, row),
                    inhibited: names(&inhibited_by, row),
                    change: None,
                    withheld: forwarded.is_valid(row) && !forwarded.value(row),
                    first_sent: false,
                },
                incident_id: key.0,
            });
        }
    }
    Ok(incidents)
}

type RevisionKey = (String, i64);

fn steps_by_revision(batches: &[RecordBatch]) -> Result<HashMap<RevisionKey, Vec<PathStep>>, StoreError> {
    let mut steps: HashMap<RevisionKey, Vec<PathStep>> = HashMap::new();
    for batch in batches {
        let rows = Rows {
            table: Table::IncidentPath,
            batch,
        };
        let (incident_id, revision, step) = (
            rows.texts("incident_id")?,
            rows.numbers("revision")?,
            rows.numbers("step")?,
        );
        let (time, from, to) = (
            rows.times("time")?,
            rows.texts("from_entity")?,
            rows.texts("to_entity")?,
        );
        let (action, technique) = (rows.texts("action")?, rows.texts("technique")?);
        let (detection_id, why) = (rows.texts("detection_id")?, rows.texts("why")?);
        for row in 0..batch.num_rows() {
            steps
                .entry((incident_id.value(row).to_string(), revision.value(row)))
                .or_default()
                .push(PathStep {
                    step: rows.count("step", step.value(row))?,
                    time: time.value(row),
                    from_entity: from.value(row).to_string(),
                    to_entity: to.value(row).to_string(),
                    action: action.value(row).to_string(),
                    technique: text_at(&technique, row),
                    detection_id: text_at(&detection_id, row),
                    why: why.value(row).to_string(),
                });
        }
    }
    Ok(steps)
}

/// Place, detection and fold of each member.
type Members = HashMap<RevisionKey, Vec<(i64, String, Id)>>;

fn evidence_by_revision(batches: &[RecordBatch]) -> Result<Members, StoreError> {
    let mut members = Members::new();
    for batch in batches {
        let rows = Rows {
            table: Table::IncidentEvidence,
            batch,
        };
        let (incident_id, revision) = (rows.texts("incident_id")?, rows.numbers("revision")?);
        let (position, detection_id) = (rows.numbers("position")?, rows.texts("detection_id")?);
        let fold = rows.texts("fold")?;
        for row in 0..batch.num_rows() {
            let key = (incident_id.value(row).to_string(), revision.value(row));
            let id = detection_id.value(row).to_string();
            // One that an older version wrote had no repeats.
            let fold = text_at(&fold, row).map_or_else(|| Id::of_text(&id), |fold| Id::of_text(&fold));
            members.entry(key).or_default().push((position.value(row), id, fold));
        }
    }
    Ok(members)
}

/// Reads the points digit by digit as they were written: the JSON parser may be off by the last bit, and an incident that is read
/// back must be the same incident.
fn read_score_parts(text: &str) -> Result<Vec<ScorePart>, String> {
    #[derive(Deserialize)]
    struct Written<'a> {
        name: String,
        #[serde(borrow)]
        points: &'a RawValue,
        why: String,
    }
    let parts: Vec<Written> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    parts
        .into_iter()
        .map(|Written { name, points, why }| {
            let points = points
                .get()
                .parse()
                .map_err(|error| format!("`{}`: {error}", points.get()))?;
            Ok(ScorePart { name, points, why })
        })
        .collect()
}
