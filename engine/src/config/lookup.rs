//! `[[lookup]]` as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::document::{Fault, Place};
use super::settings::*;
use super::source::TENANT_DEFAULT;
use super::wire::Pause;
use crate::model::{ColumnType, EventSchema};

/// Soon enough for what is learned from tables of the past, seldom enough to cost little.
const REFRESH: Duration = Duration::from_secs(5 * 60);
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Stands for all tenants.
const TENANT_ALL: &str = "*";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    name: String,
    file: Option<String>,
    sql: Option<String>,
    refresh: Option<Pause>,
    tenant: Option<String>,
    on: String,
    key: Option<String>,
    #[serde(rename = "match")]
    matching: Option<LookupMatch>,
    take: BTreeMap<String, String>,
}

impl Lookup {
    pub(super) fn validate(self, place: Place, sources: &[SourceSettings]) -> Result<LookupSettings, Fault> {
        let wrong = |key: &'static str, message: String| Err(Fault::new(place, key, message));
        let from = match (self.file, self.sql) {
            (Some(file), None) => {
                if self.refresh.is_some() {
                    return wrong(
                        "refresh",
                        "refresh goes with `sql`; a file is read again when it changes".into(),
                    );
                }
                let extension = Path::new(&file).extension().and_then(|extension| extension.to_str());
                let format = match extension {
                    Some("csv") => LookupFormat::Csv,
                    Some("parquet") => LookupFormat::Parquet,
                    Some("mmdb") => LookupFormat::MaxMind,
                    _ => return wrong("file", format!("file = \"{file}\": valid are .csv, .parquet and .mmdb")),
                };
                let path = file.into();
                LookupFrom::File { path, format }
            }
            (None, Some(statement)) => {
                let refresh = self.refresh.map_or(REFRESH, |pause| pause.0);
                if refresh < REFRESH_MIN {
                    let message = format!("refresh = \"{} ms\": valid is \"1s\" and more", refresh.as_millis());
                    return wrong("refresh", message);
                }
                LookupFrom::Sql { statement, refresh }
            }
            (Some(_), Some(_)) => {
                return wrong(
                    "sql",
                    "`file` and `sql` stand side by side; valid is one of them".into(),
                );
            }
            (None, None) => return wrong("file", "`file` or `sql` is missing".into()),
        };
        let has_own_key = matches!(&from, LookupFrom::File { format, .. } if *format == LookupFormat::MaxMind);
        let key = match (self.key, has_own_key) {
            (Some(column), false) => Some(LookupKey {
                column,
                matching: self.matching.unwrap_or_default(),
            }),
            (None, false) => {
                return wrong(
                    "key",
                    "`key` is missing: the column of the table that `on` is compared with".into(),
                );
            }
            (Some(_), true) => return wrong("key", "a .mmdb file is searched by address and has no `key`".into()),
            (None, true) if self.matching.is_some() => {
                return wrong("match", "a .mmdb file is searched by address and has no `match`".into());
            }
            (None, true) => None,
        };
        match column(&self.on) {
            Some(ColumnType::Utf8) => {}
            Some(_) => return wrong("on", format!("on = \"{}\": that event column holds no text", self.on)),
            None => return wrong("on", format!("on = \"{}\": {}", self.on, NO_COLUMN)),
        }
        if self.take.is_empty() {
            return wrong(
                "take",
                "take is empty; valid is { EVENT_COLUMN = \"COLUMN_OF_THE_TABLE\", … }".into(),
            );
        }
        for (name, from) in &self.take {
            if let Some(reason) = not_fillable(name).or((name == &self.on).then_some("it is what is looked up")) {
                return wrong("take", format!("take: {name}: {reason}"));
            }
            if from.is_empty() || has_own_key && from.split('.').any(str::is_empty) {
                return wrong("take", format!("take: {name} = \"{from}\": names nothing in the table"));
            }
        }
        let tenant = self.tenant.unwrap_or_else(|| TENANT_DEFAULT.into());
        let tenants: BTreeSet<&str> = sources.iter().map(|source| source.tenant.as_str()).collect();
        if tenant == TENANT_ALL && matches!(from, LookupFrom::Sql { .. }) {
            let message = "tenant = \"*\": rows of the tables are some tenant's; valid is the name of one";
            return wrong("tenant", message.into());
        }
        if tenant != TENANT_ALL && !tenants.contains(tenant.as_str()) {
            let valid: Vec<String> = tenants.iter().map(|name| format!("\"{name}\"")).collect();
            let message = format!(
                "tenant = \"{tenant}\": no source has that tenant; valid are {} and \"*\" for all",
                valid.join(", ")
            );
            return wrong("tenant", message);
        }
        Ok(LookupSettings {
            name: self.name,
            tenant: (tenant != TENANT_ALL).then_some(tenant),
            from,
            on: self.on,
            key,
            take: self.take,
        })
    }
}

const NO_COLUMN: &str = "there is no such event column; schemas/events.toml lists them";

fn column(name: &str) -> Option<ColumnType> {
    let schema = EventSchema::get();
    schema.index_of(name).map(|index| schema.columns()[index].kind)
}

/// Why a lookup cannot fill the event column `name`.
fn not_fillable(name: &str) -> Option<&'static str> {
    let columns = EventSchema::get().columns();
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        return Some(NO_COLUMN);
    };
    match column.kind {
        _ if column.required || name == "unmapped" => Some("the engine sets that column itself"),
        ColumnType::Utf8 | ColumnType::Int64 | ColumnType::Float64 | ColumnType::Bool => None,
        ColumnType::Timestamp | ColumnType::ListUtf8 => {
            Some("a lookup cannot fill that column; valid are columns of type utf8, int64, float64 and bool")
        }
    }
}
