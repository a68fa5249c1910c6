//! Check digits and the like: what tells a number or token that was given out from one that only looks like it.

use sentrail_plugin::Search;

/// The last digit of a card number, by Luhn (ISO/IEC 7812-1).
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The remainder modulo 97 of a text of digits and capital letters, each letter read as a number from 10 (ISO 7064). `None` for
/// any other character.
pub fn mod97(text: impl Iterator<Item = u8>) -> Option<u32> {
    let mut rest = 0;
    for byte in text {
        rest = match byte {
            b'0'..=b'9' => rest * 10 + u32::from(byte - b'0'),
            b'A'..=b'Z' => rest * 100 + u32::from(byte - b'A') + 10,
            _ => return None,
        } % 97;
    }
    Some(rest)
}

/// CRC-32 as in zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A number in base 62, with digits before capitals before small letters, in six places.
pub fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    text
}

/// Shannon entropy of the characters, in bits each: below 3 for words and patterns, above 4 for what a generator made.
pub fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether a token was written to be recognised as none: by documentation, a test or somebody who masked it.
pub fn placeholder(token: &str) -> bool {
    const WORDS: [&str; 16] = [
        "example",
        "sample",
        "placeholder",
        "dummy",
        "your",
        "fake",
        "redacted",
        "masked",
        "secret",
        "insert",
        "replace",
        "xxxx",
        "0000000",
        "1234567",
        "abcdefg",
        "changeme",
    ];
    let lower = token.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.holds(word))
}

/// The bytes that base64 or base64url stands for, with or without padding; `None` where it stands for nothing.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_their_standards() {
        let digits = |text: &str| text.bytes().map(|byte| byte - b'0').collect::<Vec<_>>();
        assert!(luhn(&digits("4012888888881881")) && !luhn(&digits("4012888888881882")));
        assert_eq!(mod97(b"370400440532013000DE89".iter().copied()), Some(1));
        assert_eq!(mod97(b"37-".iter().copied()), None);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(&base62(62 * 62 + 11), b"00010B");
    }

    #[test]
    fn base64_has_two_alphabets() {
        assert_eq!(base64("eyJhIjoi_-8ifQ"), base64("eyJhIjoi/+8ifQ=="));
        assert_eq!(base64("Zm9v").as_deref(), Some(&b"foo"[..]));
        assert_eq!(base64("Zm 9v"), None);
    }

    #[test]
    fn what_a_generator_made_has_more_entropy_than_words() {
        assert!(entropy("kQ7vX2pLm9Rt4Zb8Wc1N") > 4.0);
        assert!(entropy("aaaaaaaabbbbbbbb") <= 1.0);
    }
}
