//! One view per statement.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::store::{Table, View, Views};

use super::reach::BlastRadius;

/// A table by name: no rows yet, those of the newest view when a statement runs.
pub(super) struct NamedTable {
    table: Table,
    views: Views,
}

impl NamedTable {
    pub fn new(table: Table, views: Views) -> NamedTable {
        NamedTable { table, views }
    }
}

impl std::fmt::Debug for NamedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamedTable({})", self.table.name())
    }
}

#[async_trait]
impl TableProvider for NamedTable {
    fn schema(&self) -> SchemaRef {
        self.table.stored_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Only for a plan that went past the analyser, which nothing here makes.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.views
            .current()
            .provider(self.table)?
            .scan(session, projection, filters, limit)
            .await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Puts the tables of the newest view, taken once per statement, in the places of their names. The analyser runs when a statement
/// is about to be run, also for one that was prepared earlier.
pub(super) struct PinView {
    views: Views,
}

impl PinView {
    pub fn new(views: Views) -> PinView {
        PinView { views }
    }
}

impl std::fmt::Debug for PinView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinView")
    }
}

impl AnalyzerRule for PinView {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let view = self.views.current();
        let pinned = plan.transform_up_with_subqueries(|node| pin(node, &view))?;
        Ok(pinned.data)
    }

    fn name(&self) -> &str {
        "pin_view"
    }
}

fn pin(node: LogicalPlan, view: &Arc<View>) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(mut scan) = node else {
        return Ok(Transformed::no(node));
    };
    let Ok(provider) = source_as_provider(&scan.source) else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    };
    if let Some(named) = provider.downcast_ref::<NamedTable>() {
        scan.source = provider_as_source(view.provider(named.table)?);
    } else if let Some(walk) = provider.downcast_ref::<BlastRadius>() {
        scan.source = provider_as_source(Arc::new(walk.pinned(view.clone())));
    } else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    }
    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
}
