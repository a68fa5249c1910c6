//! Signals in words: classes of `words` near one another in one order, whatever stands between them.

use crate::words::*;

/// What kind of manipulation a signal speaks for; each has a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Override,
    Jailbreak,
    Extraction,
    Forgery,
    Obfuscation,
    Exfiltration,
    ToolMisuse,
    /// What the model takes for one of the above.
    Manipulation,
    Harm,
}

/// How many families there are.
pub const FAMILIES: usize = 9;

/// Classes in order, at most `gap` words between one and the next, within one sentence.
pub struct Phrase {
    pub family: Family,
    /// Ten or more is enough alone (see `Config::threshold`).
    pub weight: u32,
    pub gap: usize,
    pub parts: &'static [Classes],
    /// Named in the detection's message.
    pub name: &'static str,
}

const fn phrase(family: Family, weight: u32, gap: usize, name: &'static str, parts: &'static [Classes]) -> Phrase {
    Phrase {
        family,
        weight,
        gap,
        parts,
        name,
    }
}

/// A phrase that occurs again counts half more, once: length alone makes no score.
pub const PHRASES: &[Phrase] = &[
    // Instruction override: somebody sets aside what was said before.
    phrase(
        Family::Override,
        10,
        4,
        "sets earlier instructions aside",
        &[DISMISS, PRIOR, RULES],
    ),
    // Many languages put it behind.
    phrase(
        Family::Override,
        8,
        3,
        "sets earlier instructions aside",
        &[DISMISS, RULES, PRIOR],
    ),
    phrase(
        Family::Override,
        8,
        2,
        "sets the model's rules aside",
        &[DISMISS, YOU, RULES],
    ),
    phrase(Family::Override, 6, 3, "sets all rules aside", &[DISMISS, ANY, RULES]),
    phrase(
        Family::Override,
        7,
        3,
        "forbids following earlier rules",
        &[NEGATION, OBEY, YOU, RULES],
    ),
    phrase(
        Family::Override,
        5,
        4,
        "forbids following rules",
        &[YOU, NEGATION, OBEY, RULES],
    ),
    phrase(Family::Override, 4, 1, "gives new instructions", &[NEW, RULES]),
    phrase(
        Family::Override,
        5,
        3,
        "hides something from the user",
        &[NEGATION, CONCEAL, USER],
    ),
    // Jailbreak: a persona that knows no limits.
    phrase(Family::Jailbreak, 3, 1, "tells the model what it is now", &[YOU, NOW]),
    phrase(Family::Jailbreak, 3, 2, "asks the model to play a role", &[ACT, BECOME]),
    phrase(
        Family::Jailbreak,
        3,
        3,
        "holds the model to its role",
        &[STAY, CHARACTER],
    ),
    phrase(Family::Jailbreak, 4, 3, "takes limits away", &[NEGATION, LIMITS]),
    phrase(Family::Jailbreak, 4, 3, "forbids refusing", &[NEGATION, REFUSE]),
    phrase(
        Family::Jailbreak,
        4,
        4,
        "names a model without limits",
        &[UNBOUND, MODEL],
    ),
    phrase(
        Family::Jailbreak,
        4,
        4,
        "names a model without limits",
        &[MODEL, UNBOUND],
    ),
    phrase(Family::Jailbreak, 4, 3, "sets a maker's policy aside", &[VENDOR, RULES]),
    phrase(
        Family::Jailbreak,
        3,
        6,
        "wants forbidden things answered",
        &[ANSWER, FORBIDDEN],
    ),
    phrase(
        Family::Jailbreak,
        3,
        2,
        "piles up forbidden things",
        &[FORBIDDEN, FORBIDDEN],
    ),
    phrase(
        Family::Jailbreak,
        3,
        2,
        "binds the model to a behaviour",
        &[YOU, ALWAYS, ANSWER],
    ),
    phrase(Family::Jailbreak, 5, 2, "turns on a special mode", &[ENABLE, MODE]),
    phrase(Family::Jailbreak, 2, 4, "wraps the request in fiction", &[ACT, GAME]),
    phrase(Family::Jailbreak, 2, 4, "threatens the model", &[YOU, POINTS]),
    phrase(Family::Jailbreak, 3, 2, "asks for two answers", &[LEADS, ANSWER]),
    phrase(Family::Jailbreak, 4, 4, "takes limits away", &[NEGATION, CARE, LIMITS]),
    phrase(
        Family::Jailbreak,
        4,
        4,
        "takes limits away",
        &[CARE, FORBIDDEN | LIMITS],
    ),
    phrase(
        Family::Jailbreak,
        4,
        3,
        "allows forbidden things",
        &[FORBIDDEN, ALLOWED],
    ),
    phrase(
        Family::Jailbreak,
        4,
        3,
        "takes the model its name",
        &[YOU, NEGATION, MODEL],
    ),
    phrase(
        Family::Jailbreak,
        3,
        4,
        "takes rules away from a model",
        &[MODEL, NEGATION, RULES],
    ),
    phrase(
        Family::Jailbreak,
        2,
        2,
        "wants every question answered",
        &[ANSWER, ANY, QUESTION],
    ),
    phrase(Family::Jailbreak, 3, 0, "names a being without limits", &[UNBOUND]),
    phrase(Family::ToolMisuse, 4, 3, "attacks a weakness", &[OFFEND, WEAKNESS]),
    phrase(Family::ToolMisuse, 4, 4, "evades detection", &[EVADE, DETECTION]),
    phrase(Family::ToolMisuse, 4, 2, "gains a foothold", &[GAIN, FOOTHOLD]),
    phrase(
        Family::ToolMisuse,
        4,
        5,
        "works around the sandbox",
        &[NAVIGATE, SANDBOX],
    ),
    phrase(
        Family::ToolMisuse,
        3,
        6,
        "runs attacks as code",
        &[PROGRAM, EXECUTE, OFFEND],
    ),
    phrase(Family::ToolMisuse, 4, 6, "writes an implant", &[PROGRAM, IMPLANT]),
    phrase(
        Family::ToolMisuse,
        4,
        12,
        "keeps a compromised system",
        &[IMPLANT, COMPROMISED],
    ),
    phrase(Family::ToolMisuse, 4, 1, "runs malicious code", &[COMPROMISED, PROGRAM]),
    phrase(
        Family::Exfiltration,
        4,
        8,
        "plants code in the answer",
        &[INSERT, BLOCK, OUTPUT],
    ),
    phrase(
        Family::Exfiltration,
        4,
        8,
        "plants code in the answer",
        &[OUTPUT, INSERT, BLOCK],
    ),
    phrase(
        Family::Exfiltration,
        3,
        8,
        "plants code in the answer",
        &[OUTPUT, BLOCK],
    ),
    // Extraction of what the model was told.
    phrase(
        Family::Extraction,
        10,
        4,
        "asks for the system prompt",
        &[REVEAL, SECRETLY, PROMPT],
    ),
    phrase(
        Family::Extraction,
        6,
        3,
        "asks for the model's instructions",
        &[REVEAL, YOU, PROMPT],
    ),
    phrase(
        Family::Extraction,
        5,
        5,
        "asks for what stands above, word for word",
        &[REVEAL, PRIOR, VERBATIM],
    ),
    // Exfiltration.
    phrase(
        Family::Exfiltration,
        5,
        8,
        "sends private things elsewhere",
        &[SEND, PRIVATE, PLACE],
    ),
    phrase(
        Family::Exfiltration,
        4,
        3,
        "plants code in the answer",
        &[INSERT, BLOCK],
    ),
    // Tools and interpreters turned against their host.
    phrase(
        Family::ToolMisuse,
        6,
        4,
        "breaks out of the sandbox",
        &[ESCAPE, SANDBOX],
    ),
    phrase(
        Family::ToolMisuse,
        6,
        4,
        "breaks out of the sandbox",
        &[SANDBOX, ESCAPE],
    ),
    phrase(
        Family::ToolMisuse,
        4,
        6,
        "runs code in the interpreter",
        &[PROGRAM, EXECUTE, SANDBOX],
    ),
    phrase(
        Family::ToolMisuse,
        4,
        6,
        "runs code in the interpreter",
        &[EXECUTE, SANDBOX],
    ),
    phrase(
        Family::ToolMisuse,
        3,
        8,
        "reaches for secrets of the host",
        &[PROGRAM, LOOT],
    ),
    phrase(
        Family::Obfuscation,
        4,
        4,
        "asks to decode and follow",
        &[DECODE, EXECUTE],
    ),
];

impl Phrase {
    /// Whether words that together have these classes can hold the phrase: most texts lack a part of most phrases.
    pub fn is_possible(&self, all: Classes) -> bool {
        self.parts.iter().all(|part| all & part != 0)
    }

    /// In how many places the phrase begins, two at most. `ends` is true where a sentence ends.
    pub fn occurrences(&self, words: &[Classes], ends: &[bool]) -> usize {
        let first = self.parts[0];
        (0..words.len())
            .filter(|&at| words[at] & first != 0 && self.follows(words, ends, at))
            .take(2)
            .count()
    }

    fn follows(&self, words: &[Classes], ends: &[bool], mut at: usize) -> bool {
        for part in &self.parts[1..] {
            let reach = (at + 2 + self.gap).min(words.len());
            let next = (at + 1..reach)
                .take_while(|&next| !ends[next])
                .find(|&next| words[next] & part != 0);
            match next {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }
}
