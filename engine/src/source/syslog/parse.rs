//! The header of a syslog message: RFC 5424, and what RFC 3164 found in the wild.

/// A message taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// Name without the prefix `syslog.`, and value; what the message does not say is absent.
    pub header: Vec<(&'static str, &'a [u8])>,
    /// The MSG: what an application had to say.
    pub text: &'a [u8],
}

const SEVERITIES: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];
const FACILITIES: [&str; 24] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20",
    "21", "22", "23",
];
/// RFC 3164 allows 32 characters of alphanumerics; programs use more of both.
const TAG_BYTES_MAX: usize = 64;

/// Takes `bytes` apart as far as they are syslog; the rest is the text.
pub(super) fn parse(bytes: &[u8]) -> Message<'_> {
    let Some((priority, rest)) = priority(bytes) else {
        return Message {
            header: Vec::new(),
            text: bytes,
        };
    };
    let mut header = vec![
        ("severity", SEVERITIES[priority % 8].as_bytes()),
        ("facility", FACILITIES[priority / 8].as_bytes()),
    ];
    let text = match rest.strip_prefix(b"1 ") {
        Some(rest) => modern(rest, &mut header),
        None => legacy(rest, &mut header),
    };
    Message { header, text }
}

/// `<0>` to `<191>`.
fn priority(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let inside = bytes.strip_prefix(b"<")?;
    let end = inside.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = std::str::from_utf8(&inside[..end]).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: usize = digits.parse().ok()?;
    (number < 192).then_some((number, &inside[end + 1..]))
}

/// RFC 5424 after its version: five fields, structured data, the message.
fn modern<'a>(bytes: &'a [u8], header: &mut Vec<(&'static str, &'a [u8])>) -> &'a [u8] {
    let mut rest = bytes;
    for name in ["time", "hostname", "app_name", "procid", "msgid"] {
        let (field, after) = word(rest);
        if field != b"-" && !field.is_empty() {
            header.push((name, field));
        }
        rest = after;
    }
    let end = structured_data(rest);
    if !matches!(&rest[..end], b"-" | b"") {
        header.push(("structured_data", &rest[..end]));
    }
    let text = rest[end..].strip_prefix(b" ").unwrap_or(&rest[end..]);
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Where the structured data at the beginning ends: `-`, or elements in brackets, in whose quoted values brackets may stand.
fn structured_data(bytes: &[u8]) -> usize {
    if bytes.first() == Some(&b'-') {
        return 1;
    }
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            _ if quoted => {}
            b'[' => inside = true,
            b']' => inside = false,
            _ if !inside => return at,
            _ => {}
        }
    }
    if inside { 0 } else { bytes.len() }
}

/// RFC 3164 after the priority: time, host, tag, message. All of it is optional in practice.
fn legacy<'a>(bytes: &'a [u8], header: &mut Vec<(&'static str, &'a [u8])>) -> &'a [u8] {
    let Some((time, rest)) = legacy_time(bytes) else {
        return tag(bytes, header);
    };
    header.push(("time", time));
    let (host, after) = word(rest);
    // A word that is a tag already: there is no host.
    if host.is_empty() || host.ends_with(b":") || host.starts_with(b"{") {
        return tag(rest, header);
    }
    header.push(("hostname", host));
    tag(after, header)
}

/// `Jan  2 03:04:05`, or RFC 3339 as newer daemons write it.
fn legacy_time(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let month = bytes.get(..3).and_then(|month| std::str::from_utf8(month).ok());
    if month.is_some_and(|month| MONTHS.split(' ').any(|known| known == month))
        && bytes.get(15) == Some(&b' ')
        && bytes.get(9) == Some(&b':')
        && bytes.get(12) == Some(&b':')
    {
        return Some((&bytes[..15], &bytes[16..]));
    }
    let (first, rest) = word(bytes);
    let is_date = first.len() >= 19 && first[4] == b'-' && first[7] == b'-' && first[10] == b'T';
    is_date.then_some((first, rest))
}

/// `program[123]: text`; without it all of it is the text.
fn tag<'a>(bytes: &'a [u8], header: &mut Vec<(&'static str, &'a [u8])>) -> &'a [u8] {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let length = bytes
        .iter()
        .take(TAG_BYTES_MAX)
        .take_while(|byte| is_name(byte))
        .count();
    let (name, mut rest) = bytes.split_at(length);
    let mut process = None;
    if let Some(inside) = rest.strip_prefix(b"[")
        && let Some(end) = inside.iter().take(TAG_BYTES_MAX).position(|byte| *byte == b']')
    {
        process = Some(&inside[..end]);
        rest = &inside[end + 1..];
    }
    let Some(text) = rest.strip_prefix(b":").filter(|_| !name.is_empty()) else {
        return bytes;
    };
    header.push(("app_name", name));
    header.extend(
        process
            .filter(|process| !process.is_empty())
            .map(|process| ("procid", process)),
    );
    text.strip_prefix(b" ").unwrap_or(text)
}

/// The bytes before the first space, and those after it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(space) => (&bytes[..space], &bytes[space + 1..]),
        None => (bytes, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> (String, String) {
        let message = parse(text.as_bytes());
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header: Vec<String> = message
            .header
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8(value)))
            .collect();
        (header.join("|"), utf8(message.text))
    }

    #[track_caller]
    fn is(text: &str, header: &str, message: &str) {
        assert_eq!(shown(text), (header.to_owned(), message.to_owned()), "{text}");
    }

    #[test]
    fn rfc5424() {
        is(
            "<165>1 2026-01-02T03:04:05.003Z host.example.com evntslog 812 ID47 [a@32473 k=\"x]\\\" y\" n=\"1\"][b] \u{feff}{\"a\":1}",
            "severity=5|facility=20|time=2026-01-02T03:04:05.003Z|hostname=host.example.com|app_name=evntslog|procid=812|msgid=ID47|\
             structured_data=[a@32473 k=\"x]\\\" y\" n=\"1\"][b]",
            "{\"a\":1}",
        );
        is("<0>1 - - - - - - text", "severity=0|facility=0", "text");
        is("<0>1 - - - - - -", "severity=0|facility=0", "");
        // An element that never closes is no structured data.
        is("<0>1 - - - - - [open text", "severity=0|facility=0", "[open text");
    }

    #[test]
    fn rfc3164() {
        is(
            "<34>Oct 11 22:14:15 mymachine su[231]: 'su root' failed",
            "severity=2|facility=4|time=Oct 11 22:14:15|hostname=mymachine|app_name=su|procid=231",
            "'su root' failed",
        );
        is(
            "<13>2026-01-02T03:04:05+00:00 host app: {\"a\":1}",
            "severity=5|facility=1|time=2026-01-02T03:04:05+00:00|hostname=host|app_name=app",
            "{\"a\":1}",
        );
        is(
            "<13>Oct  1 22:14:15 {\"a\": 1}",
            "severity=5|facility=1|time=Oct  1 22:14:15",
            "{\"a\": 1}",
        );
        is("<13>{\"a\": 1}", "severity=5|facility=1", "{\"a\": 1}");
        is("<13>app: text", "severity=5|facility=1|app_name=app", "text");
    }

    #[test]
    fn what_is_no_syslog_is_all_text() {
        for text in ["", "<", "<>x", "<192>x", "<1a>x", "{\"a\":1}", "<12345>1 x"] {
            is(text, "", text);
        }
    }
}
