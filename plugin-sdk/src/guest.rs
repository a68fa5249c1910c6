//! The component's side of the boundary: moves what crosses it into this crate's types and back. Lists change hands whole;
//! no cell is copied.

mod memory;

/// Generated from schemas/wit.
#[allow(unsafe_code, missing_docs, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../schemas/wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "sentrail_plugin::guest::bindings",
    });
}

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator::new();

use bindings::sentrail::plugin::{host, types};

use crate::{Batch, Config, Data, Detector, Entity, Evidence, Findings, Instance, Level, Severity, TextColumn, Values};

/// Makes the crate a component that runs the given detector. Does nothing on other targets than wasm32.
#[doc(hidden)]
#[macro_export]
macro_rules! export_component {
    ($detector:ty) => {
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::std::option::Option<$crate::Instance<$detector>>> =
                    const { ::std::cell::RefCell::new(None) };
            }

            impl $crate::guest::bindings::Guest for Component {
                fn configure(
                    json: ::std::string::String,
                ) -> ::std::result::Result<$crate::guest::Description, ::std::string::String> {
                    let instance = $crate::Instance::new(&json)?;
                    let description = $crate::guest::describe(&instance);
                    INSTANCE.set(Some(instance));
                    Ok(description)
                }

                fn detect(
                    batch: $crate::guest::RawBatch,
                ) -> ::std::result::Result<$crate::guest::RawFindings, ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| {
                        let instance = $crate::guest::configured(instance)?;
                        let batch = $crate::guest::take(instance.manifest().columns, batch)?;
                        Ok($crate::guest::give(instance.detect(&batch)))
                    })
                }

                fn advance(time: i64) -> ::std::result::Result<$crate::guest::RawFindings, ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| {
                        Ok($crate::guest::give(
                            $crate::guest::configured(instance)?.advance(time),
                        ))
                    })
                }

                fn save() -> ::std::vec::Vec<u8> {
                    INSTANCE.with_borrow(|instance| instance.as_ref().map($crate::Instance::save).unwrap_or_default())
                }

                fn restore(
                    version: u32,
                    state: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|instance| $crate::guest::configured(instance)?.restore(version, &state))
                }
            }

    $crate::guest::bindings::export!(Component with_types_in $crate::guest::bindings);
        };
    };
}

pub use types::{Batch as RawBatch, Findings as RawFindings, Manifest as Description};

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

/// The instance, which `configure` made.
pub fn configured<D: Detector>(instance: &mut Option<Instance<D>>) -> Result<&mut Instance<D>, String> {
    instance.as_mut().ok_or_else(|| "the plugin was not configured".into())
}

/// The manifest as it crosses the boundary.
pub fn describe<D: Detector>(instance: &Instance<D>) -> Description {
    let manifest = instance.manifest();
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Description {
        id: manifest.id.to_owned(),
        version: manifest.version.to_owned(),
        description: manifest.description.to_owned(),
        classes: list(manifest.classes),
        layers: list(manifest.layers),
        columns: list(manifest.columns),
        key: list(manifest.key),
        state_version: manifest.state_version,
        wants_time: manifest.wants_time,
        rules: manifest
            .rules
            .iter()
            .map(|rule| types::Rule {
                id: rule.id.to_owned(),
                title: rule.title.to_owned(),
                description: rule.description.to_owned(),
                severity: severity(rule.severity),
                techniques: list(rule.techniques),
            })
            .collect(),
        config_schema: D::Config::schema(),
    }
}

/// A batch that came in.
pub fn take(names: &'static [&'static str], raw: RawBatch) -> Result<Batch, String> {
    let columns = raw
        .columns
        .into_iter()
        .map(|column| Data {
            values: values(column.values),
            valid: column.valid,
        })
        .collect();
    Batch::new(names, raw.time, raw.late, text(raw.key), columns)
}

/// Findings that go out.
pub fn give(findings: Findings) -> RawFindings {
    let row = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
    let entity = |entity: Entity| types::Entity {
        kind: entity.kind.to_owned(),
        value: entity.value,
    };
    RawFindings {
        detections: findings
            .detections
            .into_iter()
            .map(|detection| types::Detection {
                rule: detection.rule.id.to_owned(),
                shown_by: match detection.shown_by {
                    Evidence::Rows(rows) => types::Evidence::Rows(rows.into_iter().map(row).collect()),
                    Evidence::Elapsed {
                        key,
                        time,
                        layer,
                        events,
                    } => types::Evidence::Elapsed(types::Elapsed {
                        key,
                        time,
                        layer: layer.to_owned(),
                        events,
                    }),
                },
                severity: detection.severity.map(severity),
                message: detection.message,
                entities: detection.entities.into_iter().map(entity).collect(),
            })
            .collect(),
        relations: findings
            .relations
            .into_iter()
            .map(|relation| types::Relation {
                source: entity(relation.source),
                kind: relation.kind.to_owned(),
                target: entity(relation.target),
                row: row(relation.row),
            })
            .collect(),
        keys_evicted: findings.keys_evicted,
    }
}

fn text(raw: types::TextColumn) -> TextColumn {
    TextColumn::new(raw.offsets, raw.data)
}

fn values(raw: types::Values) -> Values {
    match raw {
        types::Values::Text(cells) => Values::Text(text(cells)),
        types::Values::TextList(lists) => Values::TextList {
            rows: lists.rows,
            items: text(lists.items),
        },
        types::Values::Int64(cells) => Values::Int64(cells),
        types::Values::Float64(cells) => Values::Float64(cells),
        types::Values::Boolean(cells) => Values::Bool(cells),
        types::Values::Timestamp(cells) => Values::Timestamp(cells),
    }
}

fn severity(severity: Severity) -> types::Severity {
    match severity {
        Severity::Informational => types::Severity::Informational,
        Severity::Low => types::Severity::Low,
        Severity::Medium => types::Severity::Medium,
        Severity::High => types::Severity::High,
        Severity::Critical => types::Severity::Critical,
    }
}
