//! `blast_radius('entity', depth)`: what can be reached from an entity over stored relations.
//!
//! The walk goes hop by hop. Each hop reads the relations of the view once, in a stream, and keeps of them what begins at the places
//! of the hop before; so what it takes in memory depends on what is reached and not on how much is stored. What hands an identity on
//! (issued, assumed, spawned) is walked forwards and in time: not if it ended before the place was reached. What an identity is bound
//! to (used-from, belongs-to, same-as) is walked both ways and at any time. What it did (called, read, wrote) ends a way.

mod walk;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType, col};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use crate::store::{Table, View, Views};

use walk::{Hop, REACHED, Walk};

/// Relations from one entity to the next, at most.
pub(super) const DEPTH_MAX: u32 = 6;

/// Walked anew each time a statement runs, in the view that the statement sees.
#[derive(Clone, Debug)]
pub(super) struct BlastRadius {
    entity: Arc<str>,
    depth: u32,
    views: Views,
}

impl BlastRadius {
    pub fn new(entity: &str, depth: u32, views: Views) -> BlastRadius {
        BlastRadius {
            entity: entity.into(),
            depth,
            views,
        }
    }

    pub fn pinned(&self, view: Arc<View>) -> BlastRadius {
        BlastRadius {
            views: Views::fixed(view),
            ..self.clone()
        }
    }
}

#[async_trait]
impl TableProvider for BlastRadius {
    fn schema(&self) -> SchemaRef {
        REACHED.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let view = self.views.current();
        let memory = MemoryConsumer::new("blast_radius").register(&session.task_ctx().runtime_env().memory_pool);
        let mut walk = Walk::new(&self.entity, memory);
        for _ in 0..self.depth {
            if walk.is_done() {
                break;
            }
            let mut hop = Hop::default();
            let relations = relations(session, &view, &walk.sought()).await?;
            let mut relations = execute_stream(relations, session.task_ctx())?;
            while let Some(batch) = relations.next().await {
                walk.look(&mut hop, &batch?)?;
            }
            walk.step(hop)?;
        }
        let rows = walk.rows()?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            REACHED.clone(),
            projection.cloned(),
        )?)
    }
}

/// The relations of a view, where few places are sought only those at them.
async fn relations(session: &dyn Session, view: &View, sought: &[Expr]) -> Result<Arc<dyn ExecutionPlan>> {
    let table = provider_as_source(view.provider(Table::RelationParts)?);
    let mut plan = LogicalPlanBuilder::scan("relation_parts", table, None)?;
    if !sought.is_empty() {
        let at = |column: &str| col(column).in_list(sought.to_vec(), false);
        plan = plan.filter(at("from_entity").or(at("to_entity")))?;
    }
    let columns = ["tenant", "from_entity", "kind", "to_entity", "first_time", "last_time"];
    let plan = plan.project(columns.map(col))?.build()?;
    session.create_physical_plan(&plan).await
}
