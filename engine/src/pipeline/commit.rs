//! Making epochs durable in the background while the next one is collected.

use tokio::sync::mpsc;

use crate::model::Offsets;
use crate::store::{EpochData, Store, StoreError};

/// One epoch is written while at most one more waits: beyond that the pipeline holds still until the disk keeps up.
const EPOCHS_WAITING_MAX: usize = 1;

/// An epoch on its way to the tables.
pub struct Sealed {
    pub data: EpochData,
    /// Where the journal ended when the epoch was sealed.
    pub journal_position: u64,
}

/// An epoch that is durable.
pub struct Durable {
    pub epoch: u64,
    pub offsets: Offsets,
    pub journal_position: u64,
    pub seconds: f64,
    /// Of Parquet.
    pub bytes: u64,
}

/// The background task's two ends.
pub struct Committer {
    pub sealed: mpsc::Sender<Sealed>,
    pub durable: mpsc::UnboundedReceiver<Result<Durable, StoreError>>,
}

impl Committer {
    pub fn start(mut store: Store) -> Committer {
        let (sealed, mut incoming) = mpsc::channel::<Sealed>(EPOCHS_WAITING_MAX);
        // Bounded by what comes in: one answer for each sealed epoch.
        let (answers, durable) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Sealed { data, journal_position }) = incoming.recv().await {
                let (epoch, offsets) = (data.epoch, data.offsets.clone());
                let began = std::time::Instant::now();
                let result = store.commit(data).await;
                let failed = result.is_err();
                let seconds = began.elapsed().as_secs_f64();
                let _ = answers.send(result.map(|bytes| Durable {
                    epoch,
                    offsets,
                    journal_position,
                    seconds,
                    bytes,
                }));
                if failed {
                    break;
                }
            }
        });
        Committer { sealed, durable }
    }
}
