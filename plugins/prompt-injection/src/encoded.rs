//! Text within the text, in base64.

/// Shorter runs are words, ids or hashes.
const SHORTEST: usize = 24;
/// How many runs are read.
const MOST: usize = 8;

/// What the base64 runs of a text say, where they say something in letters.
pub fn texts(text: &str) -> Vec<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "+/-_".contains(letter)))
        .filter(|run| run.len() >= SHORTEST)
        .filter_map(decode)
        .filter(|bytes| readable(bytes))
        .filter_map(|bytes| String::from_utf8(bytes).ok())
        .take(MOST)
        .collect()
}

fn readable(bytes: &[u8]) -> bool {
    let plain = bytes
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic() || **byte == b' ')
        .count();
    bytes.contains(&b' ') && plain * 10 >= bytes.len() * 8
}

fn decode(run: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(run.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in run.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::texts;

    #[test]
    fn sentences_are_read_and_ids_are_not() {
        assert_eq!(
            texts("see aGVsbG8gdGhlcmUgbXkgZ29vZCBmcmllbmQ= now"),
            ["hello there my good friend"]
        );
        assert!(texts("commit 3f2a9c1d7be04f6a8c5d2e1f0a9b8c7d6e5f4a3b").is_empty());
    }
}
