//! Misuse of vector databases: bulk reading and enumeration, export, access to others' collections, planted texts and deletion. What a
//! caller does in ten minutes is weighed; audit logs that do not say how many rows came back are weighed by calls.

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, Rule, col, config};

mod caller;
mod operation;
mod rules;
mod table;

use caller::{Access, Caller, HABIT};

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
        /// Hours from its first call on in which a caller's collections are being learnt: nightly and weekly work shows within a week.
        pub learning_hours: i64 = 168,
        /// Calls from which they are known as well.
        pub learning_calls: u64 = 200,
        /// Collections that a settled caller has at most. Who uses more roams by nature.
        pub own_collections: usize = 8,
        /// Collections within an hour that a settled caller never used before. One is a new feature.
        pub foreign: u64 = 2,
        /// Writing calls within ten minutes of the first that a settled caller made to a collection. A few are a test.
        pub newcomer_writes: u64 = 10,
        /// Writing calls in an hour below which their number is not looked at.
        pub writes: u64 = 200,
        /// Hours with writing calls from which "usual" is known.
        pub write_history: u64 = 12,
        /// Standard deviations above the usual hour of writing. Daily ups and downs stay within three.
        pub deviations: f64 = 6.0,
        /// How many times the usual hour of writing it must be as well.
        pub write_factor: f64 = 5.0,
        /// Words that mark a table of a relational database as one of vectors or of training data; one of five letters and more marks what
        /// begins with it. Other tables there are everyday business, collections of vector databases always count.
        pub tables: Vec<String> = [
            "embedding", "vector", "pgvector", "langchain", "llamaindex", "rag", "train", "dataset", "corpus", "corpora", "finetun",
        ].map(String::from).to_vec(),
        /// Callers remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_callers: usize = 10_000,
    }
}

/// The detector.
pub struct VectorBulkAccess {
    config: Config,
}

impl Detector for VectorBulkAccess {
    type Config = Config;
    type State = Keyed<Caller>;

    fn new(mut config: Config) -> Result<Self, String> {
        config.tables.iter_mut().for_each(|word| *word = word.to_lowercase());
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "vector-bulk-access",
            version: env!("CARGO_PKG_VERSION"),
            description: "Enumeration, mass reading, export, planting and deletion in vector collections, access to others' collections, and bursts of refused calls.",
            layers: &["vector_db"],
            columns: &[
                col::API_SERVICE_NAME.name,
                col::API_OPERATION.name,
                col::COLLECTION_UID.name,
                col::DATABASE_NAME.name,
                col::ROW_COUNT.name,
                col::STATUS.name,
            ],
            key: &[col::ACTOR_USER_UID.name, col::SRC_ENDPOINT_IP.name],
            state_version: 3,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, callers: &mut Keyed<Caller>, batch: &Batch, out: &mut Findings) {
        let services = batch.text(col::API_SERVICE_NAME);
        let operations = batch.text(col::API_OPERATION);
        let collections = batch.text(col::COLLECTION_UID);
        let databases = batch.text(col::DATABASE_NAME);
        let counts = batch.int64(col::ROW_COUNT);
        let statuses = batch.text(col::STATUS);
        let mut found: Vec<(&'static Rule, String)> = Vec::new();
        for row in batch.rows() {
            let (Some(operation), Some(key)) = (operations.get(row), batch.key(row)) else {
                continue;
            };
            let collection = collections.get(row).filter(|name| !name.is_empty());
            let relational = services.get(row).is_some_and(table::is_relational);
            if relational && !collection.is_some_and(|name| table::is_named(name, &self.config.tables)) {
                continue;
            }
            // Databases of different customers hold collections of one name.
            let qualified = databases
                .get(row)
                .zip(collection)
                .map(|(database, collection)| format!("{database}/{collection}"));
            let access = Access {
                time: batch.time(row),
                operation,
                collection: qualified.as_deref().or(collection),
                rows: counts.get(row).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
                failed: statuses.get(row) == Some("Failure"),
            };
            let caller = callers.at(key, access.time, self.config.max_callers, HABIT);
            caller.judge(&self.config, &access, &mut found);
            for (rule, message) in found.drain(..) {
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
