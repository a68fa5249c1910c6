//! Records that are no JSON, and texts with a layout inside JSON: lines after a template, and comma-separated values.
//!
//! What users write stands in such lines between marks that users can write too. A value is taken only when every reading of the
//! line gives it: text that imitates the marks makes values doubtful, never other.

use std::ops::Range;

use super::RECORD_BYTES_MAX;
use super::json::Kind;

/// Fields of one comma-separated record; a longer one is not read.
const FIELDS_MAX: usize = 512;

/// How a text is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A JSON object or array.
    Json,
    /// Comma-separated values (RFC 4180), named in order, behind the first `after` where that is not empty.
    Csv {
        after: Box<str>,
        names: Vec<Box<str>>,
        /// Texts that stand for no value.
        none: Vec<Box<str>>,
    },
    /// A line after the first of these that fits it.
    Templates {
        templates: Vec<Template>,
        /// Texts that stand for no value.
        none: Vec<Box<str>>,
    },
}

/// Named values of a text, each with its kind and place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tokens<'a> {
    pub found: Vec<(&'a str, Kind, Range<usize>)>,
    /// There were several readings; what they differ in is not among `found`.
    pub ambiguous: bool,
}

impl Layout {
    /// The named values of `text`; `None` when it does not have this layout.
    pub fn read<'a>(&'a self, text: &str) -> Option<Tokens<'a>> {
        let (mut tokens, none) = match self {
            Layout::Json => return None,
            Layout::Csv { after, names, none } => {
                let start = text.find(&**after)? + after.len();
                let (fields, _) = csv(text.get(start..)?.as_bytes())?;
                let named = names.iter().zip(fields);
                let found = named.map(|(name, (kind, range))| (&**name, kind, start + range.start..start + range.end));
                let found = found.collect();
                (
                    Tokens {
                        found,
                        ambiguous: false,
                    },
                    none,
                )
            }
            Layout::Templates { templates, none } => (templates.iter().find_map(|template| template.read(text))?, none),
        };
        let is_none = |range: &Range<usize>| none.iter().any(|none| text.get(range.clone()) == Some(none));
        tokens.found.retain(|(_, _, range)| !is_none(range));
        Some(tokens)
    }

    /// The end of the record that begins where `bytes` begin; a quoted field may hold line feeds. `None`: it was searched in vain as far
    /// as records go, for a quote is left open or there are too many fields.
    pub fn end(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Layout::Csv { .. } => csv(&bytes[..bytes.len().min(RECORD_BYTES_MAX)]).map(|(_, end)| end),
            _ => Some(line_end(bytes)),
        }
    }
}

/// Where the first line of `bytes` ends.
pub fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

/// Where a field stands, and how it is written.
type Field = (Kind, Range<usize>);

/// The fields of the first record of `bytes` and where the record ends; `None` when a quote is left open or there are too many.
fn csv(bytes: &[u8]) -> Option<(Vec<Field>, usize)> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if fields.len() >= FIELDS_MAX {
            return None;
        }
        let begin = at;
        if bytes.get(at) == Some(&b'"') {
            let mut kind = Kind::Text;
            at += 1;
            loop {
                at += bytes.get(at..)?.iter().position(|byte| *byte == b'"')?;
                if bytes.get(at + 1) != Some(&b'"') {
                    break;
                }
                kind = Kind::Doubled;
                at += 2;
            }
            fields.push((kind, begin + 1..at));
            at += 1;
        } else {
            let stop = |byte: &u8| matches!(byte, b',' | b'\n');
            at = bytes[at..]
                .iter()
                .position(stop)
                .map_or(bytes.len(), |found| at + found);
            let end = if bytes.get(at.wrapping_sub(1)) == Some(&b'\r') && at > begin {
                at - 1
            } else {
                at
            };
            fields.push((Kind::Text, begin..end));
        }
        if bytes.get(at) == Some(&b'\r') {
            at += 1;
        }
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'\n') | None => return Some((fields, at)),
            // Text behind a closing quote.
            Some(_) => return None,
        }
    }
}

/// A line of literal texts and `$name` variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: Box<str>,
    variables: Vec<Variable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: Box<str>,
    /// May hold any text; others never hold the first character of what follows them.
    free: bool,
    /// What follows it; empty only at the line's end.
    then: Box<str>,
}

impl Template {
    /// Reads a template; `free` names the variables that may hold any text.
    pub fn parse(text: &str, free: &[String]) -> Result<Template, String> {
        let mut pieces = text.split('$');
        let before = pieces.next().unwrap_or_default();
        let mut variables = Vec::new();
        for piece in pieces {
            let end = piece
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(piece.len());
            let (name, then) = piece.split_at(end);
            if name.is_empty() {
                return Err(format!(
                    "`{text}`: a `$` without a name; valid are letters, digits and `_`"
                ));
            }
            variables.push(Variable {
                name: name.into(),
                free: free.iter().any(|free| free == name),
                then: then.into(),
            });
        }
        let Some((_, others)) = variables.split_last() else {
            return Err(format!("`{text}` has no variable such as $name"));
        };
        match others.iter().find(|variable| variable.then.is_empty()) {
            Some(variable) => Err(format!(
                "`{text}`: nothing parts ${} from what follows it, so that nobody can tell them apart",
                variable.name
            )),
            None => Ok(Template {
                before: before.into(),
                variables,
            }),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| &*variable.name)
    }

    /// Values up to the first free variable are read from the left and those behind the last free one from the right: no text in
    /// a free variable reaches them. What is between is read from both sides, and is doubtful where the readings differ; since one
    /// finds every mark as early and the other as late as any reading can, there is no third where they agree.
    fn read<'a>(&'a self, line: &str) -> Option<Tokens<'a>> {
        let variables = &self.variables;
        let start = self.before.len();
        let end = line.len().checked_sub(variables.last()?.then.len())?;
        if start > end || !line.starts_with(&*self.before) || !line.ends_with(&*variables.last()?.then) {
            return None;
        }
        let mut ranges = vec![0..0; variables.len()];
        let (mut from, mut till) = (start, end);
        let (mut first, mut last) = (0, variables.len() - 1);
        while first < variables.len() && !variables[first].free {
            let variable = &variables[first];
            let stop = if first == last {
                end
            } else {
                from + line.get(from..end)?.find(variable.then.chars().next()?)?
            };
            ranges[first] = from..stop;
            if !holds(variable, line.get(from..stop)?)
                || (first < last && !line.get(stop..)?.starts_with(&*variable.then))
            {
                return None;
            }
            from = stop + if first == last { 0 } else { variable.then.len() };
            first += 1;
        }
        if first > last {
            return Some(self.tokens(&ranges, 0..0));
        }
        while !variables[last].free {
            let before = &variables[last - 1].then;
            let at = from + line.get(from..till)?.rfind(&**before)?;
            ranges[last] = at + before.len()..till;
            if !holds(&variables[last], line.get(ranges[last].clone())?) {
                return None;
            }
            till = at;
            last -= 1;
        }
        // Between: as early as possible, and as late as possible.
        let (mut early, mut late) = (ranges.clone(), ranges);
        let mut at = from;
        for index in first..last {
            let then = &variables[index].then;
            let stop = at + line.get(at..till)?.find(&**then)?;
            early[index] = at..stop;
            at = stop + then.len();
        }
        early[last] = at..till;
        let mut at = till;
        for index in (first..last).rev() {
            let then = &variables[index].then;
            let stop = from + line.get(from..at)?.rfind(&**then)?;
            late[index + 1] = stop + then.len()..at;
            at = stop;
        }
        late[first] = from..at;
        let differ = |index: &usize| early[*index] != late[*index];
        let doubtful = match ((first..=last).find(differ), (first..=last).rfind(differ)) {
            (Some(one), Some(other)) => one..other + 1,
            _ => 0..0,
        };
        Some(self.tokens(&early, doubtful))
    }

    fn tokens(&self, ranges: &[Range<usize>], doubtful: Range<usize>) -> Tokens<'_> {
        let named = self.variables.iter().zip(ranges).enumerate();
        let sure = named.filter(|(index, _)| !doubtful.contains(index));
        Tokens {
            found: sure
                .map(|(_, (variable, range))| (&*variable.name, Kind::Text, range.clone()))
                .collect(),
            ambiguous: !doubtful.is_empty(),
        }
    }
}

/// Whether the variable may hold the text.
fn holds(variable: &Variable, text: &str) -> bool {
    variable.free || variable.then.chars().next().is_none_or(|mark| !text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "[$time] <$user: $address> $method [status: $status] [msg: $error] [traceID: $trace] [timeCost: $cost] \
                         [collection: $collection] [expr: $expression]";

    fn read(template: &str, line: &str) -> Option<(Vec<(String, String)>, bool)> {
        let free = ["error", "expression"].map(str::to_owned);
        let layout = Layout::Templates {
            templates: vec![Template::parse(template, &free).expect("valid")],
            none: vec!["Unknown".into()],
        };
        let tokens = layout.read(line)?;
        let found = tokens
            .found
            .iter()
            .map(|(name, _, range)| (name.to_string(), line[range.clone()].to_owned()));
        Some((found.collect(), tokens.ambiguous))
    }

    fn value(read: &(Vec<(String, String)>, bool), name: &str) -> Option<String> {
        read.0
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.clone())
    }

    #[test]
    fn a_line_is_read_by_its_template() {
        let line = "[2026/02/01 10:00:00.000 +00:00] <svc: tcp-192.0.2.7:1> Search [status: Successful] [msg: ] [traceID: t] [timeCost: 2ms] \
                    [collection: docs] [expr: a in [1, 2] and b == \"x\"]";
        let got = read(QUERY, line).expect("fits");
        assert!(!got.1);
        assert_eq!(value(&got, "time").as_deref(), Some("2026/02/01 10:00:00.000 +00:00"));
        assert_eq!(value(&got, "address").as_deref(), Some("tcp-192.0.2.7:1"));
        assert_eq!(value(&got, "expression").as_deref(), Some("a in [1, 2] and b == \"x\""));
        assert_eq!(
            value(&read(QUERY, &line.replace("svc", "Unknown")).expect("fits"), "user"),
            None
        );
        assert_eq!(read(QUERY, &line.replace("[status", "[state")), None);
        assert_eq!(read(QUERY, ""), None);
    }

    #[test]
    fn text_of_users_forges_no_value() {
        let line = |user: &str, error: &str, expression: &str| {
            format!(
                "[t] <{user}: a> Search [status: ok] [msg: {error}] [traceID: real] [timeCost: 1] [collection: secret] [expr: {expression}]"
            )
        };
        let marks = "x] [traceID: forged] [timeCost: 0] [collection: public] [expr: y";
        for (error, expression) in [
            ("", marks),
            (marks, ""),
            (marks, marks),
            ("e", "[expr: [collection: public]"),
        ] {
            let got = read(QUERY, &line("svc", error, expression)).expect("fits");
            for (name, real) in [("user", "svc"), ("method", "Search"), ("status", "ok")] {
                assert_eq!(value(&got, name).as_deref(), Some(real), "{got:?}");
            }
            for (name, real) in [("trace", "real"), ("collection", "secret")] {
                let held = value(&got, name);
                assert!(held.is_none() || held.as_deref() == Some(real), "{name}: {got:?}");
                assert!(held.is_some() || got.1, "what is missing is told");
            }
        }
        // All of the line's marks in one value: the first and only sure ones stay.
        let whole = "z] [traceID: f] [timeCost: 0] [collection: c] [expr: [t] <evil: b> Drop [status: bad] [msg: ";
        let got = read(QUERY, &line("svc", "", whole)).expect("fits");
        assert_eq!(value(&got, "user").as_deref(), Some("svc"));
        // A value that may not hold the mark after it does not pass for one that does.
        assert_eq!(
            read(QUERY, &line("svc: x", "", "")).map(|got| value(&got, "user")),
            Some(Some("svc".into()))
        );
        assert_eq!(read("$a: $b end", "x:y: z end"), None);
    }

    #[test]
    fn one_free_value_is_never_doubtful() {
        let template = "[$time] [msg: $error] [traceID: $trace] [timeCost: $cost]";
        let got = read(
            template,
            "[t] [msg: x] [traceID: f] [timeCost: 0] [traceID: real] [timeCost: 9]",
        )
        .expect("fits");
        assert_eq!(value(&got, "trace").as_deref(), Some("real"));
        assert_eq!(value(&got, "error").as_deref(), Some("x] [traceID: f] [timeCost: 0"));
        assert!(!got.1);
    }

    #[test]
    fn templates_that_cannot_be_read_are_refused() {
        for (text, reason) in [
            ("plain", "no variable"),
            ("$a$b", "nothing parts $a"),
            ("a $ b", "without a name"),
        ] {
            let error = Template::parse(text, &[]).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn comma_separated_values() {
        let layout = Layout::Csv {
            after: "".into(),
            names: ["a", "b", "c"].map(Into::into).to_vec(),
            none: Vec::new(),
        };
        let text = "1,\"x, \"\"y\"\"\nz\",\r\nnext";
        let tokens = layout.read(text).expect("well formed");
        assert_eq!(
            tokens.found,
            [
                ("a", Kind::Text, 0..1),
                ("b", Kind::Doubled, 3..13),
                ("c", Kind::Text, 15..15)
            ]
        );
        assert_eq!(&text[layout.end(text.as_bytes()).unwrap_or(0)..], "\nnext");
        for wrong in ["\"open", "\"a\"b,c"] {
            assert_eq!(layout.read(wrong), None, "{wrong}");
        }
        let inside = Layout::Csv {
            after: "AUDIT: ".into(),
            names: vec!["kind".into()],
            none: Vec::new(),
        };
        assert_eq!(
            inside.read("AUDIT: SESSION,1").map(|tokens| tokens.found[0].2.clone()),
            Some(7..14)
        );
        assert_eq!(inside.read("statement"), None);
    }
}
