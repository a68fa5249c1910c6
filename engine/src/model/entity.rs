//! Entities: the things that events name and the attack graph joins.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A thing in the world: a kind from schemas/events.toml and its canonical value. Written `kind:value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    pub kind: Arc<str>,
    pub value: Arc<str>,
}

/// What an entity is in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityRole {
    /// Who did it.
    Actor,
    /// What it was done to.
    Target,
    /// From where and through what.
    Context,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoledEntity {
    pub role: EntityRole,
    pub entity: Entity,
}

/// Longest value that is kept, in bytes; a longer one is cut at a character's edge. Bounds what an attacker can make the graph hold.
pub const ENTITY_VALUE_BYTES_MAX: usize = 512;

impl Entity {
    /// The entity that `value` names, in the canonical form of its kind; `None` where the value names nothing.
    ///
    /// - `principal`: an STS assumed-role ARN is a `session`; e-mail addresses are lower-cased.
    /// - `address`: the standard text form; an IPv4-mapped IPv6 address is that IPv4 address; text that is no address stays.
    /// - everything else: trimmed.
    pub fn canonical(kind: &str, value: &str) -> Option<Entity> {
        let value = cut(value.trim());
        if value.is_empty() || value == "-" {
            return None;
        }
        Some(match kind {
            "principal" if value.starts_with("arn:") && value.contains(":assumed-role/") => {
                Entity::new("session", value)
            }
            "principal" if value.contains('@') && !value.starts_with("arn:") => {
                Entity::new(kind, &value.to_lowercase())
            }
            "address" => match value.parse::<IpAddr>() {
                Ok(address) => Entity::new(kind, &address.to_canonical().to_string()),
                Err(_) => Entity::new(kind, value),
            },
            _ => Entity::new(kind, value),
        })
    }

    pub fn new(kind: &str, value: &str) -> Entity {
        Entity {
            kind: kind.into(),
            value: value.into(),
        }
    }

    /// Reads `kind:value`.
    pub fn parse(text: &str) -> Option<Entity> {
        text.split_once(':').map(|(kind, value)| Entity::new(kind, value))
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(ENTITY_VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}
