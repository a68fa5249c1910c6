//! Arrow batches → table: what Parquet files hold and what statements answer.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};

use super::table::{Draft, Table};
use crate::config::{LookupFrom, LookupSettings};

/// The column that says whose a row of a statement's answer is.
const TENANT: &str = "tenant";

/// Takes batches of one schema.
pub struct RowsReader {
    draft: Draft,
    key: usize,
    taken: Vec<usize>,
    /// Where the tenant stands, and whose rows are taken.
    tenant: Option<(usize, String)>,
}

impl RowsReader {
    /// The error names the column that is missing. A statement's answer must say in `tenant` whose each row is: rows of others than the
    /// lookup's tenant are left out.
    pub fn new(settings: &LookupSettings, schema: &Schema) -> Result<RowsReader, String> {
        let draft = Draft::new(settings)?;
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (key, taken) = draft.columns();
        let tenant = match (&settings.from, &settings.tenant) {
            (LookupFrom::Sql { .. }, Some(tenant)) => Some((place(&names, TENANT)?, tenant.clone())),
            _ => None,
        };
        Ok(RowsReader {
            key: place(&names, key)?,
            taken: taken.iter().map(|name| place(&names, name)).collect::<Result<_, _>>()?,
            tenant,
            draft,
        })
    }

    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let text = |index: &usize| -> Result<StringArray, String> {
            let column = batch.column(*index);
            let wrong = |_| {
                let schema = batch.schema();
                let field = schema.field(*index);
                format!(
                    "column `{}` holds {}, which is no text or number",
                    field.name(),
                    field.data_type()
                )
            };
            let text = cast(column, &DataType::Utf8).map_err(wrong)?;
            Ok(text.as_string::<i32>().clone())
        };
        let keys = text(&self.key)?;
        let columns = self.taken.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let tenants = match &self.tenant {
            Some((index, tenant)) => Some((text(index)?, tenant.as_str())),
            None => None,
        };
        for row in 0..batch.num_rows() {
            let is_ours = tenants
                .as_ref()
                .is_none_or(|(tenants, ours)| tenants.is_valid(row) && tenants.value(row) == *ours);
            if is_ours {
                let key = if keys.is_valid(row) { keys.value(row) } else { "" };
                let cells = columns
                    .iter()
                    .map(|column| column.is_valid(row).then(|| column.value(row)));
                self.draft.push(key, cells)?;
            }
        }
        Ok(())
    }

    pub fn finish(self, digest: String) -> Table {
        self.draft.finish(digest)
    }
}

/// Where the column `name` stands.
pub(super) fn place(names: &[&str], name: &str) -> Result<usize, String> {
    let mut places = names.iter().enumerate().filter(|(_, held)| **held == name);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => Err(format!("two columns are named `{name}`")),
        (None, _) if names.is_empty() => Err(format!("no column `{name}`: it is empty")),
        (None, _) => {
            let names: Vec<String> = names
                .iter()
                .take(NAMES_SHOWN_MAX)
                .map(|name| format!("`{}`", shown(name)))
                .collect();
            Err(format!("no column `{name}`; it has {}", names.join(", ")))
        }
    }
}

const NAMES_SHOWN_MAX: usize = 32;
const NAME_SHOWN_CHARS_MAX: usize = 64;

fn shown(name: &str) -> String {
    name.chars()
        .take(NAME_SHOWN_CHARS_MAX)
        .filter(|c| !c.is_control())
        .collect()
}
