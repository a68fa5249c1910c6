//! Reading policies: whom they trust and what they allow.

use sentrail_plugin::Search;
use sentrail_plugin::json::{self, Value};

/// Managed policies that give nearly everything, by the end of their ARN.
const POWERFUL: [&str; 3] = ["/AdministratorAccess", "/PowerUserAccess", "/IAMFullAccess"];

/// Whether a managed policy gives nearly everything.
pub fn is_powerful(arn: &str) -> bool {
    POWERFUL.iter().any(|name| arn.ends_with(name))
}

/// A policy document, given as an object or as text, perhaps percent-encoded.
pub fn document(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.starts_with('%') => json::from_str(&decoded(text)).ok(),
        Value::String(text) => json::from_str(text).ok(),
        _ => None,
    }
}

/// Whether a statement allows every action on every resource, or every action on identities.
pub fn allows_everything(document: &Value) -> bool {
    allowing(document).any(|statement| {
        let all = |name: &str| texts(statement.get(name)).any(|text| text == "*");
        let every_action = texts(statement.get("Action")).any(|action| matches!(action, "*" | "*:*" | "iam:*"));
        (every_action || statement.get("NotAction").is_some()) && all("Resource")
    })
}

/// The first principal that a statement lets in from outside `account`.
pub fn outsider(document: &Value, account: &str) -> Option<String> {
    allowing(document).find_map(|statement| {
        // A condition on the organization or the source keeps the door closed to others.
        let bound = statement.get("Condition").is_some_and(|condition| {
            let text = condition.to_string();
            [
                "PrincipalOrg",
                "SourceAccount",
                "SourceArn",
                "ExternalId",
                "sourceVpc",
                "SourceVpc",
            ]
            .iter()
            .any(|key| text.holds(key))
        });
        let principal = statement.get("Principal")?;
        let named = match principal {
            Value::String(text) => vec![text.as_str()],
            Value::Object(map) => texts(map.get("AWS")).collect(),
            _ => Vec::new(),
        };
        named
            .into_iter()
            .find(|name| is_outside(name, account) && !(bound && *name == "*"))
            .map(str::to_owned)
    })
}

/// Whether an account id, an ARN or `*` lies outside `account`. Without a known account only `*` does.
pub fn is_outside(principal: &str, account: &str) -> bool {
    if principal == "*" {
        return true;
    }
    let id = if principal.starts_with("arn:") {
        principal.split(':').nth(4).unwrap_or_default()
    } else {
        principal
    };
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()) && !account.is_empty() && id != account
}

fn allowing(document: &Value) -> impl Iterator<Item = &Value> {
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(statement) => vec![statement],
        None => Vec::new(),
    };
    statements
        .into_iter()
        .filter(|statement| statement.get("Effect").and_then(Value::as_str) == Some("Allow"))
}

/// A text or a list of texts.
pub fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text.as_str()],
        _ => Vec::new(),
    };
    list.into_iter()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let value = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match value.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outsiders_are_told_from_insiders() {
        let policy = |principal: &str| {
            let text =
                format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"}}]}}"#);
            outsider(&document(&Value::String(text)).expect("a document"), "111122223333")
        };
        assert_eq!(
            policy(r#"{"AWS":"arn:aws:iam::999988887777:root"}"#).as_deref(),
            Some("arn:aws:iam::999988887777:root")
        );
        assert_eq!(policy(r#"{"AWS":["arn:aws:iam::111122223333:role/x"]}"#), None);
        assert_eq!(policy(r#"{"Service":"ec2.amazonaws.com"}"#), None);
        assert_eq!(policy(r#""*""#).as_deref(), Some("*"));
    }

    #[test]
    fn documents_may_be_percent_encoded() {
        let text = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22*%22%7D%7D";
        assert!(allows_everything(
            &document(&Value::String(text.into())).expect("a document")
        ));
    }
}
