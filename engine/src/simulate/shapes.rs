//! Log lines in the shapes that the real systems write.

use serde_json::{Value, json};

use crate::model::Micros;
use crate::model::time::SECOND;

/// The account of the made-up company.
pub const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-central-1";

fn stamp(time: Micros, format: &str) -> String {
    chrono::DateTime::from_timestamp_micros(time)
        .map(|moment| moment.format(format).to_string())
        .unwrap_or_default()
}

/// One CloudTrail record.
pub struct Cloud<'a> {
    pub id: &'a str,
    pub identity: Value,
    pub address: &'a str,
    pub agent: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
    pub request: Value,
    pub response: Value,
    pub error: Option<(&'a str, &'a str)>,
}

impl Cloud<'_> {
    pub fn line(self, time: Micros) -> String {
        let reads = ["Describe", "Get", "List", "Lookup", "Head", "InvokeModel", "AssumeRole"];
        let mut record = json!({
            "eventVersion": "1.11", "userIdentity": self.identity, "eventTime": stamp(time, "%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": format!("{}.amazonaws.com", self.service), "eventName": self.operation, "awsRegion": REGION,
            "sourceIPAddress": self.address, "userAgent": self.agent, "requestParameters": self.request,
            "responseElements": self.response, "requestID": format!("{:0>8}-req", &self.id[..8.min(self.id.len())]),
            "eventID": self.id, "readOnly": reads.iter().any(|read| self.operation.starts_with(read)),
            "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": ACCOUNT, "eventCategory": "Management",
        });
        if let (Some((code, message)), Some(members)) = (self.error, record.as_object_mut()) {
            members.insert("errorCode".to_owned(), json!(code));
            members.insert("errorMessage".to_owned(), json!(message));
        }
        record.to_string()
    }
}

pub fn user_arn(user: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{user}")
}

pub fn role_arn(role: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

pub fn session_arn(role: &str, session: &str) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}")
}

/// IAM's unique id of a user or role: the prefix says which.
fn unique_id(prefix: &str, name: &str) -> String {
    let number = name
        .bytes()
        .fold(7u64, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_000_000);
    format!("{prefix}{number:0>9}EXAMPLE")
}

/// `userIdentity` of an IAM user.
pub fn iam_user(user: &str, key: &str) -> Value {
    json!({"type": "IAMUser", "principalId": unique_id("AIDA", user), "arn": user_arn(user),
        "accountId": ACCOUNT, "accessKeyId": key, "userName": user})
}

/// `userIdentity` of a role's session.
pub fn session(role: &str, name: &str, key: &str, opened: Micros) -> Value {
    let principal = unique_id("AROA", role);
    json!({"type": "AssumedRole", "principalId": format!("{principal}:{name}"), "arn": session_arn(role, name),
        "accountId": ACCOUNT, "accessKeyId": key, "sessionContext": {
            "sessionIssuer": {"type": "Role", "principalId": principal, "arn": role_arn(role), "accountId": ACCOUNT, "userName": role},
            "attributes": {"creationDate": stamp(opened, "%Y-%m-%dT%H:%M:%SZ"), "mfaAuthenticated": "false"}}})
}

/// Request and response of AssumeRole.
pub fn assume_role(role: &str, name: &str, key: &str, time: Micros) -> (Value, Value) {
    let request = json!({"roleArn": role_arn(role), "roleSessionName": name, "durationSeconds": 3600});
    let expires = stamp(time + 3600 * SECOND, "%b %-d, %Y, %-I:%M:%S %p");
    let response = json!({"credentials": {"accessKeyId": key, "sessionToken": "EXAMPLETOKEN", "expiration": expires},
        "assumedRoleUser": {"assumedRoleId": format!("{}:{name}", unique_id("AROA", role)), "arn": session_arn(role, name)}});
    (request, response)
}

/// One call through the LiteLLM gateway.
pub struct Gateway<'a> {
    pub id: &'a str,
    pub trace: &'a str,
    pub key_hash: &'a str,
    pub key_alias: &'a str,
    pub team: &'a str,
    pub user: &'a str,
    pub address: &'a str,
    pub model: &'a str,
    pub messages: Value,
    /// The assistant's message; `None` for a failed call.
    pub answer: Option<Value>,
    pub error: Option<(&'a str, &'a str, &'a str)>,
    pub tokens: (u32, u32),
}

impl Gateway<'_> {
    pub fn line(self, time: Micros) -> String {
        let start = time as f64 / SECOND as f64;
        let seconds = if self.answer.is_some() {
            0.4 + f64::from(self.tokens.1) / 80.0
        } else {
            0.05
        };
        let (input, output) = if self.answer.is_some() { self.tokens } else { (0, 0) };
        let response = match &self.answer {
            Some(message) => json!({"id": self.id, "object": "chat.completion", "model": self.model,
                "choices": [{"index": 0, "finish_reason": if message["tool_calls"].is_array() { "tool_calls" } else { "stop" }, "message": message}],
                "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}}),
            None => Value::Null,
        };
        let (text, information) = match self.error {
            Some((code, class, text)) => (
                json!(text),
                json!({"error_code": code, "error_class": class, "llm_provider": "", "error_message": text}),
            ),
            None => (Value::Null, Value::Null),
        };
        json!({
            "id": self.id, "trace_id": self.trace, "call_type": "acompletion", "stream": false, "cache_hit": false,
            "response_cost": f64::from(input) * 2.5e-6 + f64::from(output) * 1e-5,
            "status": if self.answer.is_some() { "success" } else { "failure" },
            "total_tokens": input + output, "prompt_tokens": input, "completion_tokens": output,
            "startTime": start, "endTime": start + seconds, "completionStartTime": start + seconds / 2.0, "response_time": seconds,
            "model": self.model, "model_id": format!("{}-1", self.model), "model_group": self.model, "custom_llm_provider": "openai",
            "api_base": "https://llm.example.com/v1", "end_user": "", "requester_ip_address": self.address,
            "metadata": {"user_api_key_hash": self.key_hash, "user_api_key_alias": self.key_alias, "user_api_key_org_id": null,
                "user_api_key_team_id": self.team, "user_api_key_user_id": self.user, "user_api_key_team_alias": self.team,
                "requester_ip_address": self.address, "requester_metadata": {}},
            "messages": self.messages, "response": response, "error_str": text, "error_information": information,
            "model_parameters": {"temperature": 0.2}, "hidden_params": {}, "request_tags": [],
        })
        .to_string()
    }
}

/// One line of Qdrant's audit log. The log has no ids.
pub struct Vector<'a> {
    pub method: &'a str,
    pub subject: &'a str,
    pub address: &'a str,
    pub collection: Option<&'a str>,
    pub denied: bool,
}

impl Vector<'_> {
    pub fn line(self, time: Micros) -> String {
        let mut record = json!({"timestamp": stamp(time, "%Y-%m-%dT%H:%M:%S%.6fZ"), "method": self.method, "auth_type": "Jwt",
            "subject": self.subject, "remote": self.address, "result": if self.denied { "denied" } else { "ok" }});
        if let Some(members) = record.as_object_mut() {
            if let Some(collection) = self.collection {
                members.insert("collection".to_owned(), json!(collection));
            }
            if self.denied {
                members.insert("error".to_owned(), json!("Forbidden: Access to collection is required"));
            }
        }
        record.to_string()
    }
}
