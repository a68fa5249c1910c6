//! Silences: findings that somebody answers for not wanting incidents of, until an event time.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::case::Change;
use super::detection::{Detection, ENTITIES_PER_DETECTION_MAX};
use super::entity::EntityRole;
use super::id::Id;
use super::time::Micros;

/// `rule` of a silence of all rules.
pub const EVERY_RULE: &str = "*";

/// Each is of its own; what one of them is about says nothing of the next.
const FLEETING: &str = "conversation";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub silence: String,
    pub tenant: String,
    /// `PLUGIN/RULE`, `PLUGIN`, or [`EVERY_RULE`].
    pub rule: String,
    /// `kind:value`, sorted, compared as they stand in detections.
    pub entities: Vec<String>,
    /// The incident whose verdict taught it.
    pub incident_id: Option<String>,
    pub owner: String,
    pub reason: String,
    /// By the clock.
    pub created: Micros,
    /// Event time from which on it does not hold any more.
    pub expires: Micros,
}

/// A silence, and how often it held since it was told of last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilencePart {
    pub silence: Silence,
    pub hits: u64,
    /// Event time.
    pub last_hit: Option<Micros>,
    /// Who took it away.
    pub removed_by: Option<String>,
}

impl Silence {
    /// Gives it the id that follows from all the rest.
    pub fn named(mut self) -> Silence {
        let mut parts: Vec<&[u8]> = vec![b"silence", self.tenant.as_bytes(), self.rule.as_bytes()];
        let times = [self.created.to_be_bytes(), self.expires.to_be_bytes()];
        parts.extend(times.iter().map(|time| time.as_slice()));
        parts.extend(self.incident_id.iter().map(|id| id.as_bytes()));
        parts.extend([self.owner.as_bytes(), self.reason.as_bytes()]);
        parts.extend(self.entities.iter().map(|entity| entity.as_bytes()));
        self.silence = Id::of(&parts).to_string();
        self
    }

    /// Whether it covers the detection: of each kind of entity that it names, all that the detection is about are among those named. A
    /// function of the detection alone, so that order, batches and restarts do not show.
    pub fn holds(&self, about: &About<'_>) -> bool {
        let detection = about.detection;
        if detection.time >= self.expires || self.tenant != detection.tenant || !self.is_of(detection) {
            return false;
        }
        if self.entities.is_empty() {
            return true;
        }
        // What else it named was cut off and may be another.
        if detection.entities.len() >= ENTITIES_PER_DETECTION_MAX {
            return false;
        }
        let by_kind = about.by_kind();
        let mut kinds = self.entities.iter().filter_map(|text| text.split_once(':'));
        kinds.all(|(kind, _)| {
            by_kind
                .get(kind)
                .is_some_and(|named| named.iter().all(|entity| self.entities.binary_search(entity).is_ok()))
        })
    }

    fn is_of(&self, detection: &Detection) -> bool {
        match self.rule.strip_prefix(&detection.plugin) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('/') == Some(&detection.rule),
            None => self.rule == EVERY_RULE,
        }
    }

    /// The one that a verdict of an incident teaches of a detection in it; `None` where the detection names nothing that tells it from
    /// any other.
    pub fn taught(detection: &Detection, incident_id: &str, change: &Change) -> Option<Silence> {
        if detection.entities.len() >= ENTITIES_PER_DETECTION_MAX {
            return None;
        }
        let about = by_kind(detection).into_iter().filter(|(kind, _)| *kind != FLEETING);
        let mut entities: Vec<String> = about.flat_map(|(_, named)| named).collect();
        entities.sort();
        entities.dedup();
        let silence = Silence {
            silence: String::new(),
            tenant: detection.tenant.clone(),
            rule: format!("{}/{}", detection.plugin, detection.rule),
            entities,
            incident_id: Some(incident_id.to_owned()),
            owner: change.by.clone(),
            reason: change.note.clone().unwrap_or_else(|| "verdict Benign".to_owned()),
            created: change.at,
            expires: change.silences_until?,
        };
        (!silence.entities.is_empty()).then(|| silence.named())
    }
}

/// A detection that silences are held against, and what it is about: worked out when the first of them asks, for there may be many.
pub struct About<'d> {
    detection: &'d Detection,
    by_kind: OnceCell<BTreeMap<&'d str, Vec<String>>>,
}

impl<'d> About<'d> {
    pub fn new(detection: &'d Detection) -> About<'d> {
        About {
            detection,
            by_kind: OnceCell::new(),
        }
    }

    fn by_kind(&self) -> &BTreeMap<&'d str, Vec<String>> {
        self.by_kind.get_or_init(|| by_kind(self.detection))
    }
}

/// By kind, what a detection is about: who acted, and where nobody of a kind did, all that it names.
fn by_kind(detection: &Detection) -> BTreeMap<&str, Vec<String>> {
    let mut about: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let is_actor = |role: EntityRole| role == EntityRole::Actor;
    for held in &detection.entities {
        let kind = &*held.entity.kind;
        let acted = detection
            .entities
            .iter()
            .any(|other| is_actor(other.role) && *other.entity.kind == *kind);
        if !acted || is_actor(held.role) {
            about.entry(kind).or_default().push(held.entity.to_string());
        }
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entity, RoledEntity, Severity};

    fn detection(entities: &[(EntityRole, &str)]) -> Detection {
        Detection {
            detection_id: "d".into(),
            tenant: "default".into(),
            time: 10,
            plugin: "p".into(),
            plugin_version: "1".into(),
            rule: "r".into(),
            severity: Severity::High,
            title: String::new(),
            message: String::new(),
            techniques: Vec::new(),
            entities: entities
                .iter()
                .map(|(role, text)| RoledEntity {
                    role: *role,
                    entity: Entity::parse(text).unwrap(),
                })
                .collect(),
            event_ids: Vec::new(),
            layer: String::new(),
            action: String::new(),
            late: false,
        }
    }

    fn change(until: Option<Micros>) -> Change {
        Change {
            by: "ann".into(),
            at: 5,
            note: None,
            silences_until: until,
        }
    }

    #[test]
    fn what_is_taught_holds_for_the_same_and_for_nobody_else() {
        use EntityRole::{Actor, Context, Target};
        let bob = (Actor, "principal:bob");
        let home = (Context, "address:192.0.2.1");
        let seen = detection(&[bob, home, (Context, "conversation:c1")]);
        let taught = Silence::taught(&seen, "i", &change(Some(100))).expect("it names somebody");
        assert_eq!(taught.entities, ["address:192.0.2.1", "principal:bob"]);
        assert_eq!(
            (taught.rule.as_str(), taught.reason.as_str()),
            ("p/r", "verdict Benign")
        );
        let holds = |entities: &[(EntityRole, &str)]| taught.holds(&About::new(&detection(entities)));
        assert!(holds(&[bob, home]));
        assert!(holds(&[bob, home, (Target, "principal:eve")]), "bob acted");
        assert!(!holds(&[bob, home, (Actor, "principal:eve")]), "so did eve");
        assert!(!holds(&[bob, (Context, "address:203.0.113.9")]));
        assert!(!holds(&[bob]), "from nowhere");
        for other in [
            Detection {
                time: 100,
                ..seen.clone()
            },
            Detection {
                tenant: "other".into(),
                ..seen.clone()
            },
            Detection {
                rule: "s".into(),
                ..seen.clone()
            },
            Detection {
                plugin: "p2".into(),
                ..seen.clone()
            },
        ] {
            assert!(
                taught.holds(&About::new(&seen)) && !taught.holds(&About::new(&other)),
                "{other:?}"
            );
        }
        assert_eq!(
            Silence::taught(&detection(&[(Context, "conversation:c")]), "i", &change(Some(100))),
            None,
            "it would silence the rule for everybody"
        );
        assert_eq!(Silence::taught(&seen, "i", &change(None)), None);
        // A value that looks like a pattern is none.
        let star = Silence::taught(&detection(&[(Actor, "principal:*")]), "i", &change(Some(100))).unwrap();
        assert!(!star.holds(&About::new(&detection(&[bob]))));
    }

    #[test]
    fn a_silence_by_hand_is_of_a_rule_a_plugin_or_all() {
        let seen = detection(&[(EntityRole::Actor, "principal:bob")]);
        for (rule, holds) in [
            ("p", true),
            ("p/r", true),
            ("*", true),
            ("p/x", false),
            ("pp", false),
            ("", false),
        ] {
            let silence = Silence {
                rule: rule.into(),
                entities: Vec::new(),
                ..Silence::taught(&seen, "i", &change(Some(100))).unwrap()
            };
            assert_eq!(silence.holds(&About::new(&seen)), holds, "{rule}");
        }
    }
}
