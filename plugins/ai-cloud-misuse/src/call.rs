//! One call, as the audit log of a cloud tells it.

use std::cell::OnceCell;

use sentrail_plugin::Search;
use sentrail_plugin::json::{self, Value};

/// A row's cells.
pub struct Call<'a> {
    pub time: i64,
    /// In lower case.
    pub operation: String,
    /// In lower case; Azure's in any case.
    pub service: String,
    pub failed: bool,
    pub reads: bool,
    pub actor: &'a str,
    pub region: &'a str,
    pub resource: &'a str,
    pub request_text: &'a str,
    pub request: OnceCell<Value>,
}

impl Call<'_> {
    /// The request's parameters; null when there are none or they cannot be read.
    pub fn request(&self) -> &Value {
        self.request
            .get_or_init(|| json::from_str(self.request_text).unwrap_or(Value::Null))
    }

    /// Whether the parameters hold any of the texts, without regard to case and spaces.
    pub fn says(&self, texts: &[&str]) -> bool {
        let mut said = self.request_text.to_ascii_lowercase().into_bytes();
        said.retain(|letter| !letter.is_ascii_whitespace());
        texts.iter().any(|text| said.holds(text))
    }

    /// Every value that stands under one of the names, at any depth.
    pub fn all<'v>(&'v self, names: &[&str]) -> Vec<&'v Value> {
        let mut found = Vec::new();
        let mut todo = vec![self.request()];
        while let Some(value) = todo.pop() {
            match value {
                Value::Object(fields) => {
                    for (name, value) in fields {
                        if names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)) {
                            found.push(value);
                        }
                        todo.push(value);
                    }
                }
                Value::Array(values) => todo.extend(values),
                _ => {}
            }
        }
        found
    }
}
