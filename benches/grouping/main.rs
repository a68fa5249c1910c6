//! rsigma's correlation engine over findings: rules that group by principal, key, session and address, by which the graph links too.
//! Prints the states it holds, the seconds of a processor that the timed findings took, and the alerts that they raised.
//! `grouping temporal|event_count PEOPLE`

use std::error::Error;
use std::hint::black_box;

use cpu_time::ProcessTime;
use rsigma_eval::{CorrelationConfig, CorrelationEngine, JsonEvent, ProcessResultExt};
use rsigma_parser::parse_sigma_yaml;
use serde_json::{Value, json};

#[path = "../correlate/facts.rs"]
mod facts;

/// The engine that it is compared with has it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Findings between two looks at the clock.
const BATCH: usize = 2_000;

/// The window within which the graph links: 6 hours.
const WINDOW: u64 = 6 * 3_600;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, people] = arguments.as_slice() else {
        return Err("usage: grouping temporal|event_count PEOPLE".into());
    };
    let people: usize = people.parse()?;
    let mut engine = CorrelationEngine::new(CorrelationConfig {
        // By default it would keep 100,000 groups and throw out the others.
        max_state_entries: usize::MAX,
        // A group tells once within the window. Without this each further finding would be told four times.
        suppress: Some(WINDOW),
        ..CorrelationConfig::default()
    });
    engine.add_collection(&parse_sigma_yaml(&rules(kind))?)?;

    for finding in facts::first(people) {
        let event = event(&finding);
        engine.process_event_at(&JsonEvent::borrow(&event), finding.time / 1_000_000);
    }
    // What its detection rules match is worked out before: correlation alone is timed.
    let mut timed = facts::timed(people).peekable();
    let (mut alerts, mut seconds) = (0, 0.0);
    while timed.peek().is_some() {
        // Made just before they are handed over, as for the graph.
        let batch: Vec<_> = timed
            .by_ref()
            .take(BATCH)
            .map(|finding| {
                let event = event(&finding);
                let matches = engine.evaluate(&JsonEvent::borrow(&event));
                (event, matches, finding.time / 1_000_000)
            })
            .collect();
        if batch.iter().any(|(_, matches, _)| matches.len() != 1) {
            return Err("an event does not match one rule".into());
        }
        let began = ProcessTime::now();
        for (event, matches, time) in batch {
            let told = engine.process_with_detections(&JsonEvent::borrow(&event), matches, time);
            alerts += told.correlation_count();
            black_box(told);
        }
        seconds += began.elapsed().as_secs_f64();
    }
    println!("{} {} {alerts}", engine.state_count(), seconds);
    Ok(())
}

fn event(finding: &facts::Finding) -> Value {
    json!({
        "id": finding.number,
        "rule": format!("rule-{}", finding.rule),
        "principal": facts::principal(finding.person),
        "key": facts::key(finding.person),
        "session": facts::session(finding.person),
        "address": facts::address(finding.person),
    })
}

/// A rule for each kind of finding, and a correlation for each field: two rules of them within the window, or two findings.
fn rules(kind: &str) -> String {
    let mut documents: Vec<String> = (0..facts::RULES)
        .map(|rule| {
            format!(
                "title: rule-{rule}\nid: rule-{rule}\nlogsource:\n  category: finding\ndetection:\n  selection:\n    rule: rule-{rule}\n  \
                 condition: selection\nlevel: medium\n"
            )
        })
        .collect();
    let names: String = (0..facts::RULES).map(|rule| format!("    - rule-{rule}\n")).collect();
    for field in ["principal", "key", "session", "address"] {
        documents.push(format!(
            "title: by {field}\nid: by-{field}\ncorrelation:\n  type: {kind}\n  rules:\n{names}  group-by:\n    - {field}\n  \
             timespan: {WINDOW}s\n  condition:\n    gte: 2\nlevel: high\n"
        ));
    }
    documents.join("---\n")
}
