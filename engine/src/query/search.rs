//! `search('words')`: full-text hits as a table.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Answers a text query with rows of incident_id, score and snippet, best first; or says what is wrong with the query. It may block.
pub type SearchFn = Arc<dyn Fn(&str) -> std::result::Result<RecordBatch, String> + Send + Sync>;

static HITS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("incident_id", DataType::Utf8View, false),
        Field::new("score", DataType::Float64, false),
        Field::new("snippet", DataType::Utf8View, true),
    ]))
});

pub(super) struct SearchFunction(SearchFn);

impl SearchFunction {
    pub fn new(search: SearchFn) -> SearchFunction {
        SearchFunction(search)
    }
}

impl std::fmt::Debug for SearchFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SearchFunction")
    }
}

impl TableFunctionImpl for SearchFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(value, _)] = args.exprs() else {
            return Err(usage());
        };
        let query = match value {
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
                text
            }
            _ => return Err(usage()),
        };
        Ok(Arc::new(Hits {
            query: query.clone(),
            search: self.0.clone(),
        }))
    }
}

fn usage() -> DataFusionError {
    DataFusionError::Plan("search takes one text in quotes: SELECT * FROM search('stolen key')".to_string())
}

/// Found anew each time a statement runs.
struct Hits {
    query: String,
    search: SearchFn,
}

impl std::fmt::Debug for Hits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hits({})", self.query)
    }
}

#[async_trait]
impl TableProvider for Hits {
    fn schema(&self) -> SchemaRef {
        HITS.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (query, search) = (self.query.clone(), self.search.clone());
        let found = tokio::task::spawn_blocking(move || search(&query)).await;
        let found = found.map_err(|error| DataFusionError::Execution(format!("the search died: {error}")))?;
        let hits = as_hits(&found.map_err(DataFusionError::Execution)?)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![hits]],
            HITS.clone(),
            projection.cloned(),
        )?)
    }
}

fn as_hits(found: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(HITS.fields().len());
    for field in HITS.fields() {
        let column = found
            .column_by_name(field.name())
            .ok_or_else(|| DataFusionError::Internal(format!("the search gave no column `{}`", field.name())))?;
        columns.push(cast(column, field.data_type())?);
    }
    Ok(RecordBatch::try_new(HITS.clone(), columns)?)
}
