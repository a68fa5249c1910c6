//! The task that reads a changed file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;

use super::{Slot, load};
use crate::config::{LookupFormat, LookupFrom, LookupSettings};
use crate::model::Micros;
use crate::watch::{POLL, Stamp, Watch};

pub async fn follow(path: PathBuf, settings: Arc<LookupSettings>, slot: Arc<Slot>, read: Option<Stamp>) {
    let LookupFrom::File { format, .. } = settings.from else {
        return;
    };
    let mut watch = Watch::new(read);
    loop {
        tokio::time::sleep(POLL).await;
        let (path, settings, held) = (path.clone(), settings.clone(), slot.clone());
        let looked = spawn_blocking(move || {
            look(&mut watch, &path, &settings, &held, format);
            watch
        });
        match looked.await {
            Ok(kept) => watch = kept,
            // A defect of a reader.
            Err(error) => {
                slot.failed(format!(
                    "the file is not watched any more: {error}; a restart watches it again"
                ));
                return;
            }
        }
    }
}

fn look(watch: &mut Watch<Option<Stamp>>, path: &Path, settings: &LookupSettings, slot: &Slot, format: LookupFormat) {
    let stamp = Stamp::of(path);
    if !watch.is_due(stamp) {
        return;
    }
    let loaded = load(settings, path, format, now());
    // What was written while it was read is neither the old nor the new: the next look sees a change.
    if Stamp::of(path) != stamp {
        return;
    }
    match loaded {
        Ok(loaded) => {
            slot.put(loaded.table, loaded.time);
            watch.was_read(stamp);
        }
        Err(error) => {
            slot.failed(error.reason);
            watch.failed(stamp);
        }
    }
}

/// Microseconds now.
fn now() -> Micros {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_micros() as Micros
}
