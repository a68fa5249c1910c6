//! Turns schemas/events.toml, the one declaration of the event columns, into typed column names and entity kinds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let schema = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../schemas/events.toml");
    println!("cargo::rerun-if-changed={}", schema.display());
    println!("cargo::rerun-if-changed=build.rs");
    let table: toml::Table = fs::read_to_string(&schema)?.parse()?;

    let mut columns = String::new();
    let mut all = String::new();
    let mut kinds = BTreeSet::new();
    for (name, declaration) in &table {
        let text = |key: &str| declaration.get(key).and_then(toml::Value::as_str);
        let constant = name.to_uppercase();
        let (marker, variant) = match text("type") {
            Some("utf8") => ("Text", "Text"),
            Some("list_utf8") => ("TextList", "TextList"),
            Some("int64") => ("Int64", "Int64"),
            Some("float64") => ("Float64", "Float64"),
            Some("bool") => ("Bool", "Bool"),
            Some("timestamp") => ("Timestamp", "Timestamp"),
            other => {
                return Err(format!("{}: {name}: unknown type {other:?}", schema.display()).into());
            }
        };
        let meaning = text("meaning").ok_or_else(|| format!("{}: {name}: no meaning", schema.display()))?;
        writeln!(
            columns,
            "/// {meaning}\npub const {constant}: Column<{marker}> = Column::new({name:?});"
        )?;
        writeln!(all, "    ({name:?}, Kind::{variant}),")?;
        kinds.extend(text("entity"));
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let all = format!(
        "/// Every column and its type, in the order of the schema.\npub const ALL: &[(&str, Kind)] = &[\n{all}];\n"
    );
    fs::write(out.join("columns.rs"), columns + &all)?;

    let mut entities = String::new();
    for kind in kinds {
        writeln!(
            entities,
            "/// Entity kind `{kind}`.\npub const {}: &str = {kind:?};",
            kind.to_uppercase()
        )?;
    }
    fs::write(out.join("entities.rs"), entities)?;
    Ok(())
}
