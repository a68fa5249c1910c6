//! Credentials by issuer: a mark at which one begins, and what must follow it.

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::{Patterns, entity, sha256};

use crate::checks::{base62, base64, crc32, entropy, placeholder};

/// Bytes on each side of an access key id among which its secret is looked for.
const NEIGHBOURHOOD: usize = 256;
/// Longest part of a credential that is read, in bytes: servers take no longer header, and a longer line is data.
const PART_MAX: usize = 8 << 10;
/// Credentials of one text that are looked at; a text with more is a list of them anyway.
const SECRETS_MAX: usize = 64;

/// A credential that a text holds.
#[derive(Debug)]
pub struct Secret<'a> {
    /// Whose, and what it is.
    pub what: &'static str,
    pub text: &'a str,
    /// What else can be said of it.
    pub note: String,
    /// By itself it opens nothing.
    pub half: bool,
    /// The entity under which its use is logged.
    pub entity: Option<(&'static str, String)>,
}

impl Secret<'_> {
    /// In words that do not repeat it.
    pub fn told(&self) -> String {
        let end = self
            .text
            .char_indices()
            .rev()
            .nth(3)
            .map_or("", |(at, _)| &self.text[at..]);
        let length = self.text.len();
        let note = &self.note;
        format!("{} ({length} characters, ends in {end}{note})", self.what)
    }
}

/// How what follows a mark is judged.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// An AWS access key id.
    AccessKey,
    /// 30 characters and the base-62 CRC-32 of them; whether one with another checksum is none at all.
    Checked(bool),
    /// Between so many letters and digits, and the characters named, of high entropy.
    Random(usize, usize, &'static [u8]),
    /// The same, with these letters in the middle.
    Marked(usize, &'static str),
    /// So many characters of base64, padding included.
    Base64(usize),
    /// A key without an issuer's mark, as gateways hand them out.
    Gateway,
    WebToken,
    PrivateKey,
}

const DASHED: &[u8] = b"-_";

/// The mark, what it marks, and its shape. Longer marks stand beside shorter ones: the longest at a place decides.
const MARKS: &[(&str, &str, Shape)] = &[
    ("AKIA", "an AWS access key id", Shape::AccessKey),
    ("ASIA", "an AWS session's access key id", Shape::AccessKey),
    ("ghp_", "a GitHub personal access token", Shape::Checked(true)),
    ("gho_", "a GitHub OAuth token", Shape::Checked(true)),
    ("ghu_", "a GitHub user token", Shape::Checked(true)),
    ("ghs_", "a GitHub installation token", Shape::Checked(true)),
    ("ghr_", "a GitHub refresh token", Shape::Checked(true)),
    (
        "github_pat_",
        "a GitHub fine-grained token",
        Shape::Random(70, 100, b"_"),
    ),
    (
        "glpat-",
        "a GitLab personal access token",
        Shape::Random(20, 64, DASHED),
    ),
    ("npm_", "an npm access token", Shape::Checked(false)),
    ("pypi-AgE", "a PyPI token", Shape::Random(60, 400, DASHED)),
    ("xoxb-", "a Slack bot token", Shape::Random(30, 200, DASHED)),
    ("xoxp-", "a Slack user token", Shape::Random(30, 200, DASHED)),
    ("xoxa-", "a Slack app token", Shape::Random(30, 200, DASHED)),
    ("xoxe-", "a Slack refresh token", Shape::Random(30, 300, DASHED)),
    ("xapp-", "a Slack app-level token", Shape::Random(40, 200, DASHED)),
    (
        "hooks.slack.com/services/",
        "a Slack webhook",
        Shape::Random(30, 80, b"/"),
    ),
    ("sk_live_", "a Stripe secret key", Shape::Random(24, 120, b"")),
    ("rk_live_", "a Stripe restricted key", Shape::Random(24, 120, b"")),
    ("whsec_", "a webhook signing secret", Shape::Random(32, 80, b"+/=")),
    ("AIza", "a Google API key", Shape::Random(35, 35, DASHED)),
    ("GOCSPX-", "a Google OAuth client secret", Shape::Random(28, 28, DASHED)),
    ("sk-proj-", "an OpenAI project key", Shape::Marked(48, "T3BlbkFJ")),
    (
        "sk-svcacct-",
        "an OpenAI service account key",
        Shape::Marked(48, "T3BlbkFJ"),
    ),
    ("sk-admin-", "an OpenAI admin key", Shape::Marked(48, "T3BlbkFJ")),
    ("sk-ant-", "an Anthropic key", Shape::Random(80, 140, DASHED)),
    ("sk-or-v1-", "an OpenRouter key", Shape::Random(64, 64, b"")),
    ("sk-", "a model gateway's or provider's key", Shape::Gateway),
    ("hf_", "a Hugging Face token", Shape::Random(34, 37, b"")),
    (
        "api_org_",
        "a Hugging Face organisation token",
        Shape::Random(34, 34, b""),
    ),
    ("gsk_", "a Groq key", Shape::Random(52, 52, b"")),
    ("xai-", "an xAI key", Shape::Random(80, 80, b"")),
    ("pplx-", "a Perplexity key", Shape::Random(48, 56, b"")),
    ("r8_", "a Replicate token", Shape::Random(37, 37, b"")),
    ("nvapi-", "an NVIDIA API key", Shape::Random(60, 70, DASHED)),
    ("lsv2_pt_", "a LangSmith key", Shape::Random(40, 50, b"_")),
    ("SG.", "a SendGrid key", Shape::Random(66, 66, b"-_.")),
    ("AccountKey=", "an Azure storage account key", Shape::Base64(88)),
    ("SharedAccessKey=", "an Azure shared access key", Shape::Base64(44)),
    ("eyJ", "a JSON web token", Shape::WebToken),
    ("PRIVATE KEY-----", "a private key", Shape::PrivateKey),
];

/// What finds credentials.
pub struct Secrets {
    marks: Patterns<usize>,
    /// Least entropy, bits a character.
    entropy_min: f64,
}

impl Secrets {
    pub fn new(entropy_min: f64) -> Result<Self, String> {
        let marks = MARKS.iter().enumerate().map(|(index, (mark, ..))| (*mark, index));
        Ok(Self {
            marks: Patterns::new(marks)?,
            entropy_min,
        })
    }

    /// The credentials in a text, by their places; `now` (microseconds) tells which tokens still hold.
    pub fn find<'a>(&self, text: &'a str, now: i64) -> Vec<Secret<'a>> {
        let mut places: Vec<(usize, usize, usize)> = self
            .marks
            .find(text)
            // Marks are found without regard to case, and are none in another.
            .filter(|(start, end, mark)| text[*start..*end] == *MARKS[*mark].0)
            .collect();
        places.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
        let mut found = Vec::new();
        let mut last_end = 0;
        for (start, end, mark) in places {
            // Inside one that was found, or the second mark at its place.
            if start < last_end || found.len() == SECRETS_MAX {
                continue;
            }
            if let Some(secret) = self.read(text, start, end, mark, now) {
                last_end = start + secret.text.len();
                found.push(secret);
            }
        }
        found
    }

    fn read<'a>(&self, text: &'a str, start: usize, end: usize, mark: usize, now: i64) -> Option<Secret<'a>> {
        let (_, what, shape) = MARKS[mark];
        let rest = &text[end..];
        let joined = text[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let secret = |length: usize| Secret {
            what,
            text: &text[start..end + length],
            note: String::new(),
            half: false,
            entity: None,
        };
        match shape {
            Shape::PrivateKey => {
                // A key begins after its mark; where only the mark stands somebody explains a file's form.
                let rest = rest.trim_start_matches([' ', '\r', '\n']);
                // Inside JSON its lines are parted by two characters.
                let rest = rest.trim_start_matches("\\r").trim_start_matches("\\n");
                let body = run(rest, b"+/=", PART_MAX);
                let dashes = text[..start].trim_end_matches(|c: char| c.is_ascii_uppercase() || c == ' ');
                let begins = dashes.ends_with("-----") && text[dashes.len()..start].starts_with("BEGIN");
                (begins && body.len() >= 32 && self.random(body)).then(|| Secret {
                    what,
                    text: body,
                    note: String::new(),
                    half: false,
                    entity: None,
                })
            }
            _ if joined => None,
            Shape::AccessKey => self.access_key(text, start, end, what),
            Shape::Checked(needed) => {
                let body = run(rest, b"", 36);
                let (random, check) = body.split_at_checked(30).filter(|_| body.len() == 36)?;
                let checks = base62(crc32(random.as_bytes())) == check.as_bytes();
                if needed && !checks || !self.random(body) {
                    return None;
                }
                let mut secret = secret(body.len());
                if checks {
                    secret.note = ", its checksum is right".into();
                }
                Some(secret)
            }
            Shape::Random(least, most, more) => {
                let body = run(rest, more, most);
                let fits = (least..=most).contains(&body.len());
                (fits && mixed(body) && self.random(body)).then(|| secret(body.len()))
            }
            Shape::Marked(least, middle) => {
                let body = run(rest, DASHED, PART_MAX);
                (body.len() >= least && body.contains(middle) && self.random(body)).then(|| secret(body.len()))
            }
            Shape::Base64(length) => {
                let body = run(rest, b"+/=", length);
                (body.len() == length && body.ends_with('=') && self.random(body)).then(|| secret(body.len()))
            }
            Shape::Gateway => {
                let body = run(rest, DASHED, 200);
                if !(20..=200).contains(&body.len()) || !mixed(body) || body.contains("--") || !self.random(body) {
                    return None;
                }
                let mut secret = secret(body.len());
                // The form under which gateways such as LiteLLM log the use of a key.
                secret.entity = Some((entity::GATEWAY_KEY, sha256(secret.text)));
                Some(secret)
            }
            Shape::WebToken => web_token(&text[start..], now).map(|length| secret(length - (end - start))),
        }
    }

    fn random(&self, body: &str) -> bool {
        entropy(body) >= self.entropy_min && !placeholder(body)
    }

    /// 16 characters of base 32. The id names a key, and with it the key's use is found in CloudTrail; it opens something together with
    /// the secret that stands near it.
    fn access_key<'a>(&self, text: &'a str, start: usize, end: usize, what: &'static str) -> Option<Secret<'a>> {
        let body = run(&text[end..], b"_-", 16);
        let base32 = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
        // AWS's own documentation ends its keys in EXAMPLE.
        if body.len() != 16 || !body.bytes().all(base32) || !self.random(body) {
            return None;
        }
        let id = &text[start..end + body.len()];
        let near = neighbourhood(text, start, end + body.len());
        let has_secret = words(near, b"+/=").any(|word| {
            let secret = word.rsplit('=').next().unwrap_or(word);
            secret.len() == 40 && mixed(secret) && entropy(secret) >= 4.0 && !placeholder(secret)
        });
        let mut note = account(body).map_or_else(String::new, |account| format!(", of account {account:012}"));
        note.push_str(if has_secret {
            ", with its secret"
        } else {
            ", without a secret"
        });
        Some(Secret {
            what,
            text: id,
            note,
            half: !has_secret,
            entity: Some((entity::ACCESS_KEY, id.to_owned())),
        })
    }
}

/// The AWS account that an access key id is of. Ids given out since 2019 hold it, as 40 bits after the first.
fn account(body: &str) -> Option<u64> {
    let value = |byte: u8| {
        u64::from(if byte.is_ascii_uppercase() {
            byte - b'A'
        } else {
            byte - b'2' + 26
        })
    };
    let bits = body.bytes().take(10).fold(0, |bits, byte| bits << 5 | value(byte));
    // 50 bits, of which the 49th to the 10th are the account.
    let account = (bits >> 9) & ((1 << 40) - 1);
    (bits >> 49 == 1 && account < 1_000_000_000_000).then_some(account)
}

/// The length of the web token at the beginning of a text: three parts, a header that names an algorithm, claims, and not expired.
fn web_token(text: &str, now: i64) -> Option<usize> {
    // Each part is read for itself: a mark may stand at the beginning of every part, and whatever follows would be read for each.
    let part = |text| run(text, DASHED, PART_MAX);
    let header = part(text);
    let rest = text[header.len()..].strip_prefix('.')?;
    let claims = part(rest);
    let signature = part(rest[claims.len()..].strip_prefix('.')?);
    let length = header.len() + claims.len() + signature.len() + 2;
    // One that is not signed opens nothing.
    if signature.len() < 20 {
        return None;
    }
    let read = |part: &str| json::from_slice::<Value>(&base64(part)?).ok();
    let (header, claims) = (read(header)?, read(claims)?);
    header.get("alg")?.as_str()?;
    let expired = claims
        .get("exp")
        .and_then(Value::as_i64)
        .is_some_and(|until| until < now / sentrail_plugin::SECOND);
    // The token of the standard's own explanations.
    let shown = claims.get("sub").and_then(Value::as_str) == Some("1234567890");
    (claims.is_object() && !expired && !shown).then_some(length)
}

/// What the text begins with of letters, digits and the characters `more`: of a longer run one byte beyond `most`, which shows that it is
/// too long. So what is read for a mark is bounded, however many marks a run holds.
fn run<'a>(text: &'a str, more: &[u8], most: usize) -> &'a str {
    let within = text.bytes().take(most + 1);
    let length = within
        .take_while(|byte| byte.is_ascii_alphanumeric() || more.contains(byte))
        .count();
    #[cfg(test)]
    tests::READ.with(|read| read.set(read.get() + length));
    // A byte that is not ASCII begins a character, so this is an edge of one.
    &text[..length]
}

fn words<'a>(text: &'a str, more: &'static [u8]) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !(c.is_ascii_alphanumeric() || u8::try_from(c).is_ok_and(|byte| more.contains(&byte))))
}

/// Letters and digits: a word, or a number, is no credential.
fn mixed(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn neighbourhood(text: &str, start: usize, end: usize) -> &str {
    let mut from = start.saturating_sub(NEIGHBOURHOOD);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let mut until = (end + NEIGHBOURHOOD).min(text.len());
    while !text.is_char_boundary(until) {
        until += 1;
    }
    &text[from..until]
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Bytes that `run` gave back.
        pub static READ: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn marks_without_end_are_read_a_bounded_number_of_times() {
        let secrets = Secrets::new(3.0).expect("marks");
        for (mark, times) in
            MARKS
                .iter()
                .map(|(mark, ..)| (*mark, 128))
                .chain([("eyJ.", 4), ("SG.", 128), ("AccountKey=", 128)])
        {
            let text = mark.repeat((256 << 10) / mark.len());
            READ.set(0);
            secrets.find(&text, 0);
            assert!(READ.get() <= text.len() * times, "{mark}: {} bytes read", READ.get());
        }
    }

    #[test]
    fn a_run_that_is_too_long_is_no_credential() {
        assert_eq!(run("abc-d", b"", 3), "abc");
        assert_eq!(run("abcdef", b"", 3), "abcd");
        assert_eq!(run("ab\u{e9}", b"", 3), "ab");
    }
}
