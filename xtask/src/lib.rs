//! The developer's verbs, one module each. `cargo xtask` lists them.

use std::path::{Path, PathBuf};

pub mod bench;
mod copies;
pub mod demo;
pub mod eval;
pub mod fuzz;
pub mod kafka;
pub mod languages;
pub mod plugins;
pub mod rsyslog;
pub mod test;
pub mod train;

/// Root of the workspace.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => root().join("target"),
    }
}

/// The cargo that runs this, without what it told this program about itself: some build scripts look at `CARGO_PKG_NAME` and the
/// like, and would build half the dependencies again whenever cargo is called by hand and by a verb in turn.
pub fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    const OURS: [&str; 6] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
        "OUT_DIR",
    ];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || OURS.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.current_dir(root());
    command
}
