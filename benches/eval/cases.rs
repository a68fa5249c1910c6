//! Cases of one or several events with one label: MCP (safe-mcp), Kubernetes audit (k8s-audit), rules' own tests (panther).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::set::{Label, Record, Set, Target, Unit, lines, text_of};

/// The cases without their author's verdict fields, as MCP messages: the fields are the author's own and no product's.
pub fn safe_mcp(text: &str) -> Result<Set> {
    let mut set = Set::new("safe-mcp", "mcp_jsonrpc", Target::Unit);
    for case in lines(text)? {
        let (label, kind) = match case["expected"].as_bool() {
            Some(true) => (Label::Attack, "expected"),
            Some(false) => (Label::Quiet, "not expected"),
            None => (Label::Apart, "no label"),
        };
        let unit = Unit {
            id: text_of(&case, "case")?.to_owned(),
            label,
            kind: kind.to_owned(),
            group: text_of(&case, "technique")?.to_owned(),
            says: String::new(),
        };
        add(&mut set, unit, &case, mcp_message);
    }
    Ok(set)
}

/// The event as a tap beside an MCP client writes it: what describes a tool as an answer of a server to `tools/list`, all else as a call.
fn mcp_message(event: &Value) -> String {
    let name = ["tool_name", "event_type"]
        .iter()
        .find_map(|name| event[*name].as_str());
    let name = name.unwrap_or("tool");
    let member = |name: &str| event.get(name).cloned().unwrap_or_default();
    let mut message = json!({
        "jsonrpc": "2.0", "id": 1, "timestamp": member("timestamp"), "session_id": member("session_id"),
        "user_id": member("user_id"), "server_name": member("server_name"),
    });
    if event.get("tool_description").is_some() {
        let mut tool = event.clone();
        tool["name"] = name.into();
        tool["description"] = event["tool_description"].clone();
        message["result"] = json!({"tools": [tool]});
    } else {
        message["method"] = "tools/call".into();
        message["params"] = json!({"name": name, "arguments": event});
    }
    message.to_string()
}

/// A trace that one test calls right and another wrong differs in what the cluster's owner allows, which no log says.
const ALLOWED_ELSEWHERE: &str = "told by an allow list alone";

/// The lists of images that tests bring, by the end of their rules' file; and the set of the tests that run under each.
const IMAGE_LISTS: [(&str, &str, &str); 2] = [
    ("allow_only_apache_container.yaml", "apache", "k8s-audit, apache"),
    ("allow_nginx_container.yaml", "nginx", "k8s-audit, nginx"),
];

/// The tests without a list of images, and those of each list.
pub fn kubernetes(text: &str) -> Result<Vec<Set>> {
    let cases = lines(text)?;
    let list = |case: &Value| {
        let mut files = case["rules_files"].as_array().into_iter().flatten();
        files.find_map(|file| {
            let file = file.as_str()?;
            IMAGE_LISTS.iter().position(|(name, ..)| file.ends_with(name))
        })
    };
    let mut answers: BTreeMap<(String, Option<usize>), [bool; 2]> = BTreeMap::new();
    let trace = |case: &Value| (case["events"].to_string(), list(case));
    for case in &cases {
        let expected = case["expected"].as_bool().context("no `expected`")?;
        answers.entry(trace(case)).or_default()[usize::from(expected)] = true;
    }
    let mut sets = Vec::new();
    for index in std::iter::once(None).chain((0..IMAGE_LISTS.len()).map(Some)) {
        let (image, name) = index.map_or((None, "k8s-audit"), |index| {
            let (_, image, name) = IMAGE_LISTS[index];
            (Some(image), name)
        });
        let mut set = Set::new(name, "kubernetes_audit", Target::Unit);
        if let Some(image) = image {
            let config = json!({ "allowed_images": [image] });
            set.config.insert("kubernetes-misuse".to_owned(), config);
        }
        for case in cases.iter().filter(|case| list(case) == index) {
            let level = case["level"].as_str().unwrap_or_default();
            let (label, kind) = match case["expected"].as_bool() {
                Some(true) if matches!(level, "INFO" | "INFORMATIONAL" | "DEBUG") => (Label::Apart, "INFO"),
                Some(true) => (Label::Attack, "NOTICE and above"),
                _ if answers.get(&trace(case)) == Some(&[true, true]) => (Label::Apart, ALLOWED_ELSEWHERE),
                _ => (Label::Quiet, "quiet"),
            };
            let unit = Unit {
                id: text_of(case, "test")?.to_owned(),
                label,
                kind: kind.to_owned(),
                group: case["rules"][0].as_str().unwrap_or("no rule").to_owned(),
                says: call(&case["events"][0]),
            };
            add(&mut set, unit, case, Value::to_string);
        }
        if !set.units.is_empty() {
            sets.push(set);
        }
    }
    Ok(sets)
}

/// Who did what, of an audit event.
fn call(event: &Value) -> String {
    let of = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    format!(
        "{} {} by {}",
        of("/verb"),
        of("/objectRef/resource"),
        of("/user/username")
    )
}

/// A rule that fires is no attack, and a log that is none for its rule may be one for another: nothing here is right or wrong. Policies,
/// and tests that need the rule's own functions replaced, are left out.
pub fn panther(tests: &str, rules: &str) -> Result<Set> {
    let mut severities = BTreeMap::new();
    for rule in lines(rules)? {
        let severity = rule["severity"].as_str().unwrap_or_default().to_ascii_uppercase();
        severities.insert(text_of(&rule, "rule_id")?.to_owned(), severity);
    }
    let mut set = Set::new("panther", "auto", Target::Unit);
    let mocked = |case: &Value| match &case["mocks"] {
        Value::Null => false,
        Value::Array(mocks) => !mocks.is_empty(),
        _ => true,
    };
    for case in lines(tests)?
        .iter()
        .filter(|case| case["type"] == "rule" && !mocked(case))
    {
        let rule = text_of(case, "rule_id")?;
        let severe = severities
            .get(rule)
            .is_some_and(|severity| matches!(severity.as_str(), "HIGH" | "CRITICAL"));
        let kind = match case["expected"].as_bool() {
            Some(true) if severe => "its HIGH or CRITICAL rule fires",
            Some(true) => "its lesser rule fires",
            _ => "its rule does not fire",
        };
        let unit = Unit {
            id: format!("{rule}: {}", case["test"].as_str().unwrap_or_default()),
            label: Label::Apart,
            kind: kind.to_owned(),
            group: rule.to_owned(),
            says: String::new(),
        };
        set.add_alone(unit, case["log"].to_string());
    }
    Ok(set)
}

/// A case with its events, apart from all other cases.
fn add(set: &mut Set, mut unit: Unit, case: &Value, record: impl Fn(&Value) -> String) {
    let index = set.units.len();
    for event in case["events"].as_array().into_iter().flatten() {
        if unit.says.is_empty() {
            unit.says = event.to_string();
        }
        set.records.push(Record {
            unit: index,
            tenant: index,
            text: record(event),
        });
    }
    set.units.push(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(set: &Set) -> Vec<Label> {
        set.units.iter().map(|unit| unit.label).collect()
    }

    #[test]
    fn what_has_no_verdict_is_neither_right_nor_wrong() {
        let text = r#"{"case":"A#0","technique":"A","expected":true,"events":[{"tool_name":"t","tool_description":"d"},{"tool_name":"t"}]}
{"case":"A#1","technique":"A","expected":false,"events":[{}]}
{"case":"A#2","technique":"A","expected":null,"events":[]}"#;
        let set = safe_mcp(text).expect("valid");
        assert_eq!(labels(&set), [Label::Attack, Label::Quiet, Label::Apart]);
        let message = |index: usize| serde_json::from_str::<Value>(&set.records[index].text).expect("JSON");
        assert_eq!(message(0)["result"]["tools"][0]["description"], "d");
        assert_eq!(message(1)["params"]["name"], "t");
    }

    #[test]
    fn notes_and_traces_that_an_allow_list_decides_stand_apart() {
        let text = r#"{"test":"a","expected":true,"level":"WARNING","rules":["R"],"events":[{"auditID":"1"}]}
{"test":"b","expected":false,"level":null,"rules":[],"events":[{"auditID":"1"}]}
{"test":"c","expected":false,"level":null,"rules":[],"events":[{"auditID":"2"}]}
{"test":"d","expected":true,"level":"INFO","rules":["N"],"events":[{"auditID":"3"}]}"#;
        let sets = kubernetes(text).expect("valid");
        assert_eq!(sets.len(), 1);
        assert_eq!(
            labels(&sets[0]),
            [Label::Attack, Label::Apart, Label::Quiet, Label::Apart]
        );
    }

    #[test]
    fn a_test_that_brings_a_list_of_images_runs_under_it() {
        let text = r#"{"test":"a","expected":true,"level":"WARNING","rules":["R"],"rules_files":["x.yaml","./y/allow_only_apache_container.yaml"],"events":[{"auditID":"1"}]}
{"test":"b","expected":false,"level":null,"rules":[],"rules_files":["x.yaml"],"events":[{"auditID":"1"}]}"#;
        let sets = kubernetes(text).expect("valid");
        assert_eq!(sets.len(), 2);
        assert_eq!(labels(&sets[0]), [Label::Quiet], "no list, so any image may run");
        assert!(sets[0].config.is_empty());
        assert_eq!(labels(&sets[1]), [Label::Attack]);
        assert_eq!(
            sets[1].config["kubernetes-misuse"],
            json!({ "allowed_images": ["apache"] })
        );
    }

    #[test]
    fn policies_and_tests_with_replaced_functions_are_left_out() {
        let tests = r#"{"rule_id":"r","type":"rule","test":"t","expected":true,"mocks":[],"log":{}}
{"rule_id":"r","type":"rule","test":"u","expected":true,"mocks":[{}],"log":{}}
{"rule_id":"r","type":"policy","test":"v","expected":true,"mocks":null,"log":{}}"#;
        let set = panther(tests, r#"{"rule_id":"r","severity":"High"}"#).expect("valid");
        assert_eq!(set.units.len(), 1);
        assert_eq!(set.units[0].kind, "its HIGH or CRITICAL rule fires");
    }
}
