//! How many identities use an entity, by the hour. One that many use says nothing about who is behind it.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::relation::RELATION_BUCKET;
use crate::model::{Entity, Micros};

/// The identities that used an entity, as hashes, by bucket of event time. Merging is adding: any order gives the same.
///
/// Most entities are used by one or two: there are as many of these as entities, so they are kept in one short list each.
#[derive(Default)]
pub struct Sharing {
    /// Ordered by bucket; of each no more than one past the maximum.
    users: Vec<(Micros, u64)>,
    /// The buckets in which too many identities share it.
    shared: BTreeSet<Micros>,
}

/// Whether using something is told of entities of this kind. Keys of a cloud are not counted: what signs with one is a principal or a
/// session, and is told of as well.
pub fn is_identity(entity: &Entity) -> bool {
    matches!(&*entity.kind, "principal" | "session" | "gateway_key")
}

/// An entity as a hash: the same in every run.
pub fn hash_of(entity: &Entity) -> u64 {
    let mut hasher = DefaultHasher::new();
    entity.hash(&mut hasher);
    hasher.finish()
}

impl Sharing {
    /// Those who used it from the first to the last of these buckets.
    fn users(&self, first: Micros, last: Micros) -> &[(Micros, u64)] {
        let from = self.users.partition_point(|(bucket, _)| *bucket < first);
        let users = &self.users[from..];
        &users[..users.partition_point(|(bucket, _)| *bucket <= last)]
    }

    /// Counts a user in `bucket`; whether the entity is shared in a bucket in which it was not. It is where more than `most` used it
    /// within the `window` before, counted in whole buckets.
    pub fn count(&mut self, user: u64, bucket: Micros, window: Micros, most: usize) -> bool {
        let users = self.users(bucket, bucket);
        if users.len() > most || users.iter().any(|(_, held)| *held == user) {
            return false;
        }
        let place = self.users.partition_point(|(held, _)| *held <= bucket);
        self.users.insert(place, (bucket, user));
        let end = bucket.saturating_add(window);
        if self.users(bucket.saturating_sub(window), end).len() <= most {
            return false;
        }
        let mut is_new = false;
        let mut at = bucket;
        while at <= end {
            let near = self.users(at.saturating_sub(window), at);
            let near: HashSet<u64> = near.iter().map(|(_, user)| *user).collect();
            if near.len() > most {
                is_new |= self.shared.insert(at);
            }
            at = at.saturating_add(RELATION_BUCKET);
        }
        is_new
    }

    /// The last user of the newest bucket.
    pub fn newest(&self) -> u64 {
        self.users.last().map_or(0, |(_, user)| *user)
    }

    pub fn is_shared(&self, bucket: Micros) -> bool {
        self.shared.contains(&bucket)
    }

    pub fn forget_before(&mut self, bucket: Micros) {
        self.users
            .drain(..self.users.partition_point(|(held, _)| *held < bucket));
        self.shared = self.shared.split_off(&bucket);
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.shared.is_empty()
    }
}

#[cfg(test)]
#[test]
fn who_shares_follows_from_the_uses_in_any_order() {
    use std::collections::HashSet;

    const WINDOW: Micros = 3 * RELATION_BUCKET;
    const MOST: usize = 4;
    // Somebody new in every hour, a crowd in the fifth, and somebody who comes again and again.
    let mut uses: Vec<(Micros, u64)> = (0..12).map(|hour| (hour, 100 + hour as u64)).collect();
    uses.extend((0..6).map(|user| (5, user)));
    uses.extend((0..12).map(|hour| (hour, 7)));
    let sharing = |uses: &mut dyn Iterator<Item = &(Micros, u64)>| {
        let mut sharing = Sharing::default();
        let told = uses
            .filter(|(hour, user)| sharing.count(*user, hour * RELATION_BUCKET, WINDOW, MOST))
            .count();
        assert!(told > 0);
        sharing
    };
    let mut forward = sharing(&mut uses.iter());
    let backward = sharing(&mut uses.iter().rev());
    for hour in 0..16 {
        let near: HashSet<u64> = uses
            .iter()
            .filter(|(at, _)| (hour - 3..=hour).contains(at))
            .map(|(_, user)| *user)
            .collect();
        let is_shared = near.len() > MOST;
        assert_eq!(forward.is_shared(hour * RELATION_BUCKET), is_shared, "{hour}");
        assert_eq!(backward.is_shared(hour * RELATION_BUCKET), is_shared, "{hour}");
    }
    forward.forget_before(6 * RELATION_BUCKET);
    assert!(!forward.is_shared(5 * RELATION_BUCKET) && forward.is_shared(6 * RELATION_BUCKET));
    forward.forget_before(99 * RELATION_BUCKET);
    assert!(forward.is_empty());
}
