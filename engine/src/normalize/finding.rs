//! Other tools' findings: a record that states one becomes a detection at once.

use std::collections::BTreeSet;

use super::plan::{DetectionPlan, Part};
use super::record::ends;
use super::row::{Record, Row};
use crate::model::{Detection, Entity, EntityRole, EventSchema, Id, Micros, RoledEntity, Severity};

/// Entities of one detection; what comes after is passed over.
const ENTITIES_MAX: usize = 64;
const TECHNIQUES_MAX: usize = 16;
/// Longest texts, in bytes; a longer one is cut. Other tools' rules stay far below.
const RULE_BYTES_MAX: usize = 256;
const TITLE_BYTES_MAX: usize = 512;
const MESSAGE_BYTES_MAX: usize = 1024;

/// The event that states a finding.
pub struct Origin<'a> {
    pub tenant: &'a str,
    pub format: &'a str,
    pub event: Id,
    pub time: Micros,
    pub layer: &'a str,
    pub action: &'a str,
}

/// The detection that the row states; `None` when it is no finding. Its id follows from the event's: a record that is read again
/// gives the same.
pub fn detection(plan: &DetectionPlan, row: &Row, record: Record<'_>, origin: &Origin<'_>) -> Option<Detection> {
    if !row.holds(&plan.when, record) {
        return None;
    }
    let part = |part: Part| row.text(row.cells[part.index()], record);
    let severity: Severity = part(Part::Severity)?.parse().ok()?;
    let rule = cut(part(Part::Rule)?, RULE_BYTES_MAX);
    let title = cut(part(Part::Title).unwrap_or(&rule), TITLE_BYTES_MAX);
    let techniques: BTreeSet<&str> = ends(row, Part::Techniques.index())
        .filter_map(|cell| row.text(cell, record).and_then(technique))
        .take(TECHNIQUES_MAX)
        .collect();
    let event = origin.event.to_string();
    Some(Detection {
        detection_id: Detection::id_of(origin.tenant, origin.format, &rule, &[&event]).to_string(),
        tenant: origin.tenant.to_owned(),
        time: origin.time,
        plugin: origin.format.to_owned(),
        plugin_version: String::new(),
        message: cut(part(Part::Message).unwrap_or(&title), MESSAGE_BYTES_MAX),
        rule,
        severity,
        title,
        techniques: techniques.into_iter().map(str::to_owned).collect(),
        entities: entities(plan, row, record).into_iter().collect(),
        event_ids: vec![event],
        layer: origin.layer.to_owned(),
        action: origin.action.to_owned(),
        late: false,
    })
}

fn entities(plan: &DetectionPlan, row: &Row, record: Record<'_>) -> BTreeSet<RoledEntity> {
    let columns = EventSchema::get().columns().iter().enumerate();
    let named = columns.filter_map(|(index, column)| {
        let kind = column.entity.as_deref()?;
        Some((kind, column.role.unwrap_or(EntityRole::Context), index))
    });
    let own = plan.entities.iter().map(|(kind, role, index)| (&**kind, *role, *index));
    let mut entities: BTreeSet<RoledEntity> = BTreeSet::new();
    for (kind, role, index) in named.chain(own) {
        for cell in ends(row, index) {
            let entity = row.text(cell, record).and_then(|value| Entity::canonical(kind, value));
            let Some(entity) = entity.filter(|_| entities.len() < ENTITIES_MAX) else {
                continue;
            };
            if !entities.iter().any(|held| held.entity == entity) {
                entities.insert(RoledEntity { role, entity });
            }
        }
    }
    entities
}

/// The id when the text is one of ATT&CK (`T1078.004`) or ATLAS (`AML.T0051.000`).
fn technique(text: &str) -> Option<&str> {
    let number = text.strip_prefix("AML.").unwrap_or(text).strip_prefix('T')?;
    let (technique, sub) = number.split_once('.').unwrap_or((number, "000"));
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(technique, 4) && digits(sub, 3)).then_some(text)
}

fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[test]
fn ids_of_techniques() {
    for (text, is) in [
        ("T1078", true),
        ("T1078.004", true),
        ("AML.T0051.000", true),
        ("T107", false),
        ("T1078.4", false),
        ("mitre_execution", false),
    ] {
        assert_eq!(technique(text).is_some(), is, "{text}");
    }
}
