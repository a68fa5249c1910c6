//! What a call does, whatever the database names it.

use sentrail_plugin::Search;

/// Kinds of call that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Gives points back.
    Read,
    /// Makes, lists or fetches a snapshot or backup.
    Export,
    /// Puts a collection back from a snapshot or backup.
    Restore,
    /// Stores points or changes what they hold.
    Write,
    /// Deletes points.
    Delete,
    /// Deletes a whole collection.
    Drop,
    Other,
}

impl Operation {
    /// Reads the name: databases differ in spelling (`scroll_points`, `ScrollPoints`, `query`), less in words.
    pub fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.holds(word));
        if has(&["snapshot", "backup", "export", "download"]) {
            // Lists show names only, and removal takes nothing out.
            if has(&["list", "delete", "status"]) {
                Self::Other
            } else if has(&["recover", "restore"]) {
                Self::Restore
            } else {
                Self::Export
            }
        } else if has(&["delete", "drop", "clear", "truncate"]) {
            if has(&["collection", "index", "class", "table"]) && !has(&["field", "payload", "alias"]) {
                Self::Drop
            } else {
                Self::Delete
            }
        } else if has(&[
            "scroll",
            "search",
            "query",
            "retrieve",
            "get_point",
            "getpoint",
            "get_vector",
            "recommend",
            "discover",
            "fetch",
            "facet",
        ]) {
            Self::Read
        } else if has(&[
            "upsert",
            "insert",
            "import",
            "add_",
            "update_vectors",
            "set_payload",
            "overwrite_payload",
        ]) {
            Self::Write
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn names_are_understood() {
        for (name, operation) in [
            ("scroll_points", Operation::Read),
            ("SearchPoints", Operation::Read),
            ("query_points_batch", Operation::Read),
            ("create_snapshot", Operation::Export),
            ("list_snapshots", Operation::Other),
            ("delete_collection", Operation::Drop),
            ("delete_points", Operation::Delete),
            ("delete_field_index", Operation::Delete),
            ("list_collections", Operation::Other),
            ("upsert_points", Operation::Write),
            ("BatchImport", Operation::Write),
            ("overwrite_payload", Operation::Write),
            ("recover_from_snapshot", Operation::Restore),
            ("RestoreBackup", Operation::Restore),
        ] {
            assert_eq!(Operation::of(name), operation, "{name}");
        }
    }
}
