//! All paths of a mapping in one trie, walked once per record: the value at a path's end is captured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::captures::{Captures, EACH_MAX, clear};
use super::json::{Cursor, Fault, Kind, Span};
use super::lines::{Layout, Tokens};
use super::path::Step;
use crate::model::Attributes;

/// A text inside a text inside a text: as deep as documents in strings are looked into.
const INSIDE_MAX: usize = 3;

#[derive(Clone, Default)]
struct Node {
    keys: Keys,
    indexes: Vec<(u32, usize)>,
    wheres: Vec<(Box<str>, Box<str>, usize)>,
    each: Option<usize>,
    capture: Option<u16>,
    /// The capture stands below a `[*]`.
    many: bool,
    /// A string here holds a document, whose members are this node's children.
    inside: Option<Layout>,
    /// On the way to the elements that each make an event: the captures at and below this node.
    parts: Option<Vec<u16>>,
    /// The elements that each make an event.
    part: bool,
}

impl Node {
    fn in_array(&self) -> bool {
        self.each.is_some() || !self.indexes.is_empty() || !self.wheres.is_empty()
    }
}

/// Told of every element that makes an event of its own.
pub type Emit<'e> = &'e mut dyn FnMut(&mut Captures, Span);

#[derive(Clone)]
pub struct Trie {
    nodes: Vec<Node>,
    captures: BTreeMap<Vec<Step>, u16>,
}

impl Default for Trie {
    fn default() -> Trie {
        Trie {
            nodes: vec![Node::default()],
            captures: BTreeMap::new(),
        }
    }
}

impl Trie {
    /// Adds a path; the same path always gives the same capture.
    pub fn add(&mut self, path: Vec<Step>) -> u16 {
        if let Some(&capture) = self.captures.get(&path) {
            return capture;
        }
        let capture = self.captures.len() as u16;
        if !matches!(path.first(), Some(Step::Carrier(_))) {
            let node = self.node(&path);
            self.nodes[node].capture = Some(capture);
            self.nodes[node].many = path.contains(&Step::Each);
        }
        self.captures.insert(path, capture);
        capture
    }

    /// The keys of every path, down to its first array; what a carrier says has none.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let keys = |path: &Vec<Step>| {
            let keys = path.iter().map_while(|step| match step {
                Step::Key(key) => Some(key.clone()),
                _ => None,
            });
            keys.collect::<Vec<String>>()
        };
        let mut paths: Vec<Vec<String>> = self.captures.keys().map(keys).filter(|keys| !keys.is_empty()).collect();
        paths.dedup();
        paths
    }

    /// Where events begin: the elements that each make one, else the record.
    pub fn start(&self) -> usize {
        self.nodes.iter().position(|node| node.part).unwrap_or(0)
    }

    /// The nodes that `step` leads to from any of `nodes`. `Each` leads to all that an element can be.
    pub fn below(&self, nodes: &[usize], step: &Step) -> Vec<usize> {
        let mut found = Vec::new();
        for node in nodes.iter().map(|node| &self.nodes[*node]) {
            match step {
                Step::Key(key) => found.extend(node.child(key.as_bytes(), Kind::Text)),
                Step::Index(index) => {
                    let named = node.indexes.iter().filter(|(held, _)| held == index);
                    found.extend(named.map(|(_, child)| *child));
                }
                Step::Each => {
                    found.extend(node.each);
                    found.extend(node.wheres.iter().map(|(_, _, child)| *child));
                }
                Step::Where(..) | Step::Carrier(_) => {}
            }
        }
        found
    }

    pub fn capture(&self, node: usize) -> Option<u16> {
        self.nodes[node].capture
    }

    pub fn inside(&self, node: usize) -> Option<&Layout> {
        self.nodes[node].inside.as_ref()
    }

    /// The node at the end of `path`, made where it is not there yet.
    fn node(&mut self, path: &[Step]) -> usize {
        let mut at = 0;
        for step in path {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match step {
                Step::Key(key) | Step::Carrier(key) => match node.keys.get(key.as_bytes()) {
                    Some(found) => found,
                    None => {
                        node.keys.insert(key, next);
                        next
                    }
                },
                Step::Index(index) => match node.indexes.iter().find(|(held, _)| held == index) {
                    Some((_, found)) => *found,
                    None => {
                        node.indexes.push((*index, next));
                        next
                    }
                },
                Step::Where(member, value) => {
                    let same = |(m, v, _): &&(Box<str>, Box<str>, usize)| **m == **member && **v == **value;
                    match node.wheres.iter().find(same) {
                        Some((_, _, found)) => *found,
                        None => {
                            node.wheres.push((member.as_str().into(), value.as_str().into(), next));
                            next
                        }
                    }
                }
                Step::Each => *node.each.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        at
    }

    /// Strings at `path` hold documents of `layout`.
    pub fn look_inside(&mut self, path: &[Step], layout: Layout) {
        let node = self.node(path);
        self.nodes[node].inside = Some(layout);
    }

    /// The elements at `path`, which ends in `[*]`, each make an event. Called when every path has been added.
    pub fn part_at(&mut self, path: &[Step]) {
        for length in 1..=path.len() {
            let below = self
                .captures
                .iter()
                .filter(|(held, _)| held.starts_with(&path[..length]));
            let below = below.map(|(_, capture)| *capture).collect();
            let node = self.node(&path[..length]);
            self.nodes[node].parts = Some(below);
            self.nodes[node].part = length == path.len();
        }
    }

    /// Reads the value at the cursor, filling `captures`; the cursor ends behind it. Elements that make an event of their own are
    /// handed to `emit` one by one, each with what the rest of the record captured.
    pub fn walk(
        &self,
        bytes: &[u8],
        cursor: &mut Cursor<'_>,
        captures: &mut Captures,
        carrier: Option<&Attributes>,
        emit: Emit<'_>,
    ) -> Result<(), Fault> {
        captures.reset(self.captures.len());
        self.carried(captures, carrier);
        self.value(0, bytes, cursor, captures, emit)?;
        self.look_into_strings(bytes, captures);
        Ok(())
    }

    /// The same for a record that is no JSON: `record` is its place in `bytes`. False: it does not have the layout.
    pub fn walk_line(
        &self,
        layout: &Layout,
        bytes: &[u8],
        record: Range<usize>,
        captures: &mut Captures,
        carrier: Option<&Attributes>,
    ) -> bool {
        captures.reset(self.captures.len());
        self.carried(captures, carrier);
        let text = bytes
            .get(record.clone())
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(tokens) = text.and_then(|text| layout.read(text)) else {
            return false;
        };
        self.fields(0, tokens, record.start, captures);
        self.look_into_strings(bytes, captures);
        true
    }

    /// What the carrier said, for the paths that name it.
    fn carried(&self, captures: &mut Captures, carrier: Option<&Attributes>) {
        let Some(carrier) = carrier else { return };
        for (path, capture) in &self.captures {
            let [Step::Carrier(name)] = path.as_slice() else {
                continue;
            };
            let Some(value) = carrier.get(name.as_str()).filter(|value| !value.is_empty()) else {
                continue;
            };
            let start = captures.inner.len();
            captures
                .inner
                .push_str(&String::from_utf8_lossy(value).replace('\0', "\u{fffd}"));
            let span = Span::new(Kind::Text, start, captures.inner.len());
            captures.set(*capture, Span { inner: true, ..span });
        }
    }

    fn put(&self, at: usize, span: Span, captures: &mut Captures) {
        let node = &self.nodes[at];
        let empty = span.start == span.end;
        let span = Span {
            inner: span.inner || captures.in_inner,
            ..span
        };
        if node.inside.is_some() && span.kind.is_text() && captures.waiting.len() < EACH_MAX {
            captures.waiting.push((at, span));
        }
        if let Some(capture) = node.capture.filter(|_| span.kind != Kind::Absent && !empty) {
            match node.many {
                true => captures.push(capture, span),
                false => captures.set(capture, span),
            }
        }
    }

    // Recursion goes no deeper than the longest path.
    fn value(
        &self,
        at: usize,
        bytes: &[u8],
        cursor: &mut Cursor<'_>,
        captures: &mut Captures,
        emit: Emit<'_>,
    ) -> Result<(), Fault> {
        let node = &self.nodes[at];
        let first = cursor.peek();
        let start = cursor.at;
        let span = match first {
            Some(b'{') if !node.keys.is_empty() => {
                self.object(node, bytes, cursor, captures, emit)?;
                Span::new(Kind::Container, start, cursor.at)
            }
            Some(b'[') if node.in_array() => {
                self.array(node, bytes, cursor, captures, emit)?;
                Span::new(Kind::Container, start, cursor.at)
            }
            _ => cursor.skip_value()?,
        };
        self.put(at, span, captures);
        Ok(())
    }

    fn object(
        &self,
        node: &Node,
        bytes: &[u8],
        cursor: &mut Cursor<'_>,
        captures: &mut Captures,
        emit: Emit<'_>,
    ) -> Result<(), Fault> {
        cursor.open()?;
        let mut first = true;
        let mut parts = None;
        while let Some(key) = cursor.next_key(first)? {
            first = false;
            match node.child(bytes.get(key.range()).unwrap_or_default(), key.kind) {
                // Events are made when all that they share is known.
                Some(child) if self.nodes[child].parts.is_some() => {
                    parts = Some((child, cursor.clone()));
                    cursor.skip_value()?;
                }
                Some(child) => self.value(child, bytes, cursor, captures, emit)?,
                None => drop(cursor.skip_value()?),
            }
        }
        if let Some((child, mut cursor)) = parts {
            self.look_into_strings(bytes, captures);
            self.value(child, bytes, &mut cursor, captures, emit)?;
        }
        Ok(())
    }

    fn array(
        &self,
        node: &Node,
        bytes: &[u8],
        cursor: &mut Cursor<'_>,
        captures: &mut Captures,
        emit: Emit<'_>,
    ) -> Result<(), Fault> {
        cursor.open()?;
        let mut index = 0u32;
        while cursor.next_element(index == 0)? {
            cursor.skip_space();
            let behind = |wheres: &(Box<str>, Box<str>, usize)| wheres.2;
            let chosen = node.wheres.iter().filter(|(member, value, _)| {
                let found = member_of(bytes, cursor.clone(), member);
                found.is_some_and(|found| *found == *value.as_bytes())
            });
            let mut children: Vec<usize> = chosen.map(behind).collect();
            children.extend(
                node.indexes
                    .iter()
                    .filter(|(held, _)| *held == index)
                    .map(|(_, child)| *child),
            );
            children.extend(node.each);
            let start = cursor.clone();
            match children.split_first() {
                None => drop(cursor.skip_value()?),
                Some((first, others)) => {
                    self.element(*first, bytes, cursor, captures, emit)?;
                    for child in others {
                        self.element(*child, bytes, &mut start.clone(), captures, emit)?;
                    }
                }
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }

    fn element(
        &self,
        child: usize,
        bytes: &[u8],
        cursor: &mut Cursor<'_>,
        captures: &mut Captures,
        emit: Emit<'_>,
    ) -> Result<(), Fault> {
        let Some(below) = &self.nodes[child].parts else {
            return self.value(child, bytes, cursor, captures, emit);
        };
        let (mark, start) = (captures.mark(), cursor.at);
        self.value(child, bytes, cursor, captures, emit)?;
        if self.nodes[child].part {
            self.look_into_strings(bytes, captures);
            emit(captures, Span::new(Kind::Container, start, cursor.at));
        }
        // The next element is another event.
        captures.back_to(mark, below);
        Ok(())
    }

    /// Reads the documents that stand in strings.
    fn look_into_strings(&self, bytes: &[u8], captures: &mut Captures) {
        for _ in 0..INSIDE_MAX {
            let waiting = std::mem::take(&mut captures.waiting);
            if waiting.is_empty() {
                return;
            }
            let mut text = std::mem::take(&mut captures.inner);
            let mut found = Vec::with_capacity(waiting.len());
            for (at, span) in waiting {
                let start = text.len();
                let source = if span.inner { text.as_bytes() } else { bytes };
                let raw = source.get(span.range()).unwrap_or_default();
                let clear = clear(raw, span.kind).into_owned();
                text.push_str(&String::from_utf8_lossy(&clear));
                found.push((at, span, start..text.len()));
            }
            captures.in_inner = true;
            for (at, string, range) in found {
                let Some(layout) = &self.nodes[at].inside else { continue };
                let document = text.get(range.clone()).unwrap_or_default();
                if matches!(layout, Layout::Json) {
                    let bytes = text.as_bytes().get(..range.end).unwrap_or_default();
                    let mut cursor = Cursor::new(bytes, range.start);
                    let whole = matches!(cursor.peek(), Some(b'{' | b'['))
                        && cursor
                            .clone()
                            .skip_value()
                            .is_ok_and(|span| Cursor::new(bytes, span.end as usize).peek().is_none());
                    if whole {
                        // The object takes the place of the string that held it.
                        captures.take_back(self.nodes[at].capture, string);
                        // It was read to its end just now: it has no fault, and it makes no events of its own.
                        let _ = self.value(at, bytes, &mut cursor, captures, &mut |_, _| ());
                    }
                } else if let Some(tokens) = layout.read(document) {
                    self.fields(at, tokens, range.start, captures);
                }
            }
            captures.in_inner = false;
            captures.inner = text;
        }
        captures.waiting.clear();
    }

    fn fields(&self, at: usize, tokens: Tokens<'_>, start: usize, captures: &mut Captures) {
        captures.ambiguous |= tokens.ambiguous;
        for (name, kind, range) in tokens.found {
            if let Some(child) = self.nodes[at].child(name.as_bytes(), Kind::Text) {
                self.put(child, Span::new(kind, start + range.start, start + range.end), captures);
            }
        }
    }
}

impl Node {
    fn child(&self, key: &[u8], kind: Kind) -> Option<usize> {
        match kind {
            // A key may be written with escapes, also to hide.
            Kind::Escaped => self.keys.get(&clear(key, kind)),
            _ => self.keys.get(key),
        }
    }
}

/// The keys of a node and where they lead. Every key of every record is looked for in one of these: a table by length and both ends,
/// at most half full, so that nearly all are found or missed at the first place.
#[derive(Clone, Default)]
struct Keys {
    held: Vec<Key>,
    /// Numbers of `held`, counted from 1; 0 where there is none. As many as a power of two says.
    table: Vec<u16>,
}

impl Keys {
    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        let ends = ends(key);
        let mut place = self.place(ends, key.len());
        loop {
            // An empty table holds nothing, and no table is full.
            let number = *self.table.get(place)?;
            let held = self.held.get(usize::from(number).checked_sub(1)?)?;
            // The ends are all of a key of at most 16 bytes.
            if held.ends == ends && held.text.len() == key.len() && (key.len() <= 16 || held.text.as_bytes() == key) {
                return Some(held.node);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }

    fn insert(&mut self, key: &str, node: usize) {
        self.held.push(Key {
            ends: ends(key.as_bytes()),
            text: key.into(),
            node,
        });
        self.table = vec![0; (2 * self.held.len()).next_power_of_two()];
        for (number, held) in (1..).zip(&self.held) {
            let mut place = self.place(held.ends, held.text.len());
            while self.table[place] != 0 {
                place = (place + 1) & (self.table.len() - 1);
            }
            self.table[place] = number;
        }
    }

    fn place(&self, (first, last): (u64, u64), length: usize) -> usize {
        // 2^64 divided by the golden ratio: neighbours are spread far apart.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (first ^ last.rotate_left(29) ^ length as u64).wrapping_mul(SPREAD);
        (mixed >> 32) as usize & self.table.len().saturating_sub(1)
    }
}

#[derive(Clone)]
struct Key {
    ends: (u64, u64),
    text: Box<str>,
    node: usize,
}

/// The first and the last bytes of a key, up to eight each: two keys of one length up to 16 that have the same ends are the same.
fn ends(key: &[u8]) -> (u64, u64) {
    match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(first), Some(last)) => (
                u64::from(u32::from_le_bytes(*first)),
                u64::from(u32::from_le_bytes(*last)),
            ),
            _ => key
                .iter()
                .fold((0, 0), |(bytes, _), byte| ((bytes << 8) | u64::from(*byte), 0)),
        },
    }
}

/// The member `name` of the object at the cursor, when it is a text or a number.
fn member_of<'a>(bytes: &'a [u8], mut cursor: Cursor<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
    if cursor.peek() != Some(b'{') {
        return None;
    }
    cursor.open().ok()?;
    let mut first = true;
    while let Some(key) = cursor.next_key(first).ok()? {
        first = false;
        let value = cursor.skip_value().ok()?;
        if *clear(bytes.get(key.range())?, key.kind) == *name.as_bytes() && value.kind != Kind::Container {
            return Some(clear(bytes.get(value.range())?, value.kind));
        }
    }
    None
}

#[test]
fn keys_are_found_and_others_are_not() {
    let names: Vec<String> = (0..300)
        .map(|number| match number % 4 {
            0 => format!("k{number}"),
            1 => format!("request{number}Parameters"),
            2 => char::from(b'!' + (number / 4) as u8).to_string(),
            _ => format!("{number}.{number}"),
        })
        .collect();
    let mut keys = Keys::default();
    assert_eq!(keys.get(b"k0"), None);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(keys.get(name.as_bytes()), None, "{name}");
        keys.insert(name, number);
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(keys.get(name.as_bytes()), Some(number), "{name}");
        assert_eq!(keys.get(format!("{name}x").as_bytes()), None);
    }
    assert_eq!(keys.get(b""), None);
}
