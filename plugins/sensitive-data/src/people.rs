//! Numbers that belong to people: cards, accounts, identities, addresses. Only what carries a check digit, or stands beside a word that
//! says what it is.

use std::collections::BTreeSet;

use sentrail_plugin::Search;

use crate::checks::{luhn, mod97};

/// Numbers of one kind that a text is searched for; more say nothing new.
const FOUND_MAX: usize = 256;

/// Card numbers that issuers and payment services publish for tests.
const TEST_CARDS: &[&str] = &[
    "4012888888881881",
    "4000056655665556",
    "4000002500003155",
    "4263982640269299",
    "4917610000000000",
    "5105105105105100",
    "5200828282828210",
    "5425233430109903",
    "2223003122003222",
    "2223000048410010",
    "378282246310005",
    "371449635398431",
    "378734493671000",
    "6011000990139424",
    "6011000180331112",
    "3530111333300000",
    "3566002020360505",
    "30569309025904",
    "38520000023237",
    "36227206271667",
    "6200000000000005",
    "5555555555554444",
];

/// Accounts that the registry of formats and many manuals show.
const SHOWN_ACCOUNTS: &[&str] = &[
    "DE89370400440532013000",
    "DE75512108001245126199",
    "GB29NWBK60161331926819",
    "GB82WEST12345698765432",
    "GB33BUKB20201555555555",
    "FR1420041010050500013M02606",
    "FR7630006000011234567890189",
    "NL91ABNA0417164300",
    "ES9121000418450200051332",
    "CH9300762011623852957",
    "BE68539007547034",
    "AT611904300234573201",
    "IT60X0542811101000000123456",
    "PL61109010140000071219812874",
];

/// Length of an account number by country.
const ACCOUNT_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("TR", 26),
    ("UA", 29),
];

/// A group of digits, of which single spaces and dashes may part groups.
struct Number {
    digits: Vec<u8>,
    /// Lengths of the groups.
    groups: Vec<usize>,
}

impl Number {
    fn text(&self) -> String {
        self.digits.iter().map(|digit| char::from(b'0' + digit)).collect()
    }
}

/// Where the next digit stands, from `at` on; the length where there is none. Most of a text holds none, and is passed over by pieces.
fn next_digit(bytes: &[u8], mut at: usize) -> usize {
    while let Some(piece) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        if piece.iter().fold(false, |any, byte| any | byte.is_ascii_digit()) {
            break;
        }
        at += piece.len();
    }
    while bytes.get(at).is_some_and(|byte| !byte.is_ascii_digit()) {
        at += 1;
    }
    at
}

/// The numbers of nine digits and more that stand by themselves.
fn numbers(text: &str) -> Vec<Number> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while found.len() < FOUND_MAX {
        at = next_digit(bytes, at);
        if at >= bytes.len() {
            break;
        }
        let begin = at;
        let mut number = Number {
            digits: Vec::new(),
            groups: vec![0],
        };
        while let Some(byte) = bytes.get(at) {
            let goes_on = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            match byte {
                b'0'..=b'9' => {
                    number.digits.push(byte - b'0');
                    if let Some(last) = number.groups.last_mut() {
                        *last += 1;
                    }
                }
                b' ' | b'-' if goes_on => number.groups.push(0),
                _ => break,
            }
            at += 1;
        }
        let part_of_more = |byte: Option<&u8>| {
            byte.is_some_and(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'+') || *byte >= 0x80
            })
        };
        let before = begin.checked_sub(1).and_then(|before| bytes.get(before));
        // A full stop may end a sentence.
        let after = bytes
            .get(at)
            .filter(|byte| **byte != b'.' || bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
        if (9..=19).contains(&number.digits.len()) && !part_of_more(before) && !part_of_more(after) {
            found.push(number);
        }
    }
    found
}

/// The issuer whose range a card number is in, if it has that issuer's length and form.
fn issuer(number: &Number) -> Option<&'static str> {
    let head = |places: usize| {
        number
            .digits
            .iter()
            .take(places)
            .fold(0_u32, |head, digit| head * 10 + u32::from(*digit))
    };
    let name = match (number.digits.len(), head(2), head(3), head(4)) {
        (16, 40..=49, ..) => "Visa",
        (16, 51..=55, ..) | (16, _, _, 2221..=2720) => "Mastercard",
        (15, 34 | 37, ..) => "American Express",
        (16, _, _, 6011) | (16, _, 644..=649, _) | (16, 65, ..) => "Discover",
        (16, _, _, 3528..=3589) => "JCB",
        (14, 36 | 38, ..) | (14, _, 300..=305, _) => "Diners Club",
        (16..=19, 62, ..) => "UnionPay",
        _ => return None,
    };
    let form = matches!(
        number.groups[..],
        [_] | [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3]
    );
    form.then_some(name)
}

/// Something found, and how to tell of it without repeating it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub value: String,
    pub told: String,
}

/// Payment cards.
pub fn cards(text: &str) -> BTreeSet<Held> {
    let cards = numbers(text).into_iter().filter_map(|number| {
        let issuer = issuer(&number)?;
        let value = number.text();
        let distinct = number.digits.iter().collect::<BTreeSet<_>>().len();
        // A few digits again and again are typed, not issued.
        if !luhn(&number.digits) || distinct < 5 || TEST_CARDS.contains(&value.as_str()) {
            return None;
        }
        let told = format!("{issuer} ending in {}", &value[value.len() - 4..]);
        Some(Held { value, told })
    });
    cards.collect()
}

/// International bank account numbers.
pub fn accounts(text: &str) -> BTreeSet<Held> {
    let bytes = text.as_bytes();
    let mut found = BTreeSet::new();
    let mut digit = 0;
    while let Some(digits) = bytes.get(next_digit(bytes, digit)..).filter(|rest| rest.len() >= 2) {
        let first = bytes.len() - digits.len();
        digit = first + 1;
        // Two letters and two digits.
        let Some(at) = first.checked_sub(2) else { continue };
        let begins = bytes[at..first].iter().all(u8::is_ascii_uppercase) && digits[1].is_ascii_digit();
        let joined = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if !begins || joined || found.len() == FOUND_MAX {
            continue;
        }
        let country = &text[at..at + 2];
        let Some((_, length)) = ACCOUNT_LENGTHS.iter().find(|(name, _)| *name == country) else {
            continue;
        };
        let mut value = String::with_capacity(*length);
        let mut end = at;
        while let Some(byte) = bytes.get(end).filter(|_| value.len() < *length) {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' => value.push(char::from(*byte)),
                b' ' if value.len().is_multiple_of(4) && bytes[end - 1] != b' ' => {}
                _ => break,
            }
            end += 1;
        }
        let more = bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if value.len() != *length || more || SHOWN_ACCOUNTS.contains(&value.as_str()) {
            continue;
        }
        let rearranged = value.bytes().skip(4).chain(value.bytes().take(4));
        if mod97(rearranged) == Some(1) {
            let told = format!("{country} ending in {}", &value[value.len() - 2..]);
            found.insert(Held { value, told });
        }
    }
    found
}

/// Numbers by which states know people. `told` names the state alone.
pub fn identities(text: &str) -> BTreeSet<Held> {
    let mut found = BTreeSet::new();
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.holds(word));
    let (american, german) = (
        says(&["ssn", "social security"]),
        says(&[
            "steuer-id",
            "steuerid",
            "steueridentifikation",
            "steuerliche identifikation",
            "tax id",
        ]),
    );
    let mut held = |value: String, told: &str| {
        found.insert(Held {
            value,
            told: told.to_owned(),
        });
    };
    for number in numbers(text) {
        let value = number.text();
        match number.groups[..] {
            [3, 2, 4] if american && social_security(&value) => held(value, "a US social security number"),
            [15] | [1, 2, 2, 2, 3, 3, 2] if french(&number.digits) => held(value, "a French social security number"),
            [11] | [2, 3, 3, 3] if german && german_tax(&number.digits) => held(value, "a German tax id"),
            _ => {}
        }
    }
    let spanish = says(&["dni", "nie", "nif"]);
    // By bytes: what is no ASCII parts words.
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    for word in text.as_bytes().split(|byte| !part(byte)) {
        // With what is trimmed, which is little.
        if word.len() < 9 {
            continue;
        }
        let word = std::str::from_utf8(word).unwrap_or_default().trim_matches(['.', '-']);
        match word.len() {
            16 if fiscal_code(word.as_bytes()) => held(word.to_owned(), "an Italian fiscal code"),
            14 if brazilian(word.as_bytes()) => held(word.to_owned(), "a Brazilian CPF"),
            9 if spanish && spanish_id(word) => held(word.to_owned(), "a Spanish identity number"),
            _ => {}
        }
    }
    found
}

/// A number of the US: it has no check digit, but areas and groups that were never given out.
fn social_security(value: &str) -> bool {
    let parts = (&value[..3], &value[3..5], &value[5..]);
    let never = matches!(parts.0, "000" | "666") || parts.0.starts_with('9') || parts.1 == "00" || parts.2 == "0000";
    // Printed on cards that came with wallets, in advertisements and in every manual.
    !never && !matches!(value, "078051120" | "219099999" | "123456789")
}

/// Sex, year and month of birth, place, number, and 97 less the remainder of all that.
fn french(digits: &[u8]) -> bool {
    let value = |range: std::ops::Range<usize>| {
        digits[range]
            .iter()
            .fold(0_u64, |value, digit| value * 10 + u64::from(*digit))
    };
    matches!(digits[0], 1 | 2) && matches!(value(3..5), 1..=12 | 20..=42) && value(13..15) == 97 - value(0..13) % 97
}

/// Eleven digits, of which exactly one of the first ten stands twice or thrice, and a check digit (ISO 7064, mod 11, 10).
fn german_tax(digits: &[u8]) -> bool {
    let distinct = digits[..10].iter().collect::<BTreeSet<_>>().len();
    let product = digits[..10].iter().fold(10_u32, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits[0] != 0 && matches!(distinct, 8 | 9) && (11 - product) % 10 == u32::from(digits[10])
}

/// `ddd.ddd.ddd-dd`, the last two of which follow from the others.
fn brazilian(word: &[u8]) -> bool {
    let form = word.iter().enumerate().all(|(at, byte)| match at {
        3 | 7 => *byte == b'.',
        11 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let digits: Vec<u32> = word
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| u32::from(byte - b'0'))
        .collect();
    let check = |count: usize| {
        let sum: u32 = digits
            .iter()
            .take(count)
            .zip((2..=count as u32 + 1).rev())
            .map(|(digit, weight)| digit * weight)
            .sum();
        sum * 10 % 11 % 10
    };
    form && digits.windows(2).any(|pair| pair[0] != pair[1]) && digits[9] == check(9) && digits[10] == check(10)
}

/// Eight digits, or X, Y or Z and seven, and a letter that follows from them.
fn spanish_id(word: &str) -> bool {
    let number = match word.as_bytes()[0] {
        b'X' => format!("0{}", &word[1..8]),
        b'Y' => format!("1{}", &word[1..8]),
        b'Z' => format!("2{}", &word[1..8]),
        _ => word[..8].to_owned(),
    };
    let number = number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse::<usize>().ok())
        .flatten();
    let letter = number.map(|number| b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]);
    // The one that every form shows.
    letter == word.bytes().last() && word != "12345678Z"
}

/// Surname, name, date and place of birth in letters and digits, and a letter that follows from them.
fn fiscal_code(word: &[u8]) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let form = word.iter().enumerate().all(|(at, byte)| match at {
        6 | 7 | 9 | 10 | 12..=14 => byte.is_ascii_digit(),
        8 => b"ABCDEHLMPRST".contains(byte),
        _ => byte.is_ascii_uppercase(),
    });
    let value = |byte: u8| {
        u32::from(if byte.is_ascii_digit() {
            byte - b'0'
        } else {
            byte - b'A'
        })
    };
    form && {
        let sum: u32 = word[..15]
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if at % 2 == 0 {
                    ODD[value(*byte) as usize]
                } else {
                    value(*byte)
                }
            })
            .sum();
        sum % 26 == value(word[15])
    }
}

/// How many different e-mail addresses and telephone numbers (written with their country's code) there are, up to a bound.
pub fn contacts(text: &str) -> (usize, usize) {
    let mut addresses = BTreeSet::new();
    for (at, _) in text.match_indices('@').take(10_000) {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '%');
        let local = text[..at].rsplit(|c| !part(c)).next().unwrap_or_default();
        let domain = text[at + 1..]
            .split(|c| !part(c))
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let (_, top) = domain.rsplit_once('.').unwrap_or_default();
        if !local.is_empty() && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            addresses.insert(format!("{local}@{domain}").to_ascii_lowercase());
        }
    }
    let mut telephones = BTreeSet::new();
    for (at, _) in text.match_indices('+').take(10_000) {
        let number: String = text[at + 1..]
            .chars()
            .take(20)
            .take_while(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '.'))
            .filter(char::is_ascii_digit)
            .collect();
        let joined = text[..at].ends_with(|c: char| c.is_alphanumeric());
        if (8..=15).contains(&number.len()) && !number.starts_with('0') && !joined {
            telephones.insert(number);
        }
    }
    (addresses.len(), telephones.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_an_issuer_a_form_and_a_check_digit() {
        for (text, count) in [
            ("card 4539 1488 0343 6467, please", 1),
            ("4539148803436467", 1),
            ("4539 1488 0343 6468", 0),
            ("4242 4242 4242 4242", 0),
            ("4012888888881881", 0),
            ("order 9539148803436460", 0),
            ("a4539148803436467", 0),
            ("0.4539148803436467", 0),
            ("45391488 03436467", 0),
        ] {
            assert_eq!(cards(text).len(), count, "{text}");
        }
        assert_eq!(
            cards("4539148803436467.").first().map(|held| &*held.told),
            Some("Visa ending in 6467")
        );
    }

    #[test]
    fn accounts_have_their_countrys_length_and_a_check_digit() {
        for (text, count) in [
            ("to DE02 1203 0000 0000 2020 51, thanks", 1),
            ("DE02120300000000202051", 1),
            ("DE03120300000000202051", 0),
            ("DE021203000000002020511", 0),
            ("DE89 3704 0044 0532 0130 00", 0),
            ("ZZ02120300000000202051", 0),
        ] {
            assert_eq!(accounts(text).len(), count, "{text}");
        }
    }

    #[test]
    fn identities_have_check_digits_or_a_word_beside_them() {
        for (text, count) in [
            ("CPF 529.982.247-25", 1),
            ("CPF 529.982.247-26", 0),
            ("111.111.111-11", 0),
            ("RSSMRA85T10A562S", 1),
            ("RSSMRA85T10A562T", 0),
            ("DNI 87654321X", 1),
            ("part 87654321X", 0),
            ("SSN 512-34-8076", 1),
            ("call 512-34-8076", 0),
            ("SSN 123-45-6789", 0),
            ("1 85 05 78 006 084 91", 1),
            ("1 85 05 78 006 084 92", 0),
            ("Steuer-ID 86 095 742 719", 1),
            ("Steuer-ID 86 095 742 718", 0),
        ] {
            assert_eq!(identities(text).len(), count, "{text}");
        }
    }

    #[test]
    fn contacts_are_counted_once() {
        let text = "a.b@example.com, A.B@example.com; x@y; +49 30 901820, 1+1=2, +1 (202) 555-0143";
        assert_eq!(contacts(text), (1, 2));
    }
}
