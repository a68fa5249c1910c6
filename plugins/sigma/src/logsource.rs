//! Which records a rule is for, and where in them its fields are. What is declared in schemas/ becomes tables at build time.

use std::collections::BTreeMap;

use rsigma_parser::LogSource;
use sentrail_plugin::{Column, Text, col};

/// A Sigma log source, as schemas/sigma.toml declares it.
#[derive(Debug)]
struct Declared {
    product: Option<&'static str>,
    service: Option<&'static str>,
    category: Option<&'static str>,
    formats: &'static [&'static str],
    fields: &'static [(&'static str, &'static str)],
}

/// A log format of schemas/sources.
#[derive(Debug)]
struct Format {
    name: &'static str,
    /// Empty where each record decides.
    layer: &'static str,
    /// Fields of the record that stand unchanged in a column.
    columns: &'static [(&'static str, Column<Text>)],
}

include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// Where a rule applies.
#[derive(Debug)]
pub struct Scope {
    pub formats: Vec<String>,
    fields: Vec<(&'static str, &'static str)>,
}

impl Scope {
    /// The formats of a rule's log source. `more` are those that the configuration adds: `product/service`, or either alone, and
    /// their formats. The error says that nothing reads such logs.
    pub fn of(source: &LogSource, more: &BTreeMap<String, Vec<String>>) -> Result<Scope, String> {
        let given = [&source.product, &source.service, &source.category];
        if given.iter().all(|part| part.is_none()) {
            return Err("its logsource names no product, service or category".into());
        }
        let name: Vec<&str> = given[..2].iter().filter_map(|part| part.as_deref()).collect();
        if let Some(formats) = more.get(&name.join("/")) {
            return Ok(Scope {
                formats: formats.clone(),
                fields: Vec::new(),
            });
        }
        let fits = |asked: &Option<String>, has: Option<&str>| asked.as_deref().is_none_or(|asked| Some(asked) == has);
        let fitting = LOGSOURCES.iter().filter(|declared| {
            fits(&source.product, declared.product)
                && fits(&source.service, declared.service)
                && fits(&source.category, declared.category)
        });
        let mut scope = Scope {
            formats: Vec::new(),
            fields: Vec::new(),
        };
        for declared in fitting {
            scope
                .formats
                .extend(declared.formats.iter().map(|format| (*format).to_owned()));
            scope.fields.extend(declared.fields);
        }
        scope.formats.sort();
        scope.formats.dedup();
        if scope.formats.is_empty() {
            let all: Vec<&str> = given.iter().filter_map(|part| part.as_deref()).collect();
            return Err(format!(
                "no log format is known for its logsource {}; `logsources` in the configuration can name one",
                all.join("/")
            ));
        }
        Ok(scope)
    }

    /// The path under which the record holds a field where it does not hold it under its own name.
    pub fn path(&self, field: &str) -> Option<String> {
        self.fields
            .iter()
            .find_map(|(name, path)| match name.strip_suffix('.') {
                Some(_) => field.strip_prefix(name).map(|rest| format!("{path}{rest}")),
                None => (*name == field).then(|| (*path).to_owned()),
            })
    }
}

/// The column that repeats a field of a format's records.
pub fn column(format: &str, field: &str) -> Option<Column<Text>> {
    let format = FORMATS.iter().find(|known| known.name == format)?;
    let found = format.columns.iter().find(|(path, _)| *path == field);
    found.map(|(_, column)| *column)
}

/// The layer of a format's events; `None` where it is not known beforehand.
pub fn layer(format: &str) -> Option<&'static str> {
    let known = FORMATS.iter().find(|known| known.name == format);
    known.map(|known| known.layer).filter(|layer| !layer.is_empty())
}
