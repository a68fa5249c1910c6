//! Sigma rules over the event columns.
//!
//! Every field that a rule names has one matcher for all rules (`field`). Fields that a column repeats are answered from the column,
//! each value once per batch; rules that these answers decide need no more. The few rows that some rule is still open about are read as
//! JSON from `raw`, with the meaning that Sigma's evaluators give to paths, lists and kinds of values (`record`).

mod clock;
mod compile;
mod condition;
mod field;
mod literal;
mod load;
mod logsource;
mod record;
mod value;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Batch, Column, Detector, Findings, Level, Manifest, Rule, Text, Texts, col, config, log};

use condition::{Columns, Whole};
use field::Answers;
use literal::Spelling;
use load::{Collection, Loaded, cut};
use record::Wanted;

config! {
    /// Sigma rules and what they need.
    pub struct Settings {
        /// Rules in YAML: a list of `{ name, text }`, and of such lists. A text holds a rule, or several parted by `---`; mistakes are
        /// told with its name. In the engine's configuration `{ files = "rules/**/*.yml" }` stands for a list of files. None by default.
        pub rules: Vec<RuleTexts> = Vec::new(),
        /// Log formats per log source, as `product/service`, beside those of schemas/sigma.toml, which they replace.
        pub logsources: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// What `%name%` stands for in a value with the modifier `expand`. None by default: a rule that needs one is refused.
        pub placeholders: BTreeMap<String, Vec<String>> = BTreeMap::new(),
    }
}

/// A text of rules, or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde", untagged)]
pub enum RuleTexts {
    One(RuleText),
    Many(Vec<RuleText>),
}

/// A text of rules and the name under which mistakes in it are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde", deny_unknown_fields)]
pub struct RuleText {
    pub name: String,
    pub text: String,
}

impl RuleTexts {
    fn texts(&self) -> &[RuleText] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Cells longer than this are read from the record instead: a column may have cut them.
const CELL_BYTES_MAX: usize = 64 << 10;
/// Longest message, in bytes, and the most fields and bytes of a value that it shows.
const MESSAGE_BYTES_MAX: usize = 900;
const SHOWN_FIELDS_MAX: usize = 6;
const SHOWN_BYTES_MAX: usize = 120;
/// Lines of the log and bytes of the description that refused rules may take.
const REFUSED_LINES_MAX: usize = 14;
const REFUSED_BYTES_MAX: usize = 7 << 10;
/// A class that no event has: without rules there is nothing to look at.
const NO_CLASS: &str = "none";

/// The rules of one log format.
struct Group {
    /// Places in the collection's rules.
    rules: Vec<usize>,
    /// Fields that a column repeats.
    columns: Vec<(usize, Column<Text>)>,
    /// What is read of a record.
    wanted: Wanted,
}

/// The detector.
pub struct Sigma {
    collection: Collection,
    groups: HashMap<String, Group>,
    manifest: Manifest,
}

impl Detector for Sigma {
    type Config = Settings;
    type State = ();

    fn new(settings: Settings) -> Result<Self, String> {
        let collection = Collection::load(&settings)?;
        tell(&collection);
        let groups = group(&collection);
        let manifest = describe(&collection, &groups);
        Ok(Self {
            collection,
            groups,
            manifest,
        })
    }

    fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }

    fn detect(&self, _state: &mut (), batch: &Batch, out: &mut Findings) {
        if self.collection.rules.is_empty() {
            return;
        }
        let (formats, raws) = (batch.text(col::FORMAT), batch.text(col::RAW));
        // Few formats are in a batch, and rows of one mostly follow each other.
        let mut passes: Vec<(&[u8], Option<Pass>)> = Vec::new();
        let mut at = 0;
        for row in batch.rows() {
            let name = formats.bytes(row).unwrap_or_default();
            if passes.get(at).is_none_or(|(held, _)| *held != name) {
                at = passes.iter().position(|(held, _)| *held == name).unwrap_or_else(|| {
                    let group = formats.get(row).and_then(|name| self.groups.get(name));
                    passes.push((name, group.map(|group| Pass::new(self, group, batch))));
                    passes.len() - 1
                });
            }
            let Some(pass) = &mut passes[at].1 else { continue };
            let group = pass.group;
            let standing = pass.standing(row);
            let raw = raws.bytes(row).unwrap_or_default();
            let rules = &self.collection.rules;
            let mut spelling = Spelling::of(raw);
            if standing
                .iter()
                .all(|(rule, decided)| !decided && rules[*rule].literals.rule_out(&mut spelling))
            {
                continue;
            }
            let mut whole = Whole::new(
                raws.get(row).unwrap_or_default(),
                &group.wanted,
                &self.collection.fields,
            );
            for (rule, decided) in standing.iter() {
                let loaded = &self.collection.rules[*rule];
                if *decided || loaded.condition.decide(&mut whole) == Some(true) {
                    let message = self.message(loaded, &whole);
                    out.detect(loaded.rule, row).message(message);
                }
            }
        }
    }
}

impl Sigma {
    /// What was seen: the fields that the rule looks at, with their values.
    fn message(&self, loaded: &Loaded, whole: &Whole<'_>) -> String {
        let mut fields = Vec::new();
        loaded.condition.fields(&mut fields);
        let mut message = String::new();
        let paths = fields
            .iter()
            .filter_map(|field| self.collection.fields[*field].path.as_ref());
        let shown = paths.filter_map(|path| Some((&path.field, whole.record.get(path).text()?)));
        for (name, value) in shown.take(SHOWN_FIELDS_MAX) {
            let part = if message.is_empty() { "" } else { ", " };
            let _ = write!(message, "{part}{name} is {}", cut(&value, SHOWN_BYTES_MAX));
        }
        if message.is_empty() {
            message.push_str(loaded.rule.title);
        }
        cut(&message, MESSAGE_BYTES_MAX).to_owned()
    }
}

/// Rules that a row leaves standing, each with whether it is met already.
type Standing = Rc<[(usize, bool)]>;

/// The rows of one format in a batch. What a column's value answers is worked out once per value, and which rules that leaves once per
/// combination of answers.
struct Pass<'a> {
    sigma: &'a Sigma,
    group: &'a Group,
    columns: Vec<Cells<'a>>,
    known: HashMap<Vec<u32>, Standing, BuildHasherDefault<Numbers>>,
    key: Vec<u32>,
}

/// A column, and what its values answer. Values with the same answers are one kind.
struct Cells<'a> {
    field: usize,
    texts: Texts<'a>,
    kinds: HashMap<&'a [u8], u32>,
    /// The value seen last of those that share a place here, and its kind: most values come again soon, and finding them here takes
    /// less than hashing them.
    recent: Vec<Option<(&'a [u8], u32)>>,
    answers: Vec<Answers>,
}

/// Hashes numbers of kinds, which nobody who writes logs can choose.
#[derive(Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(4) {
            let number = part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// 2^64 divided by the golden ratio: neighbours are spread far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Places for values seen last, a power of two.
const RECENT: usize = 256;

/// The place of a value among those seen last, by its length and ends.
fn place(bytes: &[u8]) -> usize {
    let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(SPREAD);
    (mixed >> 40) as usize % RECENT
}

/// The kind of a cell that does not tell what the field is.
const UNKNOWN: u32 = u32::MAX;

impl<'a> Pass<'a> {
    fn new(sigma: &'a Sigma, group: &'a Group, batch: &'a Batch) -> Self {
        let cells = |(field, column): &(usize, Column<Text>)| Cells {
            field: *field,
            texts: batch.text(*column),
            kinds: HashMap::new(),
            recent: vec![None; RECENT],
            answers: Vec::new(),
        };
        Self {
            sigma,
            group,
            columns: group.columns.iter().map(cells).collect(),
            known: HashMap::default(),
            key: Vec::new(),
        }
    }

    fn standing(&mut self, row: usize) -> Standing {
        self.key.clear();
        for cells in &mut self.columns {
            self.key.push(cells.kind(row, self.sigma));
        }
        if let Some(standing) = self.known.get(&self.key) {
            return Rc::clone(standing);
        }
        let answers: Vec<(usize, Option<&Answers>)> = self
            .columns
            .iter()
            .zip(&self.key)
            .map(|(cells, kind)| (cells.field, cells.answers.get(*kind as usize)))
            .collect();
        let mut known = Columns(&answers);
        let decide = |rule: &usize| {
            let decided = self.sigma.collection.rules[*rule].condition.decide(&mut known);
            (decided != Some(false)).then_some((*rule, decided == Some(true)))
        };
        let standing: Standing = self.group.rules.iter().filter_map(decide).collect();
        self.known.insert(self.key.clone(), Rc::clone(&standing));
        standing
    }
}

impl<'a> Cells<'a> {
    fn kind(&mut self, row: usize, sigma: &Sigma) -> u32 {
        let Some(bytes) = self.texts.bytes(row).filter(|bytes| bytes.len() <= CELL_BYTES_MAX) else {
            return UNKNOWN;
        };
        let place = place(bytes);
        if let Some((_, kind)) = self.recent[place].filter(|(held, _)| *held == bytes) {
            return kind;
        }
        let kind = match self.kinds.get(bytes) {
            Some(kind) => *kind,
            None => self.kind_of_new(row, bytes, sigma),
        };
        self.recent[place] = Some((bytes, kind));
        kind
    }

    fn kind_of_new(&mut self, row: usize, bytes: &'a [u8], sigma: &Sigma) -> u32 {
        let Some(text) = self.texts.get(row) else {
            return UNKNOWN;
        };
        let answers = sigma.collection.fields[self.field].answers_text(text);
        let place = self
            .answers
            .iter()
            .position(|known| *known == answers)
            .unwrap_or_else(|| {
                self.answers.push(answers);
                self.answers.len() - 1
            });
        let kind = u32::try_from(place).unwrap_or(UNKNOWN);
        self.kinds.insert(bytes, kind);
        kind
    }
}

fn group(collection: &Collection) -> HashMap<String, Group> {
    let mut groups: HashMap<String, Group> = HashMap::new();
    for (place, loaded) in collection.rules.iter().enumerate() {
        for format in &loaded.formats {
            let group = groups.entry(format.clone()).or_insert_with(|| Group {
                rules: Vec::new(),
                columns: Vec::new(),
                wanted: Wanted::default(),
            });
            group.rules.push(place);
            loaded.condition.wants(&collection.fields, &mut group.wanted);
            let mut fields = Vec::new();
            loaded.condition.fields(&mut fields);
            for number in fields {
                let field = &collection.fields[number];
                let own = field
                    .path
                    .as_ref()
                    .filter(|path| path.other.is_none() && field.reads_text());
                if let Some(column) = own.and_then(|path| logsource::column(format, &path.field))
                    && group.columns.iter().all(|(known, _)| *known != number)
                {
                    group.columns.push((number, column));
                }
            }
        }
    }
    groups
}

fn tell(collection: &Collection) {
    let (rules, refused) = (collection.rules.len(), &collection.refused);
    log(
        Level::Info,
        &format!("{rules} Sigma rules run, {} are refused", refused.len()),
    );
    for refused in refused.iter().take(REFUSED_LINES_MAX) {
        log(Level::Warn, &format!("{}: refused: {}", refused.name, refused.reason));
    }
    if refused.len() > REFUSED_LINES_MAX {
        let more = refused.len() - REFUSED_LINES_MAX;
        log(
            Level::Warn,
            &format!("{more} more are refused; `sentrail plugin inspect` tells them"),
        );
    }
}

fn describe(collection: &Collection, groups: &HashMap<String, Group>) -> Manifest {
    let mut description = String::from("Sigma rules, as the configuration gives them.");
    if !collection.refused.is_empty() {
        let _ = write!(description, " {} are refused:", collection.refused.len());
    }
    for (told, refused) in collection.refused.iter().enumerate() {
        let line = format!("\n{}: {}", refused.name, refused.reason);
        if description.len() + line.len() > REFUSED_BYTES_MAX {
            let _ = write!(description, "\nand {} more", collection.refused.len() - told);
            break;
        }
        description.push_str(&line);
    }
    let layers: Option<BTreeSet<&'static str>> = groups.keys().map(|format| logsource::layer(format)).collect();
    let mut columns: BTreeSet<&'static str> = BTreeSet::new();
    for group in groups.values() {
        columns.extend([col::FORMAT.name, col::RAW.name]);
        columns.extend(group.columns.iter().map(|(_, column)| column.name));
    }
    let rules: Vec<&'static Rule> = collection.rules.iter().map(|loaded| loaded.rule).collect();
    Manifest {
        id: "sigma",
        version: env!("CARGO_PKG_VERSION"),
        description: description.leak(),
        classes: if rules.is_empty() { &[NO_CLASS] } else { &[] },
        layers: layers.unwrap_or_default().into_iter().collect::<Vec<_>>().leak(),
        columns: columns.into_iter().collect::<Vec<_>>().leak(),
        rules: rules.leak(),
        ..Manifest::EMPTY
    }
}

sentrail_plugin::export!(Sigma);

#[cfg(test)]
mod tests;
