//! What a detector hands back.

use crate::{Row, Rule, Severity};

/// A thing in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// One of [`crate::entity`].
    pub kind: &'static str,
    pub value: String,
}

/// Something that deserves a look.
#[derive(Clone, Debug)]
pub struct Detection {
    pub rule: &'static Rule,
    /// The rows that show it, the decisive one last.
    pub rows: Vec<Row>,
    pub severity: Option<Severity>,
    pub message: String,
    pub entities: Vec<Entity>,
}

impl Detection {
    /// Replaces the rule's severity.
    pub fn severity(&mut self, severity: Severity) -> &mut Self {
        self.severity = Some(severity);
        self
    }

    /// What was seen, in words for an analyst.
    pub fn message(&mut self, message: impl Into<String>) -> &mut Self {
        self.message = message.into();
        self
    }

    /// An entity beyond those that the rows' own columns name.
    pub fn entity(&mut self, kind: &'static str, value: impl Into<String>) -> &mut Self {
        self.entities.push(Entity {
            kind,
            value: value.into(),
        });
        self
    }
}

/// A fact, not an alarm: `source` did `kind` to `target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub source: Entity,
    pub kind: &'static str,
    pub target: Entity,
    pub row: Row,
}

/// Collects what a batch shows.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub detections: Vec<Detection>,
    pub relations: Vec<Relation>,
}

impl Findings {
    /// A detection decided by `row`. Until a message is set, it has the rule's title.
    pub fn detect(&mut self, rule: &'static Rule, row: Row) -> &mut Detection {
        self.detections.push(Detection {
            rule,
            rows: vec![row],
            severity: None,
            message: rule.title.to_owned(),
            entities: Vec::new(),
        });
        let last = self.detections.len() - 1;
        &mut self.detections[last]
    }

    /// The fact that `row` shows `source` doing `kind` to `target`.
    pub fn relate(&mut self, row: Row, source: Entity, kind: &'static str, target: Entity) {
        self.relations.push(Relation {
            source,
            kind,
            target,
            row,
        });
    }
}
