//! The harness itself, with a detector that closes sessions: it must see through one that depends on how rows are delivered.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Fixture, run};
use crate::{Batch, Detector, Findings, Instance, Keyed, Manifest, Rule, SECOND, Severity, col, config, read_state};

const ENDED: Rule = Rule {
    id: "session-ended",
    title: "A session ended",
    description: "Says how many calls a session had once it has been silent.",
    severity: Severity::Low,
    techniques: &["T1078"],
};

config! {
    struct Settings {
        /// Seconds of silence that end a session.
        gap: i64 = 30,
        /// Whether the detector looks at the time of each row, as it should.
        careful: bool = true,
        /// Rules beyond the built-in one, as a rule file would bring them.
        rules: Vec<String> = Vec::new(),
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Session {
    key: String,
    calls: u64,
    last: String,
}

struct Sessions {
    settings: Settings,
    rules: &'static [&'static Rule],
}

impl Detector for Sessions {
    type Config = Settings;
    type State = Keyed<Session>;

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.gap <= 0 {
            return Err(format!("gap = {}: valid is a number of seconds above 0", settings.gap));
        }
        let mut rules = vec![&ENDED];
        for id in &settings.rules {
            rules.push(Box::leak(Box::new(Rule {
                id: id.clone().leak(),
                ..ENDED
            })));
        }
        Ok(Self {
            settings,
            rules: rules.leak(),
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "sessions",
            version: "1.0.0",
            columns: &[col::EVENT_ID.name],
            key: &[col::ACTOR_USER_UID.name],
            state_version: 2,
            wants_time: true,
            rules: self.rules,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, sessions: &mut Keyed<Session>, batch: &Batch, out: &mut Findings) {
        let ids = batch.text(col::EVENT_ID);
        for row in batch.rows() {
            if self.settings.careful && !batch.is_late(row) {
                self.advance(sessions, batch.time(row) - 1, out);
            }
            let (Some(key), Some(id)) = (batch.key(row), ids.get(row)) else {
                continue;
            };
            let session = sessions.at(key, batch.time(row), 1_000, 3_600 * SECOND);
            session.key = key.to_owned();
            session.calls += 1;
            session.last = id.to_owned();
        }
    }

    fn advance(&self, sessions: &mut Keyed<Session>, time: i64, out: &mut Findings) {
        let gap = self.settings.gap * SECOND;
        while let Some((last, session)) = sessions.take_silent(time - gap) {
            out.detect_elapsed(&ENDED, session.key, last + gap, "cloud", vec![session.last])
                .message(format!("{} calls", session.calls));
        }
    }

    fn migrate(version: u32, saved: &[u8]) -> Result<Keyed<Session>, String> {
        // The first release remembered one session.
        let (key, time): (String, i64) = match version {
            1 => read_state(saved)?,
            _ => return Err(format!("version {version} never was")),
        };
        let mut sessions = Keyed::default();
        *sessions.at(&key, time, 1_000, 3_600 * SECOND) = Session {
            key: key.clone(),
            calls: 1,
            last: "before".into(),
        };
        Ok(sessions)
    }
}

fn fixture(config: Value) -> Fixture {
    serde_json::from_value(json!({
        "about": "Two users' sessions end after half a minute of silence.",
        "config": config,
        "events": [
            { "id": "ann", "at": 0, "repeat": 5, "every": 20, "actor_user_uid": "ann" },
            { "id": "bob", "at": 7, "repeat": 3, "every": 40, "actor_user_uid": "bob" },
            { "id": "end", "at": 500, "actor_user_uid": "cid" }
        ],
        "detections": [
            { "rule": "session-ended", "severity": "low", "events": ["ann.4"] },
            { "rule": "session-ended", "severity": "low", "events": ["bob.0"] },
            { "rule": "session-ended", "severity": "low", "events": ["bob.1"] },
            { "rule": "session-ended", "severity": "low", "events": ["bob.2"] }
        ]
    }))
    .expect("a fixture")
}

#[test]
fn sessions_end_however_rows_are_delivered() {
    run::<Sessions>(&fixture(json!({}))).expect("passes");
}

#[test]
fn who_depends_on_the_delivery_is_told() {
    let problem = run::<Sessions>(&fixture(json!({ "careful": false }))).expect_err("bob's sessions run together");
    assert!(
        problem.contains("- missing:    session-ended (Low) at bob.0"),
        "{problem}"
    );
}

#[test]
fn configuration_brings_rules_and_is_refused_in_words() {
    let instance = Instance::<Sessions>::new(r#"{ "rules": ["one", "two"] }"#).expect("configured");
    let ids: Vec<&str> = instance.manifest().rules.iter().map(|rule| rule.id).collect();
    assert_eq!(ids, ["session-ended", "one", "two"]);
    let refused = Instance::<Sessions>::new(r#"{ "gap": 0 }"#).err();
    assert_eq!(
        refused.as_deref(),
        Some("gap = 0: valid is a number of seconds above 0")
    );
}

#[test]
fn earlier_state_is_migrated() {
    let saved = postcard::to_allocvec(&("acme\0ann", 5 * SECOND)).expect("written");
    let mut instance = Instance::<Sessions>::new("{}").expect("configured");
    instance.restore(1, &saved).expect("read");
    let found = instance.advance(40 * SECOND).detections;
    assert_eq!((found.len(), found[0].message.as_str()), (1, "1 calls"));
    assert_eq!(
        instance.restore(7, &saved).err().as_deref(),
        Some("version 7 never was")
    );
}
