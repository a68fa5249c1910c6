//! What agents are made to do with their tools, as the traffic of the Model Context Protocol tells it: files of secrets, ways out of a
//! directory, credentials in what is given to a tool or comes back, and code that runs what it is handed.
//!
//! Every call is judged by itself, by its arguments and its answer alone: tools are named as their makers like.

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::{Batch, Detector, Findings, Manifest, Rule, col};

mod code;
mod credential;
mod path;
mod rules;

/// The detector.
pub struct AgentToolMisuse;

/// What one call shows, at most one finding a rule.
#[derive(Default)]
struct Found(Vec<(&'static Rule, String)>);

impl Found {
    fn add(&mut self, rule: &'static Rule, message: String) {
        if !self.0.iter().any(|(found, _)| found.id == rule.id) {
            self.0.push((rule, message));
        }
    }
}

fn argument(text: &str, found: &mut Found) {
    if path::may_be(text) {
        let path = path::Path::of(text);
        if let Some(why) = path.leaves() {
            found.add(&rules::TRAVERSAL, why);
        }
        if let Some(what) = path.secret() {
            found.add(&rules::SECRET_FILE, format!("the call names {what}"));
        }
        return;
    }
    if let Some(what) = code::dangerous(text) {
        found.add(&rules::CODE, format!("the call carries code that {what}"));
    }
    if let Some(what) = credential::held(text) {
        found.add(&rules::CREDENTIAL, format!("the call carries {what}"));
    }
}

/// Texts anywhere in the arguments. The reader of JSON bounds how deep they nest.
fn texts(value: &Value, found: &mut Found) {
    match value {
        Value::String(text) => argument(text, found),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

impl Detector for AgentToolMisuse {
    type Config = ();
    type State = ();

    fn new((): ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "agent-tool-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "What agents are made to do with their tools: files of secrets, ways out of a directory, credentials, dangerous code.",
            layers: &["agent"],
            columns: &[
                col::API_OPERATION.name,
                col::API_REQUEST_DATA.name,
                col::AI_RESPONSE.name,
                col::STATUS.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let requests = batch.text(col::API_REQUEST_DATA);
        let responses = batch.text(col::AI_RESPONSE);
        let statuses = batch.text(col::STATUS);
        for row in batch.rows() {
            let mut found = Found::default();
            let request = requests.get(row).and_then(|text| json::from_str::<Value>(text).ok());
            if let Some(request) = request {
                texts(&request, &mut found);
            }
            // What a server says of its tools holds names of credentials, not credentials.
            let answer = responses.get(row).filter(|_| operations.get(row) != Some("tools/list"));
            if let Some(what) = answer.and_then(credential::held) {
                found.add(&rules::CREDENTIAL, format!("the answer carries {what}"));
            }
            let failed = statuses.get(row) == Some("Failure");
            for (rule, message) in found.0 {
                let severity = if failed { rule.severity.lower() } else { rule.severity };
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(AgentToolMisuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AgentToolMisuse);
}
