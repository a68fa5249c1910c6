//! What was told of a conversation. Gateways log all messages with each turn, so what was said once comes again with whatever follows.

use sentrail_plugin::{DAY, Keyed, RecentSet, Rule, hash};

/// How long what was told is not told again.
const SPAN: i64 = DAY;
/// Findings of one conversation that are remembered.
const MEMBERS: usize = 256;
/// Lines of a prompt after which a told beginning may end; what follows them counts as one line, so that many short ones cost little.
const LINES_MAX: usize = 4096;
/// Stands for every rule of prompts: what the whole history amounts to may be another rule than what was told of its beginning.
const PROMPT: &str = "prompt";

/// A conversation, or where the log names none, all that its caller says.
pub struct Conversation<'a> {
    pub told: &'a mut Keyed<RecentSet>,
    pub key: Option<&'a str>,
    pub time: i64,
    pub max_conversations: usize,
}

/// A prompt, as far as it was told of.
pub struct History<'a> {
    /// What follows upon what was told; the whole prompt, if nothing was.
    pub rest: &'a str,
    /// What was told, if anything was.
    pub told: Option<u64>,
    /// The whole prompt.
    pub whole: u64,
}

impl Conversation<'_> {
    /// Whether the rule was not yet told of this piece of text.
    pub fn is_new(&self, rule: &Rule, piece: u64) -> bool {
        !self.holds(rule.id, piece)
    }

    pub fn tell(&mut self, rule: &Rule, piece: u64) {
        self.remember(rule.id, piece);
    }

    pub fn tell_prompt(&mut self, whole: u64) {
        self.remember(PROMPT, whole);
    }

    /// Finds the longest beginning of a prompt, up to a line's end, that was told of as a prompt of its own.
    pub fn history<'p>(&self, prompt: &'p str) -> History<'p> {
        let (mut end, mut whole) = (0, 0);
        let mut history = (0, None);
        for line in prompt.splitn(LINES_MAX, '\n') {
            end += line.len();
            whole = hash(&format!("{whole:016x}{line}"));
            if self.holds(PROMPT, whole) {
                history = (end, Some(whole));
            }
            end += 1;
        }
        let (end, told) = history;
        History {
            rest: &prompt[end..],
            told,
            whole,
        }
    }

    fn holds(&self, what: &str, piece: u64) -> bool {
        let told = self.key.and_then(|key| self.told.get(key));
        told.is_some_and(|told| told.contains(SPAN, self.time, &member(what, piece)))
    }

    fn remember(&mut self, what: &str, piece: u64) {
        if let Some(key) = self.key {
            let told = self.told.at(key, self.time, self.max_conversations, SPAN);
            told.insert(SPAN, MEMBERS, self.time, &member(what, piece));
        }
    }
}

fn member(what: &str, piece: u64) -> String {
    format!("{what} {piece:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_a_beginning_up_to_a_line() {
        let mut told = Keyed::default();
        let mut conversation = Conversation {
            told: &mut told,
            key: Some("a"),
            time: 0,
            max_conversations: 2,
        };
        let first = conversation.history("one\ntwo");
        assert_eq!((first.rest, first.told), ("one\ntwo", None));
        conversation.tell_prompt(first.whole);
        for (prompt, rest) in [
            ("one\ntwo", ""),
            ("one\ntwo\nthree", "\nthree"),
            ("one\ntwo, three", "one\ntwo, three"),
            ("zero\none\ntwo", "zero\none\ntwo"),
            ("", ""),
        ] {
            assert_eq!(conversation.history(prompt).rest, rest, "{prompt}");
        }
        conversation.time = SPAN;
        assert_eq!(conversation.history("one\ntwo").told, None, "a day later");
    }
}
