//! Makes every file of schemas/sources and schemas/sequences part of the build, so that a new log format or sequence needs no line of
//! Rust.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    embed("sources", "mapping_files.rs")?;
    embed("sequences", "sequence_files.rs")
}

/// The names and texts of the `*.toml` of a folder of schemas, as a list in Rust.
fn embed(folder: &str, list_file: &str) -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("../schemas")
        .join(folder);
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let name = entry?
            .file_name()
            .into_string()
            .map_err(|name| format!("{}: no UTF-8", name.display()))?;
        if name.ends_with(".toml") {
            names.push(name);
        }
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        writeln!(
            list,
            "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../schemas/{folder}/{name}\"))),"
        )?;
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR")?).join(list_file);
    // Written only when it differs: a changed fixture beside the files must not rebuild the engine.
    if fs::read_to_string(&out).ok().as_deref() != Some(list.as_str()) {
        fs::write(out, list)?;
    }
    Ok(())
}
