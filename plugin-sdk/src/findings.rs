//! What a detector hands back.

use crate::{Row, Rule, Severity};

/// A thing in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// One of [`crate::entity`].
    pub kind: &'static str,
    pub value: String,
}

/// What shows a detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Rows of the batch, the decisive one last.
    Rows(Vec<Row>),
    /// No row decides it: a session that ended, something that did not happen. Only from a plugin whose manifest says `wants_time`.
    Elapsed {
        /// Routing key it is about, as [`crate::Batch::key`] gave it.
        key: String,
        /// Event time at which it came true, microseconds: never the time that `advance` happened to be called with.
        time: i64,
        /// Layer it belongs to: one of the manifest's, where that names any.
        layer: &'static str,
        /// Ids of the events that show it ([`crate::col::EVENT_ID`]), the decisive one last. At least one.
        events: Vec<String>,
    },
}

/// Something that deserves a look.
#[derive(Clone, Debug)]
pub struct Detection {
    pub rule: &'static Rule,
    pub shown_by: Evidence,
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
    /// Keys whose state was let go before its time, to stay within a bound of [`crate::Keyed`].
    pub keys_evicted: u64,
}

impl Findings {
    /// A detection decided by `row`. Until a message is set, it has the rule's title.
    pub fn detect(&mut self, rule: &'static Rule, row: Row) -> &mut Detection {
        self.found(rule, Evidence::Rows(vec![row]))
    }

    /// A detection that event time alone decided. Until a message is set, it has the rule's title; it names no entities but those
    /// that it is given.
    pub fn detect_elapsed(
        &mut self,
        rule: &'static Rule,
        key: impl Into<String>,
        time: i64,
        layer: &'static str,
        events: Vec<String>,
    ) -> &mut Detection {
        let key = key.into();
        self.found(
            rule,
            Evidence::Elapsed {
                key,
                time,
                layer,
                events,
            },
        )
    }

    fn found(&mut self, rule: &'static Rule, shown_by: Evidence) -> &mut Detection {
        self.detections.push(Detection {
            rule,
            shown_by,
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
