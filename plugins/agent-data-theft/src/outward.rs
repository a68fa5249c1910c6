//! Where data goes and in what form.

use std::net::Ipv4Addr;

use sentrail_plugin::{Member, Members, Search};

/// Services where whoever sends need not say who receives.
const DROPS: [&str; 43] = [
    "webhook.site",
    "requestbin",
    "pipedream.net",
    "hookbin",
    "beeceptor.com",
    "requestcatcher.com",
    "pastebin.com",
    "paste.ee",
    "hastebin",
    "ghostbin",
    "rentry.co",
    "dpaste",
    "ix.io",
    "transfer.sh",
    "file.io",
    "0x0.st",
    "gofile.io",
    "anonfiles",
    "temp.sh",
    "catbox.moe",
    "ngrok.io",
    "ngrok.app",
    "ngrok-free",
    "trycloudflare.com",
    "serveo.net",
    "localtunnel",
    "loca.lt",
    "localhost.run",
    "burpcollaborator",
    "oastify.com",
    "oast.",
    "interact.sh",
    "interactsh",
    "dnslog.cn",
    "canarytokens",
    "discord.com/api/webhooks",
    "discordapp.com/api/webhooks",
    "cdn.discordapp.com",
    "api.telegram.org/bot",
    "t.me/",
    "mega.nz",
    "termbin.com",
    ".onion",
];
/// Least length of what is taken for encoded data: an id or a digest is shorter or of other letters.
const ENCODED_MIN: usize = 48;
/// Least length of a label of a host that is no name.
const LABEL_MIN: usize = 32;
/// Bytes that one call sends out at most without being looked at: more than a text, less than a file of pictures.
const SENT_MAX: f64 = 10e6;

/// The service behind an address in the text.
pub fn drop(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    DROPS.into_iter().find(|service| {
        lower.holds(service)
            && lower.match_indices(service).any(|(at, _)| {
                // `t.me/` must not be found in `test.me/`.
                let before = lower[..at].chars().next_back();
                service.starts_with('.') || !before.is_some_and(|c| c.is_ascii_alphanumeric())
            })
    })
}

fn is_connection(member: &Member) -> bool {
    member.has(&[
        "destination",
        "connection",
        "dest",
        "remote",
        "callback",
        "network",
        "outbound",
        "dst",
        "dns",
        "resolved",
    ])
}

/// A connection to such a service that a program made by itself.
pub fn callback(members: &Members) -> Option<String> {
    let member = members
        .iter()
        .find(|one| is_connection(one) && drop(&one.text).is_some())?;
    Some(format!("`{}` is at {}", member.name, drop(&member.text)?))
}

/// Whether the member says where something goes: by its name, or because it is an address and nothing else. A text that mentions one
/// sends nothing there.
fn is_receiver(member: &Member) -> bool {
    let address = member.text.trim();
    let is_address = address.holds("://") && !address.contains(char::is_whitespace);
    is_address
        || member.has(&[
            "url",
            "uri",
            "endpoint",
            "host",
            "hostname",
            "domain",
            "address",
            "recipient",
            "to",
            "webhook",
            "target",
            "href",
            "receiver",
            "command",
            "cmd",
            "args",
            "argv",
            "line",
        ])
}

/// What was sent, and to where.
pub fn sent(members: &Members) -> Option<String> {
    if let Some(service) = members
        .iter()
        .filter(|one| !is_connection(one) && is_receiver(one))
        .find_map(|one| drop(&one.text))
    {
        return Some(format!("the call names {service}"));
    }
    let names_address = members.iter().any(|one| one.text.holds("://") || is_connection(one));
    for one in members.iter() {
        if one.has(&["outbound", "exfil", "sent", "upload", "uploaded", "egress"]) && !one.has(&["time", "count"]) {
            if one
                .number()
                .is_some_and(|bytes| bytes > SENT_MAX && one.has(&["byte", "size"]))
            {
                return Some(format!("`{}` is {}", one.name, one.text));
            }
            let lower = one.text.to_ascii_lowercase();
            if names_address
                && ["base64", "encrypted", "encoded", "compressed"]
                    .iter()
                    .any(|form| lower.holds(form))
            {
                return Some(format!("`{}` is encoded", one.name));
            }
        }
    }
    let posts = members.iter().any(|one| {
        one.text.eq_ignore_ascii_case("post") || one.text.eq_ignore_ascii_case("put") || one.has(&["upload", "body"])
    });
    if let Some(number) = members
        .iter()
        .filter(|_| posts)
        .find_map(|one| public_number(&one.text))
    {
        return Some(format!("data goes to {number}, which has no name"));
    }
    // Plain FTP out of a tool: nothing an agent has to do with.
    let ftp = members.iter().find(|one| one.text.trim_start().starts_with("ftp://"))?;
    Some(format!("`{}` sends over FTP", ftp.name))
}

/// A hidden copy to somebody of another domain than the sender's and the recipients', and whether what is sent holds a secret.
pub fn copied(members: &Members) -> Option<(bool, String)> {
    let domains = |names: &[&str]| -> Vec<String> {
        let addresses = members.iter().filter(|one| one.is(names));
        let addresses = addresses.flat_map(|one| one.text.split([',', ';']));
        let domains = addresses.filter_map(|address| address.rsplit_once('@'));
        domains
            .map(|(_, domain)| domain.trim_end_matches([' ', '>']).to_ascii_lowercase())
            .collect()
    };
    let known = domains(&["to", "cc", "from", "sender", "recipient", "recipients", "reply_to"]);
    let copied = domains(&["bcc"]).into_iter().find(|domain| !known.contains(domain))?;
    let secret = members.iter().any(|one| holds_secret(&one.text));
    (!known.is_empty()).then(|| (secret, format!("a hidden copy goes to {}", clipped(&copied))))
}

/// Bytes of a value that are looked at.
const SECRET_MAX: usize = 256;

/// A private key, or a value behind a name that says it is a secret.
fn holds_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.holds("private key-----")
        || [
            "password",
            "secret",
            "api_key",
            "api key",
            "apikey",
            "token",
            "credentials",
        ]
        .iter()
        .any(|name| {
            lower.holds(name)
                && lower.match_indices(name).any(|(at, name)| {
                    let rest = lower[at + name.len()..].trim_start_matches(['"', '\'']);
                    let value = rest.strip_prefix([':', '=']).map(str::trim_start).unwrap_or_default();
                    let value = &value[..value.floor_char_boundary(SECRET_MAX)];
                    let value = value.split_whitespace().next().unwrap_or_default();
                    value.len() >= 6 && value.bytes().any(|byte| byte.is_ascii_digit())
                })
        })
}

/// The host of an address, where it is a number that anybody can reach.
fn public_number(text: &str) -> Option<Ipv4Addr> {
    let rest = &text[text.place("://")? + 3..];
    let host = rest.split(['/', ':', '?']).next()?;
    let number: Ipv4Addr = host.parse().ok()?;
    (!number.is_private() && !number.is_loopback() && !number.is_link_local()).then_some(number)
}

/// Parts of a conversation that a tool was given where it needs none.
pub fn context(members: &Members) -> Option<String> {
    let parts = [
        "conversation_history",
        "chat_history",
        "system_prompt",
        "chain_of_thought",
        "environment_variables",
        "previous_messages",
        "tools_list",
    ];
    let given = |one: &&Member| one.has(&["parameter", "argument", "arg", "param"]) && one.is(&parts);
    let one = members.iter().find(given).filter(|one| !one.text.trim().is_empty())?;
    Some(format!("`{}` was given", one.name))
}

/// Encoded data where a value is short by nature.
pub fn encoded(members: &Members) -> Option<String> {
    let hidden = |one: &&Member| {
        one.has(&["lsb", "stego", "steganography", "entropy"])
            && (one.text == "true" || one.number().is_some_and(|bits| (7.5..=8.0).contains(&bits)))
    };
    if let Some(one) = members.iter().find(hidden) {
        return Some(format!("`{}` is {}", one.name, one.text));
    }
    members.iter().find_map(|one| {
        if is_opaque(one) {
            return None;
        }
        let in_address = one
            .text
            .split_whitespace()
            .filter(|word| word.holds("://"))
            .find_map(in_address);
        let value = || {
            let holds_data = one.has(&[
                "body",
                "content",
                "data",
                "file",
                "image",
                "document",
                "payload",
                "attachment",
                "blob",
                "text",
                "vector",
                "embedding",
            ]);
            // Pairs are looked at one by one, where they have names.
            let is_query = one.text.contains('=') && one.has(&["query"]);
            (!holds_data && !is_query && is_encoded(&one.text))
                .then(|| format!("`{}` holds {} encoded characters", one.name, one.text.len()))
        };
        let host = || {
            let is_host = one.has(&["host", "domain", "dns", "hostname", "fqdn"]) || one.is(&["query_name", "qname"]);
            (is_host && has_long_label(&one.text)).then(|| format!("`{}` has a label that is no name", one.name))
        };
        in_address.or_else(host).or_else(value)
    })
}

/// Values that are codes by nature.
fn is_opaque(member: &Member) -> bool {
    member.has(&[
        "token",
        "jwt",
        "signature",
        "hash",
        "digest",
        "sha256",
        "key",
        "certificate",
        "cert",
        "id",
        "uuid",
        "nonce",
        "state",
        "checksum",
        "fingerprint",
        "jti",
        "etag",
        "cursor",
        "challenge",
        "trace",
        "span",
        "authorization",
        "kid",
        "agent",
    ])
}

fn in_address(address: &str) -> Option<String> {
    let rest = &address[address.place("://")? + 3..];
    let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if has_long_label(host) {
        return Some(format!("the host {} has a label that is no name", clipped(host)));
    }
    let (_, query) = rest.split_once('?')?;
    let value = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, value)| {
            let is_opaque = [
                "sig",
                "signature",
                "token",
                "cursor",
                "state",
                "code",
                "X-Amz-Signature",
                "X-Amz-Security-Token",
                "se",
                "page_token",
            ];
            !is_opaque.contains(name) && is_encoded(value)
        });
    value.map(|(name, _)| {
        format!(
            "`{}` of an address of {} holds encoded data",
            clipped(name),
            clipped(host)
        )
    })
}

fn has_long_label(host: &str) -> bool {
    host.split('.').any(|label| {
        let digits = label.bytes().filter(u8::is_ascii_digit).count();
        label.len() >= LABEL_MIN
            && digits >= 4
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'=')
    })
}

/// One word of base64 or of hexadecimal digits that is no digest.
fn is_encoded(text: &str) -> bool {
    let text = text.trim();
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'%');
    let has = |kind: fn(&u8) -> bool| text.bytes().filter(kind).count() * 20 >= text.len();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.len() >= ENCODED_MIN
        && text.bytes().all(alphabet)
        && !text.holds("//")
        && text.matches('/').count() * 12 < text.len()
        && (if is_hex {
            text.len() > 128
        } else {
            has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && text.bytes().any(|byte| byte.is_ascii_digit())
        })
}

/// As much of a name as a message takes.
pub fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_their_names() {
        assert!(holds_secret("password: teapot77") && holds_secret("{\"api_key\": \"a1b2c3d4\"}"));
        assert!(!holds_secret("reset your password: today") && !holds_secret("tokens cost 12345678"));
    }

    #[test]
    fn codes_are_told_from_names() {
        let code = "eyJ1c2VyIjoibWFyYSIsInBsYW4iOiJidXkgYWxsIHRoZSBzaGlwcyJ9QUJD";
        assert!(is_encoded(code));
        assert!(in_address(&format!("https://a.example/p.gif?d={code}")).is_some());
        assert!(in_address("https://mfzwizltoqqgs43umfxgcy3f0o2d3a9q.t.example/x").is_some());
        for plain in [
            "src/components/shared/navigation/SidebarNavigationMenuItem2.tsx",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "the_quick_brown_fox_jumps_over_the_lazy_dog_and_again",
        ] {
            assert!(!is_encoded(plain), "{plain}");
        }
        assert_eq!(drop("https://test.me/x"), None);
        assert_eq!(drop("POST https://webhook.site/abc"), Some("webhook.site"));
    }
}
