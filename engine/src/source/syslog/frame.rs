//! Where one message ends and the next begins on a TCP connection (RFC 6587).

/// Longest message; of a longer one the beginning is kept and marked. Eight times what receivers commonly allow, small enough that
/// every connection may hold one.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// A count of more digits is no count.
const COUNT_DIGITS_MAX: usize = 9;

/// What the bytes at hand begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// More bytes are needed.
    More,
    /// Bytes that belong to no message, or to the rest of one that was too long.
    Skip(usize),
    /// The message `begin..end`; the next one begins at `next`.
    Message {
        begin: usize,
        end: usize,
        next: usize,
        truncated: bool,
    },
}

/// Finds messages one after the other. Each may be framed either way: a count and a space before it, or a line feed (or NUL) after it.
#[derive(Debug, Default)]
pub(super) struct Framer {
    rest: Rest,
}

/// What is left of a message that was too long.
#[derive(Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    None,
    Bytes(usize),
    Line,
}

impl Framer {
    /// `at_end`: nothing will follow `data`.
    pub(super) fn next(&mut self, data: &[u8], at_end: bool) -> Frame {
        match self.rest {
            _ if data.is_empty() => return Frame::More,
            Rest::Bytes(left) => {
                let skipped = left.min(data.len());
                self.rest = if skipped < left {
                    Rest::Bytes(left - skipped)
                } else {
                    Rest::None
                };
                return Frame::Skip(skipped);
            }
            Rest::Line => {
                let end = line_end(data);
                if end.is_some() {
                    self.rest = Rest::None;
                }
                return Frame::Skip(end.map_or(data.len(), |end| end + 1));
            }
            Rest::None => {}
        }
        let blanks = data
            .iter()
            .take_while(|byte| matches!(byte, b'\n' | b'\r' | 0 | b' '))
            .count();
        if blanks > 0 {
            return Frame::Skip(blanks);
        }
        match count(data) {
            Count::Of { digits, length } => self.counted(data, digits, length, at_end),
            Count::Unknown if !at_end => Frame::More,
            _ => self.line(data, at_end),
        }
    }

    fn counted(&mut self, data: &[u8], digits: usize, length: usize, at_end: bool) -> Frame {
        let (begin, kept) = (digits + 1, length.min(MESSAGE_BYTES_MAX));
        let end = begin + kept;
        if data.len() < end {
            return match at_end {
                true => Frame::Message {
                    begin,
                    end: data.len(),
                    next: data.len(),
                    truncated: true,
                },
                false => Frame::More,
            };
        }
        let truncated = kept < length;
        if truncated {
            self.rest = Rest::Bytes(length - kept);
        }
        Frame::Message {
            begin,
            end,
            next: end,
            truncated,
        }
    }

    fn line(&mut self, data: &[u8], at_end: bool) -> Frame {
        let found = line_end(&data[..data.len().min(MESSAGE_BYTES_MAX + 1)]);
        let (end, next, truncated) = match found {
            Some(end) => (end, end + 1, false),
            None if data.len() > MESSAGE_BYTES_MAX => {
                self.rest = Rest::Line;
                (MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, true)
            }
            None if at_end => (data.len(), data.len(), false),
            None => return Frame::More,
        };
        let end = if data[..end].ends_with(b"\r") { end - 1 } else { end };
        Frame::Message {
            begin: 0,
            end,
            next,
            truncated,
        }
    }
}

fn line_end(data: &[u8]) -> Option<usize> {
    data.iter().position(|byte| matches!(byte, b'\n' | 0))
}

enum Count {
    Of {
        digits: usize,
        length: usize,
    },
    No,
    /// All bytes at hand are digits.
    Unknown,
}

fn count(data: &[u8]) -> Count {
    if !matches!(data.first(), Some(b'1'..=b'9')) {
        return Count::No;
    }
    let digits = data
        .iter()
        .take(COUNT_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match data.get(digits) {
        _ if digits > COUNT_DIGITS_MAX => Count::No,
        Some(b' ') => {
            let length = data[..digits]
                .iter()
                .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            Count::Of { digits, length }
        }
        Some(_) => Count::No,
        None => Count::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames `text` as it arrives in pieces of `step` bytes.
    fn frames(text: &[u8], step: usize) -> Vec<(String, bool)> {
        let (mut framer, mut from, mut till, mut found) = (Framer::default(), 0, 0, Vec::new());
        loop {
            match framer.next(&text[from..till], till == text.len()) {
                Frame::Message {
                    begin,
                    end,
                    next,
                    truncated,
                } => {
                    let message = &text[from + begin..from + end];
                    found.push((String::from_utf8_lossy(message).into_owned(), truncated));
                    from += next;
                }
                Frame::Skip(next) => from += next,
                Frame::More if till == text.len() => return found,
                Frame::More => till = text.len().min(till + step),
            }
        }
    }

    fn all(text: &str) -> Vec<String> {
        let whole = frames(text.as_bytes(), usize::MAX >> 1);
        for step in [1, 2, 7] {
            assert_eq!(frames(text.as_bytes(), step), whole, "pieces of {step} bytes");
        }
        whole
            .into_iter()
            .map(|(message, cut)| format!("{message}{}", if cut { "…" } else { "" }))
            .collect()
    }

    #[test]
    fn both_framings_may_follow_each_other() {
        assert_eq!(
            all("5 <1>ab8 <1>x\ny z<1>c\r\n\n<1>d\0<1>e"),
            ["<1>ab", "<1>x\ny z", "<1>c", "<1>d", "<1>e"]
        );
        assert_eq!(
            all("2026 lines\nmore"),
            ["lines\nmore…"],
            "a count that is not filled is a message cut off"
        );
        assert_eq!(all("20x6\n1234567890 x\n12"), ["20x6", "1234567890 x", "12"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_the_next_is_whole() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 10);
        for text in [format!("{} {long}<1>next\n", long.len()), format!("{long}\n<1>next\n")] {
            for step in [1000, usize::MAX >> 1] {
                let found = frames(text.as_bytes(), step);
                assert_eq!(found.len(), 2);
                assert_eq!((found[0].0.len(), found[0].1), (MESSAGE_BYTES_MAX, true));
                assert_eq!(found[1], ("<1>next".into(), false));
            }
        }
    }
}
