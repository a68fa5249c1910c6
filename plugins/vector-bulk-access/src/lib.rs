//! Bulk reading and enumeration of vector databases. What a caller does in ten minutes is weighed; audit logs that do not say
//! how many rows came back are weighed by calls.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Alarm, Batch, Detector, Findings, Keyed, MINUTE, Manifest, RecentSet, Rule, SlidingSum, col, config,
};

mod operation;
mod rules;

use operation::Operation;

/// The window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// Calls within this time count as one moment.
const STEP: i64 = MINUTE / 6;
/// Collections that a set remembers: more than any threshold needs.
const MEMBERS: usize = 64;

config! {
    /// When a caller's ten minutes become a detection.
    pub struct Config {
        /// Collections touched. Applications use one or a few.
        pub collections: u64 = 6,
        /// Calls that list collections or describe them.
        pub listings: u64 = 30,
        /// Reading calls: one a second for five minutes, beyond what one user's questions cause.
        pub reads: u64 = 300,
        /// Scrolling calls. Retrieval searches; who scrolls on and on is copying, a page at a time.
        pub scrolls: u64 = 30,
        /// Rows that came back, where the log says: a hundred full pages.
        pub rows: u64 = 10_000,
        /// Deleting calls.
        pub deletes: u64 = 20,
        /// Collections deleted by one caller.
        pub drops: u64 = 3,
        /// Refused calls.
        pub denied: u64 = 10,
        /// Callers remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_callers: usize = 10_000,
    }
}

/// What is remembered of a caller.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Caller {
    collections: RecentSet,
    enumerating: Alarm,
    listings: SlidingSum,
    listing: Alarm,
    reads: SlidingSum,
    reading: Alarm,
    scrolls: SlidingSum,
    scrolling: Alarm,
    rows: SlidingSum,
    copying: Alarm,
    deletes: SlidingSum,
    deleting: Alarm,
    drops: SlidingSum,
    dropping: Alarm,
    denied: SlidingSum,
    refused: Alarm,
}

struct Access<'a> {
    time: i64,
    operation: &'a str,
    collection: Option<&'a str>,
    rows: u64,
    failed: bool,
}

impl Caller {
    fn judge(&mut self, config: &Config, access: &Access) -> Vec<(&'static Rule, String)> {
        let mut found = Vec::new();
        let time = access.time;
        if access.failed {
            let denied = self.denied.add(WINDOW, STEP, time, 1);
            if self.refused.rises(denied, config.denied) {
                found.push((&rules::DENIED, format!("{denied} calls were refused in ten minutes")));
            }
        }
        if let Some(collection) = access.collection {
            let touched = self.collections.insert(WINDOW, MEMBERS, time, collection).len as u64;
            if self.enumerating.rises(touched, config.collections) {
                found.push((&rules::ENUMERATION, format!("{touched} collections in ten minutes")));
            }
        }
        // A refused call takes nothing.
        if access.failed {
            return found;
        }
        match Operation::of(access.operation) {
            Operation::Read => found.extend(self.read(config, access)),
            Operation::Export => {
                let what = access.collection.unwrap_or("the whole database");
                found.push((&rules::EXPORT, format!("{} on {what}", access.operation)));
            }
            Operation::Delete => {
                let deletes = self.deletes.add(WINDOW, STEP, time, 1);
                if self.deleting.rises(deletes, config.deletes) {
                    found.push((&rules::DELETES, format!("{deletes} deleting calls in ten minutes")));
                }
            }
            Operation::Drop => {
                found.push((
                    &rules::COLLECTION_DELETED,
                    format!(
                        "{} of {}",
                        access.operation,
                        access.collection.unwrap_or("a collection")
                    ),
                ));
                let drops = self.drops.add(WINDOW, STEP, time, 1);
                if self.dropping.rises(drops, config.drops) {
                    found.push((&rules::DELETES, format!("{drops} collections deleted in ten minutes")));
                }
            }
            Operation::Other if access.operation.contains("list") || access.operation.contains("info") => {
                let listings = self.listings.add(WINDOW, STEP, time, 1);
                if self.listing.rises(listings, config.listings) {
                    found.push((&rules::ENUMERATION, format!("{listings} listings in ten minutes")));
                }
            }
            Operation::Other => {}
        }
        found
    }

    fn read(&mut self, config: &Config, access: &Access) -> Option<(&'static Rule, String)> {
        let reads = self.reads.add(WINDOW, STEP, access.time, 1);
        let rows = self.rows.add(WINDOW, STEP, access.time, access.rows);
        let pages = u64::from(access.operation.to_ascii_lowercase().contains("scroll"));
        let scrolls = self.scrolls.add(WINDOW, STEP, access.time, pages);
        let many_reads = self.reading.rises(reads, config.reads);
        let many_pages = self.scrolling.rises(scrolls, config.scrolls);
        let many_rows = self.copying.rises(rows, config.rows);
        (many_reads || many_pages || many_rows).then(|| {
            (
                &rules::MASS_READ,
                format!(
                    "{reads} reads in ten minutes, {scrolls} of them scrolling, {rows} rows as far as the log says"
                ),
            )
        })
    }
}

/// The detector.
pub struct VectorBulkAccess {
    config: Config,
}

impl Detector for VectorBulkAccess {
    type Config = Config;
    type State = Keyed<Caller>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "vector-bulk-access",
            version: env!("CARGO_PKG_VERSION"),
            description: "Enumeration, mass reading, export and deletion of vector collections, and bursts of refused calls.",
            layers: &["vector_db"],
            columns: &[
                col::API_OPERATION.name,
                col::COLLECTION_UID.name,
                col::ROW_COUNT.name,
                col::STATUS.name,
            ],
            key: &[col::ACTOR_USER_UID.name, col::SRC_ENDPOINT_IP.name],
            state_version: 2,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, callers: &mut Keyed<Caller>, batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let collections = batch.text(col::COLLECTION_UID);
        let counts = batch.int64(col::ROW_COUNT);
        let statuses = batch.text(col::STATUS);
        for row in batch.rows() {
            let (Some(operation), Some(key)) = (operations.get(row), batch.key(row)) else {
                continue;
            };
            let access = Access {
                time: batch.time(row),
                operation,
                collection: collections.get(row).filter(|name| !name.is_empty()),
                rows: counts.get(row).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
                failed: statuses.get(row) == Some("Failure"),
            };
            let caller = callers.at(key, access.time, self.config.max_callers, WINDOW);
            for (rule, message) in caller.judge(&self.config, &access) {
                out.detect(rule, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(VectorBulkAccess);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::VectorBulkAccess);
}
