//! rsyslog for the tests: the one that is installed, else Debian's packages unpacked below the target directory, which needs no rights.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// The program, and what it needs that a small system does not have.
const PACKAGES: [&str; 4] = ["rsyslog", "libestr0", "libfastjson4", "liblognorm5"];

/// A program to start as `rsyslogd`, or why there is none.
pub fn program(dir: &Path) -> Result<PathBuf, String> {
    if is_there(Path::new("rsyslogd")) {
        return Ok("rsyslogd".into());
    }
    let script = dir.join("rsyslogd");
    if is_there(&script) {
        return Ok(script);
    }
    unpack(dir, &script).map_err(|error| format!("rsyslogd is not installed, and Debian's packages: {error:#}"))?;
    match is_there(&script) {
        true => Ok(script),
        false => Err("rsyslogd is not installed, and the one of Debian's packages does not run here".to_owned()),
    }
}

fn is_there(program: &Path) -> bool {
    Command::new(program)
        .arg("-v")
        .output()
        .is_ok_and(|found| found.status.success())
}

fn unpack(dir: &Path, script: &Path) -> Result<()> {
    let root = dir.join("root");
    for part in ["lists/partial", "cache/archives/partial", "packages"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        for (name, part) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            apt.arg("-o").arg(format!("{name}={}", dir.join(part).display()));
        }
        // Another user could not write here.
        apt.args(["-o", "APT::Sandbox::User="]);
        // Where there is no network nobody waits for it.
        apt.args(["-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=0"]);
        apt.current_dir(dir.join("packages"));
        apt
    };
    run(apt().arg("update"))?;
    run(apt().arg("download").args(PACKAGES))?;
    for package in std::fs::read_dir(dir.join("packages"))? {
        run(Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(&root))?;
    }
    let libraries = std::fs::read_dir(root.join("usr/lib"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("rsyslog").is_dir())
        .context("the package rsyslog has no modules")?;
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{0}' exec '{1}' -M '{0}/rsyslog' \"$@\"\n",
        libraries.display(),
        root.join("usr/sbin/rsyslogd").display()
    );
    std::fs::write(script, text)?;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{name}: {}", said.trim());
    Ok(())
}
