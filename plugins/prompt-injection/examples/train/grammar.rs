//! Texts from a grammar: named lists of alternatives, `<name>` for one of a list and `{a|b}` for one of these.

use std::collections::BTreeMap;

/// A fixed sequence of numbers, so that the same grammar gives the same texts everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

#[derive(Default)]
pub struct Grammar {
    lists: BTreeMap<String, Vec<String>>,
    /// Label, list and how many texts.
    wanted: Vec<(String, String, usize)>,
}

impl Grammar {
    /// Adds a file's lists. `= name` begins a list, `= label number` one of which texts are wanted.
    pub fn read(&mut self, file: &str) {
        let mut name = String::new();
        for line in file.lines() {
            if let Some(heading) = line.strip_prefix("= ") {
                match heading.split_once(' ') {
                    Some((label, count)) => {
                        name = format!("{label}:{}", self.wanted.len());
                        self.wanted
                            .push((label.into(), name.clone(), count.parse().expect("a number of texts")));
                    }
                    None => name = heading.into(),
                }
                let list = self.lists.entry(name.clone()).or_default();
                if name == "nothing" {
                    list.push(String::new());
                }
            } else if !line.is_empty() && !line.starts_with('#') {
                self.lists.entry(name.clone()).or_default().push(line.into());
            }
        }
    }

    /// The wanted texts, each with its label and its list.
    pub fn texts(&self) -> Vec<(&str, &str, String)> {
        let mut dice = Dice(0x5eed_0f5e_ed0f_5eed);
        let mut texts = Vec::new();
        for (label, list, count) in &self.wanted {
            for _ in 0..*count {
                let mut text = String::new();
                self.expand(&format!("<{list}>"), &mut dice, &mut text);
                texts.push((label.as_str(), list.as_str(), text));
            }
        }
        texts
    }

    fn expand(&self, pattern: &str, dice: &mut Dice, out: &mut String) {
        let mut rest = pattern;
        while let Some(at) = rest.find(['<', '{']) {
            out.push_str(&rest[..at]);
            let (open, close) = if rest[at..].starts_with('<') {
                ('<', '>')
            } else {
                ('{', '}')
            };
            let end = matching(&rest[at..], open, close).map(|end| at + end);
            let inside = end.map(|end| &rest[at + 1..end]);
            match (open, inside) {
                ('<', Some(name)) if self.lists.contains_key(name) => {
                    let list = &self.lists[name];
                    self.expand(&list[dice.below(list.len())], dice, out);
                }
                ('{', Some(inside)) => {
                    let choices = parted(inside);
                    self.expand(choices[dice.below(choices.len())], dice, out);
                }
                // A bracket that is part of the text.
                _ => {
                    out.push(open);
                    rest = &rest[at + 1..];
                    continue;
                }
            }
            rest = &rest[end.unwrap_or(at) + 1..];
        }
        out.push_str(rest);
    }
}

fn matching(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// At the bars that stand in no inner bracket. The bars of `<|…|>` are part of the text.
fn parted(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            '|' if depth == 0 && !text[..at].ends_with('<') && !text[at + 1..].starts_with('>') => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}
