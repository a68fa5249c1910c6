//! What can be found.

use sentrail_plugin::{Rule, Severity};

pub const ENUMERATION: Rule = Rule {
    id: "collection-enumeration",
    title: "One caller goes through many collections",
    description: "Applications know which collections they use; somebody who looks for data does not. Find out who it is, and limit the \
                  key to the collections that it needs.",
    severity: Severity::Medium,
    techniques: &["AML.T0085.000", "T1213.006"],
};
pub const MASS_READ: Rule = Rule {
    id: "mass-read",
    title: "A collection is read as a whole",
    description: "So many reads in minutes copy a collection rather than search it. Confirm that it is a migration or a backup; otherwise \
                  revoke the key and treat the collection as copied.",
    severity: Severity::High,
    techniques: &["AML.T0085.000", "T1213.006"],
};
pub const EXPORT: Rule = Rule {
    id: "snapshot-export",
    title: "A snapshot was made or fetched",
    description: "A snapshot holds a whole collection in one file. Confirm that it is a backup of yours; otherwise delete it and find out \
                  who fetched it.",
    severity: Severity::Medium,
    techniques: &["AML.T0025", "T1213.006"],
};
pub const DELETES: Rule = Rule {
    id: "bulk-delete",
    title: "Collections or many points are deleted",
    description: "What the application knows is being erased. Confirm it with the owner; otherwise revoke the key and restore from a \
                  snapshot.",
    severity: Severity::High,
    techniques: &["T1485"],
};
pub const COLLECTION_DELETED: Rule = Rule {
    id: "collection-deleted",
    title: "A collection was deleted",
    description: "A collection and everything in it is gone. Outside of maintenance find out who asked for it, and restore it from a \
                  snapshot.",
    severity: Severity::Low,
    techniques: &["T1485"],
};
pub const DENIED: Rule = Rule {
    id: "denied-burst",
    title: "One caller is refused again and again",
    description: "Somebody tries what a key can do, or uses one that was revoked. Find out whose it is, and block the source if nobody \
                  knows it.",
    severity: Severity::Medium,
    techniques: &["T1213.006", "T1078.004"],
};

/// All of them.
pub const ALL: &[&Rule] = &[
    &ENUMERATION,
    &MASS_READ,
    &EXPORT,
    &DELETES,
    &COLLECTION_DELETED,
    &DENIED,
];
