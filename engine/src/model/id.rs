//! Ids are hashes of what they name, so that the same telemetry gives the same ids on every run and every machine.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The first 128 bits of a SHA-256 over length-prefixed parts, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u128);

impl Id {
    /// Hashes `parts`; each is prefixed by its length, so that ("ab", "c") and ("a", "bc") differ.
    pub fn of(parts: &[&[u8]]) -> Id {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let mut first = [0u8; 16];
        first.copy_from_slice(&digest[..16]);
        Id(u128::from_be_bytes(first))
    }

    /// The id of what has this content under this id: the same where the content is, another where it differs.
    /// Half of the id stays, so that [`Id::without_content`] tells that two are of one.
    pub fn with_content(self, hash: i64) -> Id {
        Id(self.0 ^ u128::from(hash.cast_unsigned()))
    }

    /// What [`Id::with_content`] leaves as it was.
    pub fn without_content(self) -> Id {
        Id(self.0 >> 64)
    }

    /// Reads the 32 hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Id> {
        (text.len() == 32)
            .then(|| u128::from_str_radix(text, 16).ok().map(Id))
            .flatten()
    }

    /// The id that a text is; of one that is none by its form, the hash.
    pub fn of_text(text: &str) -> Id {
        Id::parse(text).unwrap_or_else(|| Id::of(&[text.as_bytes()]))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = String::deserialize(deserializer)?;
        Id::parse(&text).ok_or_else(|| D::Error::custom("an id has 32 hexadecimal digits"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex::encode_to_slice(self.0.to_be_bytes(), &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// First eight bytes of the SHA-256 of `bytes`: tells a repeated record from another under the same id.
pub fn content_hash(bytes: &[u8]) -> i64 {
    let digest = Sha256::digest(bytes);
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}
