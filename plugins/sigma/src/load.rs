//! From rule texts to rules that run, and the reasons why others do not.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_parser::{Level, SigmaRule, parse_sigma_yaml};
use sentrail_plugin::{Rule, Severity};

use crate::compile::Compiler;
use crate::condition::Condition;
use crate::field::Field;
use crate::literal::Literals;
use crate::logsource::Scope;
use crate::{RuleText, RuleTexts, Settings};

/// Longest text of rules, in bytes: one file of the largest public collection has less than a tenth.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Brackets and negations in a text: a condition is read by recursion, and a guest's stack is small.
const NESTING_MAX: usize = 512;
/// What the manifest may hold: rules, bytes of an id, a title and a description, techniques of a rule.
const RULES_MAX: usize = 8192;
const ID_BYTES_MAX: usize = 64;
const TITLE_BYTES_MAX: usize = 256;
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
const TECHNIQUES_MAX: usize = 32;

/// A rule that runs.
#[derive(Debug)]
pub struct Loaded {
    pub rule: &'static Rule,
    pub condition: Condition,
    pub formats: Vec<String>,
    pub literals: Literals,
}

/// Why a rule does not run.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub name: String,
    pub reason: String,
}

/// What the texts of rules came to.
#[derive(Debug, Default)]
pub struct Collection {
    pub rules: Vec<Loaded>,
    pub refused: Vec<Refused>,
    pub fields: Vec<Field>,
}

impl Collection {
    /// Reads all rules of the configuration. What is wrong with one is told of that one, and the others run; the error is of the
    /// collection as a whole.
    pub fn load(settings: &Settings) -> Result<Self, String> {
        let mut collection = Self::default();
        let mut compiler = Compiler {
            fields: Vec::new(),
            placeholders: settings.placeholders.clone(),
        };
        let mut ids = BTreeSet::new();
        for RuleText { name, text } in settings.rules.iter().flat_map(RuleTexts::texts) {
            let rules = match read(text) {
                Ok(read) => {
                    collection
                        .refused
                        .extend(read.refused.into_iter().map(|reason| Refused {
                            name: name.clone(),
                            reason,
                        }));
                    read.rules
                }
                Err(reason) => {
                    collection.refused.push(Refused {
                        name: name.clone(),
                        reason,
                    });
                    continue;
                }
            };
            for rule in rules {
                match take(&rule, &mut compiler, &settings.logsources, &ids) {
                    Ok(loaded) => {
                        ids.insert(loaded.rule.id);
                        collection.rules.push(loaded);
                    }
                    Err(reason) => collection.refused.push(Refused {
                        name: format!("{name} ({})", cut(&rule.title, TITLE_BYTES_MAX)),
                        reason,
                    }),
                }
            }
        }
        collection.fields = compiler.fields;
        for field in &mut collection.fields {
            field.build()?;
        }
        Ok(collection)
    }
}

/// Rules of one text, and what in it is none.
struct Read {
    rules: Vec<SigmaRule>,
    refused: Vec<String>,
}

fn read(text: &str) -> Result<Read, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it has {} bytes; {TEXT_BYTES_MAX} are allowed", text.len()));
    }
    let nested = text.matches('(').count() + text.split_whitespace().filter(|word| *word == "not").count();
    if nested > NESTING_MAX {
        return Err(format!(
            "it has {nested} brackets and negations; {NESTING_MAX} are allowed"
        ));
    }
    let parsed = parse_sigma_yaml(text).map_err(|error| error.to_string())?;
    let mut refused = parsed.errors;
    refused.extend(parsed.correlations.iter().map(|rule| {
        format!(
            "{}: correlation rules are not supported: rules that look at one event at a time can be run, and incidents join what they find",
            rule.title
        )
    }));
    let filters = parsed.filters.iter();
    refused.extend(filters.map(|filter| {
        format!(
            "{}: filters are not supported; write it into the rule as a `not`",
            filter.title
        )
    }));
    if parsed.rules.is_empty() && refused.is_empty() {
        refused.push("there is no rule in it".into());
    }
    Ok(Read {
        rules: parsed.rules,
        refused,
    })
}

fn take(
    rule: &SigmaRule,
    compiler: &mut Compiler,
    logsources: &BTreeMap<String, Vec<String>>,
    ids: &BTreeSet<&'static str>,
) -> Result<Loaded, String> {
    let scope = Scope::of(&rule.logsource, logsources)?;
    if ids.len() == RULES_MAX {
        return Err(format!("there are {RULES_MAX} rules before it, which is the most"));
    }
    let id = id(rule)?;
    if ids.contains(id.as_str()) {
        return Err(format!("another rule has its id {id}"));
    }
    let condition = compiler.rule(rule, &scope)?;
    Ok(Loaded {
        rule: leak(rule, id),
        literals: Literals::of(&condition, &compiler.fields),
        condition,
        formats: scope.formats,
    })
}

/// The rule's id, or what its title makes of one.
fn id(rule: &SigmaRule) -> Result<String, String> {
    let text = rule.id.as_ref().unwrap_or(&rule.title).to_ascii_lowercase();
    let words = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let id = cut(&words.collect::<Vec<_>>().join("-"), ID_BYTES_MAX).to_owned();
    if id.is_empty() {
        return Err("neither its id nor its title has a letter from a to z or a digit".into());
    }
    Ok(id)
}

/// The rule as the manifest has it. It lives as long as the instance, which is configured once.
fn leak(rule: &SigmaRule, id: String) -> &'static Rule {
    let title = cut(rule.title.trim(), TITLE_BYTES_MAX).to_owned();
    let techniques: Vec<&'static str> = rule
        .tags
        .iter()
        .filter_map(|tag| technique(tag))
        .take(TECHNIQUES_MAX)
        .map(|id| &*id.leak())
        .collect();
    Box::leak(Box::new(Rule {
        id: id.leak(),
        title: title.leak(),
        description: description(rule).leak(),
        severity: match rule.level {
            Some(Level::Critical) => Severity::Critical,
            Some(Level::High) => Severity::High,
            Some(Level::Medium) => Severity::Medium,
            Some(Level::Low) => Severity::Low,
            Some(Level::Informational) | None => Severity::Informational,
        },
        techniques: techniques.leak(),
    }))
}

/// What the rule says of itself, with its author and licence, which the licence of the public collection asks for.
fn description(rule: &SigmaRule) -> String {
    let mut parts = vec![rule.description.as_deref().unwrap_or(&rule.title).trim().to_owned()];
    let listed = |name: &str, items: &[String]| (!items.is_empty()).then(|| format!("{name}: {}", items.join("; ")));
    parts.extend(listed("False positives", &rule.falsepositives));
    let author = rule.author.as_deref().unwrap_or("unknown");
    let licence = rule
        .license
        .as_deref()
        .map(|licence| format!(", licence {licence}"))
        .unwrap_or_default();
    let credit = format!("Sigma rule by {author}{licence}.");
    let references = listed("References", &rule.references);
    // The credit stays whatever else is too long.
    let room = DESCRIPTION_BYTES_MAX.saturating_sub(credit.len() + 1);
    parts.extend(references);
    let text = parts.join("\n");
    format!("{}\n{}", cut(&text, room), cut(&credit, DESCRIPTION_BYTES_MAX - 1))
}

/// `attack.t1078.004` names a technique of ATT&CK, `atlas.aml.t0051.000` one of ATLAS.
fn technique(tag: &str) -> Option<String> {
    let tag = tag.to_ascii_uppercase();
    let id = tag.strip_prefix("ATTACK.").or_else(|| tag.strip_prefix("ATLAS."))?;
    let number = id.strip_prefix("AML.T").or_else(|| id.strip_prefix('T'))?;
    let (main, sub) = number.split_once('.').unwrap_or((number, "000"));
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    (digits(main, 4) && digits(sub, 3)).then(|| id.to_owned())
}

/// The beginning of a text, at most so many bytes.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
