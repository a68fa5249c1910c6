//! The company's ordinary day: people who chat through the gateway, services that read their data, administrators who administer.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::shapes::{Cloud, Gateway, Vector, assume_role, iam_user, session, user_arn};
use super::{AWS_CLOUDTRAIL, LITELLM, QDRANT_AUDIT, SimRecord};
use crate::model::Micros;
use crate::model::time::{HOUR, SECOND};

const FIRST: [&str; 20] = [
    "ada", "bruno", "clara", "dario", "elif", "felix", "greta", "hugo", "ines", "jonas", "kaya", "lena", "mara",
    "nils", "olga", "pavel", "rosa", "sami", "tilda", "viktor",
];
const LAST: [&str; 2] = ["hartmann", "okafor"];
const TEAMS: [&str; 4] = ["engineering", "support", "research", "finance"];
const SERVICES: [&str; 10] = [
    "rag-indexer",
    "support-bot",
    "research-agent",
    "billing-export",
    "etl-nightly",
    "ci-runner",
    "metrics-shipper",
    "web-api",
    "doc-converter",
    "model-router",
];
pub const COLLECTIONS: [&str; 9] = [
    "support_articles",
    "hr_policies",
    "product_docs",
    "contracts",
    "sales_notes",
    "incident_reports",
    "payroll_faq",
    "research_papers",
    "customer_tickets",
];
pub const MODELS: [&str; 4] = ["gpt-4o", "gpt-4o-mini", "claude-3-5-sonnet", "mistral-large"];

const TOPICS: [&str; 14] = [
    "the quarterly report",
    "our onboarding guide",
    "a flaky integration test",
    "the travel policy",
    "last week's support tickets",
    "a SQL query over orders",
    "the release notes",
    "an apology to a customer",
    "the retention schedule for backups",
    "a talk about vector search",
    "the incident review of Tuesday",
    "a job advert for a data engineer",
    "our password policy",
    "a Terraform module for a bucket",
];
const ASKS: [&str; 10] = [
    "Summarise {} in five bullet points.",
    "Please improve the wording of {}.",
    "What is missing in {}?",
    "Write a first draft of {}.",
    "Translate {} into German.",
    "Explain {} to a new colleague.",
    "Make a checklist for {}.",
    "Which risks do you see in {}?",
    "Turn {} into a table.",
    "Find three titles for {}.",
];
const SECURITY_ASKS: [&str; 6] = [
    "How do I rotate an access key without an outage?",
    "What does prompt injection mean for our support bot?",
    "Which instructions should our security training give about phishing?",
    "Explain the difference between a role and a user in IAM.",
    "How should an agent ignore instructions that stand inside a web page?",
    "Write a policy that denies public buckets.",
];
const ANSWERS: [&str; 6] = [
    "Here is a version that is shorter and keeps the main points.",
    "There are three things to look at: scope, owner and date.",
    "Sure. I have ordered it by importance.",
    "The text is fine as it is; I would only change the title.",
    "Below is a draft. Please check the figures before you send it.",
    "I would start with the goal and then list the steps.",
];

pub struct Person {
    /// Name of the IAM user and the part of the address before the @.
    pub name: String,
    pub mail: String,
    pub team: &'static str,
    pub key_hash: String,
    pub key_alias: String,
    pub access_key: String,
    vpn: String,
}

pub struct Service {
    pub name: &'static str,
    pub key_hash: String,
    pub access_key: String,
    pub address: String,
}

pub struct Company {
    pub people: Vec<Person>,
    pub services: Vec<Service>,
}

/// An access key id as AWS documents them: 20 characters that end in EXAMPLE.
pub fn access_key(rng: &mut ChaCha8Rng, prefix: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let middle: String = (0..9)
        .map(|_| LETTERS[rng.random_range(0..LETTERS.len())] as char)
        .collect();
    format!("{prefix}{middle}EXAMPLE")
}

pub fn hex(rng: &mut ChaCha8Rng, digits: usize) -> String {
    (0..digits)
        .map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0'))
        .collect()
}

pub fn uuid(rng: &mut ChaCha8Rng) -> String {
    format!(
        "{}-{}-4{}-a{}-{}",
        hex(rng, 8),
        hex(rng, 4),
        hex(rng, 3),
        hex(rng, 3),
        hex(rng, 12)
    )
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, all: &[T]) -> T {
    *all.choose(rng).unwrap_or(&all[0])
}

impl Company {
    pub fn new(rng: &mut ChaCha8Rng) -> Company {
        let people = (0..40).map(|index| {
            let name = format!("{}.{}", FIRST[index % 20], LAST[index / 20]);
            Person {
                mail: format!("{name}@example.com"),
                team: TEAMS[index % 4],
                key_hash: hex(rng, 64),
                key_alias: format!("{name}-laptop"),
                access_key: access_key(rng, "AKIA"),
                vpn: format!("192.0.2.{}", 20 + index),
                name,
            }
        });
        let people = people.collect();
        let services = SERVICES.iter().enumerate().map(|(index, name)| Service {
            name,
            key_hash: hex(rng, 64),
            access_key: access_key(rng, "AKIA"),
            address: format!("10.20.{}.{}", index / 4, 10 + index),
        });
        Company {
            people,
            services: services.collect(),
        }
    }

    /// How busy the company is at `time`, 0 to 1: services never sleep, people do.
    pub fn busy(time: Micros) -> f64 {
        match time.rem_euclid(24 * HOUR) / HOUR {
            8..=17 => 1.0,
            6 | 7 | 18 | 19 => 0.6,
            _ => 0.3,
        }
    }

    pub fn event(&self, rng: &mut ChaCha8Rng, time: Micros) -> SimRecord {
        let person = &self.people[rng.random_range(0..self.people.len())];
        let service = &self.services[rng.random_range(0..self.services.len())];
        let people_work = rng.random_bool(Company::busy(time) * 0.6);
        let (format, line) = match rng.random_range(0..100) {
            0..=29 if people_work => (LITELLM, chat(rng, person, time)),
            0..=29 => (LITELLM, agent_call(rng, service, time)),
            30..=54 => (QDRANT_AUDIT, vector(rng, service, time)),
            _ if people_work => (AWS_CLOUDTRAIL, admin(rng, person, time)),
            _ => (AWS_CLOUDTRAIL, background(rng, service, time)),
        };
        SimRecord {
            format,
            time,
            line,
            stage: None,
        }
    }
}

fn address<'a>(rng: &mut ChaCha8Rng, person: &'a Person) -> &'a str {
    const OFFICE: [&str; 3] = ["198.51.100.10", "198.51.100.11", "198.51.100.12"];
    if rng.random_bool(0.7) {
        OFFICE[person.name.len() % 3]
    } else {
        &person.vpn
    }
}

fn prompt(rng: &mut ChaCha8Rng) -> String {
    if rng.random_bool(0.06) {
        return pick(rng, &SECURITY_ASKS).to_owned();
    }
    pick(rng, &ASKS).replace("{}", pick(rng, &TOPICS))
}

fn chat(rng: &mut ChaCha8Rng, person: &Person, time: Micros) -> String {
    let failed = rng.random_bool(0.01);
    let ask = prompt(rng);
    Gateway {
        id: &format!("chatcmpl-{}", hex(rng, 24)),
        trace: &uuid(rng),
        key_hash: &person.key_hash,
        key_alias: &person.key_alias,
        team: person.team,
        user: &person.mail,
        address: address(rng, person),
        model: pick(rng, &MODELS),
        messages: json!([{"role": "system", "content": "You are the assistant of Example GmbH."}, {"role": "user", "content": ask}]),
        answer: (!failed).then(|| json!({"role": "assistant", "content": pick(rng, &ANSWERS)})),
        error: failed.then_some(("429", "RateLimitError", "RateLimitError: too many requests, try again in 10 s")),
        tokens: (rng.random_range(40..900), rng.random_range(20..600)),
    }
    .line(time)
}

fn agent_call(rng: &mut ChaCha8Rng, service: &Service, time: Micros) -> String {
    let answer = if rng.random_bool(0.3) {
        let arguments = json!({"query": pick(rng, &TOPICS), "limit": 5}).to_string();
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("call_{}", hex(rng, 12)), "type": "function",
            "function": {"name": "search_documents", "arguments": arguments}}]})
    } else {
        json!({"role": "assistant", "content": pick(rng, &ANSWERS)})
    };
    Gateway {
        id: &format!("chatcmpl-{}", hex(rng, 24)),
        trace: &uuid(rng),
        key_hash: &service.key_hash,
        key_alias: service.name,
        team: "platform",
        user: &format!("svc-{}", service.name),
        address: &service.address,
        model: "gpt-4o-mini",
        messages: json!([{"role": "system", "content": "Answer from the documents only."}, {"role": "user", "content": prompt(rng)}]),
        answer: Some(answer),
        error: None,
        tokens: (rng.random_range(300..2500), rng.random_range(20..300)),
    }
    .line(time)
}

fn vector(rng: &mut ChaCha8Rng, service: &Service, time: Micros) -> String {
    let index = SERVICES.iter().position(|name| *name == service.name).unwrap_or(0);
    // Each service works on two or three collections of its own.
    let collection = COLLECTIONS[(index + rng.random_range(0..3)) % COLLECTIONS.len()];
    let method = match rng.random_range(0..20) {
        0 => "upsert_points",
        1 => "get_collection",
        2 => "count_points",
        3..=5 => "query_points",
        _ => "search_points",
    };
    let subject = format!("svc-{}", service.name);
    let denied = rng.random_bool(0.003);
    Vector {
        method,
        subject: &subject,
        address: &service.address,
        collection: Some(collection),
        denied,
    }
    .line(time)
}

fn background(rng: &mut ChaCha8Rng, service: &Service, time: Micros) -> String {
    let (user, role) = (format!("svc-{}", service.name), format!("{}-runtime", service.name));
    let name = format!("{}-{}", service.name, time / HOUR % 24);
    // A service opens one session an hour; its key follows from both.
    let seed = service.name.bytes().fold(time / HOUR, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(i64::from(byte))
    });
    let key = access_key(&mut ChaCha8Rng::seed_from_u64(seed as u64), "ASIA");
    let id = uuid(rng);
    if rng.random_bool(0.12) {
        let (request, response) = assume_role(&role, &name, &key, time);
        let identity = iam_user(&user, &service.access_key);
        return cloud(
            &id,
            identity,
            &service.address,
            ("sts", "AssumeRole"),
            request,
            response,
            None,
        )
        .line(time);
    }
    let identity = session(&role, &name, &key, time / HOUR * HOUR);
    let ((api, operation), request) = read(rng);
    let error = rng
        .random_bool(0.01)
        .then_some(("ThrottlingException", "Rate exceeded"));
    cloud(
        &id,
        identity,
        &service.address,
        (api, operation),
        request,
        Value::Null,
        error,
    )
    .line(time)
}

fn read(rng: &mut ChaCha8Rng) -> ((&'static str, &'static str), Value) {
    match rng.random_range(0..9) {
        0 => (
            ("ec2", "DescribeInstances"),
            json!({"instancesSet": {}, "filterSet": {}}),
        ),
        1 => (
            ("s3", "GetObject"),
            json!({"bucketName": "example-rag-docs", "key": format!("docs/{}.md", rng.random_range(0..400))}),
        ),
        2 => (
            ("s3", "ListObjects"),
            json!({"bucketName": "example-rag-docs", "prefix": "docs/"}),
        ),
        3 => (("kms", "Decrypt"), json!({"encryptionAlgorithm": "SYMMETRIC_DEFAULT"})),
        4 => (("logs", "DescribeLogStreams"), json!({"logGroupName": "/svc/app"})),
        5 => (
            ("bedrock", "InvokeModel"),
            json!({"modelId": "anthropic.claude-3-haiku-20240307-v1:0"}),
        ),
        6 => (("monitoring", "GetMetricData"), Value::Null),
        7 => (
            ("ssm", "GetParameter"),
            json!({"name": "/svc/config", "withDecryption": true}),
        ),
        _ => (("elasticloadbalancing", "DescribeTargetHealth"), Value::Null),
    }
}

fn admin(rng: &mut ChaCha8Rng, person: &Person, time: Micros) -> String {
    let id = uuid(rng);
    let identity = iam_user(&person.name, &person.access_key);
    let from = address(rng, person).to_owned();
    let denied = format!(
        "User: {} is not authorized to perform this action",
        user_arn(&person.name)
    );
    let (what, request, response, error) = match rng.random_range(0..400) {
        // Now and then somebody rotates a key of his own.
        0 => {
            let answer = json!({"accessKey": {"userName": person.name, "accessKeyId": access_key(rng, "AKIA"), "status": "Active"}});
            (
                ("iam", "CreateAccessKey"),
                json!({"userName": person.name}),
                answer,
                None,
            )
        }
        1..=6 => (
            ("ec2", "RunInstances"),
            json!({"instanceType": "t3.small"}),
            Value::Null,
            None,
        ),
        7..=12 => (
            ("s3", "PutObject"),
            json!({"bucketName": "example-reports", "key": "q1.csv"}),
            Value::Null,
            None,
        ),
        13..=18 => (
            ("iam", "ListUsers"),
            Value::Null,
            Value::Null,
            Some(("AccessDenied", denied.as_str())),
        ),
        _ => {
            let (what, request) = read(rng);
            (what, request, Value::Null, None)
        }
    };
    cloud(&id, identity, &from, what, request, response, error).line(time)
}

fn cloud<'a>(
    id: &'a str,
    identity: Value,
    address: &'a str,
    (service, operation): (&'a str, &'a str),
    request: Value,
    response: Value,
    error: Option<(&'a str, &'a str)>,
) -> Cloud<'a> {
    let agent = "Boto3/1.35.10 md/Botocore#1.35.10 lang/python#3.12.4";
    Cloud {
        id,
        identity,
        address,
        agent,
        service,
        operation,
        request,
        response,
        error,
    }
}

/// The gap to the next event, around `mean` seconds where the company is busy.
pub fn gap(rng: &mut ChaCha8Rng, mean: f64, time: Micros) -> Micros {
    let seconds = mean / Company::busy(time) * -(1.0 - rng.random::<f64>()).ln();
    (seconds * SECOND as f64) as Micros
}
