//! Files in the MaxMind DB format (<https://maxmind.github.io/MaxMind-DB/>): a tree over addresses, and records with nested fields.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader, WithinOptions};
use serde_json::Value;

use super::cells::Cells;
use super::index::address;
use super::table::{Found, kinds};
use crate::config::LookupSettings;
use crate::model::ColumnType;

/// Networks that are read when a file is opened: enough to see which fields it has and whether its records can be read.
const SAMPLE: usize = 10_000;

pub struct MaxMind {
    reader: Reader<Vec<u8>>,
    /// For each column that is taken, the way to its field.
    paths: Vec<(Vec<String>, ColumnType)>,
}

impl MaxMind {
    /// The database, and the paths that a sample of its records does not have.
    pub fn open(settings: &LookupSettings, bytes: Vec<u8>) -> Result<(MaxMind, Vec<String>), String> {
        let damaged = |error: maxminddb::MaxMindDbError| format!("no readable MaxMind DB: {error}");
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let paths = settings.take.values().zip(kinds(settings));
        let paths = paths
            .map(|(path, kind)| (path.split('.').map(str::to_owned).collect(), kind))
            .collect();
        let maxmind = MaxMind { reader, paths };
        let elements = maxmind.elements();
        let mut unseen: Vec<bool> = vec![true; elements.len()];
        for network in maxmind
            .reader
            .networks(WithinOptions::default())
            .map_err(damaged)?
            .take(SAMPLE)
        {
            let network = network.map_err(damaged)?;
            for (path, unseen) in elements.iter().zip(&mut unseen) {
                *unseen &= network.decode_path::<Value>(path).map_err(damaged)?.is_none();
            }
        }
        let unseen = settings.take.values().zip(unseen).filter(|(_, unseen)| *unseen);
        let unseen = unseen.map(|(path, _)| path.clone()).collect();
        Ok((maxmind, unseen))
    }

    pub fn nodes(&self) -> u64 {
        u64::from(self.reader.metadata().node_count)
    }

    /// What cannot be read of a record, or does not fit the event column, is null.
    pub fn find(&self, values: &[&str]) -> Found {
        let elements = self.elements();
        let mut cells: Vec<Cells> = self.paths.iter().map(|(_, kind)| Cells::new(*kind)).collect();
        let mut count = 0;
        let rows = values.iter().map(|value| {
            let record = self.record(address(value)?)?;
            for (path, cells) in elements.iter().zip(&mut cells) {
                let field = record.decode_path::<Value>(path).ok().flatten().and_then(text);
                if cells.push(field.as_deref()).is_err() {
                    let _ = cells.push(None);
                }
            }
            count += 1;
            Some(count - 1)
        });
        let rows = rows.collect();
        Found {
            rows,
            columns: cells.into_iter().map(Cells::finish).collect(),
        }
    }

    fn record(&self, address: IpAddr) -> Option<maxminddb::LookupResult<'_, Vec<u8>>> {
        // A tree of IPv4 knows no other addresses, and says so.
        let found = self.reader.lookup(address).ok()?;
        found.has_data().then_some(found)
    }

    fn elements(&self) -> Vec<Vec<PathElement<'_>>> {
        self.paths
            .iter()
            .map(|(path, _)| path.iter().map(|name| element(name)).collect())
            .collect()
    }
}

/// A number is a place in a list: no database names a field so.
fn element(name: &str) -> PathElement<'_> {
    match name.parse() {
        Ok(index) => PathElement::Index(index),
        Err(_) => PathElement::Key(name),
    }
}

/// Of a single value; a map or a list is none.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
