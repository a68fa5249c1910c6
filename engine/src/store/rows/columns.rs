//! Columns from values, and values from columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, ListBuilder, RecordBatch,
    StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};

use crate::model::{Entity, EntityRole, Micros};

use super::{StoreError, Table};

pub(super) fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, StoreError> {
    RecordBatch::try_new(table.schema().clone(), columns).map_err(StoreError::rows(table))
}

pub(super) fn texts(values: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

pub(super) fn maybe_texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values))
}

pub(super) fn times(values: impl Iterator<Item = Micros>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

pub(super) fn maybe_times(values: impl Iterator<Item = Option<Micros>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
}

pub(super) fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Delta has no unsigned integers; a count beyond i64 is shown as its greatest value.
pub(super) fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    numbers(values.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
}

pub(super) fn lists<'a, T: AsRef<str> + 'a>(rows: impl Iterator<Item = &'a Vec<T>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in rows {
        for value in row {
            builder.values().append_value(value);
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

pub(super) fn role_text(role: EntityRole) -> &'static str {
    match role {
        EntityRole::Actor => "actor",
        EntityRole::Target => "target",
        EntityRole::Context => "context",
    }
}

pub(super) fn list_at(lists: &ListArray, row: usize) -> Vec<String> {
    let values = lists.value(row);
    let values: &StringViewArray = values.as_string_view();
    values.iter().flatten().map(str::to_string).collect()
}

pub(super) fn text_at(texts: &StringViewArray, row: usize) -> Option<String> {
    texts.is_valid(row).then(|| texts.value(row).to_string())
}

/// Typed access to rows that were read back, in whatever string layout the reader chose.
pub(super) struct Rows<'a> {
    pub table: Table,
    pub batch: &'a RecordBatch,
}

impl Rows<'_> {
    fn column(&self, name: &str) -> Result<ArrayRef, StoreError> {
        let (Some(column), Ok(field)) = (
            self.batch.column_by_name(name),
            self.table.schema().field_with_name(name),
        ) else {
            return Err(self.bad(name, "the column is missing"));
        };
        arrow::compute::cast(column, field.data_type()).map_err(StoreError::rows(self.table))
    }

    pub fn texts(&self, name: &str) -> Result<StringViewArray, StoreError> {
        Ok(self.column(name)?.as_string_view().clone())
    }

    pub fn times(&self, name: &str) -> Result<TimestampMicrosecondArray, StoreError> {
        Ok(self.column(name)?.as_primitive::<TimestampMicrosecondType>().clone())
    }

    pub fn numbers(&self, name: &str) -> Result<Int64Array, StoreError> {
        Ok(self.column(name)?.as_primitive::<Int64Type>().clone())
    }

    pub fn floats(&self, name: &str) -> Result<Float64Array, StoreError> {
        Ok(self.column(name)?.as_primitive::<Float64Type>().clone())
    }

    pub fn bools(&self, name: &str) -> Result<BooleanArray, StoreError> {
        Ok(self.column(name)?.as_boolean().clone())
    }

    pub fn lists(&self, name: &str) -> Result<ListArray, StoreError> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::List(item) if item.data_type() == &DataType::Utf8View => Ok(column.as_list::<i32>().clone()),
            other => Err(self.bad(name, format!("{other} is no list of texts"))),
        }
    }

    pub fn count<T: TryFrom<i64>>(&self, name: &str, value: i64) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.bad(name, format!("{value} is out of range")))
    }

    pub fn entity(&self, text: &str) -> Result<Entity, StoreError> {
        Entity::parse(text).ok_or_else(|| self.bad("entities", format!("`{text}` is no `kind:value`")))
    }

    pub fn role(&self, text: &str) -> Result<EntityRole, StoreError> {
        match text {
            "actor" => Ok(EntityRole::Actor),
            "target" => Ok(EntityRole::Target),
            "context" => Ok(EntityRole::Context),
            other => Err(self.bad("entity_roles", format!("`{other}` is none of actor, target, context"))),
        }
    }

    pub fn bad(&self, column: &str, reason: impl ToString) -> StoreError {
        StoreError::Rows {
            table: self.table,
            reason: format!("column `{column}`: {}", reason.to_string()),
        }
    }
}
