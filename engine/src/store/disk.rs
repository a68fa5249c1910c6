//! Files that survive a power cut: written, flushed to the device, and so is the directory that names them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::StoreError;

pub(super) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io("create the directory", dir))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("flush the directory", dir))
}

pub(super) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("flush", path))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(StoreError::io("write", path))
}

/// Writes the file whole or not at all, and never over another: `false` when it exists already.
pub(super) fn put_if_absent(path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
    let half = path.with_extension("tmp");
    write(&half, bytes)?;
    // A rename would replace what is there; a link fails.
    let linked = match fs::hard_link(&half, path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(StoreError::io("create", path)(error)),
    };
    remove(&half)?;
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    Ok(linked)
}

/// Removes a file; one that is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Names of the files in a directory, sorted; an absent directory has none.
pub(super) fn file_names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Every file below `dir`, directories whose name starts with `_` left out.
pub(super) fn files_below(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for name in file_names(&dir)? {
            let path = dir.join(&name);
            if path.is_file() {
                files.push(path);
            } else if !name.starts_with('_') {
                dirs.push(path);
            }
        }
    }
    Ok(files)
}
