use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::super::mock::{MockBroker, Paced, Producer};
use super::super::{SourceError, check};
use super::*;
use crate::config::{KafkaSettings, KafkaStart, Secret};
use crate::model::InputOffset;

fn kafka_source(brokers: &str, topics: &[&str], group: &str) -> SourceSettings {
    let properties = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    source(
        "k",
        SourceKind::Kafka(KafkaSettings {
            brokers: brokers.into(),
            topics: topics.iter().map(|topic| topic.to_string()).collect(),
            group: group.into(),
            start: KafkaStart::Earliest,
            idle_timeout: Duration::from_millis(500),
            properties: BTreeMap::from(properties.map(|(key, value)| (key.to_owned(), value.into()))),
        }),
    )
}

/// Sends the numbers as records, spread over the partitions by their keys.
fn produce(producer: &Producer, topic: &str, range: std::ops::Range<usize>) {
    for number in range {
        producer
            .produce(topic, Some(&number.to_string()), number.to_string().as_bytes())
            .expect("queued");
    }
    producer.flush(PATIENCE).expect("delivered");
}

/// Like an assertion of equality with `0..count`, but one that can be read when it fails.
fn assert_each_once(seen: &[&Seen], range: std::ops::Range<usize>) {
    let numbers = numbers(seen);
    let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
    let missing: Vec<usize> = range
        .clone()
        .filter(|number| !distinct.contains(number))
        .take(10)
        .collect();
    let repeated: Vec<usize> = numbers
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    let told: Vec<_> = seen.iter().map(|seen| &seen.told).collect();
    assert!(
        missing.is_empty(),
        "{} of {range:?}; missing {missing:?} …; told {told:#?}",
        numbers.len()
    );
    let shown: Vec<_> = repeated.iter().take(10).collect();
    assert!(
        repeated.is_empty(),
        "{} are repeated: {shown:?} …; told {told:#?}",
        repeated.len()
    );
    assert_eq!(numbers.len(), range.len());
}

fn numbers(seen: &[&Seen]) -> Vec<usize> {
    let mut numbers: Vec<usize> = seen
        .iter()
        .flat_map(|seen| seen.texts())
        .map(|text| text.parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn topics_are_consumed_as_a_group_and_resumed_from_either_side_s_offsets() {
    let broker = MockBroker::start(&[("a", 3), ("b", 2)]).expect("a broker");
    let producer = Producer::new(broker.brokers()).expect("a producer");
    produce(&producer, "a", 0..600);
    produce(&producer, "b", 600..1_000);
    let settings = [kafka_source(broker.brokers(), &["a", "b"], "g")];
    let mut run = Run::start(&settings, &Offsets::new());
    run.until("all records", |seen| seen.payloads.len() >= 1_000);
    run.until("idleness", |seen| {
        seen.told.iter().filter(|told| told.starts_with("idle")).count() == 5
    });
    let inputs = run.seen.told.iter().filter(|told| told.starts_with("opened k|"));
    assert_eq!(inputs.collect::<BTreeSet<_>>().len(), 5);
    run.sources.committed(&run.seen.offsets);
    let first = run.stop();
    assert_each_once(&[&first], 0..1_000);
    let ends: i64 = first
        .offsets
        .values()
        .map(|offset| {
            if let InputOffset::Kafka { next } = offset {
                *next
            } else {
                0
            }
        })
        .sum();
    assert_eq!(ends, 1_000);
    let positions: BTreeSet<String> = first
        .payloads
        .iter()
        .map(|payload| payload.position.to_string())
        .collect();
    assert!(positions.contains("b/1/0") && positions.len() == 1_000);

    // The group's offsets alone; our own alone, with a group that knows nothing; ours behind the group's.
    produce(&producer, "a", 1_000..1_100);
    let behind: Offsets = first
        .offsets
        .keys()
        .map(|input| (input.clone(), InputOffset::Kafka { next: 1 }))
        .collect();
    for (group, resume) in [("g", Offsets::new()), ("other", first.offsets.clone()), ("g", behind)] {
        let mut run = Run::start(&[kafka_source(broker.brokers(), &["a", "b"], group)], &resume);
        run.until("the new records", |seen| seen.payloads.len() >= 100);
        run.until("idleness", |seen| {
            seen.told.iter().filter(|told| told.starts_with("idle")).count() >= 5
        });
        assert_each_once(&[&run.stop()], 1_000..1_100);
    }
}

/// Two members of a group: every record reaches exactly one of them. `flows`: records keep coming while partitions move, which the
/// mock cluster cannot do without repetition because it refuses commits while a group is joining.
fn share_between_two(brokers: &str, topic: &str, strategy: &str, flows: bool) {
    let producer = Producer::new(brokers).expect("a producer");
    produce(&producer, topic, 0..500);
    let mut settings = kafka_source(brokers, &[topic], &format!("shared-{topic}"));
    if let SourceKind::Kafka(kafka) = &mut settings.kind {
        kafka
            .properties
            .insert("partition.assignment.strategy".into(), strategy.into());
    }
    let settings = [settings];
    let mut one = Run::start(&settings, &Offsets::new());
    one.until("the first records", |seen| seen.payloads.len() >= 500);
    if !flows {
        one.sources.committed(&one.seen.offsets);
    }
    let mut two = Run::start(&settings, &Offsets::new());
    let begun = Instant::now();
    let mut sent = 500;
    while !two.seen.was_told("opened") {
        assert!(
            begun.elapsed() < PATIENCE,
            "the second member gets partitions; the first was told {:#?}",
            one.seen.told
        );
        if flows {
            produce(&producer, topic, sent..sent + 10);
            sent += 10;
        }
        one.step(Duration::from_millis(20));
        two.step(Duration::from_millis(20));
    }
    produce(&producer, topic, sent..sent + 500);
    sent += 500;
    while one.seen.payloads.len() + two.seen.payloads.len() < sent {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} and {} of {sent}",
            one.seen.payloads.len(),
            two.seen.payloads.len()
        );
        one.step(Duration::from_millis(20));
        two.step(Duration::from_millis(20));
    }
    assert!(
        one.seen.was_told("revoking") && one.seen.was_told("ended"),
        "{:#?}",
        one.seen.told
    );
    assert!(!two.seen.payloads.is_empty());
    // The second leaves; the first takes over where it was.
    two.sources.committed(&two.seen.offsets);
    let two = two.stop();
    produce(&producer, topic, sent..sent + 500);
    sent += 500;
    let rest = sent - two.payloads.len();
    one.until("what was the second member's", |seen| seen.payloads.len() >= rest);
    one.until("idleness", |seen| {
        seen.told.last().is_some_and(|told| told.starts_with("idle"))
    });
    let one = one.stop();
    assert_each_once(&[&one, &two], 0..sent);
    println!(
        "{strategy}: {} records by the first member, {} by the second",
        one.payloads.len(),
        two.payloads.len()
    );
}

#[test]
fn partitions_move_between_members_without_loss_or_repetition() {
    let broker = MockBroker::start(&[("range", 4)]).expect("a broker");
    share_between_two(broker.brokers(), "range", "range", false);
}

#[test]
fn a_real_broker_moves_partitions_without_loss_or_repetition() {
    let Ok(brokers) = std::env::var("SENTRAIL_TEST_KAFKA") else {
        println!("skipped: SENTRAIL_TEST_KAFKA names no broker");
        return;
    };
    for strategy in ["range", "cooperative-sticky"] {
        let unique = std::process::id();
        share_between_two(&brokers, &format!("{strategy}-{unique}"), strategy, true);
    }
}

#[test]
fn a_broker_that_goes_away_is_told_once_and_reading_goes_on_when_it_is_back() {
    let broker = MockBroker::start(&[("t", 1)]).expect("a broker");
    let producer = Producer::new(broker.brokers()).expect("a producer");
    produce(&producer, "t", 0..10);
    let mut run = Run::start(&[kafka_source(broker.brokers(), &["t"], "g")], &Offsets::new());
    run.until("the first records", |seen| seen.payloads.len() >= 10);
    broker.set_reachable(false).expect("down");
    run.until("trouble", |seen| seen.was_told("trouble k: Kafka:"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        run.step(Duration::from_millis(50));
    }
    broker.set_reachable(true).expect("up");
    run.until("recovery", |seen| seen.was_told("can be reached again"));
    produce(&producer, "t", 10..20);
    run.until("the new records", |seen| seen.payloads.len() >= 20);
    let seen = run.stop();
    assert_each_once(&[&seen], 0..20);
    let troubles: Vec<&String> = seen.told.iter().filter(|told| told.starts_with("trouble")).collect();
    assert_eq!(
        troubles.iter().filter(|told| told.contains("down")).count(),
        1,
        "{troubles:?}"
    );
    let down = troubles
        .iter()
        .find(|told| told.contains("down"))
        .expect("counted above");
    assert!(
        down.ends_with("(Total)") && down.contains("127.0.0.1"),
        "which and why: {down}"
    );
}

#[test]
fn a_paced_producer_fits_a_broker_that_forgets() {
    let broker = MockBroker::start(&[("t", 1)]).expect("a broker");
    let consumed = Arc::new(AtomicU64::new(0));
    let mut paced = Paced::new(
        Producer::new(broker.brokers()).expect("a producer"),
        Arc::clone(&consumed),
    );
    let mut run = Run::start(&[kafka_source(broker.brokers(), &["t"], "g")], &Offsets::new());
    let record = vec![b'x'; 4 << 10];
    let sender = std::thread::spawn(move || {
        for _ in 0..5_000 {
            paced.send("t", None, &record, PATIENCE).expect("sent");
        }
        paced.flush(PATIENCE).expect("delivered")
    });
    let begun = Instant::now();
    while run.seen.payloads.len() < 5_000 {
        assert!(begun.elapsed() < PATIENCE, "{} of 5000", run.seen.payloads.len());
        run.step(Duration::from_millis(50));
        consumed.store(run.seen.payloads.len() as u64, Ordering::Relaxed);
    }
    assert_eq!(sender.join().expect("the sender ends"), 5_000);
    run.stop();
}

fn kafka(settings: &mut SourceSettings) -> &mut KafkaSettings {
    match &mut settings.kind {
        SourceKind::Kafka(kafka) => kafka,
        _ => panic!("a Kafka source"),
    }
}

#[test]
fn a_partition_that_nobody_knows_begins_where_the_configuration_says() {
    let broker = MockBroker::start(&[("t", 1)]).expect("a broker");
    let producer = Producer::new(broker.brokers()).expect("a producer");
    produce(&producer, "t", 0..10);
    std::thread::sleep(Duration::from_millis(50));
    let begun = chrono::Utc::now().timestamp_micros();
    std::thread::sleep(Duration::from_millis(50));
    produce(&producer, "t", 10..20);
    let with = |start: KafkaStart, group: &str| {
        let mut settings = kafka_source(broker.brokers(), &["t"], group);
        kafka(&mut settings).start = start;
        [settings]
    };
    let mut latest = Run::start(&with(KafkaStart::Latest, "latest"), &Offsets::new());
    latest.until("the start", |seen| !seen.offsets.is_empty());
    assert_eq!(
        latest.seen.offsets.values().next(),
        Some(&InputOffset::Kafka { next: 20 })
    );
    produce(&producer, "t", 20..25);
    latest.until("the new records", |seen| seen.payloads.len() >= 5);
    latest.sources.committed(&latest.seen.offsets);
    assert_each_once(&[&latest.stop()], 20..25);
    // The group has an offset now: that is where it goes on, whatever `start` says.
    produce(&producer, "t", 25..30);
    for start in [KafkaStart::Committed, KafkaStart::Time(begun)] {
        let mut known = Run::start(&with(start, "latest"), &Offsets::new());
        known.until("the new records", |seen| seen.payloads.len() >= 5);
        known.until("idleness", |seen| seen.was_told("idle"));
        assert_each_once(&[&known.stop()], 25..30);
    }
    let mut unknown = Run::start(&with(KafkaStart::Committed, "unknown"), &Offsets::new());
    unknown.until("failure", |seen| seen.was_told("failed k"));
    assert!(
        unknown
            .stop()
            .was_told("group \"unknown\" has no offset of topic \"t\"")
    );
}

/// A real broker, for what the mock cluster does not do.
fn real_broker() -> Option<String> {
    let brokers = std::env::var("SENTRAIL_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: SENTRAIL_TEST_KAFKA names no broker");
    }
    brokers
}

#[test]
fn a_real_broker_finds_a_time_and_tells_the_lag() {
    let Some(brokers) = real_broker() else { return };
    let topic = format!("time-{}", std::process::id());
    let producer = Producer::new(&brokers).expect("a producer");
    produce(&producer, &topic, 0..10);
    std::thread::sleep(Duration::from_millis(50));
    let begun = chrono::Utc::now().timestamp_micros();
    std::thread::sleep(Duration::from_millis(50));
    produce(&producer, &topic, 10..20);
    let mut settings = kafka_source(&brokers, &[&topic], &topic);
    kafka(&mut settings).start = KafkaStart::Time(begun);
    kafka(&mut settings)
        .properties
        .insert("statistics.interval.ms".into(), "100".into());
    let mut run = Run::start(&[settings], &Offsets::new());
    run.until("the records since then", |seen| seen.payloads.len() >= 10);
    run.until("idleness", |seen| seen.was_told("idle"));
    let lags = run.progress.lags();
    assert!(!lags.is_empty() && lags.values().all(|lag| *lag == 0), "{lags:?}");
    assert_each_once(&[&run.stop()], 10..20);
}

#[test]
fn a_real_broker_gives_keys_headers_and_every_compression() {
    let Some(brokers) = real_broker() else { return };
    let topic = format!("codecs-{}", std::process::id());
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (number, codec) in codecs.iter().enumerate() {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &brokers)
            .set("compression.type", *codec)
            .set("linger.ms", "50");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
        // Long and alike, so that it is compressed.
        for record in 0..20 {
            let value = format!("{:>200}", number * 20 + record);
            let header = Header {
                key: "codec",
                value: Some(*codec),
            };
            let headers = OwnedHeaders::new().insert(header).insert(Header::<&str> {
                key: "empty",
                value: None,
            });
            let record = BaseRecord::to(&topic).key("k").payload(&value).headers(headers);
            producer.send(record).map_err(|(error, _)| error).expect("queued");
        }
        producer.flush(PATIENCE).expect("delivered");
    }
    let mut run = Run::start(&[kafka_source(&brokers, &[&topic], &topic)], &Offsets::new());
    run.until("all records", |seen| seen.payloads.len() >= 100);
    let seen = run.stop();
    for payload in &seen.payloads {
        let text = String::from_utf8_lossy(&payload.bytes);
        let number: usize = text.trim().parse().expect("a number");
        let attributes = payload.attributes.as_deref().expect("attributes");
        assert_eq!(&attributes["kafka.key"][..], b"k");
        assert_eq!(&attributes["kafka.header.codec"][..], codecs[number / 20].as_bytes());
        assert_eq!(&attributes["kafka.header.empty"][..], b"");
    }
    assert_eq!(seen.payloads.len(), 100);
}

#[test]
fn a_real_broker_is_read_over_tls_and_with_passwords() {
    let Ok(secure) = std::env::var("SENTRAIL_TEST_KAFKA_SECURE") else {
        println!("skipped: SENTRAIL_TEST_KAFKA_SECURE names no broker with TLS and SASL");
        return;
    };
    let [plain, tls, ca, user, password] = secure.split(',').collect::<Vec<_>>()[..] else {
        panic!("SASL address, SASL over TLS address, CA file, user, password: {secure}");
    };
    let Some(brokers) = real_broker() else { return };
    let topic = format!("secure-{}", std::process::id());
    produce(&Producer::new(&brokers).expect("a producer"), &topic, 0..10);
    let cases = [
        (plain, "SASL_PLAINTEXT", "PLAIN"),
        (plain, "SASL_PLAINTEXT", "SCRAM-SHA-512"),
        (tls, "SASL_SSL", "PLAIN"),
        (tls, "SASL_SSL", "SCRAM-SHA-256"),
    ];
    for (brokers, protocol, mechanism) in cases {
        let mut settings = kafka_source(brokers, &[&topic], &format!("{topic}-{protocol}-{mechanism}"));
        let kafka = kafka(&mut settings);
        let more = [
            ("security.protocol", protocol),
            ("sasl.mechanisms", mechanism),
            ("sasl.username", user),
            ("ssl.ca.location", ca),
        ];
        kafka
            .properties
            .extend(more.map(|(key, value)| (key.to_owned(), value.into())));
        kafka
            .properties
            .insert("sasl.password".into(), Secret::new(password.into()));
        let mut run = Run::start(&[settings.clone()], &Offsets::new());
        run.until(&format!("the records over {protocol} with {mechanism}"), |seen| {
            seen.payloads.len() >= 10
        });
        assert_each_once(&[&run.stop()], 0..10);
        println!("{protocol} with {mechanism}: 10 records");
        self::kafka(&mut settings)
            .properties
            .insert("sasl.password".into(), Secret::new("wrong".into()));
        let mut refused = Run::start(&[settings], &Offsets::new());
        refused.until("trouble", |seen| seen.was_told("trouble k: Kafka:"));
        assert!(refused.stop().payloads.is_empty());
    }
}

#[test]
fn a_check_says_what_is_wrong() {
    let broker = MockBroker::start(&[("t", 3)]).expect("a broker");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let look = |source: SourceSettings| runtime.block_on(check(&source));
    assert_eq!(
        look(kafka_source(broker.brokers(), &["t"], "g")).expect("fine"),
        "1 brokers answer; topics t (3 partitions)"
    );
    let missing = look(kafka_source(broker.brokers(), &["u"], "g")).expect_err("no such topic");
    assert!(
        missing.to_string().contains("\"u\" does not exist") && missing.to_string().ends_with("it has: t"),
        "{missing}"
    );
    let nobody = look(kafka_source("127.0.0.1:9", &["t"], "g")).expect_err("nobody there");
    assert!(matches!(nobody, SourceError::Unreachable { .. }), "{nobody}");
    let mut invalid = kafka_source(broker.brokers(), &["t"], "g");
    if let SourceKind::Kafka(kafka) = &mut invalid.kind {
        kafka.properties.insert("no.such.key".into(), "s3cret".into());
    }
    let refused = look(invalid).expect_err("no such property").to_string();
    assert!(
        refused.contains("no.such.key") && !refused.contains("s3cret"),
        "{refused}"
    );
}
