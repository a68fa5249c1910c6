//! What of a text the model sees, as numbers of buckets.
//!
//! Words of the two vocabularies, alone and in pairs, may speak for an attack or against it. All other words, and what stands
//! beside a word of the vocabularies, can only speak against it: so a text of unknown words stays quiet whatever they are.

use crate::words::{self, Classes, Vocabulary};
use crate::{harm, task};

/// Buckets of each of the two kinds, a power of two.
pub const BUCKETS: usize = 1 << 14;
/// Words beyond this many are not looked at.
const MOST_WORDS: usize = 600;
/// Words at most between the two of a pair.
const REACH: usize = 6;

/// The features of a text.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Buckets of what may speak for and against, each once.
    pub telling: Vec<u16>,
    /// Buckets of what can only speak against.
    pub calming: Vec<u16>,
}

/// Finds features.
pub struct Extractor {
    vocabularies: [Vocabulary; 2],
    /// Of each vocabulary, what speaks for an attack alone, and what only beside another of these.
    strong: [Classes; 2],
    common: [Classes; 2],
    /// How unusual a word must be to speak for an attack by standing at the beginning of a sentence.
    at_begin: Tier,
}

impl Extractor {
    /// For what a caller asks.
    pub fn requests() -> Self {
        Self {
            vocabularies: [Vocabulary::new(words::VOCABULARY), Vocabulary::new(harm::VOCABULARY)],
            strong: [words::STRONG, !(harm::COMMON | harm::ORDINARY)],
            common: [words::COMMON, harm::COMMON],
            at_begin: Tier::Strong,
        }
    }

    /// For single sentences of what a tool gives back.
    pub fn sentences() -> Self {
        Self {
            vocabularies: [Vocabulary::new(task::VOCABULARY), Vocabulary::new(&[])],
            strong: [task::STRONG, 0],
            common: [!task::STRONG, 0],
            at_begin: Tier::Common,
        }
    }

    /// The features of words as [`crate::fold::fold`] gives them.
    pub fn of(&self, words: &[String]) -> Features {
        let words = &words[..words.len().min(MOST_WORDS)];
        let hashes: Vec<u32> = words.iter().map(|word| hash(word)).collect();
        let classes: Vec<[Classes; 2]> = words
            .iter()
            .map(|word| [0, 1].map(|held: usize| self.vocabularies[held].classes(word)))
            .collect();
        let tiers: Vec<Tier> = classes.iter().map(|classes| self.tier(classes)).collect();
        let (mut telling, mut calming) = (Buckets::default(), Buckets::default());
        let mut begins = 0;
        for at in 0..words.len() {
            if words[at] == "." {
                begins = at + 1;
                continue;
            }
            let (tier, own) = (tiers[at], concepts(classes[at]));
            let mut add = |tells: bool, bucket: u16| match tells {
                true => telling.add(bucket),
                false => calming.add(bucket),
            };
            add(false, mix(1, hashes[at], 0));
            if tier == Tier::Strong {
                add(true, mix(2, hashes[at], 0));
            }
            for one in own.clone() {
                add(tier == Tier::Strong, mix(3, one, 0));
                if at == begins {
                    add(tier >= self.at_begin, mix(4, one, 0));
                }
            }
            if at > begins {
                add(tells(tiers[at - 1], tier), mix(5, hashes[at - 1], hashes[at]));
            }
            if tier == Tier::Unknown {
                continue;
            }
            for before in at.saturating_sub(REACH).max(begins)..at {
                let tells = tells(tiers[before], tier);
                for one in concepts(classes[before]) {
                    for two in own.clone() {
                        add(tells, mix(6, one, two));
                    }
                }
            }
        }
        Features {
            telling: telling.found,
            calming: calming.found,
        }
    }
}

/// Buckets, each once.
struct Buckets {
    seen: [u64; BUCKETS / 64],
    found: Vec<u16>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            seen: [0; BUCKETS / 64],
            found: Vec::new(),
        }
    }
}

impl Buckets {
    fn add(&mut self, bucket: u16) {
        // A bucket is below BUCKETS by its mask.
        let (word, bit) = (usize::from(bucket) / 64, 1 << (bucket % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.found.push(bucket);
        }
    }
}

impl Extractor {
    fn tier(&self, classes: &[Classes; 2]) -> Tier {
        let any = |of: &[Classes; 2]| classes.iter().zip(of).any(|(held, of)| held & of != 0);
        if any(&self.strong) {
            Tier::Strong
        } else if any(&self.common) {
            Tier::Common
        } else if classes.iter().any(|held| *held != 0) {
            Tier::Ordinary
        } else {
            Tier::Unknown
        }
    }
}

/// How unusual a word is in ordinary requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Unknown,
    Ordinary,
    Common,
    Strong,
}

/// Whether a pair may speak for an attack.
fn tells(one: Tier, two: Tier) -> bool {
    match (one, two) {
        (Tier::Unknown, _) | (_, Tier::Unknown) => false,
        (Tier::Strong, _) | (_, Tier::Strong) => true,
        (one, two) => one == Tier::Common && two == Tier::Common,
    }
}

/// Numbers of the classes that a word is of.
fn concepts(classes: [Classes; 2]) -> impl Iterator<Item = u32> + Clone {
    classes.into_iter().zip(0..).flat_map(|(held, which)| {
        let mut left = held;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (bit < Classes::BITS).then_some(which * Classes::BITS + bit)
        })
    })
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The bucket of a feature of one kind.
fn mix(kind: u32, one: u32, two: u32) -> u16 {
    let mut mixed = kind.wrapping_mul(0x9e37_79b9)
        ^ one.wrapping_mul(0x85eb_ca6b)
        ^ two.rotate_left(13).wrapping_mul(0xc2b2_ae35).rotate_left(7);
    mixed ^= mixed >> 15;
    mixed = mixed.wrapping_mul(0x2c1b_3c6d);
    mixed ^= mixed >> 12;
    (mixed as usize & (BUCKETS - 1)) as u16
}
