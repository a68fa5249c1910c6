//! A table of a view as DataFusion reads it: the Delta table, with its pruning, and the rows that are in no file yet.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};

use super::parts;
use super::tables::Table;
use super::view::{TableView, View};

impl View {
    /// The table for a query engine. Whatever it scans, it scans in this view.
    pub fn provider(&self, table: Table) -> Result<Arc<dyn TableProvider>> {
        let held = self
            .tables
            .get(&table)
            .ok_or_else(|| DataFusionError::Plan(format!("this view has no table `{}`", table.name())))?;
        Ok(Arc::new(PinnedTable::new(table, held.clone())?))
    }
}

struct PinnedTable {
    table: Table,
    view: TableView,
    files: DeltaScanNext,
}

impl std::fmt::Debug for PinnedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedTable({})", self.table.name())
    }
}

impl PinnedTable {
    fn new(table: Table, view: TableView) -> Result<PinnedTable> {
        let snapshot = view.delta.snapshot().map_err(external)?.snapshot().clone();
        let config = DeltaScanConfig::new()
            .with_wrap_partition_values(false)
            .with_schema(table.stored_schema().clone());
        let files = DeltaScanNext::new(snapshot, config)?;
        Ok(PinnedTable { table, view, files })
    }

    fn tail(&self) -> Result<Vec<RecordBatch>> {
        match self.table {
            Table::Events => self
                .view
                .tail
                .iter()
                .map(|batch| parts::with_date(batch).map_err(external))
                .collect(),
            _ => Ok(self.view.tail.clone()),
        }
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        self.table.stored_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.view.delta.update_datafusion_session(session).map_err(external)?;
        let files = self.files.scan(session, projection, filters, limit).await?;
        let tail = self.tail()?;
        if tail.is_empty() {
            return Ok(files);
        }
        let tail = MemorySourceConfig::try_new_exec(&[tail], self.schema(), projection.cloned())?;
        UnionExec::try_new(vec![files, tail])
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The files can be filtered exactly, the tail is not filtered at all: the filter stays above both.
        let of_files = self.files.supports_filters_pushdown(filters)?;
        Ok(of_files
            .into_iter()
            .map(|pushdown| match pushdown {
                TableProviderFilterPushDown::Exact => TableProviderFilterPushDown::Inexact,
                other => other,
            })
            .collect())
    }
}
