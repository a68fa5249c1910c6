//! Turns schemas/sigma.toml and schemas/sources into tables: the formats of each Sigma log source, and for each format the fields of
//! its records that stand unchanged in a text column.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let schemas = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../schemas");
    println!("cargo::rerun-if-changed=build.rs");
    let out = logsources(&read(&schemas.join("sigma.toml"))?)? + &columns(&schemas)?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("schemas.rs"), out)?;
    Ok(())
}

fn read(path: &Path) -> Result<toml::Table, Failure> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path)?;
    Ok(text.parse().map_err(|error| format!("{}: {error}", path.display()))?)
}

fn logsources(declared: &toml::Table) -> Result<String, Failure> {
    let mut out = String::from("const LOGSOURCES: &[Declared] = &[\n");
    for entry in declared
        .get("logsource")
        .and_then(toml::Value::as_array)
        .ok_or("no logsource")?
    {
        let text = |key: &str| entry.get(key).and_then(toml::Value::as_str);
        let formats: Option<Vec<&str>> = entry
            .get("formats")
            .and_then(toml::Value::as_array)
            .and_then(|formats| formats.iter().map(toml::Value::as_str).collect());
        let formats = formats.ok_or("a logsource without formats")?;
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for (name, path) in entry
            .get("fields")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten()
        {
            fields.push((name, path.as_str().ok_or("a field's path is a text")?));
        }
        let (product, service, category) = (text("product"), text("service"), text("category"));
        writeln!(
            out,
            "    Declared {{ product: {product:?}, service: {service:?}, category: {category:?}, formats: &{formats:?}, \
             fields: &{fields:?} }},"
        )?;
    }
    Ok(out + "];\n")
}

/// Per format its layer (empty where a record decides) and the fields that a column repeats: named by one path, not by several, and not
/// changed on the way. Columns that name entities are written in the entity's own form.
fn columns(schemas: &Path) -> Result<String, Failure> {
    let events = read(&schemas.join("events.toml"))?;
    let is_plain = |column: &str| {
        let declared = events.get(column);
        let text = |key: &str| {
            declared
                .and_then(|column| column.get(key))
                .and_then(toml::Value::as_str)
        };
        text("type") == Some("utf8") && text("entity").is_none()
    };
    let sources = schemas.join("sources");
    println!("cargo::rerun-if-changed={}", sources.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&sources)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut out = String::from("const FORMATS: &[Format] = &[\n");
    for file in files {
        let mapping = read(&file)?;
        let text = |key: &str| mapping.get(key).and_then(toml::Value::as_str);
        let name = text("format").ok_or("a mapping without a format")?;
        let layer = text("layer").unwrap_or_default();
        // Where a record is more than one JSON object, its paths are not those of the bytes that came.
        let is_json = ["line", "split"].iter().all(|key| mapping.get(*key).is_none());
        let declared = mapping.get("columns").and_then(toml::Value::as_table);
        let mut fields = Vec::new();
        for (column, plan) in declared.into_iter().flatten() {
            let Some(plan) = plan.as_table().filter(|plan| plan.len() == 1 && is_json) else {
                continue;
            };
            let path = plan.get("from").and_then(toml::Value::as_str);
            let plain = path.filter(|path| !path.contains(['{', '[', '<', '\'']) && is_plain(column));
            fields.extend(plain.map(|path| format!("({path:?}, col::{})", column.to_uppercase())));
        }
        let layer = if declared.is_some_and(|columns| columns.contains_key("layer")) {
            ""
        } else {
            layer
        };
        writeln!(
            out,
            "    Format {{ name: {name:?}, layer: {layer:?}, columns: &[{}] }},",
            fields.join(", ")
        )?;
    }
    Ok(out + "];\n")
}
