//! A linear model over the features of a text: what the phrases do not name, it has learned. See MODEL.md.

use crate::features::{BUCKETS, Features};

/// What a text can read like, each with weights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Moves the model from its task or its limits.
    Manipulation,
    /// Asks for help with harm to people.
    Harm,
    /// Wants code that attacks.
    Abuse,
    /// Tells a model what to do: for sentences of what a tool gave back, by [`crate::Extractor::sentences`].
    Instruction,
}

/// All of them, in the order of the weights.
pub const HEADS: [Head; 4] = [Head::Manipulation, Head::Harm, Head::Abuse, Head::Instruction];
/// Those that judge what a caller asks.
pub const OF_REQUESTS: [Head; 3] = [Head::Manipulation, Head::Harm, Head::Abuse];

/// Bytes of one head: its step and its bias, then a weight for each bucket of the two kinds.
pub const HEAD_BYTES: usize = 8 + 2 * BUCKETS;
/// A text of few features counts as one of this many, so that a single word is not everything.
const FEWEST: usize = 8;

const WEIGHTS: &[u8; HEADS.len() * HEAD_BYTES] = include_bytes!("../model.bin");

/// The weights of all heads.
pub struct Model {
    bytes: Box<[u8]>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            bytes: Box::from(WEIGHTS.as_slice()),
        }
    }
}

impl Model {
    /// Of heads as they stand in the file: `None` where the length is not that of all heads.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == WEIGHTS.len()).then(|| Self { bytes: bytes.into() })
    }

    /// How much a text reads like it: from 0 it is taken for it, and -1 or less is a text that says nothing of the kind.
    pub fn margin(&self, head: Head, features: &Features) -> f32 {
        let bytes = &self.bytes[head as usize * HEAD_BYTES..][..HEAD_BYTES];
        let number = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (step, bias) = (number(0), number(4));
        let sum = |buckets: &[u16], from: usize| -> i32 {
            let weights = &bytes[from..][..BUCKETS];
            // A bucket is below BUCKETS by its mask.
            buckets
                .iter()
                .map(|bucket| i32::from(weights[*bucket as usize] as i8))
                .sum()
        };
        // The sum is of whole numbers, so it is the same in every order and on every machine.
        let total = sum(&features.telling, 8) + sum(&features.calming, 8 + BUCKETS);
        bias + step * total as f32 / norm(features)
    }
}

/// By what a text's sum is divided: long texts have more of everything.
pub fn norm(features: &Features) -> f32 {
    ((features.telling.len() + features.calming.len()).max(FEWEST) as f32).sqrt()
}
