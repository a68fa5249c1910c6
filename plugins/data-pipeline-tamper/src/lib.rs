//! Tampering with what models learn and answer from: buckets, tables, repositories of data sets, and collections for retrieval. What is
//! usual for a data set, who writes to it and how, is learned from its own past.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Batch, Burst, DAY, Detector, Familiarity, Findings, FirstSeen, Habit, Keyed, MINUTE, Manifest, RecentSet, Rule,
    col, config,
};

mod change;
mod rules;

use change::{Change, Record, Verb, is_training};

/// The window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// How long a data set's habits are remembered.
const HABIT: i64 = 60 * DAY;
/// Writers and kinds of change of one data set that are remembered.
const MEMBERS: usize = 64;
/// Objects of one data set that are remembered: enough to see that a burst writes to old ones.
const OBJECTS: usize = 256;

config! {
    /// What data models learn from, and when a change of it becomes a detection.
    pub struct Config {
        /// Words that mark buckets, tables and objects of training data; one of five letters and more marks what begins with it. Other
        /// stores are not looked at, collections of vector databases always are.
        pub datasets: Vec<String> = [
            "train", "dataset", "corpus", "corpora", "finetun", "rlhf", "sft", "dpo", "groundtruth", "evalset", "featurestore", "embeddings", "annotations",
        ].map(String::from).to_vec(),
        /// Objects deleted in ten minutes. Pipelines replace a few.
        pub deletes: u64 = 20,
        /// Objects of a settled data set written anew in ten minutes.
        pub overwrites: u64 = 10,
        /// Days for which a data set must be known before a new writer, or a new way to change it, is told of.
        pub learning_days: i64 = 7,
        /// Writes from which its writers are known as well.
        pub writes: u64 = 20,
        /// Writers that a data set has at most for another to be odd.
        pub habitual_writers: usize = 4,
        /// Data sets remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_datasets: usize = 5_000,
    }
}

/// What is remembered of a data set.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Dataset {
    writers: FirstSeen,
    /// In which ways it was changed.
    ways: FirstSeen,
    objects: RecentSet,
    deletes: Burst,
    overwrites: Burst,
}

/// The detector.
pub struct DataPipelineTamper {
    config: Config,
}

impl Detector for DataPipelineTamper {
    type Config = Config;
    type State = Keyed<Dataset>;

    fn new(mut config: Config) -> Result<Self, String> {
        if config.learning_days < 0 {
            return Err(format!("learning_days = {}: valid is 0 and more", config.learning_days));
        }
        config.datasets.iter_mut().for_each(|word| *word = word.to_lowercase());
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "data-pipeline-tamper",
            version: env!("CARGO_PKG_VERSION"),
            description: "Deleted, overwritten and unprotected training data, rows changed in place, and new writers to data sets and collections.",
            layers: &["cloud", "vector_db", "registry"],
            columns: &[
                col::TENANT.name,
                col::LAYER.name,
                col::API_SERVICE_NAME.name,
                col::API_OPERATION.name,
                col::ACTIVITY_NAME.name,
                col::STATUS.name,
                col::ACTOR_USER_UID.name,
                col::RESOURCE_UID.name,
                col::RESOURCE_TYPE.name,
                col::COLLECTION_UID.name,
                col::ARTIFACT_UID.name,
                col::API_REQUEST_DATA.name,
            ],
            // The objects of a bucket must meet: so the account decides, and not what a call is about.
            key: &[col::COLLECTION_UID.name, col::CLOUD_ACCOUNT_UID.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, datasets: &mut Keyed<Dataset>, batch: &Batch, out: &mut Findings) {
        let tenants = batch.text(col::TENANT);
        let layers = batch.text(col::LAYER);
        let services = batch.text(col::API_SERVICE_NAME);
        let operations = batch.text(col::API_OPERATION);
        let activities = batch.text(col::ACTIVITY_NAME);
        let statuses = batch.text(col::STATUS);
        let actors = batch.text(col::ACTOR_USER_UID);
        let resources = batch.text(col::RESOURCE_UID);
        let types = batch.text(col::RESOURCE_TYPE);
        let collections = batch.text(col::COLLECTION_UID);
        let artifacts = batch.text(col::ARTIFACT_UID);
        let requests = batch.text(col::API_REQUEST_DATA);
        for row in batch.rows() {
            // What was refused changed nothing.
            if statuses.get(row) == Some("Failure") {
                continue;
            }
            let record = Record {
                layer: layers.get(row).unwrap_or_default(),
                service: services.get(row).unwrap_or_default(),
                operation: operations.get(row).unwrap_or_default(),
                activity: activities.get(row).unwrap_or_default(),
                resource: resources.get(row).unwrap_or_default(),
                resource_type: types.get(row).unwrap_or_default(),
                collection: collections.get(row).unwrap_or_default(),
                artifact: artifacts.get(row).unwrap_or_default(),
                request: requests.get(row).unwrap_or_default(),
            };
            let Some(change) = record.change(&self.config.datasets) else {
                continue;
            };
            let concerns = change.retrieval
                || record.layer == "registry"
                || is_training(change.dataset, &self.config.datasets)
                || change
                    .object
                    .as_deref()
                    .is_some_and(|object| is_training(object, &self.config.datasets));
            if !concerns {
                continue;
            }
            let time = batch.time(row);
            let key = format!("{}\0{}", tenants.get(row).unwrap_or_default(), change.dataset);
            let dataset = datasets.at(&key, time, self.config.max_datasets, HABIT);
            let actor = actors.get(row).filter(|actor| !actor.is_empty());
            for (rule, message) in dataset.judge(&self.config, time, actor, &change) {
                out.detect(rule, row).message(message);
            }
        }
    }
}

impl Dataset {
    fn judge(
        &mut self,
        config: &Config,
        time: i64,
        actor: Option<&str>,
        change: &Change,
    ) -> Vec<(&'static Rule, String)> {
        let mut found = Vec::new();
        let name = change.dataset;
        let habit = |sightings| Habit {
            learning: config.learning_days.saturating_mul(DAY),
            sightings,
            keep: HABIT,
            max: MEMBERS,
        };
        let who = actor.unwrap_or("somebody");
        match change.verb {
            Verb::Delete(objects) => {
                let told = self.deletes.add(WINDOW, time, objects, config.deletes);
                // Some data sets are swept every night.
                if let Some(objects) = told
                    && self.ways.see(&habit(0), time, "swept") != Familiarity::Known
                {
                    found.push((
                        &rules::DELETED,
                        format!("{who} deleted {objects} objects and more of {name} in ten minutes"),
                    ));
                }
                return found;
            }
            Verb::Drop => {
                found.push((&rules::DELETED, format!("{who} took {name} away as a whole")));
                return found;
            }
            Verb::Unprotect => {
                found.push((&rules::PROTECTION, format!("{who} changed what protects {name}")));
                return found;
            }
            Verb::Write => {
                self.ways.see(&habit(0), time, "added to");
                let object = change.object.as_deref();
                let old = object.is_some_and(|object| !self.objects.insert(HABIT, OBJECTS, time, object).new);
                let told = self.overwrites.add(WINDOW, time, u64::from(old), config.overwrites);
                if let Some(objects) = told.filter(|_| old)
                    && self.ways.see(&habit(0), time, "overwritten") == Familiarity::New
                {
                    found.push((
                        &rules::OVERWRITTEN,
                        format!("{who} wrote {objects} objects of {name} anew in ten minutes"),
                    ));
                }
            }
            Verb::ChangeRows => {
                if self.ways.see(&habit(0), time, "changed") == Familiarity::New {
                    found.push((
                        &rules::IN_PLACE,
                        format!("{who} changed rows of {name}, to which rows were only added before"),
                    ));
                }
            }
        }
        if let Some(actor) = actor {
            let others = self.writers.len();
            let new = self.writers.see(&habit(config.writes), time, actor) == Familiarity::New;
            if new && (1..=config.habitual_writers).contains(&others) {
                found.push((
                    &rules::WRITER,
                    format!("{actor} wrote to {name}, to which {others} others wrote before"),
                ));
            }
        }
        found
    }
}

sentrail_plugin::export!(DataPipelineTamper);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::DataPipelineTamper);
}
