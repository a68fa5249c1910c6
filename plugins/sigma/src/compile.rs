//! Detections of a rule, as the parser gives them, made into conditions.

use std::collections::BTreeMap;

use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Modifier, Quantifier, SelectorPattern, SigmaRule, SigmaString, SigmaValue,
    detection_name_matches, fieldpath::unescape_brackets,
};

use crate::condition::{Condition, Reference};
use crate::field::{Field, Network, Order, Test, fold};
use crate::logsource::Scope;
use crate::record::Path;
use crate::value::{Piece, Place, Utf16, base64, base64_offsets, dashes, expression, pieces, plain, simplify};

/// Compiles rules one after the other into conditions over common fields.
#[derive(Debug, Default)]
pub struct Compiler {
    pub fields: Vec<Field>,
    /// What `%name%` stands for where a rule says `expand`.
    pub placeholders: BTreeMap<String, Vec<String>>,
}

impl Compiler {
    /// The condition of a rule, or in words what in it is not possible.
    pub fn rule(&mut self, rule: &SigmaRule, scope: &Scope) -> Result<Condition, String> {
        if rule.detection.timeframe.is_some() {
            return Err(
                "it counts events over a `timeframe`; rules that look at one event at a time can be run".into(),
            );
        }
        let mut named: Vec<(&String, Condition)> = Vec::new();
        let mut detections: Vec<(&String, &Detection)> = rule.detection.named.iter().collect();
        detections.sort_by_key(|(name, _)| *name);
        for (name, detection) in detections {
            let condition = self
                .detection(detection, scope)
                .map_err(|reason| format!("{name}: {reason}"))?;
            named.push((name, condition));
        }
        let conditions = rule
            .detection
            .conditions
            .iter()
            .map(|expression| combine(expression, &named));
        any(conditions.collect::<Result<_, _>>()?).ok_or_else(|| "it has no condition".into())
    }

    fn detection(&mut self, detection: &Detection, scope: &Scope) -> Result<Condition, String> {
        let empty = || "it is empty".to_owned();
        match detection {
            Detection::AllOf(items) => {
                let items = items.iter().map(|item| self.item(item, scope));
                all(items.collect::<Result<_, _>>()?).ok_or_else(empty)
            }
            Detection::AnyOf(parts) => {
                let parts = parts.iter().map(|part| self.detection(part, scope));
                any(parts.collect::<Result<_, _>>()?).ok_or_else(empty)
            }
            Detection::Keywords(values) => {
                let keywords = values.iter().map(|value| self.keyword(value));
                any(keywords.collect::<Result<_, _>>()?).ok_or_else(empty)
            }
            _ => Err("conditions on the elements of a list (`[any]`, `[all]`) are not supported".into()),
        }
    }

    /// A text that may stand anywhere in the record.
    fn keyword(&mut self, value: &SigmaValue) -> Result<Condition, String> {
        let text = match value {
            SigmaValue::String(text) => text.clone(),
            SigmaValue::Null => return Err("a keyword cannot be null".into()),
            other => SigmaString::from_raw(&other.to_string()),
        };
        let test = text_test(pieces(&text), Place::Anywhere, false)?;
        Ok(self.test(None, test))
    }

    fn item(&mut self, item: &DetectionItem, scope: &Scope) -> Result<Condition, String> {
        let Some(name) = &item.field.name else {
            return match item.field.modifiers[..] {
                [] => any(item
                    .values
                    .iter()
                    .map(|value| self.keyword(value))
                    .collect::<Result<_, _>>()?),
                [Modifier::All] => all(item
                    .values
                    .iter()
                    .map(|value| self.keyword(value))
                    .collect::<Result<_, _>>()?),
                _ => return Err("keywords take no modifier but `all`".into()),
            }
            .ok_or_else(|| "there is no keyword".into());
        };
        let field = unescape_brackets(name).into_owned();
        let item = Asked::of(item).map_err(|reason| format!("{field}: {reason}"))?;
        let path = path(field, scope);
        let build = |compiler: &mut Self| {
            if item.exists {
                let there = match item.values {
                    [SigmaValue::Bool(there)] => *there,
                    _ => return Err("exists is true or false".into()),
                };
                let exists = compiler.test(Some(&path), Test::Exists);
                return Ok(if there { exists } else { Condition::Not(exists.into()) });
            }
            let mut values = Vec::new();
            for value in item.values {
                values.push(compiler.value(value, &item, &path, scope)?);
            }
            let joined = if item.all { all(values) } else { any(values) };
            let joined = joined.ok_or_else(|| "it has no value".to_owned())?;
            Ok(match item.differs {
                true => Condition::All(vec![
                    compiler.test(Some(&path), Test::Present),
                    Condition::Not(joined.into()),
                ]),
                false => joined,
            })
        };
        build(self).map_err(|reason: String| format!("{}: {reason}", path.field))
    }

    fn value(
        &mut self,
        value: &SigmaValue,
        asked: &Asked<'_>,
        path: &Path,
        scope: &Scope,
    ) -> Result<Condition, String> {
        match asked.operator {
            Operator::Order(order) => {
                let bound = number(value)?;
                Ok(self.test(Some(path), Test::Number(order, bound)))
            }
            Operator::Time(part) => {
                let wanted = number(value)?;
                Ok(self.test(Some(path), Test::Time(part, wanted)))
            }
            Operator::Network => {
                let network = Network::parse(&value.to_string())?;
                Ok(self.test(Some(path), Test::Network(network)))
            }
            Operator::Pattern {
                ignore_case,
                multiline,
                dot_all,
            } => {
                let flags: String = [(ignore_case, 'i'), (multiline, 'm'), (dot_all, 's')]
                    .iter()
                    .filter_map(|(is_set, flag)| is_set.then_some(*flag))
                    .collect();
                let prefix = if flags.is_empty() { flags } else { format!("(?{flags})") };
                let expression = format!("{prefix}{value}");
                Field::pattern(&expression)?;
                Ok(self.test(Some(path), Test::Pattern(expression)))
            }
            Operator::Reference(place) => {
                let SigmaValue::String(other) = value else {
                    return Err("fieldref takes the name of a field".into());
                };
                let other = plain(other, "fieldref")?;
                Ok(Condition::Reference(Box::new(Reference {
                    field: path.clone(),
                    other: self::path(other, scope),
                    place,
                    cased: asked.cased,
                })))
            }
            Operator::Text(place) => {
                let tests = match value {
                    SigmaValue::Null => vec![Test::Null],
                    SigmaValue::Bool(truth) if place == Place::Whole => vec![Test::Truth(*truth)],
                    SigmaValue::Integer(_) | SigmaValue::Float(_) if place == Place::Whole => {
                        vec![Test::Number(Order::Equal, number(value)?)]
                    }
                    SigmaValue::String(text) => self.texts(text, asked, place)?,
                    other => self.texts(&SigmaString::from_raw(&other.to_string()), asked, place)?,
                };
                let tests = tests.into_iter().map(|test| self.test(Some(path), test));
                any(tests.collect()).ok_or_else(|| "its placeholder stands for nothing".into())
            }
        }
    }

    /// The texts that a value stands for under its modifiers.
    fn texts(&self, value: &SigmaString, asked: &Asked<'_>, place: Place) -> Result<Vec<Test>, String> {
        let mut tests = Vec::new();
        for value in self.expand(value, asked.expand)? {
            if asked.base64 || asked.base64_offset {
                let text = plain(&value, "base64")?;
                let bytes = asked
                    .utf16
                    .map_or_else(|| text.clone().into_bytes(), |form| form.encode(&text));
                let (texts, place) = match asked.base64 {
                    true => (vec![base64(&bytes)], place),
                    false => (base64_offsets(&bytes), Place::Anywhere),
                };
                if texts.iter().any(String::is_empty) {
                    return Err(format!("`{text}` is too short to be found in base64"));
                }
                for text in texts {
                    tests.push(text_test(vec![Piece::Text(text)], place, asked.cased)?);
                }
                continue;
            }
            let mut parts = pieces(&value);
            if let Some(form) = asked.utf16 {
                for part in &mut parts {
                    if let Piece::Text(text) = part {
                        *text = String::from_utf8(form.encode(text)).map_err(|_| {
                            format!(
                                "`{}` is no text as UTF-16 by itself; that works together with base64",
                                value.original
                            )
                        })?;
                    }
                }
            }
            if asked.dash {
                parts = dashes(parts);
            }
            tests.push(text_test(parts, place, asked.cased)?);
        }
        Ok(tests)
    }

    /// Replaces `%name%` by each text that the configuration has for it.
    fn expand(&self, value: &SigmaString, expand: bool) -> Result<Vec<SigmaString>, String> {
        let Some((before, rest)) = value.original.split_once('%').filter(|_| expand) else {
            return Ok(vec![value.clone()]);
        };
        let Some((name, after)) = rest.split_once('%') else {
            return Ok(vec![value.clone()]);
        };
        let texts = self.placeholders.get(name).ok_or_else(|| {
            format!("nothing is configured for %{name}%; `placeholders` in the configuration says what it stands for")
        })?;
        let mut all = Vec::new();
        for text in texts {
            let rest = self.expand(&SigmaString::new(after), true)?;
            all.extend(
                rest.iter()
                    .map(|rest| SigmaString::new(&format!("{before}{text}{}", rest.original))),
            );
        }
        if all.len() > EXPANDED_MAX {
            return Err(format!("%{name}% makes more than {EXPANDED_MAX} values of one"));
        }
        Ok(all)
    }

    fn test(&mut self, path: Option<&Path>, test: Test) -> Condition {
        let known = self.fields.iter().position(|field| field.path.as_ref() == path);
        let field = known.unwrap_or_else(|| {
            self.fields.push(Field::new(path.cloned()));
            self.fields.len() - 1
        });
        Condition::Test(field, self.fields[field].test(test))
    }
}

/// Values that placeholders make of one at most.
const EXPANDED_MAX: usize = 4096;

fn path(field: String, scope: &Scope) -> Path {
    Path {
        other: scope.path(&field),
        field,
    }
}

fn text_test(mut parts: Vec<Piece>, mut place: Place, cased: bool) -> Result<Test, String> {
    if let Some(text) = simplify(&mut parts, &mut place) {
        let text = if cased { text } else { fold(&text).into_owned() };
        return Ok(Test::Text { text, place, cased });
    }
    let expression = expression(&parts, place, cased);
    Field::pattern(&expression)?;
    Ok(Test::Pattern(expression))
}

fn number(value: &SigmaValue) -> Result<f64, String> {
    let number = match value {
        SigmaValue::Integer(number) => Some(*number as f64),
        SigmaValue::Float(number) => Some(*number),
        SigmaValue::String(text) => text.as_plain().and_then(|text| text.parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| format!("`{value}` is no number"))
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Text(Place),
    Reference(Place),
    Pattern {
        ignore_case: bool,
        multiline: bool,
        dot_all: bool,
    },
    Network,
    Order(Order),
    Time(Modifier),
}

/// What the modifiers of a field ask for.
struct Asked<'a> {
    values: &'a [SigmaValue],
    operator: Operator,
    exists: bool,
    all: bool,
    differs: bool,
    cased: bool,
    expand: bool,
    base64: bool,
    base64_offset: bool,
    dash: bool,
    utf16: Option<Utf16>,
}

impl<'a> Asked<'a> {
    /// The error names modifiers that cannot stand together.
    fn of(item: &'a DetectionItem) -> Result<Self, String> {
        use Modifier as M;
        let modifiers = &item.field.modifiers;
        let has = |modifier: M| modifiers.contains(&modifier);
        let mut chosen: Vec<Operator> = Vec::new();
        let mut place = Place::Whole;
        let mut utf16 = Vec::new();
        for modifier in modifiers {
            match modifier {
                M::Contains => place = Place::Anywhere,
                M::StartsWith => place = Place::Start,
                M::EndsWith => place = Place::End,
                M::Re => chosen.push(Operator::Pattern {
                    ignore_case: has(M::IgnoreCase),
                    multiline: has(M::Multiline),
                    dot_all: has(M::DotAll),
                }),
                M::Cidr => chosen.push(Operator::Network),
                M::Gt => chosen.push(Operator::Order(Order::Greater)),
                M::Gte => chosen.push(Operator::Order(Order::GreaterOrEqual)),
                M::Lt => chosen.push(Operator::Order(Order::Less)),
                M::Lte => chosen.push(Operator::Order(Order::LessOrEqual)),
                M::Minute | M::Hour | M::Day | M::Week | M::Month | M::Year => chosen.push(Operator::Time(*modifier)),
                M::Wide => utf16.push(Utf16::Little),
                M::Utf16be => utf16.push(Utf16::Big),
                M::Utf16 => utf16.push(Utf16::Marked),
                _ => {}
            }
        }
        let places = [M::Contains, M::StartsWith, M::EndsWith]
            .into_iter()
            .filter(|m| has(*m))
            .count();
        let reference = has(M::FieldRef);
        let encodes = !utf16.is_empty() || [M::Base64, M::Base64Offset, M::WindAsh, M::Expand].into_iter().any(has);
        let operators = chosen.len() + usize::from(reference) + usize::from(has(M::Exists));
        let flags = [M::IgnoreCase, M::Multiline, M::DotAll].into_iter().any(has);
        let conflict = places > 1
            || utf16.len() > 1
            || operators > 1
            || operators == 1 && (encodes || places == 1 && !reference)
            || has(M::Base64) && has(M::Base64Offset)
            || has(M::WindAsh) && (has(M::Base64) || has(M::Base64Offset))
            || flags && !has(M::Re);
        if conflict {
            let names: Vec<String> = modifiers
                .iter()
                .map(|modifier| format!("{modifier:?}").to_lowercase())
                .collect();
            return Err(format!("its modifiers cannot stand together: {}", names.join(", ")));
        }
        if has(M::All) && item.values.len() < 2 {
            return Err("`all` needs more than one value".into());
        }
        let operator = match chosen.first() {
            Some(operator) => *operator,
            None if reference => Operator::Reference(place),
            None => Operator::Text(place),
        };
        Ok(Self {
            values: &item.values,
            operator,
            exists: has(M::Exists),
            all: has(M::All),
            differs: has(M::Neq),
            cased: has(M::Cased),
            expand: has(M::Expand),
            base64: has(M::Base64),
            base64_offset: has(M::Base64Offset),
            dash: has(M::WindAsh),
            utf16: utf16.first().copied(),
        })
    }
}

fn all(mut parts: Vec<Condition>) -> Option<Condition> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Condition::All(parts)),
    }
}

fn any(mut parts: Vec<Condition>) -> Option<Condition> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Condition::Any(parts)),
    }
}

fn combine(expression: &ConditionExpr, named: &[(&String, Condition)]) -> Result<Condition, String> {
    let parts = |parts: &[ConditionExpr]| -> Result<Vec<Condition>, String> {
        parts.iter().map(|part| combine(part, named)).collect()
    };
    match expression {
        ConditionExpr::And(inner) => Ok(Condition::All(parts(inner)?)),
        ConditionExpr::Or(inner) => Ok(Condition::Any(parts(inner)?)),
        ConditionExpr::Not(inner) => Ok(Condition::Not(combine(inner, named)?.into())),
        ConditionExpr::Identifier(name) => {
            let found = named.iter().find(|(known, _)| *known == name);
            let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
            found
                .map(|(_, condition)| condition.clone())
                .ok_or_else(|| format!("its condition names `{name}`; it has {}", names.join(", ")))
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let fits = |name: &str| match pattern {
                SelectorPattern::Them => !name.starts_with('_'),
                SelectorPattern::Pattern(pattern) => detection_name_matches(pattern, name),
            };
            let chosen: Vec<Condition> = named
                .iter()
                .filter(|(name, _)| fits(name))
                .map(|(_, condition)| condition.clone())
                .collect();
            if chosen.is_empty() {
                return Err(format!(
                    "its condition says `{quantifier} of {pattern}`, and there is none"
                ));
            }
            Ok(match quantifier {
                Quantifier::Any => Condition::Any(chosen),
                Quantifier::All => Condition::All(chosen),
                Quantifier::Count(count) => Condition::AtLeast(*count, chosen),
            })
        }
    }
}
