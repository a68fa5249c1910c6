use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListBuilder, RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::DataType;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::EventSchema;

const DAY: Micros = 24 * HOUR;
/// 2026-01-05T00:00:00Z, a Monday.
const MONDAY: Micros = 1_767_571_200 * SECOND;

/// Events with nothing but a time, and those flags where they are not empty.
fn events(times: &[Micros], flag: &str) -> EventBatch {
    let schema = EventSchema::get().arrow();
    let rows = times.len();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "time" | "ingested_time" => Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
            "flags" if !flag.is_empty() => {
                let mut flags = ListBuilder::new(StringViewBuilder::new());
                for _ in 0..rows {
                    flags.values().append_value(flag);
                    flags.append(true);
                }
                Arc::new(flags.finish())
            }
            _ if field.is_nullable() => new_null_array(field.data_type(), rows),
            _ if field.data_type() == &DataType::Utf8View => {
                Arc::new(StringViewArray::from_iter_values(vec![""; rows]))
            }
            _ => arrow::compute::cast(&arrow::array::Int64Array::from(vec![0; rows]), field.data_type()).unwrap(),
        }
    });
    EventBatch::new(RecordBatch::try_new(schema.clone(), columns.collect()).unwrap())
}

/// A record of an input: an event of that time, or one that is rejected.
type Record = Option<Micros>;

fn arrive(health: &mut SourceHealth, source: &str, file: &str, records: &[Record], now: Micros) {
    let times: Vec<Micros> = records.iter().copied().flatten().collect();
    let mut newest = None;
    let mut rejected = Vec::new();
    for record in records {
        match record {
            Some(time) => newest = newest.max(Some(*time)),
            None => rejected.push(Rejected {
                tenant: "acme".into(),
                source: source.into(),
                position: String::new(),
                reason: "no JSON".into(),
                raw: Vec::new(),
                ingested_time: now,
                newest_before: newest,
            }),
        }
    }
    let batch = Arrived {
        source,
        input: &InputId::file(source, file),
        events: &events(&times, ""),
        rejected: &rejected,
        records: records.len() as u64,
        newest,
    };
    health.arrived(&batch, now);
}

fn watched(name: &str, silent_after: Option<SilentAfter>) -> Watched {
    Watched {
        name: name.into(),
        tenant: "acme".into(),
        layers: BTreeSet::from(["cloud".to_owned()]),
        lateness: 5 * MINUTE,
        silent_after,
    }
}

fn health() -> SourceHealth {
    SourceHealth::new([watched("trail", Some(SilentAfter::Never))], MONDAY)
}

fn cloud(passed: Micros) -> BTreeMap<String, Micros> {
    BTreeMap::from([("cloud".to_owned(), passed)])
}

/// An hour's events, evenly over it.
fn hour(day: i64, hour: i64, count: i64) -> Vec<Record> {
    let begin = MONDAY + day * DAY + hour * HOUR;
    (0..count).map(|at| Some(begin + at * HOUR / count)).collect()
}

/// Busy by day, quiet at night.
fn usual(at: i64) -> i64 {
    if (8..18).contains(&at) { 400 } else { 3 }
}

fn told(found: &[Detection]) -> Vec<(String, Micros)> {
    found
        .iter()
        .map(|found| (found.rule.clone(), found.time - MONDAY))
        .collect()
}

#[test]
fn an_hour_is_compared_with_the_same_hour_of_other_days() {
    let mut health = health();
    let mut found = Vec::new();
    for day in 0..6 {
        for at in 0..24 {
            let count = match (day, at) {
                // As at any night, but at noon; and for long.
                (4, 12..15) => 3,
                // As at noon, but at night.
                (5, 2) => 400,
                _ => usual(at),
            };
            arrive(&mut health, "trail", "f", &hour(day, at, count), MONDAY);
            found.extend(health.advance(&cloud(MONDAY + day * DAY + at * HOUR)));
        }
    }
    found.extend(health.advance(&cloud(MONDAY + 6 * DAY + HOUR)));
    assert_eq!(
        told(&found),
        [
            ("volume-low".to_owned(), 4 * DAY + 13 * HOUR),
            ("volume-high".to_owned(), 5 * DAY + 3 * HOUR)
        ],
        "what lasts is told once: {found:#?}"
    );
    let low = &found[0];
    assert!(
        low.message.contains("brought 3 events") && low.message.contains("400 to 400"),
        "{}",
        low.message
    );
    assert!(
        low.message.contains("2026-01-09T12:00:00.000Z") && low.message.contains("4 days"),
        "{}",
        low.message
    );
    assert_eq!(
        (low.tenant.as_str(), low.layer.as_str(), low.severity),
        ("acme", "cloud", Severity::Medium)
    );
    assert_eq!(low.techniques, ["T1685.002"]);
    assert_eq!(low.entities[0].entity.to_string(), "log_source:trail");
    assert!(found[1].techniques.is_empty());
}

#[test]
fn nothing_is_told_while_three_days_are_not_known() {
    for (quiet_day, is_told) in [(2, false), (3, false), (4, true)] {
        let mut health = health();
        for day in 0..=quiet_day {
            // Its first hour is that from 12 on the first day, of which nobody knows whether it was whole.
            for at in if day == 0 { 12..24 } else { 0..24 } {
                let count = if (day, at) == (quiet_day, 12) { 0 } else { 400 };
                arrive(&mut health, "trail", "f", &hour(day, at, count), MONDAY);
            }
        }
        let found = health.advance(&cloud(MONDAY + (quiet_day + 1) * DAY));
        assert_eq!(!found.is_empty(), is_told, "day {quiet_day}: {found:?}");
    }
}

#[test]
fn hours_without_anything_count_once_later_ones_close() {
    let mut health = health();
    for day in 0..5 {
        for at in 0..24 {
            arrive(&mut health, "trail", "f", &hour(day, at, 200), MONDAY);
        }
    }
    assert!(
        health.advance(&cloud(MONDAY + 5 * DAY + HOUR + 4 * MINUTE)).is_empty(),
        "its lateness has not passed"
    );
    let found = health.advance(&cloud(MONDAY + 5 * DAY + HOUR + 5 * MINUTE));
    assert_eq!(told(&found), [("volume-low".to_owned(), 5 * DAY + HOUR)]);
    assert!(
        health.advance(&cloud(MONDAY + 60 * DAY)).is_empty(),
        "the rest is the same"
    );
    assert!(health.advance(&BTreeMap::new()).is_empty());
    assert!(health.advance(&cloud(Micros::MIN)).is_empty());
    // What it brings after weeks is more than nothing; then it goes on.
    arrive(&mut health, "trail", "f", &hour(90, 0, 200), MONDAY);
    arrive(&mut health, "trail", "f", &hour(90, 1, 200), MONDAY);
    let found = health.advance(&cloud(MONDAY + 91 * DAY));
    assert_eq!(told(&found), [("volume-high".to_owned(), 90 * DAY + HOUR)]);
}

#[test]
fn few_events_say_nothing() {
    let mut health = health();
    for day in 0..8 {
        arrive(
            &mut health,
            "trail",
            "f",
            &hour(day, 9, if day == 6 { 99 } else { 1 }),
            MONDAY,
        );
    }
    assert!(health.advance(&cloud(MONDAY + 8 * DAY)).is_empty());
}

#[test]
fn a_file_that_is_read_to_its_end_misses_nothing_behind_it() {
    let mut health = SourceHealth::new([watched("trail", None)], MONDAY);
    for day in 0..5 {
        for at in 0..24 {
            arrive(
                &mut health,
                "trail",
                "f",
                &hour(day, at, if (day, at) == (4, 22) { 1 } else { 200 }),
                MONDAY,
            );
        }
    }
    // Another source of the layer goes on.
    let mut found = health.advance(&cloud(MONDAY + 30 * DAY));
    health.ended(&InputId::file("trail", "f"));
    found.extend(health.finish());
    assert_eq!(told(&found), [("volume-low".to_owned(), 4 * DAY + 23 * HOUR)]);
    assert!(health.look(MONDAY + 30 * DAY, |_| Hearing::default()).is_empty());
}

#[test]
fn times_that_are_guesses_count_nowhere() {
    for (flag, count) in [("", 1), ("cut", 1), ("no_time", 0), ("future_time", 0)] {
        let mut health = health();
        let batch = Arrived {
            source: "trail",
            input: &InputId::file("trail", "f"),
            events: &events(&[MONDAY], flag),
            rejected: &[],
            records: 1,
            newest: None,
        };
        health.arrived(&batch, MONDAY);
        assert_eq!(
            usize::from(health.sources["trail"].kept.hours.newest().is_some()),
            count,
            "{flag}"
        );
    }
}

/// Six days of two inputs with rejected records in between, more of them than normal in one hour, fewer events in another.
fn six_days(rng: &mut ChaCha8Rng) -> [Vec<Record>; 2] {
    let mut inputs = [Vec::new(), Vec::new()];
    for input in &mut inputs {
        // It begins with what nobody can read.
        input.push(None);
        for day in 0..6 {
            for at in 0..24 {
                let mut records = hour(day, at, if (day, at) == (5, 4) { 20 } else { 150 });
                // Somewhat late among each other, but within the hour's lateness.
                for record in &mut records {
                    *record = record.map(|time| time + rng.random_range(-2..=0) * MINUTE);
                }
                let broken = if (day, at) == (4, 7) { 40 } else { 1 };
                records.extend(vec![None; broken]);
                input.extend(records);
            }
        }
    }
    inputs
}

/// Neighbours change places, within the lateness.
fn jumble(input: &mut [Record], rng: &mut ChaCha8Rng) {
    for events in input.chunk_by_mut(|one, next| one.is_some() && next.is_some()) {
        events.chunks_mut(5).for_each(|near| near.shuffle(rng));
    }
}

/// Plays inputs in the given pieces, with the watermark behind the slower one; with `restart`, into a new unit after each piece.
fn play(inputs: &[Vec<Record>; 2], rng: &mut ChaCha8Rng, piece: usize, restart: bool) -> Vec<Detection> {
    let mut health = health();
    let mut found = Vec::new();
    let mut saved: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut at = [0, 0];
    let mut newest = [Micros::MIN; 2];
    while (0..2).any(|input| at[input] < inputs[input].len()) {
        let mut order = [0, 1];
        order.shuffle(rng);
        // One may run ahead of the other.
        let input = order
            .into_iter()
            .find(|input| at[*input] < inputs[*input].len())
            .unwrap();
        let end = (at[input] + rng.random_range(1..=piece)).min(inputs[input].len());
        let records = &inputs[input][at[input]..end];
        at[input] = end;
        arrive(&mut health, "trail", &input.to_string(), records, MONDAY);
        newest[input] = newest[input].max(records.iter().copied().flatten().max().unwrap_or(Micros::MIN));
        let passed = newest.iter().min().copied().unwrap();
        found.extend(health.advance(&cloud(passed.saturating_sub(5 * MINUTE))));
        if restart {
            saved.extend(health.save());
            health = self::health();
            health.restore(&saved);
        }
    }
    found.extend(health.advance(&cloud(MONDAY + 6 * DAY + HOUR)));
    found
}

#[test]
fn neither_order_nor_pieces_nor_restarts_show() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let inputs = six_days(&mut rng);
    let whole = play(&inputs, &mut rng, usize::MAX >> 1, false);
    assert_eq!(
        told(&whole),
        [
            ("rejects".to_owned(), 4 * DAY + 8 * HOUR),
            ("volume-low".to_owned(), 5 * DAY + 5 * HOUR)
        ]
    );
    assert!(whole[0].message.contains("80 of "), "{}", whole[0].message);
    for (piece, restart) in [(7, false), (100, false), (1000, false), (50, true), (2000, true)] {
        let mut inputs = inputs.clone();
        inputs.iter_mut().for_each(|input| jumble(input, &mut rng));
        assert_eq!(play(&inputs, &mut rng, piece, restart), whole, "{piece}, {restart}");
    }
}

#[test]
fn memory_is_bounded_whatever_the_times() {
    let mut health = health();
    let hostile: Vec<Record> = (0..20_000)
        .map(|hour| Some(hour * HOUR))
        .chain([Some(Micros::MIN), Some(Micros::MAX)])
        .collect();
    for records in hostile.chunks(64) {
        arrive(&mut health, "trail", "f", records, MONDAY);
    }
    let found = health.advance(&cloud(Micros::MAX));
    assert!(found.len() < 20, "{}", found.len());
    let saved = health.save();
    let bytes = saved.values().map(Bytes::len).sum::<usize>();
    assert!(bytes < 64 << 10, "{bytes}");
}

#[test]
fn what_is_kept_of_sources_that_went_is_let_go() {
    let mut health = health();
    arrive(&mut health, "trail", "f", &hour(0, 0, 5), MONDAY);
    let saved = health.save();
    assert_eq!(health.save(), BTreeMap::new(), "nothing changed");
    let mut other = SourceHealth::new([watched("other", None)], MONDAY);
    other.restore(&saved);
    assert_eq!(
        other.save(),
        BTreeMap::from([("source-health/trail/acme".to_owned(), Bytes::new())])
    );
    let mut damaged = self::health();
    damaged.restore(&BTreeMap::from([(
        "source-health/trail/acme".to_owned(),
        Bytes::from("{"),
    )]));
    assert_eq!(damaged.sources["trail"].kept, Kept::default());
}

const READS: Hearing = Hearing {
    is_deaf: false,
    is_troubled: false,
};

fn listened(setting: SilentAfter) -> SourceHealth {
    SourceHealth::new([watched("hosts", Some(setting))], MONDAY)
}

/// Looks every half minute up to `until`.
fn look(health: &mut SourceHealth, until: Micros, hearing: Hearing) -> Vec<Detection> {
    let mut found = Vec::new();
    let mut now = health.looked;
    while now < until {
        now = until.min(now + MINUTE / 2);
        found.extend(health.look(now, |_| hearing));
    }
    found
}

#[test]
fn a_silence_is_told_once_also_after_a_restart() {
    let setting = SilentAfter::Span(10 * MINUTE);
    let mut health = listened(setting);
    assert!(look(&mut health, MONDAY + MINUTE, READS).is_empty());
    arrive(&mut health, "hosts", "f", &[Some(MONDAY)], MONDAY + MINUTE);
    let last = MONDAY + MINUTE;
    assert!(look(&mut health, last + 10 * MINUTE - SECOND, READS).is_empty());
    assert_eq!(health.silent().count(), 0);
    let found = look(&mut health, last + 10 * MINUTE, READS);
    assert_eq!(told(&found), [("silent".to_owned(), 11 * MINUTE)]);
    assert_eq!(found[0].severity, Severity::High);
    assert!(
        found[0]
            .message
            .contains("10 min; the last came at 2026-01-05T00:01:00.000Z"),
        "{}",
        found[0].message
    );
    assert_eq!(health.silent().count(), 1);
    assert!(look(&mut health, last + HOUR, READS).is_empty());

    let saved = health.save();
    let mut unasked = listened(SilentAfter::Never);
    unasked.restore(&saved);
    assert_eq!(unasked.silent().count(), 0, "nobody wants to know any more");
    let mut again = SourceHealth::new([watched("hosts", Some(setting))], last + 2 * HOUR);
    again.restore(&saved);
    assert!(
        look(&mut again, last + 9 * HOUR, READS).is_empty(),
        "it is the same silence"
    );
    arrive(&mut again, "hosts", "f", &[Some(MONDAY)], last + 9 * HOUR);
    let next = look(&mut again, last + 10 * HOUR, READS);
    assert_eq!(next.len(), 1);
    assert_ne!(next[0].detection_id, found[0].detection_id);

    // Killed before the first was durable: the same silence has the same name.
    let mut killed = listened(setting);
    arrive(&mut killed, "hosts", "f", &[Some(MONDAY)], MONDAY + 3 * MINUTE);
    assert_eq!(
        look(&mut killed, MONDAY + HOUR, READS)[0].detection_id,
        found[0].detection_id
    );
}

#[test]
fn who_did_not_listen_heard_no_silence() {
    let setting = SilentAfter::Span(10 * MINUTE);
    let mut health = listened(setting);
    arrive(&mut health, "hosts", "f", &[Some(MONDAY)], MONDAY);
    let saved = health.save();
    // Stopped for a day, or held up for an hour, or the clock set forward or back.
    let mut started = SourceHealth::new([watched("hosts", Some(setting))], MONDAY + DAY);
    started.restore(&saved);
    assert!(look(&mut started, MONDAY + DAY + 9 * MINUTE, READS).is_empty());
    assert_eq!(look(&mut started, MONDAY + DAY + 10 * MINUTE, READS).len(), 1);
    assert!(health.look(MONDAY + HOUR, |_| READS).is_empty());
    assert!(look(&mut health, MONDAY + HOUR + 9 * MINUTE, READS).is_empty());
    assert!(health.look(MONDAY - DAY, |_| READS).is_empty());
    assert_eq!(look(&mut health, MONDAY - DAY + 11 * MINUTE, READS).len(), 1);
    // Another member of the group has the partitions.
    let mut member = listened(setting);
    let deaf = Hearing { is_deaf: true, ..READS };
    assert!(look(&mut member, MONDAY + HOUR, deaf).is_empty());
    let troubled = Hearing {
        is_troubled: true,
        ..READS
    };
    let found = look(&mut member, MONDAY + 2 * HOUR, troubled);
    assert!(
        found[0].message.contains("nor any before") && found[0].message.contains("the engine itself"),
        "{}",
        found[0].message
    );
}

#[test]
fn what_nobody_can_read_is_silence() {
    let mut health = listened(SilentAfter::Span(10 * MINUTE));
    arrive(&mut health, "hosts", "f", &[Some(MONDAY), None], MONDAY);
    for minute in 1..10 {
        look(&mut health, MONDAY + minute * MINUTE, READS);
        arrive(&mut health, "hosts", "f", &[None, None], MONDAY + minute * MINUTE);
    }
    let found = look(&mut health, MONDAY + 11 * MINUTE, READS);
    assert!(
        found[0]
            .message
            .contains("18 records that came since could not be decoded"),
        "{}",
        found[0].message
    );
}

#[test]
fn how_long_a_source_pauses_is_learned() {
    let mut health = listened(SilentAfter::Learned);
    let mut found = Vec::new();
    // Every 20 minutes, but not for two hours at noon.
    for step in 0..9 * 72 {
        let now = MONDAY + step * 20 * MINUTE;
        found.extend(look(&mut health, now, READS));
        if !(37..42).contains(&(step % 72)) {
            arrive(&mut health, "hosts", "f", &[Some(now)], now);
        }
    }
    assert!(found.is_empty(), "{found:?}");
    let last = MONDAY + (9 * 72 - 1) * 20 * MINUTE;
    assert!(look(&mut health, last + 6 * HOUR - MINUTE, READS).is_empty());
    let found = look(&mut health, last + 6 * HOUR, READS);
    assert!(
        found[0].message.contains("at most 2 h lay between two"),
        "{}",
        found[0].message
    );

    // Until it is known for days nothing is told, and 15 minutes is the least.
    let mut young = listened(SilentAfter::Learned);
    arrive(&mut young, "hosts", "f", &[Some(MONDAY)], MONDAY);
    assert!(look(&mut young, MONDAY + 2 * DAY, READS).is_empty());
    let mut steady = listened(SilentAfter::Learned);
    for minute in 0..4 * 24 * 60 {
        let now = MONDAY + minute * MINUTE;
        assert!(look(&mut steady, now, READS).is_empty());
        arrive(&mut steady, "hosts", "f", &[Some(now)], now);
    }
    let last = steady.looked;
    assert!(look(&mut steady, last + 14 * MINUTE, READS).is_empty());
    assert_eq!(look(&mut steady, last + 15 * MINUTE, READS).len(), 1);
    let mut never = listened(SilentAfter::Never);
    arrive(&mut never, "hosts", "f", &[Some(MONDAY)], MONDAY);
    assert!(look(&mut never, MONDAY + 9 * DAY, READS).is_empty());
}
