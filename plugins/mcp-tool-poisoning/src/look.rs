//! What a text looks like: characters that are not seen, letters of several alphabets, names that are nearly others.

/// Names that servers are known by, without `mcp` and `server`.
const KNOWN: [&str; 30] = [
    "filesystem",
    "github",
    "gitlab",
    "postgres",
    "postgresql",
    "sqlite",
    "puppeteer",
    "playwright",
    "brave-search",
    "google-drive",
    "google-maps",
    "sequential-thinking",
    "kubernetes",
    "terraform",
    "cloudflare",
    "salesforce",
    "snowflake",
    "databricks",
    "elasticsearch",
    "mongodb",
    "notion",
    "sentry",
    "linear",
    "stripe",
    "context7",
    "anthropic",
    "openai",
    "microsoft",
    "atlassian",
    "modelcontextprotocol",
];

/// What is hidden in the text.
pub fn hidden(text: &str) -> Option<&'static str> {
    let (mut before, mut selectors) = (' ', 0);
    for (at, c) in text.char_indices() {
        let reads_on = || {
            text[at + c.len_utf8()..]
                .chars()
                .next()
                .is_some_and(|next| next.is_ascii())
        };
        match c {
            '\u{E0000}'..='\u{E007F}' if before != '\u{1F3F4}' && !matches!(before, '\u{E0000}'..='\u{E007F}') => {
                return Some("letters that are not shown");
            }
            '\u{202D}' | '\u{202E}' => return Some("letters in reversed order"),
            // Between letters of other scripts they join or part; before and after ASCII they do nothing.
            '\u{200B}' | '\u{2060}'..='\u{2064}' if before.is_ascii() || reads_on() => {
                return Some("characters without width");
            }
            '\u{200C}' | '\u{200D}' if before.is_ascii_alphanumeric() => return Some("characters without width"),
            '\u{FEFF}' if at > 0 => return Some("characters without width"),
            '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' => {
                selectors += 1;
                if selectors > 2 {
                    return Some("bytes in variation selectors");
                }
                before = c;
                continue;
            }
            _ => {}
        }
        selectors = 0;
        before = c;
    }
    None
}

/// Why the name deceives.
pub fn deceptive(name: &str) -> Option<String> {
    if name != name.trim() && !name.trim().is_empty() {
        return Some(format!("`{}` has a blank at its end", clipped(name)));
    }
    let word = name.split(|c: char| !c.is_alphanumeric()).find(|word| {
        let latin = word.chars().any(|c| c.is_ascii_alphabetic());
        latin && word.chars().any(is_lookalike)
    });
    if let Some(word) = word {
        return Some(format!("`{word}` mixes letters of several alphabets"));
    }
    imitated(name).map(|known| format!("`{}` is nearly `{known}`", clipped(name)))
}

fn is_lookalike(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3FF}' | '\u{400}'..='\u{52F}' | '\u{13A0}'..='\u{13FF}' | '\u{FF21}'..='\u{FF5A}' | '\u{1D400}'..='\u{1D7FF}')
}

/// The known name that this one imitates.
fn imitated(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let parts = lower
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .flat_map(|part| {
            let bare = ["mcp-server-", "server-", "mcp-"]
                .iter()
                .fold(part, |part, prefix| part.strip_prefix(prefix).unwrap_or(part));
            let bare = ["-mcp-server", "-server", "-mcp"]
                .iter()
                .fold(bare, |part, suffix| part.strip_suffix(suffix).unwrap_or(part));
            [bare, part]
        });
    parts
        .filter(|part| part.len() >= 6 && !KNOWN.contains(part))
        .find_map(|part| {
            let letters: String = part
                .chars()
                .map(|c| match c {
                    '0' => 'o',
                    '1' => 'l',
                    '3' => 'e',
                    '4' => 'a',
                    '5' => 's',
                    c => c,
                })
                .collect();
            KNOWN.into_iter().find(|known| {
                let plural = !known.ends_with('s') && part.strip_suffix('s') == Some(known);
                !plural
                    && (is_one_edit(part, known)
                        || (letters != part && (letters == *known || is_one_edit(&letters, known))))
            })
        })
}

/// One letter more, less, other, or two in the wrong order.
fn is_one_edit(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([], []) => false,
        ([_, rest @ ..], _) if rest == b => true,
        (_, [_, rest @ ..]) if rest == a => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a1, a2, a @ ..], [b1, b2, b @ ..]) => a1 == b2 && a2 == b1 && a == b,
        _ => false,
    }
}

/// Why a package deceives that a command starts or installs.
pub fn deceptive_package(command: &str) -> Option<String> {
    let installs = [
        "npx ",
        "uvx ",
        "pip install ",
        "npm install ",
        "npm i ",
        "pnpm dlx ",
        "docker run ",
        "docker pull ",
    ];
    let (_, rest) = installs.iter().find_map(|start| command.split_once(start))?;
    let mut words = rest.split_whitespace().filter(|word| !word.starts_with('-'));
    words.find_map(deceptive)
}

/// As much of a name as a message takes.
pub fn clipped(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "f\u{456}le_manager",
            "mcp-server-githib",
            "@modelcontextprotcol/server-memory",
            "g1thub",
            "postgress-mcp",
        ] {
            assert!(deceptive(name).is_some(), "{name}");
        }
        for name in [
            "github",
            "github-mcp-server",
            "linear",
            "linters",
            "notions",
            "файл",
            "read_file",
            "stripes",
            "my-postgres",
        ] {
            assert!(deceptive(name).is_none(), "{name}");
        }
    }

    #[test]
    fn hidden_characters() {
        for text in [
            "a\u{200b}b",
            "x\u{E0041}\u{E0042}",
            "pay \u{202e}on",
            "\u{FE01}\u{FE02}\u{FE03}",
        ] {
            assert!(hidden(text).is_some(), "{}", text.escape_unicode());
        }
        for text in [
            "\u{FEFF}begin",
            "\u{1F468}\u{200D}\u{1F469}",
            "می\u{200c}خواهم",
            "❤\u{FE0F} ok",
            "plain",
        ] {
            assert!(hidden(text).is_none(), "{}", text.escape_unicode());
        }
    }
}
