//! The attack graph as functions: `attack_path('incident')`, `bridges('incident')`, `related('entity', since)`, `blast_radius('entity', depth)`.
//!
//! The first three are queries with places for their arguments; the last walks, in reach.rs.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;

use crate::model::{Entity, EventSchema, one_line};
use crate::store::Views;

use super::bridges;
use super::reach::{BlastRadius, DEPTH_MAX};

/// The path of an incident, or of the one that it was merged into, however often that went on. An id that was merged in a ring, which
/// nothing makes, ends after so many hops.
const ATTACK_PATH: &str = "
    WITH RECURSIVE led AS (
        SELECT tenant, incident_id, merged_into, CAST(0 AS BIGINT) AS hops FROM incidents WHERE incident_id = $incident
        UNION ALL
        SELECT i.tenant, i.incident_id, i.merged_into, led.hops + 1 AS hops
        FROM led JOIN incidents i ON i.incident_id = led.merged_into AND i.tenant = led.tenant
        WHERE led.hops < 100)
    SELECT survivor.tenant, p.incident_id, p.step, p.time, p.from_entity, p.action AS kind, p.to_entity, p.technique,
           p.detection_id, p.why
    FROM incident_path p
    JOIN (SELECT tenant, incident_id FROM led ORDER BY hops DESC LIMIT 1) survivor ON p.incident_id = survivor.incident_id
    ORDER BY p.step";

/// What an entity is related to directly. A relation is stored per hour, and the hour that `since` falls into is counted whole.
const RELATED: &str = "
    SELECT tenant, entity, kind, direction, sum(count) AS count, min(first_time) AS first_time, max(last_time) AS last_time
    FROM (SELECT tenant, CASE WHEN from_entity = $entity THEN to_entity ELSE from_entity END AS entity, kind,
                 CASE WHEN from_entity = $entity THEN 'out' ELSE 'in' END AS direction, count, first_time, last_time
          FROM stored.relation_parts
          WHERE (from_entity = $entity OR to_entity = $entity) AND bucket + INTERVAL '1 hour' > $since) AS ways
    GROUP BY tenant, entity, kind, direction";

/// Gives `session` the functions; it has the names already.
pub(super) async fn register(session: &SessionContext, views: &Views) -> Result<()> {
    session.register_udf(bridges::attack_phase());
    for (name, meaning, read) in [
        ("attack_path", ATTACK_PATH, path_of as Read),
        ("bridges", &bridges::statement(), bridges_of as Read),
        ("related", RELATED, entity_and_since as Read),
    ] {
        let plan = session.sql(meaning).await?.into_unoptimized_plan();
        session.register_udtf(name, Arc::new(Asked { name, plan, read }));
    }
    session.register_udtf("blast_radius", Arc::new(Reach(views.clone())));
    Ok(())
}

/// Arguments → the values of a query's places, by name.
type Read = fn(&[Expr]) -> Result<Vec<(&'static str, ScalarValue)>>;

/// A query with places for arguments.
#[derive(Debug)]
struct Asked {
    name: &'static str,
    plan: LogicalPlan,
    read: Read,
}

impl TableFunctionImpl for Asked {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = (self.read)(args.exprs())?;
        let plan = self.plan.clone().with_param_values(values)?;
        Ok(Arc::new(ViewTable::new(plan, Some(self.name.to_owned()))))
    }
}

#[derive(Debug)]
struct Reach(Views);

impl TableFunctionImpl for Reach {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        const USAGE: &str = "blast_radius takes an entity and a depth: \
                             SELECT * FROM blast_radius('gateway_key:k1', 3)";
        let [of, depth] = args.exprs() else {
            return Err(plan(USAGE));
        };
        let of = entity(of, USAGE)?;
        let depth = match depth {
            Expr::Literal(value, _) => match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(depth))) if is_whole(value) => depth,
                _ => return Err(plan(USAGE)),
            },
            _ => return Err(plan(USAGE)),
        };
        match u32::try_from(depth) {
            Ok(depth) if (1..=DEPTH_MAX).contains(&depth) => Ok(Arc::new(BlastRadius::new(&of, depth, self.0.clone()))),
            _ => Err(plan(&format!(
                "blast_radius goes 1 to {DEPTH_MAX} relations far, not {depth}"
            ))),
        }
    }
}

fn path_of(arguments: &[Expr]) -> Result<Vec<(&'static str, ScalarValue)>> {
    incident("attack_path", arguments)
}

fn bridges_of(arguments: &[Expr]) -> Result<Vec<(&'static str, ScalarValue)>> {
    incident("bridges", arguments)
}

fn incident(function: &str, arguments: &[Expr]) -> Result<Vec<(&'static str, ScalarValue)>> {
    let id = match arguments {
        [id] => text(id).filter(|id| !id.is_empty()),
        _ => None,
    };
    let id = id.ok_or_else(|| {
        plan(&format!(
            "{function} takes the id of an incident: SELECT * FROM {function}('…'); the table `incidents` has them"
        ))
    })?;
    Ok(vec![("incident", ScalarValue::Utf8View(Some(id.to_owned())))])
}

fn entity_and_since(arguments: &[Expr]) -> Result<Vec<(&'static str, ScalarValue)>> {
    const USAGE: &str = "related takes an entity and the time since when: \
                         SELECT * FROM related('gateway_key:k1', '2026-01-31T00:00:00Z'), or now() - INTERVAL '7 days'";
    let [of, since] = arguments else {
        return Err(plan(USAGE));
    };
    let of = entity(of, USAGE)?;
    let Expr::Literal(since, _) = since else {
        return Err(plan(USAGE));
    };
    let is_time = matches!(
        since.data_type(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Date32 | DataType::Timestamp(..)
    );
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match since.cast_to(&micros) {
        Ok(time) if is_time && !time.is_null() => {
            Ok(vec![("entity", ScalarValue::Utf8View(Some(of))), ("since", time)])
        }
        _ => Err(plan(&format!(
            "`{}` is no time; {USAGE}",
            one_line(&since.to_string(), 100)
        ))),
    }
}

/// `kind:value`, of a kind that there is. One that nothing names is no error: it has no rows.
fn entity(argument: &Expr, usage: &str) -> Result<String> {
    let Some(written) = text(argument) else {
        return Err(plan(usage));
    };
    let kinds = EventSchema::get().entity_kinds();
    match Entity::parse(written) {
        Some(entity) if kinds.contains(&*entity.kind) && !entity.value.is_empty() => Ok(written.to_owned()),
        _ => Err(plan(&format!(
            "`{}` is no entity; one is written KIND:VALUE, such as address:203.0.113.77, and its kind is one of {}",
            one_line(written, 100),
            kinds.into_iter().collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn text(argument: &Expr) -> Option<&str> {
    match argument {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

fn is_whole(value: &ScalarValue) -> bool {
    value.data_type().is_integer()
}

fn plan(message: &str) -> DataFusionError {
    DataFusionError::Plan(message.to_owned())
}
