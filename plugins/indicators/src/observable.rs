//! What indicators are about, in the one form in which a feed's and a log's are compared.

use std::borrow::Cow;
use std::net::IpAddr;

use sentrail_plugin::{Search, hash};

/// Something that a feed may name and a log may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observable {
    /// Address and length of the prefix: a single address is a network of itself.
    Network(IpAddr, u8),
    Domain(String),
    Url(String),
    /// MD5, SHA-1, SHA-256 or SHA-512 in small hexadecimal.
    Digest(String),
    /// The hash of a gateway key, or the id of an access key, as logs hold it.
    Key(String),
}

impl Observable {
    /// The number under which it is remembered.
    pub fn number(&self) -> u64 {
        match self {
            Observable::Network(address, length) => hash(&format!("n{}/{length}", masked(*address, *length))),
            Observable::Domain(name) => hash(&format!("d{name}")),
            Observable::Url(url) => hash(&format!("u{url}")),
            Observable::Digest(digest) => hash(&format!("h{digest}")),
            Observable::Key(key) => hash(&format!("k{key}")),
        }
    }

    /// Reads an address, or a network in the form ADDRESS/LENGTH.
    pub fn network(text: &str) -> Option<Observable> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let written: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let address = written.to_canonical();
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            // An IPv4 network that is written as part of IPv6.
            Some(length) if written != address => length.checked_sub(96)?,
            Some(length) => length,
            None => whole,
        };
        (length <= whole).then_some(Observable::Network(address, length))
    }

    /// Reads a host name: labels of letters, digits and dashes, at least two, the last of which is no number.
    pub fn domain(text: &str) -> Option<Observable> {
        let name = text
            .trim_end_matches('.')
            .strip_prefix("*.")
            .unwrap_or(text.trim_end_matches('.'));
        let name = ascii(name)?;
        let top = name.rsplit('.').next()?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
        };
        let fits = name.len() <= 253 && name.contains('.') && name.split('.').all(label);
        (fits && !top.bytes().all(|byte| byte.is_ascii_digit())).then_some(Observable::Domain(name))
    }

    /// Reads an absolute URL of http, https or ftp: host in small letters, without user, default port, fragment and a single `/`.
    pub fn url(text: &str) -> Option<Observable> {
        let (scheme, rest) = text.split_once("://")?;
        let default = match scheme.to_ascii_lowercase().as_str() {
            "http" => ":80",
            "https" => ":443",
            "ftp" => ":21",
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit('@').next()?;
        let host = ascii(host.strip_suffix(default).unwrap_or(host))?;
        let path = if path == "/" { "" } else { path };
        // With and without TLS a server mostly serves the same.
        (!host.is_empty()).then(|| Observable::Url(format!("{host}{path}")))
    }

    /// Reads a digest, with or without the name of its algorithm before it.
    pub fn digest(text: &str) -> Option<Observable> {
        let digest = text.rsplit_once(':').map_or(text, |(_, digest)| digest);
        let hexadecimal = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (matches!(digest.len(), 32 | 40 | 64 | 128) && hexadecimal)
            .then(|| Observable::Digest(digest.to_ascii_lowercase()))
    }

    /// Whatever a text is, by its form.
    pub fn any(text: &str) -> Option<Observable> {
        let text = refanged(text);
        let text = text.trim();
        if text.holds("://") {
            return Observable::url(text);
        }
        Observable::network(text)
            .or_else(|| Observable::digest(text))
            .or_else(|| Observable::domain(text))
    }
}

/// The host of a URL in its compared form.
pub fn host(url: &str) -> &str {
    let authority = &url[..url.find(['/', '?']).unwrap_or(url.len())];
    if authority.starts_with('[') {
        return authority.split(']').next().unwrap_or_default().trim_start_matches('[');
    }
    authority.split(':').next().unwrap_or_default()
}

/// What reports write so that nobody clicks on it, as it was.
pub fn refanged(text: &str) -> Cow<'_, str> {
    let hidden = text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("hxxp"));
    // Nearly every word stands as it is.
    if !hidden && !text.contains(['[', '(']) {
        return Cow::Borrowed(text);
    }
    let shown = text
        .replace("[.]", ".")
        .replace("(.)", ".")
        .replace("[dot]", ".")
        .replace("[:]", ":");
    Cow::Owned(match hidden {
        true => format!("http{}", &shown[4..]),
        false => shown,
    })
}

/// The address with all bits beyond the prefix zero.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// A host's name in small ASCII letters: labels in other scripts as Punycode (RFC 3492), as they stand in logs of the network.
fn ascii(host: &str) -> Option<String> {
    if host.is_ascii() {
        return Some(host.to_ascii_lowercase());
    }
    let lower = host.to_lowercase().replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    let labels: Option<Vec<String>> = lower
        .split('.')
        .map(|label| {
            if label.is_ascii() {
                Some(label.to_owned())
            } else {
                punycode(label).map(|code| format!("xn--{code}"))
            }
        })
        .collect();
    labels.map(|labels| labels.join("."))
}

fn punycode(label: &str) -> Option<String> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    const SKEW: u32 = 38;
    const DAMP: u32 = 700;
    // No label of the DNS is longer, and the work grows with the square.
    if label.chars().count() > 63 {
        return None;
    }
    let mut code: String = label.chars().filter(char::is_ascii).collect();
    let basic = code.len() as u32;
    if basic > 0 {
        code.push('-');
    }
    let (mut next, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    let count = label.chars().count() as u32;
    while handled < count {
        let least = label.chars().map(u32::from).filter(|point| *point >= next).min()?;
        delta = delta.checked_add((least - next).checked_mul(handled + 1)?)?;
        next = least;
        for point in label.chars().map(u32::from) {
            if point < next {
                delta = delta.checked_add(1)?;
            }
            if point != next {
                continue;
            }
            let (mut rest, mut place) = (delta, BASE);
            loop {
                let threshold = place.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if rest < threshold {
                    break;
                }
                code.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
                rest = (rest - threshold) / (BASE - threshold);
                place += BASE;
            }
            code.push(digit(rest));
            // How far apart the next one is expected.
            delta /= if handled == basic { DAMP } else { 2 };
            delta += delta / (handled + 1);
            let mut steps = 0;
            while delta > (BASE - T_MIN) * T_MAX / 2 {
                delta /= BASE - T_MIN;
                steps += BASE;
            }
            bias = steps + (BASE - T_MIN + 1) * delta / (delta + SKEW);
            delta = 0;
            handled += 1;
        }
        delta += 1;
        next += 1;
    }
    Some(code)
}

/// Letters stand for 0 to 25, digits for 26 to 35.
fn digit(value: u32) -> char {
    match u8::try_from(value) {
        Ok(value @ 0..=25) => char::from(b'a' + value),
        Ok(value @ 26..=35) => char::from(b'0' + value - 26),
        _ => '-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_one_form() {
        for (one, other) in [
            ("198.51.100.7", "198[.]51[.]100[.]7"),
            ("198.51.100.7", "::ffff:198.51.100.7"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("Evil.Example.", "evil[.]example"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("hxxps://Evil[.]example:443/a#b", "http://evil.example/a"),
            ("http://me:pw@evil.example/", "https://evil.example"),
            (
                "SHA256:AA11223344556677889900aabbccddeeff00112233445566778899aabbccddee",
                "aa11223344556677889900aabbccddeeff00112233445566778899aabbccddee",
            ),
        ] {
            assert_eq!(Observable::any(one), Observable::any(other), "{one}");
            assert!(Observable::any(one).is_some(), "{one}");
        }
    }

    #[test]
    fn a_word_without_disguise_is_not_copied() {
        for (word, copied) in [
            ("evil.example", false),
            ("https://evil.example/a.b", false),
            ("HXXP://evil.example", true),
            ("evil(.)example", true),
            ("h\u{e9}xp", false),
        ] {
            assert_eq!(matches!(refanged(word), Cow::Owned(_)), copied, "{word}");
        }
    }

    #[test]
    fn punycode_is_that_of_the_standard() {
        // From RFC 3492, section 7.1.
        assert_eq!(
            punycode("\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}").as_deref(),
            Some("ihqwcrb4cv8a8dqg056pqjye")
        );
        assert_eq!(
            punycode("3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}").as_deref(),
            Some("3b-ww4c5e180e575a65lsy2b")
        );
    }

    #[test]
    fn networks_are_masked() {
        let number = |text| Observable::network(text).expect("a network").number();
        assert_eq!(number("198.51.100.7/24"), number("198.51.100.0/24"));
        assert_eq!(number("::ffff:198.51.100.0/120"), number("198.51.100.0/24"));
        assert_ne!(number("198.51.100.0/24"), number("198.51.100.0/25"));
        assert_eq!(number("0.0.0.0/0"), number("203.0.113.9/0"));
        for text in ["198.51.100.7/33", "::/129", "198.51.100/24", "::ffff:198.51.100.0/24"] {
            assert_eq!(Observable::network(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for text in ["localhost", "1.2", "a..b", "-x.example", "a b.example", "v1.2.3"] {
            assert_eq!(Observable::domain(text), None, "{text}");
        }
    }
}
