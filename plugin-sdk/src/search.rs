//! Looking for one text in another.

/// Bytes that are looked at at once.
const LANES: usize = 16;

/// As `find` and `contains` of the standard library for texts, which in a guest go byte by byte and first work out how best to.
pub trait Search {
    /// Where `part` begins that stands in the text, the first time.
    fn place(&self, part: &str) -> Option<usize>;

    /// Whether `part` stands in the text.
    #[inline]
    fn holds(&self, part: &str) -> bool {
        self.place(part).is_some()
    }
}

impl Search for str {
    #[inline]
    fn place(&self, part: &str) -> Option<usize> {
        if cfg!(target_arch = "wasm32") {
            place(self.as_bytes(), part.as_bytes())
        } else {
            self.find(part)
        }
    }
}

impl Search for [u8] {
    fn place(&self, part: &str) -> Option<usize> {
        place(self, part.as_bytes())
    }
}

/// Compares whole only where the first and the last byte stand where they would.
fn place(text: &[u8], part: &[u8]) -> Option<usize> {
    let Some(behind) = part.len().checked_sub(1) else {
        return Some(0);
    };
    let last_start = text.len().checked_sub(part.len())?;
    let (first, last) = (part[0], part[behind]);
    let stands = |mut places: u32, base: usize| {
        while places != 0 {
            let start = base + places.trailing_zeros() as usize;
            if text[start..=start + behind] == *part {
                return Some(start);
            }
            places &= places - 1;
        }
        None
    };
    if text.len() < LANES {
        let lanes = padded(text);
        let ends = places(&lanes, last) >> behind;
        return stands(places(&lanes, first) & ends & ((2 << last_start) - 1), 0);
    }
    let mut from = 0;
    while let (Some(firsts), Some(lasts)) = (lanes(text, from), lanes(text, from + behind)) {
        let both = places_of_both(firsts, first, lasts, last);
        if both != 0
            && let Some(start) = stands(both, from)
        {
            return Some(start);
        }
        from += LANES;
    }
    if from > last_start {
        return None;
    }
    // Fewer starts than lanes are left: the ends that they lead to are among the last bytes of the text.
    let base = text.len() - LANES;
    let ends = lanes(text, base).map_or(0, |lasts| places(lasts, last)) >> (from + behind - base);
    stands(ends, from)
}

/// A text of fewer bytes than lanes, with zeros behind it.
fn padded(text: &[u8]) -> [u8; LANES] {
    let bits = 8 * text.len() as u32;
    // Where head and tail overlap they say the same.
    let (low, high) = if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        let tail = u64::from_le_bytes(*tail);
        (u64::from_le_bytes(*head), tail.checked_shr(128 - bits).unwrap_or(0))
    } else if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        let tail = u64::from(u32::from_le_bytes(*tail));
        (u64::from(u32::from_le_bytes(*head)) | tail << (bits - 32), 0)
    } else {
        let byte = |at: usize| text.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at));
        (byte(0) | byte(1) | byte(2), 0)
    };
    let mut lanes = [0; LANES];
    lanes[..8].copy_from_slice(&low.to_le_bytes());
    lanes[8..].copy_from_slice(&high.to_le_bytes());
    lanes
}

fn lanes(text: &[u8], at: usize) -> Option<&[u8; LANES]> {
    text.get(at..)?.first_chunk()
}

/// Where the byte stands, a bit each.
#[cfg(target_arch = "wasm32")]
#[inline]
#[allow(unsafe_code)]
fn places(lanes: &[u8; LANES], byte: u8) -> u32 {
    use std::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, v128_load};
    // SAFETY: there are sixteen bytes, and the load asks for no alignment.
    let lanes = unsafe { v128_load(lanes.as_ptr().cast()) };
    u8x16_bitmask(u8x16_eq(lanes, u8x16_splat(byte))).into()
}

/// Where the one byte stands in the one and the other in the other.
#[cfg(target_arch = "wasm32")]
#[inline]
#[allow(unsafe_code)]
fn places_of_both(lanes: &[u8; LANES], byte: u8, others: &[u8; LANES], other: u8) -> u32 {
    use std::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, v128_and, v128_load};
    // SAFETY: there are sixteen bytes at both, and the load asks for no alignment.
    let (lanes, others) = unsafe { (v128_load(lanes.as_ptr().cast()), v128_load(others.as_ptr().cast())) };
    let (one, other) = (u8x16_eq(lanes, u8x16_splat(byte)), u8x16_eq(others, u8x16_splat(other)));
    u8x16_bitmask(v128_and(one, other)).into()
}

#[cfg(not(target_arch = "wasm32"))]
fn places_of_both(lanes: &[u8; LANES], byte: u8, others: &[u8; LANES], other: u8) -> u32 {
    places(lanes, byte) & places(others, other)
}

#[cfg(not(target_arch = "wasm32"))]
fn places(lanes: &[u8; LANES], byte: u8) -> u32 {
    let bits = lanes.iter().enumerate();
    bits.fold(0, |places, (lane, found)| places | u32::from(*found == byte) << lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_the_standard_library_finds() {
        let mut number: u64 = 1;
        let mut next = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 33) % below
        };
        let (mut found, mut not) = (0, 0);
        for round in 0..60_000 {
            let mut text = |most: u64, letters: u64| -> String {
                let length = next(most);
                (0..length).map(|_| char::from(b'a' + next(letters) as u8)).collect()
            };
            let letters = 2 + round % 3;
            let whole = text(70, letters);
            let part = if round % 2 == 0 {
                text(6, letters)
            } else {
                // One that stands there, at each distance from both ends.
                let from = text(70, 2).len().min(whole.len());
                whole[from..].chars().take(1 + round as usize % 40).collect()
            };
            assert_eq!(
                place(whole.as_bytes(), part.as_bytes()),
                whole.find(&part),
                "{part:?} in {whole:?}"
            );
            *(if whole.contains(&part) { &mut found } else { &mut not }) += 1;
        }
        assert!(found > 10_000 && not > 1_000, "{found} stood there and {not} did not");
    }
}
