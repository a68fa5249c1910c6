//! Where something is in the graph, by what names it.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashTable;

/// Places by the hashes of what is there, which the graph itself holds: so a look into the table needs no other memory than the table's.
pub struct Index<P> {
    places: HashTable<(u64, P)>,
    hasher: RandomState,
}

impl<P> Default for Index<P> {
    fn default() -> Index<P> {
        Index {
            places: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<P: Copy + PartialEq> Index<P> {
    pub fn hash(&self, of: &impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// The place of that hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl Fn(P) -> bool) -> Option<P> {
        let found = self.places.find(hash, |(of, place)| *of == hash && is(*place));
        found.map(|(_, place)| *place)
    }

    pub fn insert(&mut self, hash: u64, place: P) {
        self.places.insert_unique(hash, (hash, place), |(hash, _)| *hash);
    }

    pub fn remove(&mut self, hash: u64, place: P) {
        if let Ok(found) = self.places.find_entry(hash, |(_, held)| *held == place) {
            found.remove();
        }
    }

    pub fn retain(&mut self, mut is_kept: impl FnMut(P) -> bool) {
        self.places.retain(|(_, place)| is_kept(*place));
    }
}
