//! The names people use, and what they mean over the stored tables.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use crate::store::{Table, Views};

use super::DATABASE;
use super::pin::NamedTable;

/// Stored tables that are shown as they are.
const PLAIN: [Table; 4] = [
    Table::Events,
    Table::IncidentRevisions,
    Table::Rejected,
    Table::PluginHealth,
];

/// Names that mean a query. A query may use the stored tables and the names above it.
const MEANINGS: [(&str, &str); 11] = [
    ("incidents", INCIDENTS),
    ("incident_path", INCIDENT_PATH),
    ("incident_evidence", INCIDENT_EVIDENCE),
    ("detections", DETECTIONS),
    ("relations", RELATIONS),
    ("entities", ENTITIES),
    ("exceptions", EXCEPTIONS),
    ("rules", RULES),
    ("incident_updates", INCIDENT_UPDATES),
    ("silences", SILENCES),
    ("inhibitions", INHIBITIONS),
];

/// The newest revision of every incident.
const INCIDENTS: &str = "
    SELECT incident_id, tenant, revision, status, severity, severity_id, score, title, first_time, last_time, techniques,
           entities, layers, detection_count, merged_into, score_parts, updated_time, content_id,
           coalesce(workflow_status, 'New') AS workflow_status, assignee, verdict, silenced_by,
           coalesce(forwarded, true) AS forwarded, updated_by, note, inhibited_by
    FROM (SELECT *, row_number() OVER (PARTITION BY incident_id ORDER BY revision DESC) AS age FROM stored.incident_revisions)
    WHERE age = 1";

/// What people did to incidents, and the engine where it reopened or parted them. All of a revision that is not evidence.
const INCIDENT_UPDATES: &str = "
    SELECT incident_id, tenant, revision, updated_time AS time, updated_by, status, workflow_status, assignee, verdict, note
    FROM stored.incident_revisions
    WHERE updated_by IS NOT NULL";

/// The steps of every incident's newest revision.
const INCIDENT_PATH: &str = "
    SELECT p.incident_id, p.revision, p.step, p.time, p.from_entity, p.to_entity, p.action, p.technique, p.detection_id, p.why
    FROM stored.incident_path p
    JOIN (SELECT incident_id, max(revision) AS revision FROM stored.incident_revisions GROUP BY incident_id) newest
      ON p.incident_id = newest.incident_id AND p.revision = newest.revision";

/// The detections that every incident's newest revision is made of, with all repeats.
const INCIDENT_EVIDENCE: &str = "
    SELECT e.incident_id, e.revision,
           row_number() OVER (PARTITION BY e.incident_id ORDER BY d.time, d.detection_id) AS position, d.detection_id
    FROM stored.incident_evidence e
    JOIN (SELECT incident_id, max(revision) AS revision FROM stored.incident_revisions GROUP BY incident_id) newest
      ON e.incident_id = newest.incident_id AND e.revision = newest.revision
    JOIN stored.detections d ON coalesce(d.fold, d.detection_id) = coalesce(e.fold, e.detection_id)";

/// Detections with the incident they belong to now. One that was merged away or dissolved owns none.
const DETECTIONS: &str = "
    SELECT d.*, owner.incident_id
    FROM stored.detections d
    LEFT JOIN (
        SELECT coalesce(e.fold, e.detection_id) AS fold, min(e.incident_id) AS incident_id
        FROM stored.incident_evidence e
        JOIN incidents i ON e.incident_id = i.incident_id AND e.revision = i.revision
        WHERE i.status NOT IN ('merged', 'dissolved')
        GROUP BY coalesce(e.fold, e.detection_id)) owner
      ON coalesce(d.fold, d.detection_id) = owner.fold";

/// Relations, whole again: the parts that each epoch saw merged per hour.
const RELATIONS: &str = "
    SELECT tenant, from_entity, kind, to_entity, bucket, min(first_time) AS first_time, max(last_time) AS last_time,
           sum(count) AS count, first_value(event_id ORDER BY first_time, event_id) AS event_id,
           first_value(layer ORDER BY first_time, event_id) AS layer
    FROM stored.relation_parts
    GROUP BY tenant, from_entity, kind, to_entity, bucket";

/// Every entity that a relation or a detection names.
const ENTITIES: &str = "
    SELECT tenant, split_part(entity, ':', 1) AS kind, substr(entity, strpos(entity, ':') + 1) AS value, entity,
           min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(count) AS count
    FROM (SELECT tenant, from_entity AS entity, first_time AS first_seen, last_time AS last_seen, count
          FROM stored.relation_parts
          UNION ALL
          SELECT tenant, to_entity AS entity, first_time AS first_seen, last_time AS last_seen, count
          FROM stored.relation_parts
          UNION ALL
          SELECT tenant, unnest(entities) AS entity, time AS first_seen, time AS last_seen, CAST(1 AS BIGINT) AS count
          FROM stored.detections)
    GROUP BY tenant, entity";

/// Every exception as it was told of last, with all that it took away. One whose file is not in force any more is not active.
const EXCEPTIONS: &str = "
    SELECT p.exception, p.rule, p.matches, p.owner, p.reason, coalesce(p.created, s.first_time) AS created, p.expires,
           s.hits, s.last_hit, coalesce(p.active AND p.rules_time = newest.time, false) AS active
    FROM (SELECT *, row_number() OVER (PARTITION BY exception ORDER BY time DESC) AS age FROM stored.exception_parts) p
    JOIN (SELECT exception, min(time) AS first_time, sum(hits) AS hits, max(last_hit) AS last_hit
          FROM stored.exception_parts GROUP BY exception) s
      ON p.exception = s.exception
    CROSS JOIN (SELECT max(time) AS time FROM stored.rule_sets) newest
    WHERE p.age = 1";

/// Every silence with how often it held. One that somebody took away, or whose end its tenant's newest finding has reached, is not active.
const SILENCES: &str = "
    SELECT p.silence, p.tenant, p.rule, p.entities, p.incident_id, p.owner, p.reason, p.created, p.expires, s.hits, s.last_hit,
           CASE WHEN p.removed_by IS NULL THEN NULL ELSE p.time END AS removed, p.removed_by,
           p.removed_by IS NULL AND (newest.time IS NULL OR p.expires > newest.time) AS active
    FROM (SELECT *, row_number() OVER (PARTITION BY silence ORDER BY (removed_by IS NULL), time DESC) AS age
          FROM stored.silence_parts) p
    JOIN (SELECT silence, sum(hits) AS hits, max(last_hit) AS last_hit FROM stored.silence_parts GROUP BY silence) s
      ON p.silence = s.silence
    LEFT JOIN (SELECT tenant, max(time) AS time FROM stored.detections GROUP BY tenant) newest ON newest.tenant = p.tenant
    WHERE p.age = 1";

/// Every inhibition as it was told of last, with how many incidents it silences now. One whose file is not in force any more, or whose end
/// event time has passed, is not active.
const INHIBITIONS: &str = "
    SELECT p.inhibition, p.source, p.target, p.equal, p.within_seconds, p.owner, p.reason, s.first_time AS created, p.expires,
           coalesce(i.incidents, 0) AS incidents, coalesce(p.active AND p.rules_time = newest.time, false) AS active
    FROM (SELECT *, row_number() OVER (PARTITION BY inhibition ORDER BY time DESC) AS age FROM stored.inhibition_parts) p
    JOIN (SELECT inhibition, min(time) AS first_time FROM stored.inhibition_parts GROUP BY inhibition) s
      ON p.inhibition = s.inhibition
    LEFT JOIN (SELECT inhibition, count(*) AS incidents
               FROM (SELECT unnest(string_to_array(inhibited_by, ', ')) AS inhibition FROM incidents
                     WHERE inhibited_by IS NOT NULL AND status = 'open')
               GROUP BY inhibition) i
      ON p.inhibition = i.inhibition
    CROSS JOIN (SELECT max(time) AS time FROM stored.rule_sets) newest
    WHERE p.age = 1";

/// The rules that are in force, and how many active exceptions there are from each.
const RULES: &str = "
    WITH newest AS (
        SELECT r.* FROM stored.rule_sets r
        JOIN (SELECT max(time) AS time FROM stored.rule_sets) latest ON r.time = latest.time)
    SELECT n.plugin, n.version, n.digest, n.rule, n.title, n.severity, n.severity_shipped, n.techniques, n.enabled,
           n.signed_by, coalesce(own.count, 0) + coalesce(of_all.count, 0) AS exceptions, n.description
    FROM newest n
    LEFT JOIN (SELECT rule, count(*) AS count FROM exceptions WHERE active GROUP BY rule) own
      ON own.rule = concat(n.plugin, '/', n.rule)
    LEFT JOIN (SELECT rule, count(*) AS count FROM exceptions WHERE active GROUP BY rule) of_all
      ON of_all.rule = n.plugin";

/// Gives `session` the names.
pub(super) async fn register(session: &SessionContext, views: &Views) -> Result<()> {
    let catalog = session
        .catalog(DATABASE)
        .ok_or_else(|| DataFusionError::Internal(format!("the session has no catalog `{DATABASE}`")))?;
    catalog.register_schema("stored", Arc::new(Stored { views: views.clone() }))?;
    for table in PLAIN {
        session.register_table(table.name(), Arc::new(NamedTable::new(table, views.clone())))?;
    }
    for (name, meaning) in MEANINGS {
        let plan = session.sql(meaning).await?.into_unoptimized_plan();
        session.register_table(name, Arc::new(Meaning(ViewTable::new(plan, Some(meaning.to_string())))))?;
    }
    Ok(())
}

/// The tables as they are on disk, every revision and every part: there for those who know, in nobody's list of tables.
#[derive(Debug)]
struct Stored {
    views: Views,
}

#[async_trait]
impl SchemaProvider for Stored {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = Table::ALL.into_iter().find(|table| table.name() == name);
        Ok(table.map(|table| Arc::new(NamedTable::new(table, self.views.clone())) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        Table::ALL.iter().any(|table| table.name() == name)
    }
}

/// A view that says it is a table: to whoever lists tables, `incidents` is one.
#[derive(Debug)]
struct Meaning(ViewTable);

#[async_trait]
impl TableProvider for Meaning {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.0.get_logical_plan()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(session, projection, filters, limit).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }
}
