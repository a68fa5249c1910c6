//! Bytes of a column as text.

/// The text, where the bytes are UTF-8. Nearly all of what stands in logs is ASCII, which a guest sees 16 bytes at a time.
#[inline]
pub fn text(bytes: &[u8]) -> Option<&str> {
    #[cfg(target_arch = "wasm32")]
    if ascii::is_ascii(bytes) {
        return Some(ascii::text(bytes));
    }
    std::str::from_utf8(bytes).ok()
}

/// The same of bytes that are owned; those that are no text as they are.
pub fn string(bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    #[cfg(target_arch = "wasm32")]
    if ascii::is_ascii(&bytes) {
        return Ok(ascii::string(bytes));
    }
    String::from_utf8(bytes).map_err(|error| error.into_bytes())
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod ascii {
    use std::arch::wasm32::{i8x16_bitmask, v128, v128_load, v128_or};

    #[inline]
    pub fn is_ascii(bytes: &[u8]) -> bool {
        let len = bytes.len();
        if len < 16 {
            // Where head and tail overlap they say the same.
            let all = if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
                u64::from_le_bytes(*head) | u64::from_le_bytes(*tail)
            } else if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
                u64::from(u32::from_le_bytes(*head) | u32::from_le_bytes(*tail))
            } else {
                bytes.iter().fold(0, |all, byte| all | u64::from(*byte))
            };
            return all & 0x8080_8080_8080_8080 == 0;
        }
        // SAFETY: sixteen bytes from each place are there, and the load asks for no alignment.
        let lanes = |at: usize| -> v128 { unsafe { v128_load(bytes.as_ptr().add(at).cast()) } };
        let mut at = 0;
        while at + 64 <= len {
            let (one, other) = (
                v128_or(lanes(at), lanes(at + 16)),
                v128_or(lanes(at + 32), lanes(at + 48)),
            );
            if i8x16_bitmask(v128_or(one, other)) != 0 {
                return false;
            }
            at += 64;
        }
        let mut rest = lanes(len - 16);
        while at + 16 <= len {
            rest = v128_or(rest, lanes(at));
            at += 16;
        }
        i8x16_bitmask(rest) == 0
    }

    #[inline]
    pub fn text(ascii: &[u8]) -> &str {
        // SAFETY: ASCII is UTF-8.
        unsafe { std::str::from_utf8_unchecked(ascii) }
    }

    #[inline]
    pub fn string(ascii: Vec<u8>) -> String {
        // SAFETY: ASCII is UTF-8.
        unsafe { String::from_utf8_unchecked(ascii) }
    }
}
