//! The rules of the house that a reader cannot see from one file: who may know whom.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Code lines of a file: without comments.
fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or("").to_owned())
        .collect()
}

/// Stage → the other stages it may use. `model` and `config` are everybody's.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    // It seals what it keeps.
    ("source", &["model", "config", "redact"]),
    ("redact", &["model", "config"]),
    ("normalize", &["model", "config"]),
    ("lookup", &["model", "config"]),
    ("detect", &["model", "config"]),
    ("correlate", &["model", "config"]),
    ("store", &["model", "config"]),
    ("triage", &["model", "config"]),
    ("search", &["model", "config"]),
    // It reads the store's pinned views.
    ("query", &["model", "config", "store"]),
    ("forward", &["model", "config"]),
    ("serve", &["model", "config"]),
    ("simulate", &["model"]),
    ("source_health", &["model", "config"]),
    ("sequence", &["model", "config"]),
];

#[test]
fn stages_do_not_know_each_other() {
    let src = root().join("engine/src");
    let modules: BTreeSet<String> = std::fs::read_dir(&src)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = MAY_USE
        .iter()
        .map(|(stage, _)| stage.to_string())
        .chain(["pipeline".into(), "cli".into()])
        .collect();
    assert_eq!(modules, listed, "every folder of engine/src has its rule here");
    let mut wrong = Vec::new();
    for (stage, allowed) in MAY_USE {
        for file in rust_files(&src.join(stage)) {
            for (number, line) in code(&file).iter().enumerate() {
                for other in &modules {
                    let uses = line.contains(&format!("crate::{other}::"))
                        || line.contains(&format!("crate::{other};"))
                        || line.contains(&format!("crate::{{{other}"));
                    if uses && other != stage && !allowed.contains(&other.as_str()) {
                        wrong.push(format!(
                            "{}:{}: {stage} must not use {other}",
                            file.display(),
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Heavy dependency → the folders that may use it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rdkafka", &["source"]),
    ("wasmtime", &["detect/wasm"]),
    ("petgraph", &["correlate"]),
    ("deltalake", &["store"]),
    ("parquet", &["store", "lookup"]),
    ("maxminddb", &["lookup"]),
    ("ipnet", &["lookup", "config/matching"]),
    ("minisign_verify", &["config", "detect/signature"]),
    ("tantivy", &["search"]),
    ("datafusion_postgres", &["query"]),
    ("datafusion_pg_catalog", &["query"]),
    ("datafusion", &["query", "store", "pipeline", "cli"]),
    ("axum", &["serve", "source", "listener.rs", "forward/tests"]),
    ("reqwest", &["forward"]),
    ("aws_lc_rs", &["redact"]),
    ("anyhow", &["cli"]),
    ("clap", &["cli", "query/render"]),
];

#[test]
fn heavy_dependencies_stay_in_their_folder() {
    let src = root().join("engine/src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let place = file.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
        for (number, line) in code(&file).iter().enumerate() {
            for (dependency, folders) in ONLY_IN {
                let at = line.find(&format!("{dependency}::"));
                let whole =
                    at.is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
                if whole && !folders.iter().any(|folder| place.starts_with(folder)) {
                    wrong.push(format!("{place}:{}: {dependency} belongs to {folders:?}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_stages_do_no_io_and_have_no_clock() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "TcpStream",
        "UdpSocket",
        "tokio::",
        "SystemTime",
        "Instant::now",
        "Utc::now",
        "async fn",
        ".await",
    ];
    let src = root().join("engine/src");
    let mut wrong = Vec::new();
    for stage in ["model", "normalize", "correlate", "source_health", "triage", "sequence"] {
        for file in rust_files(&src.join(stage)) {
            // Tests may read what they compare with.
            if file.to_string_lossy().contains("tests") {
                continue;
            }
            for (number, line) in code(&file).iter().enumerate() {
                for word in FORBIDDEN {
                    if line.contains(word) {
                        wrong.push(format!("{}:{}: `{word}` in {stage}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plugin → what it may use beside the SDK: readers of a language that is not ours.
const PLUGINS_ALSO_USE: &[(&str, &[&str])] = &[("sigma", &["base64", "regex", "rsigma-parser"])];

#[test]
fn plugins_depend_on_the_sdk_alone_and_the_sdk_not_on_the_engine() {
    let dependencies = |manifest: &Path| -> BTreeSet<String> {
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(manifest).unwrap()).unwrap();
        let table = manifest.get("dependencies").and_then(|value| value.as_table());
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    for entry in std::fs::read_dir(root().join("plugins")).unwrap().flatten() {
        let manifest = entry.path().join("Cargo.toml");
        if manifest.exists() {
            let found = dependencies(&manifest);
            let name = entry.file_name();
            let also = PLUGINS_ALSO_USE.iter().filter(|(plugin, _)| name == *plugin);
            let allowed = also.flat_map(|(_, also)| also.iter()).chain(&["sentrail-plugin"]);
            assert_eq!(
                found,
                allowed.map(|name| (*name).to_owned()).collect::<BTreeSet<String>>(),
                "{}",
                manifest.display()
            );
        }
    }
    assert!(!dependencies(&root().join("plugin-sdk/Cargo.toml")).contains("sentrail"));
}
