//! What a walk over a record found.

use std::borrow::Cow;

use super::json::{Kind, Span};

/// Values taken from `[*]` paths of one record; what comes after is passed over. Bounds what one record can put into list columns.
pub const EACH_MAX: usize = 1024;

/// A set of capture numbers, one bit each.
#[derive(Clone, Debug, Default)]
pub struct CaptureSet(Vec<u64>);

impl CaptureSet {
    pub fn insert(&mut self, capture: u16) {
        let word = usize::from(capture / 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (capture % 64);
    }

    fn remove(&mut self, capture: u16) {
        if let Some(word) = self.0.get_mut(usize::from(capture / 64)) {
            *word &= !(1 << (capture % 64));
        }
    }

    fn contains(&self, capture: u16) -> bool {
        let word = self.0.get(usize::from(capture / 64));
        word.is_some_and(|word| word & (1 << (capture % 64)) != 0)
    }

    fn intersects(&self, other: &CaptureSet) -> bool {
        self.0.iter().zip(&other.0).any(|(one, other)| one & other != 0)
    }
}

/// Captures of one record: by capture number, and the elements of `[*]` paths in order.
#[derive(Default)]
pub struct Captures {
    single: Vec<Span>,
    each: Vec<(u16, Span)>,
    /// Those that may have a value: most of a mapping's paths are in few of its records, and are passed over by this.
    present: CaptureSet,
    /// Clear text that the record itself does not hold in one piece: spans that say `inner` count in it.
    pub inner: String,
    /// Spans found now are in `inner`.
    pub(super) in_inner: bool,
    /// Strings that hold a document of their own: the node and where the string stands.
    pub(super) waiting: Vec<(usize, Span)>,
    /// A line could be read in several ways; what depends on which is not captured.
    pub ambiguous: bool,
}

impl Captures {
    /// The capture's value; of a `[*]` path the first.
    pub fn first(&self, capture: u16) -> Span {
        if !self.present.contains(capture) {
            return Span::default();
        }
        match self.single[usize::from(capture)] {
            Span { kind: Kind::Absent, .. } => self.all(capture).next().unwrap_or_default(),
            span => span,
        }
    }

    /// False: none of them has a value.
    pub fn may_have(&self, captures: &CaptureSet) -> bool {
        self.present.intersects(captures)
    }

    /// The capture's values.
    pub fn all(&self, capture: u16) -> impl Iterator<Item = Span> + '_ {
        let is_there = self.present.contains(capture);
        let single = Some(self.single[usize::from(capture)]).filter(|span| span.kind != Kind::Absent);
        let each = if is_there { &self.each[..] } else { &[] };
        let each = each.iter().filter(move |(held, _)| *held == capture);
        each.map(|(_, span)| *span).chain(single)
    }

    /// The text of a captured value without escapes: `bytes` is what the walk went over.
    pub fn clear<'a>(&'a self, bytes: &'a [u8], span: Span) -> Cow<'a, [u8]> {
        let text = if span.inner { self.inner.as_bytes() } else { bytes };
        clear(text.get(span.range()).unwrap_or_default(), span.kind)
    }

    pub(super) fn set(&mut self, capture: u16, span: Span) {
        self.single[usize::from(capture)] = span;
        self.present.insert(capture);
    }

    pub(super) fn push(&mut self, capture: u16, span: Span) {
        if self.each.len() < EACH_MAX {
            self.each.push((capture, span));
            self.present.insert(capture);
        }
    }

    /// Takes back that a string at this capture was a value by itself.
    pub(super) fn take_back(&mut self, capture: Option<u16>, string: Span) {
        self.each
            .retain(|(held, span)| Some(*held) != capture || *span != string);
    }

    /// How much is held of elements and of inner text.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.each.len(), self.inner.len())
    }

    /// Forgets what came after the mark, which is of these captures.
    pub(super) fn back_to(&mut self, (each, inner): (usize, usize), below: &[u16]) {
        for &capture in below {
            self.single[usize::from(capture)] = Span::default();
            self.present.remove(capture);
        }
        self.each.truncate(each);
        self.inner.truncate(inner);
        self.ambiguous = false;
    }

    pub(super) fn reset(&mut self, count: usize) {
        self.single.clear();
        self.single.resize(count, Span::default());
        self.each.clear();
        self.present.0.clear();
        self.inner.clear();
        self.in_inner = false;
        self.waiting.clear();
        self.ambiguous = false;
    }
}

pub(super) fn clear(raw: &[u8], kind: Kind) -> Cow<'_, [u8]> {
    if !matches!(kind, Kind::Escaped | Kind::Doubled) {
        return Cow::Borrowed(raw);
    }
    match std::str::from_utf8(raw) {
        Ok(text) => {
            let mut clear = String::new();
            kind.clear_into(text, &mut clear);
            Cow::Owned(clear.into_bytes())
        }
        Err(_) => Cow::Borrowed(raw),
    }
}
