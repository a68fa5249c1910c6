//! Bytes that are kept in clear only for who has the key: AES-256-GCM (NIST SP 800-38D).
//!
//! A sealed text is `SEALED1`, the salt of the run that sealed it (16 bytes), a number that counts up within the run (12 bytes,
//! little-endian), the cipher text and its tag (16 bytes). The key is an HMAC of the salt under the configured key, so that no key
//! meets the same number twice.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const MAGIC: &[u8; 7] = b"SEALED1";
const SALT_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it is sealed, and no key is configured: set `[redact] key_env` as it was when it was written")]
    NoKey,
    #[error("it does not open: it is damaged, or sealed with another key than that of `[redact] key_env`")]
    WrongKey,
}

/// Seals with the site's key, under a key of its own.
pub struct Sealer {
    master: Hmac<Sha256>,
    salt: [u8; SALT_BYTES],
    key: LessSafeKey,
    count: AtomicU64,
}

/// The key for one purpose.
pub(super) fn subkey(key: &[u8], purpose: &[u8]) -> Hmac<Sha256> {
    hmac(&keyed(&hmac(key), purpose))
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(hmac) => hmac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

fn keyed(key: &Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    key.clone().chain_update(text).finalize().into_bytes().into()
}

fn cipher(master: &Hmac<Sha256>, salt: &[u8]) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, &keyed(master, salt)) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("AES-256 takes keys of 32 bytes"),
    }
}

impl Sealer {
    pub fn new(key: &str) -> Sealer {
        let master = subkey(key.as_bytes(), b"seal");
        let salt: [u8; SALT_BYTES] = rand::random();
        Sealer {
            key: cipher(&master, &salt),
            master,
            salt,
            count: AtomicU64::new(0),
        }
    }

    /// `name` is what the text is; it must be the same when it is opened.
    pub fn seal(&self, name: &str, text: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut sealed = Vec::with_capacity(MAGIC.len() + SALT_BYTES + NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(&nonce);
        let begin = sealed.len();
        sealed.extend_from_slice(text);
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(name), &mut sealed[begin..])
        {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            Err(_) => unreachable!("AES-GCM takes texts of up to 64 GiB"),
        }
        sealed
    }

    fn open(&self, name: &str, rest: &[u8]) -> Option<Vec<u8>> {
        let (salt, rest) = rest.split_at_checked(SALT_BYTES)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let other;
        let key = match salt == self.salt {
            true => &self.key,
            false => {
                other = cipher(&self.master, salt);
                &other
            }
        };
        let mut text = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The text of `bytes`, which are sealed or, written when nothing was redacted, are it themselves.
pub fn open(sealer: Option<&Sealer>, name: &str, bytes: Bytes) -> Result<Bytes, SealError> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Ok(bytes);
    };
    let sealer = sealer.ok_or(SealError::NoKey)?;
    sealer.open(name, rest).map(Bytes::from).ok_or(SealError::WrongKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_key_alone() {
        let sealer = Sealer::new("a key that is long enough");
        let sealed = Bytes::from(sealer.seal("plugin/p/1", b"alice"));
        assert!(!sealed.windows(5).any(|bytes| bytes == b"alice"));
        assert_ne!(sealed, sealer.seal("plugin/p/1", b"alice"));
        // A later run has another salt.
        let later = Sealer::new("a key that is long enough");
        assert_eq!(
            open(Some(&later), "plugin/p/1", sealed.clone()),
            Ok(Bytes::from_static(b"alice"))
        );
        assert_eq!(
            open(Some(&later), "plugin/p/2", sealed.clone()),
            Err(SealError::WrongKey)
        );
        assert_eq!(
            open(Some(&Sealer::new("another key")), "plugin/p/1", sealed.clone()),
            Err(SealError::WrongKey)
        );
        assert_eq!(open(None, "plugin/p/1", sealed.clone()), Err(SealError::NoKey));
        for cut in [7, 20, 30, sealed.len() - 1] {
            assert_eq!(
                open(Some(&sealer), "plugin/p/1", sealed.slice(..cut)),
                Err(SealError::WrongKey)
            );
        }
        assert_eq!(
            open(None, "plugin/p/1", Bytes::from_static(b"clear")),
            Ok(Bytes::from_static(b"clear"))
        );
    }
}
