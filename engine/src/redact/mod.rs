//! What is kept or sent of personal data: a stand-in, or nothing.
//!
//! Detectors see clear text in memory. Between them and everything that is kept or sent stands this: events, rejected records,
//! detections and relations are changed here, once, before they reach the tables, the graph, the journal, the index or a receiver.
//! What must be kept in clear for a while (detectors' state, rows that wait, what a listening source accepted) is sealed, see [`seal`].
//!
//! An entity stands as an HMAC of its kind and value, whatever stands in the columns, so that correlation works as on clear text: the
//! same person has the same stand-in in every log. Which columns and entity kinds are personal is said in schemas/events.toml.

pub mod seal;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder, new_null_array};
use glob::Pattern;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::{CorrelateSettings, HIDDEN, RedactMode, RedactSettings, is_pattern};
use crate::model::detection::SOURCE_HEALTH;
use crate::model::{Detection, Entity, EventBatch, EventSchema, Rejected, Relation};

pub use seal::Sealer;

/// Stands in a masked column.
const MASK: &str = "***";

/// What begins the stand-in of a value.
const PREFIX: &str = "hmac:";

/// Columns that hold a record's text, of which no part can be told personal or not: emptied in every mode.
const WHOLE: [&str; 2] = ["raw", "unmapped"];

pub struct Redactor(Option<Policy>);

struct Policy {
    mode: RedactMode,
    key: Hmac<Sha256>,
    /// Columns that can hold personal data.
    columns: Vec<Column>,
    /// Kinds of entities that can be persons.
    kinds: BTreeSet<&'static str>,
}

struct Column {
    index: usize,
    name: &'static str,
    /// The kind of the entity that it names.
    kind: Option<&'static str>,
    required: bool,
}

impl Redactor {
    /// `None`: everything passes as it is.
    pub fn new(settings: Option<&RedactSettings>) -> Redactor {
        Redactor(settings.map(Policy::new))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether values of an entity kind, or of that column of a detection, can be personal and are not shown.
    pub fn hides(&self, of: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|policy| policy.kinds.contains(of) || of == "message")
    }

    pub fn events(&self, events: &EventBatch) -> EventBatch {
        match &self.0 {
            Some(policy) => policy.events(events),
            None => events.clone(),
        }
    }

    /// What stands for an entity where it is kept; a stand-in stands for itself.
    pub fn entity(&self, entity: &Entity) -> Entity {
        match &self.0 {
            Some(policy) if is_clear(entity) => policy.entity(entity),
            _ => entity.clone(),
        }
    }

    /// What correlation is told of entities, as it meets them. The configuration allows no pattern over part of a personal value.
    pub fn correlate(&self, settings: &CorrelateSettings) -> CorrelateSettings {
        let kept = |pattern: &Pattern| -> Pattern {
            let entity = Entity::parse(pattern.as_str()).and_then(|named| Entity::canonical(&named.kind, &named.value));
            match entity.filter(|entity| is_clear(entity) && !is_pattern(&entity.value)) {
                Some(entity) => Pattern::new(&self.entity(&entity).to_string()).unwrap_or_else(|_| pattern.clone()),
                None => pattern.clone(),
            }
        };
        let mut settings = settings.clone();
        if self.is_on() {
            let values = settings.stop_values.iter_mut().chain(&mut settings.specific_values);
            for pattern in values.chain(settings.criticality.iter_mut().map(|held| &mut held.entity)) {
                *pattern = kept(pattern);
            }
        }
        settings
    }

    pub fn relations(&self, mut relations: Vec<Relation>) -> Vec<Relation> {
        if let Some(policy) = &self.0 {
            for relation in &mut relations {
                relation.from = policy.entity(&relation.from);
                relation.to = policy.entity(&relation.to);
            }
        }
        relations
    }

    /// A message is a detector's own words about what it saw: it is hidden whole, but for those of the engine on its sources.
    pub fn detections(&self, mut detections: Vec<Detection>) -> Vec<Detection> {
        if let Some(policy) = &self.0 {
            for detection in &mut detections {
                if detection.plugin != SOURCE_HEALTH {
                    detection.message = HIDDEN.to_owned();
                }
                for held in &mut detection.entities {
                    held.entity = policy.entity(&held.entity);
                }
                detection.entities.sort();
            }
        }
        detections
    }

    /// Nobody knows what the bytes of a record mean that could not be decoded; of the reason, what it quotes is left out.
    pub fn rejected<'a>(&self, rejected: &'a [Rejected]) -> Cow<'a, [Rejected]> {
        if !self.is_on() {
            return rejected.into();
        }
        let redacted = |record: &Rejected| Rejected {
            tenant: record.tenant.clone(),
            source: record.source.clone(),
            position: record.position.clone(),
            reason: unquoted(&record.reason),
            raw: Vec::new(),
            ingested_time: record.ingested_time,
            newest_before: record.newest_before,
        };
        rejected.iter().map(redacted).collect()
    }
}

/// Whether the entity can be a person and is no stand-in.
pub fn is_clear(entity: &Entity) -> bool {
    EventSchema::get().personal_kinds().contains(&*entity.kind) && !entity.value.starts_with(PREFIX)
}

/// `text` without what stands between backticks.
fn unquoted(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(number, part)| if number % 2 == 0 { part } else { "`…`" })
        .collect()
}

impl Policy {
    fn new(settings: &RedactSettings) -> Policy {
        let columns: Vec<Column> = EventSchema::get()
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| column.personal)
            .map(|(index, column)| Column {
                index,
                name: &column.name,
                kind: column.entity.as_deref(),
                required: column.required,
            })
            .collect();
        Policy {
            mode: settings.mode,
            key: seal::subkey(settings.key.reveal().as_bytes(), b"stand-in"),
            columns,
            kinds: EventSchema::get().personal_kinds(),
        }
    }

    fn events(&self, events: &EventBatch) -> EventBatch {
        let batch = events.batch();
        let mut columns = batch.columns().to_vec();
        for column in &self.columns {
            columns[column.index] = self.column(column, batch.column(column.index));
        }
        match RecordBatch::try_new(batch.schema(), columns) {
            Ok(batch) => EventBatch::new(batch),
            // The columns have the lengths and types that they had.
            Err(error) => panic!("a redacted batch does not fit the event schema: {error}"),
        }
    }

    fn column(&self, column: &Column, values: &ArrayRef) -> ArrayRef {
        let empty = WHOLE.contains(&column.name) || self.mode == RedactMode::Drop;
        let Some(values) = values.as_string_view_opt().filter(|_| !empty) else {
            return match column.required {
                true => Arc::new(StringViewArray::from_iter_values(vec![""; values.len()])),
                false => new_null_array(values.data_type(), values.len()),
            };
        };
        let mut stand_ins: HashMap<&str, String> = HashMap::new();
        let mut redacted = StringViewBuilder::with_capacity(values.len());
        for value in values {
            match (value, self.mode) {
                (None, _) => redacted.append_null(),
                (Some(_), RedactMode::Mask) => redacted.append_value(MASK),
                (Some(value), _) => {
                    let stand_in = stand_ins.entry(value).or_insert_with(|| self.of_column(column, value));
                    redacted.append_value(stand_in);
                }
            }
        }
        Arc::new(redacted.finish())
    }

    /// As the entity that the column names has it, so that the two can be joined.
    fn of_column(&self, column: &Column, value: &str) -> String {
        match column.kind.and_then(|kind| Entity::canonical(kind, value)) {
            Some(entity) => self.stand_in(&entity.kind, &entity.value),
            None => self.stand_in(column.name, value),
        }
    }

    fn entity(&self, entity: &Entity) -> Entity {
        if !self.kinds.contains(&*entity.kind) {
            return entity.clone();
        }
        Entity {
            kind: entity.kind.clone(),
            value: self.stand_in(&entity.kind, &entity.value).into(),
        }
    }

    /// HMAC-SHA256 (RFC 2104) over kind, NUL and value, the first 128 bits in hexadecimal.
    fn stand_in(&self, kind: &str, value: &str) -> String {
        let mut hmac = self.key.clone();
        for part in [kind.as_bytes(), &[0], value.as_bytes()] {
            hmac.update(part);
        }
        let digest = hmac.finalize().into_bytes();
        format!("{PREFIX}{}", hex::encode(&digest[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::model::{EntityRole, RoledEntity, Severity};

    fn redactor(mode: RedactMode) -> Redactor {
        let key = Secret::new("a key of a site that is long enough".to_owned());
        Redactor::new(Some(&RedactSettings { mode, key }))
    }

    /// Every text column holds its own name but the one that says who acted.
    fn events(who: &str) -> EventBatch {
        let columns = EventSchema::get()
            .columns()
            .iter()
            .zip(EventSchema::get().arrow().fields());
        let arrays = columns.map(|(column, field)| -> ArrayRef {
            match column.name.as_str() {
                "actor_user_uid" => Arc::new(StringViewArray::from_iter_values([who])),
                name if field.data_type() == &arrow::datatypes::DataType::Utf8View => {
                    Arc::new(StringViewArray::from_iter_values([format!("clear {name}")]))
                }
                _ => arrow::compute::cast(&arrow::array::Int64Array::from(vec![7]), field.data_type())
                    .unwrap_or_else(|_| new_null_array(field.data_type(), 1)),
            }
        });
        EventBatch::new(RecordBatch::try_new(EventSchema::get().arrow().clone(), arrays.collect()).unwrap())
    }

    #[test]
    fn no_personal_column_keeps_what_it_held() {
        let clear = events("Alice@Example.com");
        for mode in [RedactMode::Hmac, RedactMode::Mask, RedactMode::Drop] {
            let redacted = redactor(mode).events(&clear);
            for column in EventSchema::get().columns() {
                let same = redacted.column(&column.name) == clear.column(&column.name);
                assert_eq!(same, !column.personal, "{mode:?}: {}", column.name);
            }
            assert_eq!(redacted.text_at("raw", 0), Some(""));
            assert_eq!(redacted.text_at("unmapped", 0), None);
        }
        assert_eq!(Redactor::new(None).events(&clear).batch(), clear.batch());
    }

    #[test]
    fn the_same_person_has_one_stand_in_in_columns_and_entities() {
        let redactor = redactor(RedactMode::Hmac);
        let column = |who| {
            let redacted = redactor.events(&events(who));
            redacted.text_at("actor_user_uid", 0).unwrap().to_owned()
        };
        let entity = |kind: &str, value: &str| {
            let relation = Relation {
                tenant: "t".into(),
                from: Entity::new(kind, value),
                kind: "called".into(),
                to: Entity::new("tool", "t"),
                first_time: 0,
                last_time: 0,
                count: 1,
                event_id: "e".into(),
                layer: "cloud".into(),
            };
            redactor.relations(vec![relation]).remove(0)
        };
        let relation = entity("principal", "alice@example.com");
        assert_eq!(&*relation.from.value, column("Alice@Example.com"));
        assert_eq!(&*relation.to.value, "t", "a tool is nobody");
        assert!(relation.from.value.starts_with("hmac:") && relation.from.value.len() == 37);
        assert_ne!(column("bob@example.com"), column("alice@example.com"));
        let arn = "arn:aws:sts::1:assumed-role/a/alice";
        assert_eq!(&*entity("session", arn).from.value, column(arn));
        // Another key, another stand-in.
        let key = Secret::new("the key of quite another site".to_owned());
        let other = Redactor::new(Some(&RedactSettings {
            mode: RedactMode::Hmac,
            key,
        }));
        let other = other.events(&events("alice@example.com"));
        assert_ne!(other.text_at("actor_user_uid", 0), Some(&*column("alice@example.com")));
    }

    #[test]
    fn who_names_an_entity_names_it_as_it_is_kept() {
        let (on, off) = (redactor(RedactMode::Mask), Redactor::new(None));
        let ann = Entity::new("principal", "ann@example.com");
        let kept = on.entity(&ann);
        assert!(kept.value.starts_with("hmac:") && is_clear(&ann) && !is_clear(&kept));
        assert_eq!((on.entity(&kept), off.entity(&ann)), (kept.clone(), ann));
        let tool = Entity::new("tool", "search");
        assert!(!is_clear(&tool) && on.entity(&tool) == tool);
    }

    #[test]
    fn what_correlation_is_told_of_a_person_is_compared_with_the_stand_in() {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        let settings = CorrelateSettings {
            stop_values: vec![
                pattern("principal:Ann@Example.com"),
                pattern("tool:a*"),
                pattern("session:*"),
            ],
            specific_values: vec![pattern("address:192.0.2.1")],
            criticality: vec![crate::config::Criticality {
                entity: pattern("principal:arn:aws:sts::1:assumed-role/a/alice"),
                weight: 1.0,
            }],
            ..CorrelateSettings::default()
        };
        let redactor = redactor(RedactMode::Hmac);
        let kept = |kind: &str, value: &str| redactor.entity(&Entity::new(kind, value)).to_string();
        let told = redactor.correlate(&settings);
        let ann = kept("principal", "ann@example.com");
        assert!(ann.contains(PREFIX) && told.stop_values[0].matches(&ann), "{ann}");
        assert!(!told.stop_values[0].matches(&kept("principal", "bob@example.com")));
        assert!(told.stop_values[1].matches("tool:abc"));
        assert!(told.stop_values[2].matches(&kept("session", "s")));
        assert!(told.specific_values[0].matches(&kept("address", "192.0.2.1")));
        let session = kept("session", "arn:aws:sts::1:assumed-role/a/alice");
        assert!(told.criticality[0].entity.matches(&session));
        assert!(!format!("{told:?}").contains("example.com"));
        // A stand-in is taken as it is.
        let again = redactor.correlate(&told);
        assert_eq!(again.stop_values, told.stop_values);
        let clear = Redactor::new(None).correlate(&settings);
        assert_eq!(clear.stop_values, settings.stop_values);
    }

    #[test]
    fn what_detectors_say_keeps_no_person() {
        let detection = Detection {
            detection_id: "d".into(),
            tenant: "t".into(),
            time: 1,
            plugin: "p".into(),
            plugin_version: "1".into(),
            rule: "r".into(),
            severity: Severity::High,
            title: "Title of the rule".into(),
            message: "alice@example.com did it from 192.0.2.1".into(),
            techniques: Vec::new(),
            entities: ["principal:alice@example.com", "address:192.0.2.1", "gateway_key:k"]
                .map(|text| RoledEntity {
                    role: EntityRole::Actor,
                    entity: Entity::parse(text).unwrap(),
                })
                .to_vec(),
            event_ids: vec!["e".into()],
            layer: "gateway".into(),
            action: "chat".into(),
            late: false,
        };
        let own = Detection {
            plugin: SOURCE_HEALTH.into(),
            message: "source s brought 3 events".into(),
            ..detection.clone()
        };
        let own = redactor(RedactMode::Drop).detections(vec![own]).remove(0);
        assert_eq!(own.message, "source s brought 3 events");
        let kept = format!("{:?}", redactor(RedactMode::Drop).detections(vec![detection]));
        assert!(!kept.contains("alice") && !kept.contains("192.0.2.1"), "{kept}");
        assert!(kept.contains("hmac:") && kept.contains("gateway_key"), "{kept}");
        let rejected = Rejected {
            tenant: "t".into(),
            source: "s".into(),
            position: "p".into(),
            reason: "`alice` is no time, valid is `1`".into(),
            raw: b"alice".to_vec(),
            ingested_time: 1,
            newest_before: None,
        };
        let kept = redactor(RedactMode::Mask).rejected(&[rejected]).into_owned().remove(0);
        assert_eq!(
            (kept.reason.as_str(), kept.raw.len()),
            ("`…` is no time, valid is `…`", 0)
        );
    }
}
