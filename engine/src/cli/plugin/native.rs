//! A detector's crate as a native program, to compare its guest with.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::named::Source;

/// Where the programs are built, in a clone.
const DIR: &str = "target/try/native";

/// The program of one detector, and the file of the configuration that it runs under.
pub struct Native {
    program: PathBuf,
    config: Passing,
}

/// A file that is removed in the end: it may hold what somebody's logs or feeds hold.
pub struct Passing(pub PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// One pass over all events by a fresh instance.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pass {
    pub nanos: u64,
    pub detections: u64,
}

impl Native {
    /// Writes the program and builds it.
    pub fn build(source: &Source, config: &str) -> anyhow::Result<Native> {
        let dir = source.root.join(DIR);
        let package = dir.join(&source.name);
        // Rust and TOML quote alike.
        let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
        for (file, template) in [
            ("Cargo.toml", include_str!("native/Cargo.toml.in")),
            ("src/main.rs", include_str!("native/main.rs.in")),
        ] {
            let text = template
                .replace("@NAME@", &source.name)
                .replace("@LIB@", &source.name.replace('-', "_"))
                .replace("@CRATE_DIR@", &quoted(source.root.join("plugins").join(&source.name)))
                .replace("@SDK_DIR@", &quoted(source.root.join("plugin-sdk")));
            write_if_other(&package.join(file), text.as_bytes())?;
        }
        let config_file = package.join("config.json");
        write_if_other(&config_file, config.as_bytes())?;
        // The same releases of everything as in the guest.
        let lock = fs::read(source.root.join("Cargo.lock")).context("the clone's Cargo.lock cannot be read")?;
        if !package.join("Cargo.lock").exists() {
            write_if_other(&package.join("Cargo.lock"), &lock)?;
        }
        let target = dir.join("target");
        let mut cargo = super::cargo_command(&package);
        let arguments = ["build", "--release", "--quiet", "--target-dir"];
        cargo.args(arguments).arg(&target).env_remove("RUSTC_WORKSPACE_WRAPPER");
        super::finish(cargo, &arguments)?;
        Ok(Native {
            program: target.join("release").join(format!("bench-{}", source.name)),
            config: Passing(config_file),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.config.0).args(arguments);
        command
    }

    /// Writes the events of the detector's fixtures to `file`, over and over until there are `rows`.
    pub fn fixtures(&self, rows: usize, file: &Path) -> anyhow::Result<()> {
        let out = fs::File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
        let status = self.command(&["fixtures", &rows.to_string()]).stdout(out).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => bail!("the fixtures cannot be used; see above"),
            Err(error) => bail!("{} cannot be started: {error}", self.program.display()),
        }
    }

    /// Ready to go over the events in `file`.
    pub fn passes(&self, file: &Path) -> anyhow::Result<Passes> {
        let mut child = self
            .command(&["measure", &file.to_string_lossy()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("a child without pipes")?;
        Ok(Passes {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }
}

/// The program at work.
pub struct Passes {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Passes {
    pub fn pass(&mut self) -> anyhow::Result<Pass> {
        let mut line = String::new();
        let asked = self.stdin.write_all(b"\n").and_then(|()| self.stdin.flush());
        asked
            .and_then(|()| self.stdout.read_line(&mut line))
            .context("the native program ended; see above")?;
        serde_json::from_str(&line).context("the native program failed; see above")
    }
}

impl Drop for Passes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves a file alone that says the same, so that nothing is built for nothing.
fn write_if_other(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|held| held == text) {
        return Ok(());
    }
    let written = path.parent().map_or(Ok(()), fs::create_dir_all);
    written
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("{} cannot be written", path.display()))
}
