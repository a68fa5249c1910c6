//! SQL for PostgreSQL clients, in a process of its own.
//!
//! A statement comes from outside, and no bound on its text bounds what planning and running it takes: a value can double per line,
//! a plan per name, and a deep one can overflow a stack. What a client can bring down is therefore not the engine but this process,
//! which is started anew. It has the listening socket, reads the tables from the data directory, and is sent what is not on disk yet.

mod process;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use process::SqlProcess;
pub use server::serve_sql;

/// Name of the command line's verb that runs [`serve_sql`].
pub const VERB: &str = "serve-sql";

/// Where the process's temporary files go.
fn sql_spill(dir: &Path) -> PathBuf {
    dir.join("cache").join("sql")
}

/// The first message to the process.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    /// The data directory.
    pub dir: PathBuf,
    pub login: Option<Login>,
}

/// Who may ask.
#[derive(Serialize, Deserialize)]
pub(super) struct Login {
    pub user: String,
    pub password: String,
}
