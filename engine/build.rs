//! Makes every file of schemas/sources part of the build, so that a new log format needs no line of Rust.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../schemas/sources");
    println!("cargo::rerun-if-changed={}", dir.display());
    println!("cargo::rerun-if-changed=build.rs");
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
            "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../schemas/sources/{name}\"))),"
        )?;
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("mapping_files.rs");
    // Written only when it differs: a changed fixture beside the mappings must not rebuild the engine.
    if fs::read_to_string(&out).ok().as_deref() != Some(list.as_str()) {
        fs::write(out, list)?;
    }
    Ok(())
}
