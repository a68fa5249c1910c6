//! All that the rules ask of one field, answered for a value at once: the texts in a table and in automata, the rest one by one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use regex::{Regex, RegexBuilder};
use rsigma_parser::Modifier;
use sentrail_plugin::aho_corasick::AhoCorasick;
use sentrail_plugin::json::Value;

use crate::clock;
use crate::literal;
use crate::record::{Held, Path, Record, text_of};
use crate::value::Place;

/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Something that a rule asks of a field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// A text, already in lower case unless `cased`.
    Text {
        text: String,
        place: Place,
        cased: bool,
    },
    /// A regular expression.
    Pattern(String),
    Number(Order, f64),
    Network(Network),
    Truth(bool),
    /// Absent or null.
    Null,
    /// There, were it null.
    Present,
    /// There and not null.
    Exists,
    /// A part of the time that the value tells.
    Time(Modifier, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Equal => (value - bound).abs() < f64::EPSILON,
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

/// Addresses with the same leading bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let wrong = || format!("`{text}` is no network; one is written as 192.0.2.0/24 or 2001:db8::/32");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u32>().map_err(|_| wrong()))?;
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }

    fn holds(&self, text: &str) -> bool {
        let same = |a: u128, b: u128, width: u32| self.bits == 0 || (a ^ b) >> (width - self.bits) == 0;
        match (self.address, text.parse::<IpAddr>()) {
            (IpAddr::V4(a), Ok(IpAddr::V4(b))) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), Ok(IpAddr::V6(b))) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Which of a field's tests hold: one bit each.
pub type Answers = Box<[u64]>;

pub fn holds(answers: &[u64], test: usize) -> bool {
    answers.get(test / 64).is_some_and(|word| word >> (test % 64) & 1 == 1)
}

fn set(answers: &mut [u64], test: usize) {
    if let Some(word) = answers.get_mut(test / 64) {
        *word |= 1 << (test % 64);
    }
}

/// Texts that are compared in the same case.
#[derive(Debug, Default)]
struct Texts {
    whole: HashMap<String, usize>,
    parts: Option<AhoCorasick>,
    /// Of each text in `parts`, where it must stand and its test.
    places: Vec<(Place, usize)>,
}

impl Texts {
    fn new<'a>(tests: impl Iterator<Item = (&'a String, Place, usize)>) -> Result<Self, String> {
        let mut built = Self::default();
        let mut parts = Vec::new();
        for (text, place, test) in tests {
            if place == Place::Whole {
                built.whole.insert(text.clone(), test);
            } else {
                parts.push(text.as_str());
                built.places.push((place, test));
            }
        }
        if !parts.is_empty() {
            built.parts = Some(AhoCorasick::new(parts).map_err(|error| error.to_string())?);
        }
        Ok(built)
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.parts.is_none()
    }

    fn find(&self, text: &str, answers: &mut [u64]) {
        if let Some(test) = self.whole.get(text) {
            set(answers, *test);
        }
        for found in self.parts.iter().flat_map(|parts| parts.find_overlapping_iter(text)) {
            let (place, test) = self.places[found.pattern().as_usize()];
            let stands = match place {
                Place::Anywhere | Place::Whole => true,
                Place::Start => found.start() == 0,
                Place::End => found.end() == text.len(),
            };
            if stands {
                set(answers, test);
            }
        }
    }
}

/// A field and the tests that rules make of it.
#[derive(Debug)]
pub struct Field {
    /// `None`: every text of the record, which is what keywords are looked for in.
    pub path: Option<Path>,
    tests: Vec<Test>,
    /// The number of each test, by what it looks like in full.
    numbers: HashMap<String, usize>,
    folded: Texts,
    cased: Texts,
    patterns: Vec<(Regex, usize)>,
    /// Tests that are neither texts nor patterns.
    others: Vec<usize>,
}

impl Field {
    pub fn new(path: Option<Path>) -> Self {
        Self {
            path,
            tests: Vec::new(),
            numbers: HashMap::new(),
            folded: Texts::default(),
            cased: Texts::default(),
            patterns: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The number of a test, which is kept once however many rules make it.
    pub fn test(&mut self, test: Test) -> usize {
        let next = self.tests.len();
        let number = *self.numbers.entry(format!("{test:?}")).or_insert(next);
        if number == next {
            self.tests.push(test);
        }
        number
    }

    /// Whether an expression can be used; the error says what is wrong with it.
    pub fn pattern(expression: &str) -> Result<Regex, String> {
        RegexBuilder::new(expression)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| format!("the regular expression `{expression}` cannot be used: {error}"))
    }

    /// A text that every value has of which the test holds, as records spell it; `None` where none is known.
    pub fn literal(&self, test: usize) -> Option<&str> {
        match self.tests.get(test)? {
            Test::Text { text, cased: true, .. } => literal::plain(text),
            Test::Pattern(expression) => literal::of_pattern(expression),
            _ => None,
        }
    }

    /// Builds what answers; called when all tests are known.
    pub fn build(&mut self) -> Result<(), String> {
        let texts = |cased: bool| {
            let tests = self.tests.iter().enumerate();
            Texts::new(tests.filter_map(move |(number, test)| match test {
                Test::Text { text, place, cased: of } if *of == cased => Some((text, *place, number)),
                _ => None,
            }))
        };
        (self.folded, self.cased) = (texts(false)?, texts(true)?);
        self.numbers = HashMap::new();
        for (number, test) in self.tests.iter().enumerate() {
            match test {
                Test::Text { .. } => {}
                Test::Pattern(expression) => self.patterns.push((Self::pattern(expression)?, number)),
                _ => self.others.push(number),
            }
        }
        Ok(())
    }

    /// Whether a column can stand for the field: some tests ask what kind of JSON value it is, which a column does not tell.
    pub fn reads_text(&self) -> bool {
        let of_kind = |test: &Test| matches!(test, Test::Truth(_) | Test::Time(..));
        self.path.is_some() && !self.tests.iter().any(of_kind)
    }

    /// What holds of the record.
    pub fn answers(&self, record: &Record) -> Answers {
        let mut answers = self.none();
        match &self.path {
            None => record.texts(&mut |text| self.ask_text(text, &mut answers)),
            Some(path) => {
                let held = record.get(path);
                let is_null = matches!(held, Held::Nothing | Held::One(Value::Null));
                let is_there = !matches!(held, Held::Nothing);
                self.ask_presence(is_null, is_there, &mut answers);
                held.scalars(&mut |value| self.ask(value, &mut answers));
            }
        }
        answers
    }

    /// What holds of a text that a column has for the field.
    pub fn answers_text(&self, text: &str) -> Answers {
        let mut answers = self.none();
        self.ask_presence(false, true, &mut answers);
        self.ask_text(text, &mut answers);
        answers
    }

    fn none(&self) -> Answers {
        vec![0; self.tests.len().div_ceil(64)].into()
    }

    fn ask_presence(&self, is_null: bool, is_there: bool, answers: &mut [u64]) {
        for number in &self.others {
            let holds = match self.tests[*number] {
                Test::Null => is_null,
                Test::Present => is_there,
                Test::Exists => !is_null,
                _ => false,
            };
            if holds {
                set(answers, *number);
            }
        }
    }

    fn ask(&self, value: &Value, answers: &mut [u64]) {
        match value {
            Value::String(text) => self.ask_text(text, answers),
            _ => {
                if let Some(text) = text_of(value) {
                    self.ask_texts(&text, answers);
                }
            }
        }
        for number in &self.others {
            let holds = match &self.tests[*number] {
                Test::Truth(wanted) => truth(value) == Some(*wanted),
                Test::Time(part, wanted) => {
                    clock::part(value, *part).is_some_and(|part| Order::Equal.holds(part as f64, *wanted))
                }
                Test::Number(order, bound) => value.as_f64().is_some_and(|number| order.holds(number, *bound)),
                _ => false,
            };
            if holds {
                set(answers, *number);
            }
        }
    }

    fn ask_text(&self, text: &str, answers: &mut [u64]) {
        self.ask_texts(text, answers);
        for number in &self.others {
            let holds = match &self.tests[*number] {
                Test::Number(order, bound) => text.parse::<f64>().is_ok_and(|number| order.holds(number, *bound)),
                Test::Network(network) => network.holds(text),
                _ => false,
            };
            if holds {
                set(answers, *number);
            }
        }
    }

    fn ask_texts(&self, text: &str, answers: &mut [u64]) {
        if !self.folded.is_empty() {
            self.folded.find(&fold(text), answers);
        }
        self.cased.find(text, answers);
        for (pattern, test) in &self.patterns {
            if pattern.is_match(text) {
                set(answers, *test);
            }
        }
    }
}

/// A text in lower case.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
    }
    Cow::Owned(text.to_lowercase())
}

/// What a value says where yes or no is asked.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match &*fold(text) {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
