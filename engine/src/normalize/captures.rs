//! What a walk over a record found.

use std::borrow::Cow;

use super::json::{Kind, Span};

/// Captures of one record: by capture number, and the elements of `[*]` paths in order.
#[derive(Default)]
pub struct Captures {
    pub single: Vec<Span>,
    pub each: Vec<(u16, Span)>,
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
        match self.single[usize::from(capture)] {
            Span { kind: Kind::Absent, .. } => self.all(capture).next().unwrap_or_default(),
            span => span,
        }
    }

    /// The capture's values.
    pub fn all(&self, capture: u16) -> impl Iterator<Item = Span> + '_ {
        let single = Some(self.single[usize::from(capture)]).filter(|span| span.kind != Kind::Absent);
        let each = self.each.iter().filter(move |(held, _)| *held == capture);
        each.map(|(_, span)| *span).chain(single)
    }

    /// The text of a captured value without escapes: `bytes` is what the walk went over.
    pub fn clear<'a>(&'a self, bytes: &'a [u8], span: Span) -> Cow<'a, [u8]> {
        let text = if span.inner { self.inner.as_bytes() } else { bytes };
        clear(text.get(span.range()).unwrap_or_default(), span.kind)
    }

    pub(super) fn reset(&mut self, count: usize) {
        self.single.clear();
        self.single.resize(count, Span::default());
        self.each.clear();
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
