//! What a record says was done to which data.

use sentrail_plugin::Search;
use sentrail_plugin::json::{self, Value};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// An object or rows were added or written.
    Write,
    /// Rows that stood there were changed.
    ChangeRows,
    /// So many objects were deleted.
    Delete(u64),
    /// All of it is gone.
    Drop,
    /// It can no longer be brought back.
    Unprotect,
}

/// A change of data.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub verb: Verb,
    /// Bucket, table, collection or repository.
    pub dataset: &'a str,
    /// What was written or deleted in it.
    pub object: Option<String>,
    /// Retrieved from rather than trained on.
    pub retrieval: bool,
}

/// The columns that tell of a change.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    pub layer: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
    pub activity: &'a str,
    pub resource: &'a str,
    pub resource_type: &'a str,
    pub collection: &'a str,
    pub artifact: &'a str,
    pub request: &'a str,
}

/// One request that deletes a list of objects stands for so many: it may name a thousand, and logs leave the list out.
const LIST_OBJECTS: u64 = 10;
/// Objects that expire sooner than this are deleted rather than aged out.
const EXPIRY_DAYS: i64 = 7;

impl<'a> Record<'a> {
    /// The change, if there is one and its data can be named. `words` are those of [`is_training`].
    pub fn change(self, words: &[String]) -> Option<Change<'a>> {
        if self.service == "snowflake" {
            return self.statement();
        }
        if self.layer == "vector_db" {
            return self.collection_write();
        }
        if self.layer == "registry" {
            return self.repository();
        }
        self.store(words)
    }

    /// An object store, or tables of a lakehouse.
    fn store(self, words: &[String]) -> Option<Change<'a>> {
        // Google writes `storage.objects.delete`, Databricks `deleteTable`, AWS and Azure `DeleteObject` and `DeleteBlob`.
        let verb = match self.operation {
            "DeleteObject" | "DeleteObjectVersion" | "storage.objects.delete" | "DeleteBlob" | "DeleteFile" => {
                Verb::Delete(1)
            }
            "DeleteObjects" => Verb::Delete(LIST_OBJECTS),
            "DeleteBucket"
            | "storage.buckets.delete"
            | "DeleteContainer"
            | "deleteTable"
            | "deleteVolume"
            | "DeleteTable"
            | "DeleteFeatureGroup" => Verb::Drop,
            "PutObject"
            | "CopyObject"
            | "CompleteMultipartUpload"
            | "storage.objects.create"
            | "PutBlob"
            | "CopyBlob"
            | "PutBlockList" => Verb::Write,
            "PutBucketVersioning"
            | "PutBucketLifecycle"
            | "PutBucketLifecycleConfiguration"
            | "DeleteBucketReplication"
                if self.unprotects() =>
            {
                Verb::Unprotect
            }
            _ => return None,
        };
        let resource = if self.collection.is_empty() {
            self.resource
        } else {
            self.collection
        };
        // Google names the object behind its bucket.
        let (dataset, object) = match resource.split_once("/objects/") {
            Some((bucket, object)) => (bucket, Some(object.to_owned())),
            None => (resource, None),
        };
        let object = object.or_else(|| {
            // Most objects that are written are nothing to learn from, and their requests need no parsing.
            if !is_training(dataset, words) && !is_training(self.request, words) {
                return None;
            }
            let request: Value = json::from_str(self.request).ok()?;
            Some(request.get("key")?.as_str()?.to_owned())
        });
        (!dataset.is_empty()).then_some(Change {
            verb,
            dataset,
            object,
            retrieval: false,
        })
    }

    /// Whether the request takes protection away, as against a setting that adds it.
    fn unprotects(self) -> bool {
        let Ok(request) = json::from_str::<Value>(self.request) else {
            return self.operation == "DeleteBucketReplication";
        };
        let mut off = self.operation == "DeleteBucketReplication";
        walk(&request, 0, &mut |name, value| match (name, value) {
            ("Status", Value::String(status)) => off |= status == "Suspended",
            ("Days" | "NoncurrentDays", Value::Number(days)) => {
                off |= days.as_i64().is_some_and(|days| days <= EXPIRY_DAYS)
            }
            _ => {}
        });
        off
    }

    /// Snowflake, whose log has the statement and not always the table.
    fn statement(self) -> Option<Change<'a>> {
        let verb = match self.operation {
            "INSERT" | "COPY" | "MULTI_TABLE_INSERT" => Verb::Write,
            "UPDATE" | "MERGE" | "DELETE" => Verb::ChangeRows,
            operation if operation.starts_with("TRUNCATE") || operation.starts_with("DROP") => Verb::Drop,
            _ => return None,
        };
        let named = || {
            let fillers = ["into", "update", "from", "table", "if", "exists", "only"];
            let filler = |word: &&str| fillers.iter().any(|filler| word.eq_ignore_ascii_case(filler));
            let words = self
                .request
                .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ';' | ','));
            let words = words.map(|word| word.trim_matches('"')).filter(|word| !word.is_empty());
            words.skip_while(|word| !filler(word)).find(|word| !filler(word))
        };
        let dataset = if self.collection.is_empty() {
            named()?
        } else {
            self.collection
        };
        Some(Change {
            verb,
            dataset,
            object: None,
            retrieval: false,
        })
    }

    /// A write to a collection for retrieval. What is deleted there is told by the detector of vector databases.
    fn collection_write(self) -> Option<Change<'a>> {
        let operation = self.operation.to_ascii_lowercase();
        let writes = [
            "upsert",
            "insert",
            "import",
            "index",
            "put",
            "set_payload",
            "update",
            "add",
        ];
        let made = self.activity == "Read" || operation.holds("search") || operation.holds("query");
        let write = !made && writes.iter().any(|word| operation.holds(word));
        (write && !self.collection.is_empty()).then_some(Change {
            verb: Verb::Write,
            dataset: self.collection,
            object: None,
            // Tables of everyday business are in the same log.
            retrieval: self.service != "postgresql" || has_word(self.collection, &RETRIEVAL),
        })
    }

    /// A data set that a hub keeps.
    fn repository(self) -> Option<Change<'a>> {
        let verb = match (self.resource_type, self.operation) {
            ("dataset", "repo.delete") => Verb::Drop,
            ("dataset", "repo.content.update") => Verb::Write,
            _ => return None,
        };
        let dataset = self.artifact.split('@').next().filter(|name| !name.is_empty())?;
        Some(Change {
            verb,
            dataset,
            object: None,
            retrieval: false,
        })
    }
}

/// Names that a table of texts for retrieval goes by in a database that holds anything.
const RETRIEVAL: [&str; 6] = ["embedding", "vector", "pgvector", "langchain", "llamaindex", "rag"];

/// Every member of a request. CloudTrail nests a few levels; what is deeper is none of them.
fn walk(value: &Value, depth: u32, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) if depth < 8 => {
            for (name, value) in members {
                see(name, value);
                walk(value, depth + 1, see);
            }
        }
        Value::Array(items) if depth < 8 => items.iter().for_each(|item| walk(item, depth + 1, see)),
        _ => {}
    }
}

/// Whether a name says that models learn from what it names: one of `words` is a word of it, or one of five letters and more begins one.
pub fn is_training(name: &str, words: &[String]) -> bool {
    has_word(name, words)
}

fn has_word(name: &str, words: &[impl AsRef<str>]) -> bool {
    let is_one = |part: &[u8]| {
        let mut words = words.iter().map(|word| word.as_ref().as_bytes());
        words.any(|word| {
            let begins = part.first() == word.first() && part.starts_with(word);
            begins && (part.len() == word.len() || word.len() >= 5)
        })
    };
    if name.is_ascii() {
        let lower = name.to_ascii_lowercase();
        let mut parts = lower.as_bytes().split(|byte| !byte.is_ascii_alphanumeric());
        return parts.any(|part| !part.is_empty() && is_one(part));
    }
    let lower = name.to_lowercase();
    let mut parts = lower.split(|c: char| !c.is_alphanumeric());
    parts.any(|part| !part.is_empty() && is_one(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_training_data_are_told_by_their_words() {
        let words: Vec<String> = ["train", "corpus", "sft"].map(String::from).to_vec();
        for name in [
            "arn:aws:s3:::acme-training-data",
            "ML.TRAIN.LABELS",
            "corpus_v2",
            "sft-2026",
        ] {
            assert!(is_training(name, &words), "{name}");
        }
        for name in ["arn:aws:s3:::constraints", "reports", "sftp-in", ""] {
            assert!(!is_training(name, &words), "{name}");
        }
        assert!(is_training("\u{c4}\u{b7}Train", &words), "not of ASCII alone");
        assert!(!is_training("\u{e4}train", &words), "a letter before it");
    }

    #[test]
    fn a_statement_names_its_table() {
        for (operation, text, dataset) in [
            ("DELETE", "delete from ML.TRAIN.ROWS where x", Some("ML.TRAIN.ROWS")),
            ("UPDATE", "UPDATE \"TRAIN\" SET y = 1", Some("TRAIN")),
            ("INSERT", "insert into train(a) values (1)", Some("train")),
            ("DROP", "DROP TABLE IF EXISTS train;", Some("train")),
            ("DROP", "", None),
        ] {
            let record = Record {
                service: "snowflake",
                operation,
                request: text,
                ..Record::default()
            };
            assert_eq!(record.change(&[]).map(|change| change.dataset), dataset, "{text}");
        }
    }

    #[test]
    fn an_object_is_read_where_it_or_its_bucket_is_named_so() {
        let words = ["train".to_owned()];
        let object = |collection, request| {
            let record = Record {
                operation: "PutObject",
                collection,
                request,
                ..Record::default()
            };
            record.change(&words).and_then(|change| change.object)
        };
        assert_eq!(object("train-a", r#"{"key":"x"}"#).as_deref(), Some("x"));
        assert_eq!(object("a", r#"{"key":"train/x"}"#).as_deref(), Some("train/x"));
        assert_eq!(object("a", r#"{"key":"x"}"#), None);
    }

    #[test]
    fn protection_is_told_from_its_removal() {
        let unprotects = |operation, request| {
            Record {
                operation,
                request,
                ..Record::default()
            }
            .unprotects()
        };
        assert!(unprotects(
            "PutBucketVersioning",
            r#"{"VersioningConfiguration":{"Status":"Suspended"}}"#
        ));
        assert!(!unprotects(
            "PutBucketVersioning",
            r#"{"VersioningConfiguration":{"Status":"Enabled"}}"#
        ));
        assert!(unprotects(
            "PutBucketLifecycle",
            r#"{"LifecycleConfiguration":{"Rule":[{"Expiration":{"Days":1}}]}}"#
        ));
        assert!(!unprotects(
            "PutBucketLifecycle",
            r#"{"LifecycleConfiguration":{"Rule":{"Expiration":{"Days":365}}}}"#
        ));
        assert!(unprotects("DeleteBucketReplication", ""));
    }
}
