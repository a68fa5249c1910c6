//! How many identities use an entity, by the hour. One that many use says nothing about who is behind it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::relation::RELATION_BUCKET;
use crate::model::{Entity, Micros};

/// The identities that used an entity, as hashes, by bucket of event time. Merging is adding: any order gives the same.
#[derive(Default)]
pub struct Sharing {
    /// Each list stops growing past the maximum.
    users: BTreeMap<Micros, Vec<u64>>,
    /// The buckets in which too many identities share it.
    shared: BTreeSet<Micros>,
}

/// Whether using something is told of entities of this kind. Keys of a cloud are not counted: what signs with one is a principal or a
/// session, and is told of as well.
pub fn is_identity(entity: &Entity) -> bool {
    matches!(&*entity.kind, "principal" | "session" | "gateway_key")
}

impl Sharing {
    /// Counts a user in `bucket`; whether the entity is shared in a bucket in which it was not. It is where more than `most` used it
    /// within the `window` before, counted in whole buckets.
    pub fn count(&mut self, user: &Entity, bucket: Micros, window: Micros, most: usize) -> bool {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let user = hasher.finish();
        let users = self.users.entry(bucket).or_default();
        if users.len() > most || users.contains(&user) {
            return false;
        }
        users.push(user);
        let end = bucket.saturating_add(window);
        let around = self.users.range(bucket.saturating_sub(window)..=end);
        if around.map(|(_, users)| users.len()).sum::<usize>() <= most {
            return false;
        }
        let mut is_new = false;
        let mut at = bucket;
        while at <= end {
            let near = self.users.range(at.saturating_sub(window)..=at);
            let near: HashSet<u64> = near.flat_map(|(_, users)| users).copied().collect();
            if near.len() > most {
                is_new |= self.shared.insert(at);
            }
            at = at.saturating_add(RELATION_BUCKET);
        }
        is_new
    }

    pub fn is_shared(&self, bucket: Micros) -> bool {
        self.shared.contains(&bucket)
    }

    pub fn forget_before(&mut self, bucket: Micros) {
        self.users = self.users.split_off(&bucket);
        self.shared = self.shared.split_off(&bucket);
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.shared.is_empty()
    }
}
