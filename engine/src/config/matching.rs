//! Which detections a file means: by their rule, and by what they say of whom.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::source::Texts;
use crate::model::detection::ENTITIES_PER_DETECTION_MAX;
use crate::model::{Detection, Entity, EntityRole, EventSchema, Micros, text};

/// Longest name, owner, reason and value, in bytes: they stand in tables and metrics.
pub(super) const TEXT_BYTES_MAX: usize = 512;

/// Detections that somebody answers for not wanting.
#[derive(Clone, Debug, PartialEq)]
pub struct ExceptionSettings {
    pub name: String,
    /// `PLUGIN/RULE`, or `PLUGIN` for all of its rules.
    pub rule: String,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    pub owner: String,
    pub reason: String,
    pub created: Option<Micros>,
    /// Event time from which on it does not hold any more.
    pub expires: Micros,
}

impl ExceptionSettings {
    /// Whether it takes the detection away.
    pub fn holds(&self, detection: &Detection) -> bool {
        detection.time < self.expires
            && names(&self.rule, &detection.plugin, &detection.rule)
            && self.conditions.iter().all(|condition| condition.holds(detection))
    }
}

/// Whether `name` is the rule's own, or that of its plugin.
fn names(name: &str, plugin: &str, rule: &str) -> bool {
    match name.strip_prefix(plugin) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('/') == Some(rule),
        None => false,
    }
}

/// What a column of a detection must be, or every entity of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// `tenant`, `layer`, `action`, `message`, or a kind of entity.
    pub of: String,
    /// One of them is enough.
    values: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq)]
enum Pattern {
    /// `*` stands for any text.
    Text(String),
    Network(IpNet),
}

/// Columns of a detection that a condition may name.
const COLUMNS: [&str; 4] = ["tenant", "layer", "action", "message"];

impl Condition {
    /// Who acted is decisive: where entities of the kind did, each of them must be among the values, else each that is named at all.
    /// A detection about somebody else too is kept.
    pub fn holds(&self, detection: &Detection) -> bool {
        let column = match self.of.as_str() {
            "tenant" => Some(&detection.tenant),
            "layer" => Some(&detection.layer),
            "action" => Some(&detection.action),
            "message" => Some(&detection.message),
            _ => None,
        };
        if let Some(text) = column {
            return self.is_met_by(text);
        }
        // What else it named was cut off and may be another.
        if detection.entities.len() >= ENTITIES_PER_DETECTION_MAX {
            return false;
        }
        let of_kind = || detection.entities.iter().filter(|held| *held.entity.kind == *self.of);
        let acted = of_kind().any(|held| held.role == EntityRole::Actor);
        let mut decisive = of_kind()
            .filter(|held| !acted || held.role == EntityRole::Actor)
            .peekable();
        decisive.peek().is_some() && decisive.all(|held| self.is_met_by(&held.entity.value))
    }

    fn is_met_by(&self, text: &str) -> bool {
        self.values.iter().any(|value| match value {
            Pattern::Text(pattern) => is_like(text, pattern),
            Pattern::Network(network) => text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)),
        })
    }
}

impl fmt::Display for Condition {
    /// `principal = ann@example.com or bob@example.com`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", self.of)?;
        for (index, value) in self.values.iter().enumerate() {
            let or = if index > 0 { " or " } else { "" };
            match value {
                Pattern::Text(text) => write!(f, "{or}{text}")?,
                Pattern::Network(network) => write!(f, "{or}{network}")?,
            }
        }
        Ok(())
    }
}

/// Whether a detection is of the rule, `PLUGIN/RULE` or `PLUGIN`, in which each `*` stands for any text.
pub fn is_rule(pattern: &str, detection: &Detection) -> bool {
    match pattern.contains('/') {
        true => is_like(&format!("{}/{}", detection.plugin, detection.rule), pattern),
        false => is_like(&detection.plugin, pattern),
    }
}

/// Whether `text` is `pattern`, in which each `*` stands for any text.
pub fn is_like(text: &str, pattern: &str) -> bool {
    text::is_like(text.as_bytes(), pattern.as_bytes())
}

pub(super) fn condition(of: String, values: Texts) -> Result<Condition, String> {
    let kinds = EventSchema::get().entity_kinds();
    let is_kind = kinds.contains(of.as_str());
    if !is_kind && !COLUMNS.contains(&of.as_str()) {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        return Err(format!(
            "`{of}` is nothing that a detection has; valid are {} and the entities {}",
            COLUMNS.join(", "),
            kinds.join(", ")
        ));
    }
    let values = values.into_vec();
    if values.is_empty()
        || values
            .iter()
            .any(|value| value.trim().is_empty() || value.len() > TEXT_BYTES_MAX)
    {
        return Err(format!(
            "{of}: valid is a text of 1 to {TEXT_BYTES_MAX} bytes, or a list of such"
        ));
    }
    let pattern = |value: &String| -> Result<Pattern, String> {
        if of == "address" && !value.contains('*') {
            let network = value
                .parse::<IpNet>()
                .or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
            let network = network.map_err(|_| {
                format!(
                    "address = \"{value}\": valid are an address, a network such as \"10.0.0.0/8\", and a name with `*`"
                )
            })?;
            return Ok(Pattern::Network(plain(network)));
        }
        // As the engine writes it in detections.
        match Entity::canonical(&of, value).filter(|_| is_kind) {
            Some(entity) if *entity.kind != *of => {
                let kind = entity.kind;
                Err(format!(
                    "{of} = \"{value}\": that is a {kind}; valid is {kind} = \"{value}\""
                ))
            }
            Some(entity) => Ok(Pattern::Text(entity.value.to_string())),
            None => Ok(Pattern::Text(value.clone())),
        }
    };
    let values = values.iter().map(pattern).collect::<Result<_, _>>()?;
    Ok(Condition { of, values })
}

/// An IPv4 network however it is written: detections name IPv4 addresses as such.
fn plain(network: IpNet) -> IpNet {
    if let IpNet::V6(six) = network
        && let Some(four) = six.addr().to_ipv4_mapped()
        && six.prefix_len() >= 96
        && let Ok(four) = ipnet::Ipv4Net::new(four, six.prefix_len() - 96)
    {
        return IpNet::V4(four.trunc());
    }
    network.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_networks() {
        for (text, pattern, is) in [
            ("abc", "abc", true),
            ("abcd", "abc", false),
            ("abcd", "a*d", true),
            ("abcd", "a*c", false),
            ("aXbXc", "*X*c", true),
            ("aa", "a*a", true),
            ("a", "a*a", false),
            ("anything", "*", true),
            ("ab", "*b*b", false),
        ] {
            assert_eq!(is_like(text, pattern), is, "{text} like {pattern}");
        }
        let network = |text: &str| {
            let values = Texts::One(text.into());
            condition("address".into(), values).map(|condition| condition.to_string())
        };
        assert_eq!(network("::ffff:192.0.2.9").as_deref(), Ok("address = 192.0.2.9/32"));
        assert_eq!(network("2001:db8::1/32").as_deref(), Ok("address = 2001:db8::/32"));
        assert!(network("10.0.0.0/33").is_err());
    }
}
