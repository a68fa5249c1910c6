//! What of a record no column took: for whoever writes a mapping, not for the stream.

use std::collections::BTreeSet;

use super::json::{Cursor, Kind};
use super::lines::Layout;
use super::path::Step;
use super::plan::{From, Plan};
use super::trie::Trie;

/// Paths shown of one record; a record with more is not described by a list.
const PATHS_MAX: usize = 500;

/// The paths of `record`'s values that the mapping passes over. `record` is what an event's `raw` holds.
pub fn untaken(plan: &Plan, record: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let captures = |from: &From| match from {
        From::Capture(capture) => Some(*capture),
        From::Template(_) => None,
    };
    let wholes = plan
        .columns
        .iter()
        .filter(|column| column.json || column.text.is_some());
    let mut whole: BTreeSet<u16> = wholes
        .flat_map(|column| column.from.iter().filter_map(captures))
        .collect();
    whole.extend(plan.unmapped.iter().map(|(_, capture)| *capture));
    let mut walk = Walk {
        trie: &plan.trie,
        whole,
        found: &mut found,
    };
    match &plan.line {
        Some(layout) => {
            for (name, ..) in layout.read(record).unwrap_or_default().found {
                if !walk
                    .trie
                    .below(&[walk.trie.start()], &Step::Key(name.to_owned()))
                    .iter()
                    .any(|node| walk.trie.capture(*node).is_some())
                {
                    walk.found.insert(name.to_owned());
                }
            }
        }
        // What is no JSON has been rejected; half of a walk is all there is to say of it.
        None => drop(walk.value(
            &[plan.trie.start()],
            &mut Cursor::new(record.as_bytes(), 0),
            record,
            &mut String::new(),
        )),
    }
    found.into_iter().collect()
}

struct Walk<'a> {
    trie: &'a Trie,
    /// Captures that take an object or an array with all it holds.
    whole: BTreeSet<u16>,
    found: &'a mut BTreeSet<String>,
}

impl Walk<'_> {
    /// The value at the cursor, to which the trie's `nodes` lead. As deep as the cursor lets it be.
    fn value(&mut self, nodes: &[usize], cursor: &mut Cursor<'_>, text: &str, path: &mut String) -> Option<()> {
        let whole = nodes
            .iter()
            .filter_map(|node| self.trie.capture(*node))
            .any(|capture| self.whole.contains(&capture));
        if whole || self.found.len() >= PATHS_MAX {
            return cursor.skip_value().ok().map(drop);
        }
        let length = path.len();
        match cursor.peek()? {
            b'{' => {
                cursor.open().ok()?;
                let mut first = true;
                while let Some(key) = cursor.next_key(first).ok()? {
                    first = false;
                    let mut name = String::new();
                    key.kind.clear_into(text.get(key.range())?, &mut name);
                    let below = self.trie.below(nodes, &Step::Key(name.clone()));
                    if length > 0 {
                        path.push('.');
                    }
                    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@' | ':' | '/');
                    match name.chars().all(plain) && !name.is_empty() {
                        true => path.push_str(&name),
                        false => path.extend(["'", &name, "'"]),
                    }
                    self.value(&below, cursor, text, path)?;
                    path.truncate(length);
                }
            }
            b'[' => {
                cursor.open().ok()?;
                path.push_str("[*]");
                let mut index = 0;
                while cursor.next_element(index == 0).ok()? {
                    let mut below = self.trie.below(nodes, &Step::Each);
                    below.extend(self.trie.below(nodes, &Step::Index(index)));
                    self.value(&below, cursor, text, path)?;
                    index += 1;
                }
                path.truncate(length);
            }
            _ => {
                let span = cursor.scalar().ok()?;
                if span.kind == Kind::Absent || span.range().is_empty() {
                    return Some(());
                }
                let document = nodes.iter().find_map(|node| self.trie.inside(*node));
                match document {
                    Some(Layout::Json) => {
                        let mut clear = String::new();
                        span.kind.clear_into(text.get(span.range())?, &mut clear);
                        // A string that holds no document is a value like any other, and taken or not as such.
                        let mut inside = Cursor::new(clear.as_bytes(), 0);
                        if matches!(inside.peek(), Some(b'{' | b'[')) {
                            self.value(nodes, &mut inside, &clear, path);
                            return Some(());
                        }
                    }
                    Some(_) => return Some(()),
                    None => {}
                }
                if !nodes.iter().any(|node| self.trie.capture(*node).is_some()) {
                    self.found.insert(path.clone());
                }
            }
        }
        Some(())
    }
}
