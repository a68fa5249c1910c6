//! What a text looks like: characters that are not seen, letters of several alphabets, names that are nearly others.

use std::sync::LazyLock;

use sentrail_plugin::Search;

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

/// What is hidden in the text and can have no other purpose.
pub fn hidden(text: &str) -> Option<&'static str> {
    let (mut before, mut selectors) = (' ', 0);
    for c in text.chars() {
        match c {
            '\u{E0000}'..='\u{E007F}' if before != '\u{1F3F4}' && !matches!(before, '\u{E0000}'..='\u{E007F}') => {
                return Some("letters that are not shown");
            }
            '\u{202D}' | '\u{202E}' => return Some("letters in reversed order"),
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

/// How many characters without width stand behind ASCII letters: between those of other scripts, and in emoji, they join or part.
/// Programs that copy and break lines leave one now and then.
pub fn widthless(text: &str) -> usize {
    let (mut before, mut count) = (' ', 0);
    for c in text.chars() {
        // In a row of them it is the letter before the row that counts.
        if matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}') {
            count += usize::from(before.is_ascii_alphanumeric());
        } else {
            before = c;
        }
    }
    count
}

/// Why the name deceives, whatever it is of.
pub fn deceptive(name: &str) -> Option<String> {
    let word = name.split(|c: char| !c.is_alphanumeric()).find(|word| {
        let latin = word.chars().any(|c| c.is_ascii_alphabetic());
        latin && word.chars().any(is_lookalike)
    })?;
    Some(format!("`{word}` mixes letters of several alphabets"))
}

/// Why a name that calls something has a blank at its end: two names that a reader cannot tell apart.
pub fn padded(name: &str) -> Option<String> {
    (name != name.trim() && !name.trim().is_empty()).then(|| format!("`{}` has a blank at its end", clipped(name)))
}

/// Why the name of a server, a package or a publisher deceives: these are taken for who they say they are. Words of tools' names are
/// words of the language, and many are near some product's.
pub fn imitates(name: &str) -> Option<String> {
    deceptive(name).or_else(|| imitated(name).map(|known| format!("`{}` is nearly `{known}`", clipped(name))))
}

fn is_lookalike(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3FF}' | '\u{400}'..='\u{52F}' | '\u{13A0}'..='\u{13FF}' | '\u{FF21}'..='\u{FF5A}' | '\u{1D400}'..='\u{1D7FF}')
}

/// Least letters of a name of which one may differ: shorter ones are near each other by chance, as `motion` and `notion`.
const LETTERS_MIN: usize = 8;

/// Most letters of what can be nearly a known name.
const NAME_MAX: usize = 32;

/// The known name that this one imitates: of the whole name, or of one part of a package's path or a host.
fn imitated(name: &str) -> Option<&'static str> {
    let lower = name.trim().to_ascii_lowercase().replace([' ', '_'], "-");
    let parts = lower.split(['/', '@', ':', '=', '.']).flat_map(|part| {
        let bare = ["mcp-server-", "server-", "mcp-"]
            .iter()
            .fold(part, |part, prefix| part.strip_prefix(prefix).unwrap_or(part));
        let bare = ["-mcp-server", "-server", "-mcp"]
            .iter()
            .fold(bare, |part, suffix| part.strip_suffix(suffix).unwrap_or(part));
        [bare, part]
    });
    parts
        .filter(|part| part.len() <= NAME_MAX && !KNOWN.contains(part))
        .find_map(|part| {
            let looks = Looks::of(part);
            LOOKS.iter().find(|known| looks.imitates(known)).map(|known| known.name)
        })
}

/// A name, and what a hasty reader makes of it.
struct Looks<'a> {
    name: &'a str,
    /// Without digits.
    letters: String,
    /// Digits and letters of one look are one.
    seen: String,
}

static LOOKS: LazyLock<Vec<Looks<'static>>> = LazyLock::new(|| KNOWN.map(Looks::of).into());

impl<'a> Looks<'a> {
    fn of(name: &'a str) -> Self {
        Self {
            name,
            letters: name.chars().filter(|c| !c.is_ascii_digit()).collect(),
            seen: name.chars().map(look).collect(),
        }
    }

    fn imitates(&self, known: &Looks) -> bool {
        let plural = !known.name.ends_with('s') && self.name.strip_suffix('s') == Some(known.name);
        // A version, and not a letter.
        let numbered = self.letters == known.letters;
        let long = self.name.len().min(known.name.len()) >= LETTERS_MIN;
        !plural && !numbered && (self.seen == known.seen || (long && is_one_edit(self.name, known.name)))
    }
}

fn look(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | 'i' => 'l',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        c => c,
    }
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
    let (_, rest) = installs
        .iter()
        .filter(|start| command.holds(start))
        .find_map(|start| command.split_once(start))?;
    let mut words = rest
        .split_whitespace()
        .take_while(|word| !matches!(*word, "&&" | "||" | "|" | ";"))
        .filter(|word| !word.starts_with('-'));
    words.find_map(imitates)
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
        assert!(deceptive("f\u{456}le_manager").is_some());
        for name in [
            "mcp-server-filesytem",
            "@modelcontextprotcol/server-memory",
            "g1thub",
            "str1pe-mcp-server",
            "postgress-mcp",
            "https://mcp.cloudfiare.com/sse",
            "Kuberntes Server",
        ] {
            assert!(imitates(name).is_some(), "{name}");
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
            "get_context",
            "context",
            "sqlite3",
            "openapi",
            "motion",
            "strike-mcp",
            "playwright2",
        ] {
            assert_eq!(imitates(name), None, "{name}");
        }
        assert!(padded("read_file ").is_some() && padded("read_file").is_none());
    }

    #[test]
    fn hidden_characters() {
        for text in ["x\u{E0041}\u{E0042}", "pay \u{202e}on", "\u{FE01}\u{FE02}\u{FE03}"] {
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
            assert_eq!(widthless(text), 0, "{}", text.escape_unicode());
        }
        assert_eq!(widthless("a\u{200b}b"), 1);
        assert_eq!(widthless("a\u{200b}\u{200c}\u{2060}b. \u{200b}c"), 3);
    }
}
