//! A company, and what is done in it, as lines of real formats.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::model::Micros;
use sentrail::model::time::{MINUTE, SECOND};
use sentrail::simulate::shapes::{Cloud, Gateway, Vector, assume_role, iam_user, session};
use sentrail::simulate::{access_key, hex};
use serde_json::{Value, json};

/// 2026-03-02T00:00:00Z.
pub const START: Micros = 1_772_409_600 * SECOND;

/// The formats that are written, one source each.
pub const FORMATS: [&str; 6] = [
    "aws_cloudtrail",
    "litellm",
    "qdrant_audit",
    "mcp_jsonrpc",
    "kubernetes_audit",
    "okta",
];

/// One log line and whose it is.
pub struct Line {
    pub format: &'static str,
    pub time: Micros,
    pub text: String,
    /// Index of the campaign and of its step; `None` for ordinary work.
    pub campaign: Option<(usize, usize)>,
}

/// Somebody who works here.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub mail: String,
    pub key_hash: String,
    pub access_key: String,
    /// The office's address, shared with many, and one of their own.
    pub office: String,
    pub home: String,
}

/// Everybody who works here.
pub struct Company {
    pub people: Vec<Person>,
}

impl Company {
    pub fn new(seed: u64, people: usize) -> Company {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let person = |number: usize| {
            let name = format!("{}.{number}", pick(&mut rng, &NAMES));
            Person {
                mail: format!("{name}@example.com"),
                key_hash: hex(&mut rng, 64),
                access_key: access_key(&mut rng, "AKIA"),
                office: format!("198.51.100.{}", 1 + number % 6),
                home: format!("10.{}.{}.{}", 20 + number / 65_536, number / 256 % 256, number % 256),
                name,
            }
        };
        Company {
            people: (0..people).map(person).collect(),
        }
    }
}

const NAMES: [&str; 12] = [
    "ada", "bruno", "clara", "dario", "elif", "felix", "greta", "hugo", "ines", "jonas", "kaya", "lena",
];

pub fn pick<'a, T: ?Sized>(rng: &mut ChaCha8Rng, all: &[&'a T]) -> &'a T {
    all.choose(rng).copied().unwrap_or(all[0])
}

/// Who acts, from where, and with what.
#[derive(Clone, Debug)]
pub struct Actor {
    pub person: Person,
    pub address: String,
    pub agent: &'static str,
    /// An agent's conversation and session with its tools.
    pub conversation: String,
    /// A role that was assumed: its name, that of the session, its access key.
    pub role: Option<(String, String, String)>,
}

impl Actor {
    pub fn new(rng: &mut ChaCha8Rng, person: Person, address: String) -> Actor {
        Actor {
            person,
            address,
            agent: "aws-cli/2.17.40 md/awscrt#0.21 os/linux lang/python#3.11.9",
            conversation: format!("conv-{}", hex(rng, 12)),
            role: None,
        }
    }
}

/// How the steps of a scene are told so that nothing joins them. What is done within a minute is one step.
#[derive(Clone, Copy)]
pub enum Apart<'a> {
    /// Each by somebody else, from somewhere else.
    ByOthers(&'a Company),
    /// Each so much later.
    Later(Micros),
}

/// What one actor does, step by step; `minute` is that of the script.
pub struct Scene<'a> {
    pub rng: &'a mut ChaCha8Rng,
    pub actor: Actor,
    pub start: Micros,
    /// Minutes of the script are this much longer or shorter.
    pub pace: f64,
    pub campaign: Option<usize>,
    pub telling: Option<Apart<'a>>,
    pub lines: Vec<Line>,
    /// The minute of the newest line, and how many steps there were before it.
    minute: f64,
    steps: usize,
}

impl<'a> Scene<'a> {
    pub fn new(rng: &'a mut ChaCha8Rng, actor: Actor, start: Micros) -> Scene<'a> {
        Scene {
            rng,
            actor,
            start,
            pace: 1.0,
            campaign: None,
            telling: None,
            lines: Vec::new(),
            minute: 0.0,
            steps: 0,
        }
    }

    /// When a line of this minute is written; to be asked before the actor is.
    fn at(&mut self, minute: f64) -> Micros {
        let is_new = minute - self.minute >= 1.0;
        self.minute = minute;
        self.steps += usize::from(is_new);
        let mut start = self.start;
        match self.telling {
            Some(Apart::ByOthers(company)) if is_new => {
                let person = company.people[self.rng.random_range(0..company.people.len())].clone();
                let address = format!(
                    "100.{}.{}.{}",
                    64 + self.campaign.unwrap_or(0),
                    self.steps,
                    self.rng.random_range(1..250)
                );
                self.actor = Actor::new(self.rng, person, address);
            }
            Some(Apart::Later(by)) => start += self.steps as Micros * by,
            _ => {}
        }
        let jitter = self.rng.random_range(0.0..0.05);
        start + ((minute * self.pace + jitter) * MINUTE as f64) as Micros
    }

    fn add(&mut self, format: &'static str, time: Micros, text: String) {
        self.lines.push(Line {
            format,
            time,
            text,
            campaign: self.campaign.map(|campaign| (campaign, self.steps)),
        });
    }

    /// A chat through the gateway.
    pub fn chat(&mut self, minute: f64, prompt: &str, answer: &str) {
        self.messages(minute, json!([{"role": "user", "content": prompt}]), Some(answer));
    }

    /// A chat in which a tool or a document gave `text` back.
    pub fn retrieved(&mut self, minute: f64, asked: &str, text: &str, answer: &str) {
        let messages = json!([
            {"role": "user", "content": asked},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "read_document", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": text},
        ]);
        self.messages(minute, messages, Some(answer));
    }

    /// A chat that the gateway refused.
    pub fn refused(&mut self, minute: f64) {
        self.messages(minute, json!([{"role": "user", "content": "ping"}]), None);
    }

    fn messages(&mut self, minute: f64, messages: Value, answer: Option<&str>) {
        let (time, id) = (self.at(minute), format!("chatcmpl-{}", hex(self.rng, 24)));
        let tokens = (self.rng.random_range(100..900), self.rng.random_range(60..500));
        let actor = self.actor.clone();
        let text = Gateway {
            id: &id,
            trace: &actor.conversation,
            key_hash: &actor.person.key_hash,
            key_alias: &actor.person.name,
            team: "engineering",
            user: &actor.person.mail,
            address: &actor.address,
            model: "gpt-4o",
            messages,
            answer: answer.map(|text| json!({"role": "assistant", "content": text})),
            error: answer
                .is_none()
                .then_some(("401", "AuthenticationError", "the key may not use this model")),
            tokens,
        }
        .line(time);
        self.add("litellm", time, text);
    }

    /// A cloud call with the role that was assumed, else as the person's own user.
    pub fn cloud(&mut self, minute: f64, service: &str, operation: &str, request: Value) {
        self.cloud_or(minute, service, operation, request, Value::Null, None);
    }

    pub fn cloud_or(
        &mut self,
        minute: f64,
        service: &str,
        operation: &str,
        mut request: Value,
        response: Value,
        error: Option<(&str, &str)>,
    ) {
        let (time, id) = (self.at(minute), hex(self.rng, 32));
        // Others do it to others.
        if let (Some(Apart::ByOthers(_)), Some(Value::String(name))) = (self.telling, request.get_mut("userName")) {
            name.push_str(&format!("-{}-{}", self.campaign.unwrap_or(0), self.steps));
        }
        let actor = self.actor.clone();
        let identity = match &actor.role {
            Some((role, name, key)) => session(role, name, key, self.start),
            None => iam_user(&actor.person.name, &actor.person.access_key),
        };
        let text = Cloud {
            id: &id,
            identity,
            address: &actor.address,
            agent: actor.agent,
            service,
            operation,
            request,
            response,
            error,
        }
        .line(time);
        self.add("aws_cloudtrail", time, text);
    }

    /// Assumes a role; what follows in the cloud is done with it.
    pub fn assume(&mut self, minute: f64, role: &str) {
        let name = self.actor.person.name.clone();
        let key = access_key(self.rng, "ASIA");
        let time = self.at(minute);
        let (request, response) = assume_role(role, &name, &key, time);
        self.cloud_or(minute, "sts", "AssumeRole", request, response, None);
        self.actor.role = Some((role.to_owned(), name, key));
    }

    /// `times` calls of the vector database, a second apart.
    pub fn vectors(&mut self, minute: f64, method: &str, collection: &str, times: usize) {
        for number in 0..times {
            let time = self.at(minute + number as f64 / 60.0);
            let text = Vector {
                method,
                subject: &self.actor.person.mail.clone(),
                address: &self.actor.address.clone(),
                collection: Some(collection),
                denied: false,
            }
            .line(time);
            self.add("qdrant_audit", time, text);
        }
    }

    /// A message between the actor's agent and an MCP server.
    pub fn mcp(&mut self, minute: f64, server: &str, message: Value) {
        let time = self.at(minute);
        let mut record = json!({
            "timestamp": stamp(time), "jsonrpc": "2.0", "id": hex(self.rng, 8), "server": server,
            "client": "assistant", "user": self.actor.person.mail, "client_ip": self.actor.address,
            "session_id": self.actor.conversation,
        });
        if let (Some(record), Some(message)) = (record.as_object_mut(), message.as_object()) {
            record.extend(message.clone());
        }
        self.add("mcp_jsonrpc", time, record.to_string());
    }

    pub fn tool(&mut self, minute: f64, server: &str, name: &str, arguments: Value) {
        let message = json!({"method": "tools/call", "params": {"name": name, "arguments": arguments}});
        self.mcp(minute, server, message);
    }

    pub fn tool_answer(&mut self, minute: f64, server: &str, text: &str) {
        self.mcp(
            minute,
            server,
            json!({"result": {"content": [{"type": "text", "text": text}]}}),
        );
    }

    pub fn tool_list(&mut self, minute: f64, server: &str, name: &str, description: &str) {
        let tool = json!({"name": name, "description": description, "inputSchema": {"type": "object"}});
        self.mcp(minute, server, json!({"result": {"tools": [tool]}}));
    }

    /// A call of the Kubernetes API server; `resource` may be `pods/exec`.
    pub fn kube(&mut self, minute: f64, verb: &str, resource: &str, name: &str, object: Value) {
        let time = self.at(minute);
        let (kind, sub) = resource
            .split_once('/')
            .map_or((resource, None), |(kind, sub)| (kind, Some(sub)));
        let mut reference = json!({"resource": kind, "namespace": "models", "name": name, "apiVersion": "v1"});
        if let (Some(sub), Some(members)) = (sub, reference.as_object_mut()) {
            members.insert("subresource".into(), json!(sub));
        }
        let record = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": hex(self.rng, 32),
            "stage": "ResponseComplete", "requestURI": format!("/api/v1/namespaces/models/{kind}/{name}"), "verb": verb,
            "user": {"username": self.actor.person.mail, "groups": ["system:authenticated"]},
            "sourceIPs": [self.actor.address], "userAgent": "kubectl/v1.31.0", "objectRef": reference,
            "responseStatus": {"code": 200}, "requestObject": object,
            "requestReceivedTimestamp": stamp(time), "stageTimestamp": stamp(time),
            "annotations": {"authorization.k8s.io/decision": "allow"},
        });
        self.add("kubernetes_audit", time, record.to_string());
    }

    /// A sign-in or another act at the identity provider.
    pub fn okta(&mut self, minute: f64, event: &str, result: &str) {
        let time = self.at(minute);
        let mail = self.actor.person.mail.clone();
        let record = json!({
            "uuid": hex(self.rng, 32), "eventType": event, "published": stamp(time), "severity": "INFO",
            "actor": {"id": hex(self.rng, 12), "type": "User", "alternateId": mail, "displayName": self.actor.person.name},
            "client": {"ipAddress": self.actor.address, "userAgent": {"rawUserAgent": "Mozilla/5.0"}},
            "outcome": {"result": result, "reason": if result == "FAILURE" { "INVALID_CREDENTIALS" } else { "" }},
            "target": [{"id": "00u1", "type": "User", "alternateId": mail}], "displayMessage": event,
            "transaction": {"id": hex(self.rng, 16)},
        });
        self.add("okta", time, record.to_string());
    }
}

fn stamp(time: Micros) -> String {
    sentrail::model::time::to_rfc3339(time)
}
