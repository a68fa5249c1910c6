//! A guest whose configuration `{"mode":"…"}` chooses what it does wrong. Modes that name a fault commit it when the batch holds a
//! row whose `api_operation` is `poison`; all others behave. A well-behaved row is counted under its key; every row is reported by
//! rule `seen` with its key's count and the operation before it, so that a test sees order and state in the messages. In the modes
//! that begin with `time`, a key that has been silent for ten seconds is reported by rule `silent` and forgotten. `next` is a later
//! release: it reads one more column, and its state has another form, which it makes of the one before. In mode `first` only the
//! first row of each key is reported.

use std::cell::RefCell;
use std::collections::BTreeMap;

wit_bindgen::generate!({ path: "../../schemas/wit", world: "plugin" });

use sentrail::plugin::host::{self, Level};
use sentrail::plugin::types::{
    Column, Detection, Elapsed, Entity, Evidence, Relation, Rule, Severity, TextColumn, Values,
};

const STATEFUL: bool = cfg!(feature = "stateful");
/// Microseconds of silence that `time` reports.
const SILENCE: i64 = 10_000_000;

#[derive(Default)]
struct Memory {
    mode: String,
    calls: u32,
    seen: BTreeMap<String, Seen>,
    hoard: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    /// Operation, time and id of its last row.
    last: String,
    time: i64,
    id: String,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

struct Hostile;
export!(Hostile);

impl Guest for Hostile {
    fn configure(json: String) -> Result<Manifest, String> {
        let mode = json
            .split("\"mode\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("good")
            .to_owned();
        if mode == "refuse" {
            return Err("mode `refuse` is refused".into());
        }
        let manifest = manifest(&mode);
        MEMORY.with_borrow_mut(|memory| memory.mode = mode);
        Ok(manifest)
    }

    fn detect(batch: Batch) -> Result<Findings, String> {
        MEMORY.with_borrow_mut(|memory| memory.detect(&batch))
    }

    fn advance(time: i64) -> Result<Findings, String> {
        MEMORY.with_borrow_mut(|memory| {
            let mut findings = nothing();
            match memory.mode.as_str() {
                "time-trap" => panic!("time"),
                "time-row" => findings.detections.push(detection("seen", vec![0], String::new())),
                _ => memory.silent(time, &mut findings),
            }
            Ok(findings)
        })
    }

    fn save() -> Vec<u8> {
        MEMORY.with_borrow(|memory| {
            if memory.mode == "save-trap" {
                panic!("no");
            }
            if memory.mode == "bloat" {
                return vec![b'x'; 17 << 20];
            }
            let line = |(key, seen): (&String, &Seen)| {
                let Seen { count, last, time, id } = seen;
                format!("{key}\t{count}\t{last}\t{time}\t{id}")
            };
            let lines: Vec<String> = memory.seen.iter().map(line).collect();
            lines.join("\n").into_bytes()
        })
    }

    /// Version 1 had no times and ids.
    fn restore(version: u32, state: Vec<u8>) -> Result<(), String> {
        MEMORY.with_borrow_mut(|memory| {
            if memory.mode == "no-restore" {
                return Err("this state is not mine".into());
            }
            if version > 2 && memory.mode != "next" {
                return Err(format!("state of version {version}"));
            }
            let text = String::from_utf8(state).map_err(|error| error.to_string())?;
            for line in text.lines() {
                let mut parts = line.split('\t');
                let (Some(key), Some(count), Some(last)) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(format!("`{line}` is no state"));
                };
                let migrated = if memory.mode == "next" && version == 2 { " (migrated)" } else { "" };
                let seen = Seen {
                    count: count.parse().map_err(|_| "no count".to_owned())?,
                    last: format!("{last}{migrated}"),
                    time: parts.next().and_then(|time| time.parse().ok()).unwrap_or_default(),
                    id: parts.next().unwrap_or_default().to_owned(),
                };
                memory.seen.insert(key.to_owned(), seen);
            }
            Ok(())
        })
    }
}

impl Memory {
    fn detect(&mut self, batch: &Batch) -> Result<Findings, String> {
        self.calls += 1;
        if self.mode == "third-call" && self.calls == 3 {
            panic!("the third call");
        }
        if self.mode == "chatter" {
            (0..10_000).for_each(|_| host::log(Level::Warn, &"x".repeat(10_000)));
        }
        let mut findings = nothing();
        findings.keys_evicted = if self.mode == "evict" { 3 } else { 0 };
        for row in 0..batch.rows {
            let late = batch.late.get(row as usize).is_some_and(|late| *late == 1);
            let time = batch.time[row as usize];
            if self.mode.starts_with("time") && !late {
                self.silent(time - 1, &mut findings);
            }
            let operation = text(&batch.columns[0], row);
            if operation == "poison" || self.mode == "always" {
                self.misbehave(batch, row, &mut findings)?;
            }
            let key = slice(&batch.key, row);
            let seen = self.seen.entry(key).or_default();
            seen.count += 1;
            if self.mode == "first" && seen.count > 1 {
                continue;
            }
            let message = format!(
                "{operation} is number {} after {}{}",
                seen.count,
                seen.last,
                if late { ", late" } else { "" }
            );
            seen.last = operation;
            seen.time = time;
            seen.id = text(&batch.columns[2], row);
            findings.detections.push(detection("seen", vec![row], message));
        }
        Ok(findings)
    }

    fn silent(&mut self, time: i64, findings: &mut Findings) {
        let mode = self.mode.clone();
        self.seen.retain(|key, seen| {
            let over = seen.time + SILENCE <= time;
            if over {
                findings.detections.push(Detection {
                    shown_by: Evidence::Elapsed(Elapsed {
                        key: if mode == "time-key" {
                            "nobody".into()
                        } else {
                            key.clone()
                        },
                        time: if mode == "time-ahead" {
                            time + 1
                        } else {
                            seen.time + SILENCE
                        },
                        layer: if mode == "time-layer" { "sky" } else { "cloud" }.into(),
                        events: if mode == "time-event" {
                            Vec::new()
                        } else {
                            vec![seen.id.clone()]
                        },
                    }),
                    entities: vec![entity("model", "m")],
                    ..detection("silent", Vec::new(), format!("silent after {} rows", seen.count))
                });
            }
            !over
        });
    }

    fn misbehave(&mut self, batch: &Batch, row: u32, findings: &mut Findings) -> Result<(), String> {
        match self.mode.as_str() {
            "loop" => loop {
                std::hint::black_box(row);
            },
            "bomb" => loop {
                self.hoard.push(vec![1; 1 << 20]);
            },
            "overflow" => {
                self.hoard.push(vec![deep(u64::from(row)) as u8]);
            }
            "giant" => findings
                .detections
                .push(detection("seen", vec![row], "x".repeat(40 << 20))),
            "flood" => {
                (0..100_000).for_each(|_| findings.detections.push(detection("seen", vec![row], String::new())));
            }
            "row" => findings
                .detections
                .push(detection("seen", vec![batch.rows], String::new())),
            "no-row" => findings.detections.push(detection("seen", Vec::new(), String::new())),
            "rule" => findings
                .detections
                .push(detection("unheard-of", vec![row], String::new())),
            "kind" => findings.relations.push(relation("dreams-of", row)),
            "relation" => findings.relations.push(relation("called", row)),
            "trap" | "always" => panic!("poison"),
            "error" => return Err("poison".into()),
            _ => {}
        }
        Ok(())
    }
}

fn manifest(mode: &str) -> Manifest {
    let rule = |id: &str, severity| Rule {
        id: id.into(),
        title: format!("Rule {id}"),
        description: "For tests.".into(),
        severity,
        techniques: vec!["T1078.004".into()],
    };
    let mut rules = vec![rule("seen", Severity::Low), rule("loud", Severity::High)];
    if mode.starts_with("time") {
        rules.push(rule("silent", Severity::Medium));
    }
    let mut columns = vec!["api_operation".to_owned(), "row_count".to_owned(), "event_id".to_owned()];
    if mode == "next" {
        columns.push("status_detail".to_owned());
    }
    Manifest {
        id: if STATEFUL { "hostile-stateful" } else { "hostile" }.into(),
        version: "1.0.0".into(),
        description: "Misbehaves on demand.".into(),
        classes: Vec::new(),
        layers: vec!["cloud".into(), "gateway".into()],
        columns,
        key: if STATEFUL {
            vec!["actor_user_uid".into()]
        } else {
            Vec::new()
        },
        state_version: if mode == "next" { 3 } else { 2 },
        wants_time: mode.starts_with("time"),
        rules,
        config_schema: String::new(),
    }
}

fn nothing() -> Findings {
    Findings {
        detections: Vec::new(),
        relations: Vec::new(),
        keys_evicted: 0,
    }
}

fn detection(rule: &str, rows: Vec<u32>, message: String) -> Detection {
    Detection {
        rule: rule.into(),
        shown_by: Evidence::Rows(rows),
        severity: None,
        message,
        entities: Vec::new(),
    }
}

fn entity(kind: &str, value: &str) -> Entity {
    Entity {
        kind: kind.into(),
        value: value.into(),
    }
}

fn relation(kind: &str, row: u32) -> Relation {
    Relation {
        source: entity("principal", "Ann@Example.com"),
        kind: kind.into(),
        target: entity("model", "m"),
        row,
    }
}

fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    deep(frame[7] + 1) + frame[3]
}

fn text(column: &Column, row: u32) -> String {
    match &column.values {
        Values::Text(text) => slice(text, row),
        _ => String::new(),
    }
}

fn slice(column: &TextColumn, row: u32) -> String {
    let Some(range) = column.offsets.get(row as usize..row as usize + 2) else {
        return String::new();
    };
    String::from_utf8_lossy(&column.data[range[0] as usize..range[1] as usize]).into_owned()
}
