mod folds;

use super::*;
use crate::model::{Entity, EntityRole, PathStep, RoledEntity, Severity};

const HOUR: Micros = time::HOUR;
const MINUTE: Micros = time::MINUTE;

fn settings() -> CorrelateSettings {
    CorrelateSettings {
        window: 6 * HOUR,
        single_severity: Severity::Critical,
        ..CorrelateSettings::default()
    }
}

fn detection(name: &str, at: Micros, severity: Severity, entities: &[(EntityRole, &str)]) -> Detection {
    let mut entities: Vec<RoledEntity> = entities
        .iter()
        .map(|(role, text)| RoledEntity {
            role: *role,
            entity: Entity::parse(text).expect("kind:value"),
        })
        .collect();
    entities.sort();
    Detection {
        detection_id: Detection::id_of("acme", "test", name, &[name]).to_string(),
        tenant: "acme".into(),
        time: at,
        plugin: "test".into(),
        plugin_version: "1".into(),
        rule: name.into(),
        severity,
        title: name.into(),
        message: String::new(),
        techniques: vec![format!("T{}", name.len())],
        entities,
        event_ids: vec![name.into()],
        layer: "cloud".into(),
        action: "Do".into(),
        late: false,
    }
}

fn relation(from: &str, kind: &str, to: &str, at: Micros) -> Relation {
    Relation {
        tenant: "acme".into(),
        from: Entity::parse(from).expect("kind:value"),
        kind: kind.into(),
        to: Entity::parse(to).expect("kind:value"),
        first_time: at,
        last_time: at,
        count: 1,
        event_id: "e".into(),
        layer: "cloud".into(),
    }
}

use EntityRole::{Actor, Context};
use Severity::{Critical, High, Low};

/// Open incidents after all facts, in any number of steps.
fn incidents(steps: Vec<(Vec<Detection>, Vec<Relation>)>) -> Vec<Incident> {
    incidents_with(settings(), steps)
}

fn incidents_with(settings: CorrelateSettings, steps: Vec<(Vec<Detection>, Vec<Relation>)>) -> Vec<Incident> {
    let mut correlator = Correlator::new(settings);
    let mut newest: BTreeMap<String, Incident> = BTreeMap::new();
    for (detections, relations) in steps {
        correlator.apply(detections, relations);
        for incident in correlator.changes() {
            newest.insert(incident.incident_id.clone(), incident);
        }
    }
    newest
        .into_values()
        .filter(|incident| incident.status == IncidentStatus::Open)
        .collect()
}

#[test]
fn repeats_of_one_finding_and_two_of_one_event_are_no_incident() {
    let bob = [(Actor, "principal:bob")];
    let first = detection("a", 0, Low, &bob);
    let again = Detection {
        rule: "a".into(),
        ..detection("b", MINUTE, Low, &bob)
    };
    let same_event = Detection {
        event_ids: vec!["a".into()],
        ..detection("c", 0, Low, &bob)
    };
    let follows = detection("d", MINUTE, Low, &bob);
    let members = |with: &Detection| {
        let found = incidents(vec![(vec![first.clone(), with.clone()], vec![])]);
        found.iter().map(|incident| incident.detection_count).sum::<u64>()
    };
    assert_eq!((members(&again), members(&same_event), members(&follows)), (0, 0, 2));
    let all = incidents(vec![(vec![first.clone(), again, same_event, follows], vec![])]);
    assert_eq!(all[0].detection_count, 4, "they belong to one that others open");
}

#[test]
fn what_only_informs_is_no_incident_and_belongs_to_one() {
    let bob = [(Actor, "principal:bob")];
    let informs = |name: &str, at| detection(name, at, Severity::Informational, &bob);
    assert!(incidents(vec![(vec![informs("a", 0), informs("bb", MINUTE)], vec![])]).is_empty());
    let low = detection("ccc", 2 * MINUTE, Low, &bob);
    let found = incidents(vec![
        (vec![informs("a", 0), informs("bb", MINUTE)], vec![]),
        (vec![low], vec![]),
    ]);
    assert_eq!(
        found
            .iter()
            .map(|incident| incident.detection_ids.len())
            .collect::<Vec<_>>(),
        [3]
    );
}

#[test]
fn a_shared_identity_joins_and_a_shared_model_does_not() {
    let with = |kind: &str| {
        vec![
            detection("a", 0, Low, &[(Actor, kind), (Context, "address:192.0.2.1")]),
            detection("bb", MINUTE, Low, &[(Actor, kind), (Context, "address:192.0.2.2")]),
        ]
    };
    assert_eq!(
        incidents(vec![(with("principal:arn:aws:iam::1:user/x"), vec![])]).len(),
        1
    );
    assert!(incidents(vec![(with("model:gpt"), vec![])]).is_empty());
    assert!(incidents(vec![(with("principal:ec2.amazonaws.com"), vec![])]).is_empty());
}

#[test]
fn one_detection_is_an_incident_only_when_it_is_severe() {
    let one = |severity| {
        incidents(vec![(
            vec![detection("a", 0, severity, &[(Actor, "principal:x@y.z")])],
            vec![],
        )])
    };
    assert!(one(High).is_empty());
    let critical = one(Critical);
    assert_eq!(critical.len(), 1);
    assert_eq!(critical[0].severity, Critical);
}

#[test]
fn a_key_is_followed_from_its_creation_and_not_before() {
    let create = detection("create", HOUR, Low, &[(Actor, "principal:arn:aws:iam::1:user/eve")]);
    let issued = relation("principal:arn:aws:iam::1:user/eve", "issued", "access_key:AKIA1", HOUR);
    let used = |at| detection("used", at, Low, &[(Actor, "access_key:AKIA1")]);
    let after = incidents(vec![(vec![create.clone(), used(2 * HOUR)], vec![issued.clone()])]);
    assert_eq!(after.len(), 1);
    let path: Vec<&str> = after[0].path.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(path, ["Do", "issued", "Do"], "{:#?}", after[0].path);
    assert!(incidents(vec![(vec![create, used(HOUR / 2)], vec![issued])]).is_empty());
}

/// What the path says: relations as they are, and of detections why they are there.
fn told(incident: &Incident) -> Vec<String> {
    let step = |step: &PathStep| match step.detection_id {
        Some(_) => step.why.rsplit("; ").next().unwrap_or_default().to_owned(),
        None => format!("{} {} {}", step.from_entity, step.action, step.to_entity),
    };
    incident.path.iter().map(step).collect()
}

#[test]
fn what_two_findings_name_says_more_than_relations_around_it() {
    let asked = |name, at, conversation| {
        let entities = [
            (Actor, "gateway_key:k"),
            (Context, "address:192.0.2.1"),
            (Context, conversation),
        ];
        detection(name, at, Low, &entities)
    };
    // The second lies between the others on the key and on the address: only a relation links these directly.
    let detections = vec![
        asked("a", 0, "conversation:1"),
        asked("bb", MINUTE, "conversation:2"),
        asked("ccc", 2 * MINUTE, "conversation:1"),
    ];
    let relations = vec![
        relation("conversation:1", "belongs-to", "gateway_key:k", 0),
        relation("conversation:2", "belongs-to", "gateway_key:k", MINUTE),
        relation("gateway_key:k", "used-from", "address:192.0.2.1", 0),
    ];
    let found = incidents(vec![(detections, relations)]);
    let why = told(&found[0]);
    assert_eq!(
        why,
        [
            "the first finding",
            "same gateway_key:k as \"a\"",
            "same conversation:1 as \"a\""
        ]
    );
}

#[test]
fn an_identity_that_was_handed_on_says_more_than_a_common_address() {
    let at = |name, time, who| detection(name, time, Low, &[(Actor, who), (Context, "address:192.0.2.1")]);
    let detections = vec![
        at("a", 0, "gateway_key:k"),
        at("create", MINUTE, "session:s"),
        at("use", 2 * MINUTE, "access_key:AKIA1"),
    ];
    let relations = vec![relation("session:s", "issued", "access_key:AKIA1", MINUTE)];
    let found = incidents(vec![(detections, relations)]);
    assert_eq!(
        told(&found[0]),
        [
            "the first finding",
            "same address:192.0.2.1 as \"a\"",
            "session:s issued access_key:AKIA1",
            "joined to \"create\" because session:s issued access_key:AKIA1 at 1970-01-01T00:01:00.000Z",
        ]
    );
}

#[test]
fn an_office_address_does_not_glue_its_people_together() {
    let people = |count: usize| {
        let mut detections = Vec::new();
        let mut relations = Vec::new();
        for person in 0..count {
            let principal = format!("principal:p{person}@acme.example");
            let entities = [(Actor, principal.as_str()), (Context, "address:192.0.2.1")];
            detections.push(detection(
                &format!("{person:03}"),
                person as Micros * MINUTE,
                Low,
                &entities,
            ));
            relations.push(relation(
                &principal,
                "used-from",
                "address:192.0.2.1",
                person as Micros * MINUTE,
            ));
        }
        (detections, relations)
    };
    assert_eq!(incidents(vec![people(4)]).len(), 1);
    assert!(incidents(vec![people(200)]).is_empty());
    // Also when the detections were joined before the address proved to be shared.
    let (detections, relations) = people(200);
    assert!(incidents(vec![(detections, vec![]), (vec![], relations)]).is_empty());
}

#[test]
fn what_new_evidence_parts_is_told_and_what_is_merged_is_no_split() {
    let mut correlator = Correlator::new(settings());
    let at_office = |name: &str, person: &str, at: Micros| {
        let principal = format!("principal:{person}@acme.example");
        detection(
            name,
            at,
            Low,
            &[(Actor, principal.as_str()), (Context, "address:192.0.2.1")],
        )
    };
    let who = ["b", "c", "d", "e"]
        .into_iter()
        .zip(["ann", "ann", "bob", "bob"])
        .zip(1..);
    correlator.apply(
        who.map(|((name, person), at)| at_office(name, person, at * MINUTE))
            .collect(),
        vec![],
    );
    let whole = correlator.changes().remove(0);
    assert_eq!(whole.detection_ids.len(), 4);
    // An earlier finding of the same person: another id, and no split.
    correlator.apply(vec![at_office("a", "ann", 0)], vec![]);
    let changes = correlator.changes();
    let open = |changes: &[Incident]| -> Vec<Incident> {
        let open = changes
            .iter()
            .filter(|incident| incident.status == IncidentStatus::Open);
        open.cloned().collect()
    };
    let whole = open(&changes).remove(0);
    assert_eq!((changes.len(), correlator.take_splits()), (2, vec![]));
    let office = (0..50).map(|person| {
        let principal = format!("principal:p{person}@acme.example");
        relation(&principal, "used-from", "address:192.0.2.1", MINUTE)
    });
    correlator.apply(vec![], office.collect());
    let parts = open(&correlator.changes());
    assert_eq!(parts.len(), 2, "one for each person");
    let other = parts
        .iter()
        .find(|part| part.incident_id != whole.incident_id)
        .expect("another");
    let split = Split {
        from: whole.incident_id.clone(),
        into: Some(other.incident_id.clone()),
        findings: 2,
    };
    assert_eq!(correlator.take_splits(), [split]);
    assert!(
        correlator.changes().is_empty() && correlator.take_splits().is_empty(),
        "told once"
    );
    assert_eq!(correlator.incident(&other.incident_id), Some(other));
    assert_eq!(correlator.incidents().count(), 2);
    let seed = &whole.detection_ids[0];
    assert!(correlator.detection("acme", seed).is_some() && correlator.detection("other", seed).is_none());
}

#[test]
fn an_older_seed_takes_the_incident_over_and_the_other_stays_readable() {
    let mut correlator = Correlator::new(settings());
    let who = [(Actor, "session:s")];
    correlator.apply(
        vec![detection("b", 10, Low, &who), detection("c", 20, Low, &who)],
        vec![],
    );
    let first = correlator.changes();
    correlator.apply(vec![detection("a", 5, Low, &who)], vec![]);
    let changes = correlator.changes();
    assert_eq!(changes.len(), 2);
    let merged = changes
        .iter()
        .find(|incident| incident.status == IncidentStatus::Merged)
        .expect("merged");
    let open = changes
        .iter()
        .find(|incident| incident.status == IncidentStatus::Open)
        .expect("open");
    assert_eq!(merged.incident_id, first[0].incident_id);
    assert_eq!(merged.merged_into.as_ref(), Some(&open.incident_id));
    assert_eq!(open.detection_ids.len(), 3);
    assert!(correlator.changes().is_empty(), "nothing new, nothing said");
}

#[test]
fn an_incident_that_only_the_journal_remembers_is_taken_over_when_its_findings_come_again() {
    let who = [(Actor, "session:s")];
    let (a, b, c) = (
        detection("a", 5, Low, &who),
        detection("b", 10, Low, &who),
        detection("c", 20, Low, &who),
    );
    let mut before = Correlator::new(settings());
    before.apply(vec![b.clone(), c.clone()], vec![]);
    let journaled = before.changes();
    let mut after = Correlator::new(settings());
    after.resume(vec![], vec![], journaled.clone());
    // One of its findings alone is no reason to close it: the other is on its way.
    after.apply(vec![b], vec![]);
    assert!(after.changes().is_empty());
    after.apply(vec![a, c], vec![]);
    let changes = after.changes();
    assert_eq!(changes.len(), 2);
    assert!(
        changes
            .iter()
            .any(|incident| incident.incident_id == journaled[0].incident_id
                && incident.status == IncidentStatus::Merged)
    );
}

#[test]
fn a_journaled_incident_whose_seed_is_not_found_again_does_not_stay_open() {
    let who = [(Actor, "session:s")];
    let (a, b, c) = (
        detection("a", 5, Low, &who),
        detection("b", 10, Low, &who),
        detection("c", 20, Low, &who),
    );
    let mut before = Correlator::new(settings());
    before.apply(vec![a, b.clone(), c.clone()], vec![]);
    let mut after = Correlator::new(settings());
    after.resume(vec![], vec![], before.changes());
    after.apply(vec![b, c], vec![]);
    let changes = after.changes();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().any(|incident| incident.status == IncidentStatus::Merged));
}

#[test]
fn tenants_never_mix() {
    let mut other = detection("b", 10, Low, &[(Actor, "session:s")]);
    other.tenant = "globex".into();
    assert!(
        incidents(vec![(
            vec![detection("a", 5, Low, &[(Actor, "session:s")]), other],
            vec![]
        )])
        .is_empty()
    );
}

#[test]
fn the_window_ends_links() {
    let who = [(Actor, "session:s")];
    let apart = |gap| {
        incidents(vec![(
            vec![detection("a", 0, High, &who), detection("b", gap, High, &who)],
            vec![],
        )])
    };
    assert_eq!(apart(6 * HOUR).len(), 1);
    assert!(apart(6 * HOUR + 1).is_empty());
}

#[test]
fn what_is_old_is_let_go_and_a_young_incident_keeps_its_members() {
    let mut correlator = Correlator::new(settings());
    let who = [(Actor, "session:s")];
    correlator.apply(
        vec![
            detection("a", 0, High, &who),
            detection("b", 5 * HOUR, High, &who),
            detection("c", 0, Low, &[(Actor, "session:t")]),
        ],
        vec![relation("principal:p", "used-from", "address:192.0.2.9", 0)],
    );
    assert_eq!(correlator.changes().len(), 1);
    correlator.expire(10 * HOUR);
    assert_eq!(
        correlator.size().detections,
        2,
        "the lonely one is gone, the incident's are not"
    );
    correlator.apply(vec![detection("d", 9 * HOUR, High, &who)], vec![]);
    let changes = correlator.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].detection_ids.len(), 3);
    correlator.expire(30 * HOUR);
    let size = correlator.size();
    assert!(
        size.firings > 0 && size.bytes() > 0,
        "what is usual is remembered for longer: {size:?}"
    );
    assert_eq!(GraphSize { firings: 0, ..size }, GraphSize::default());
    correlator.expire(10 * 24 * HOUR);
    assert_eq!(correlator.size(), GraphSize::default());
}

/// A small campaign with noise, in `steps` whose order a generator chose.
fn campaign() -> (Vec<Detection>, Vec<Relation>) {
    let mut detections = Vec::new();
    let mut relations = Vec::new();
    for i in 0..40i64 {
        let principal = format!("principal:p{}@acme.example", i % 7);
        let key = format!("gateway_key:k{}", i % 5);
        let address = format!("address:198.51.100.{}", i % 11);
        let entities = [(Actor, key.as_str()), (Context, address.as_str())];
        detections.push(detection(
            &format!("d{i}"),
            i * 17 * MINUTE,
            if i % 9 == 0 { High } else { Low },
            &entities,
        ));
        relations.push(relation(&key, "belongs-to", &principal, (i * 13 % 40) * 11 * MINUTE));
        relations.push(relation(&principal, "used-from", &address, (i * 7 % 40) * 19 * MINUTE));
        let session = format!("session:s{}", i % 6);
        relations.push(relation(&principal, "assumed", &session, i * 23 * MINUTE));
        detections.push(detection(
            &format!("s{i}"),
            i * 29 * MINUTE,
            Low,
            &[(Actor, session.as_str())],
        ));
    }
    (detections, relations)
}

/// A campaign, and around it people at one address that turns out to be an office's, a conversation id that is none, and keys handed on
/// again and again.
fn busy_campaign() -> (Vec<Detection>, Vec<Relation>) {
    let (mut detections, mut relations) = campaign();
    for i in 0..30i64 {
        let person = format!("principal:q{i}@acme.example");
        let key = format!("gateway_key:q{i}");
        relations.push(relation(&person, "used-from", "address:192.0.2.7", i * 9 * MINUTE));
        relations.push(relation(&key, "belongs-to", &person, i * 5 * MINUTE));
        relations.push(relation("conversation:0", "belongs-to", &key, i * 7 * MINUTE));
        let entities = [
            (Actor, key.as_str()),
            (Context, "address:192.0.2.7"),
            (Context, "conversation:0"),
        ];
        detections.push(detection(&format!("q{i}"), i * 31 * MINUTE, Low, &entities));
        let session = format!("session:t{}", i % 4);
        let access = format!("access_key:A{i}");
        relations.push(relation(&person, "assumed", &session, (i * 11 % 30) * 20 * MINUTE));
        relations.push(relation(&session, "issued", &access, (i * 7 % 30) * 20 * MINUTE));
        detections.push(detection(
            &format!("a{i}"),
            (i * 13 % 30) * 20 * MINUTE,
            Low,
            &[(Actor, access.as_str())],
        ));
    }
    (detections, relations)
}

/// The same facts in another order and other pieces.
fn shuffled(facts: (Vec<Detection>, Vec<Relation>), seed: u64, pieces: usize) -> Vec<(Vec<Detection>, Vec<Relation>)> {
    use rand::{SeedableRng, seq::SliceRandom};
    let (mut detections, mut relations) = facts;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    detections.shuffle(&mut rng);
    relations.shuffle(&mut rng);
    let (per_d, per_r) = (detections.len().div_ceil(pieces), relations.len().div_ceil(pieces));
    (0..pieces)
        .map(|i| {
            let part = |len: usize, per: usize| (i * per).min(len)..((i + 1) * per).min(len);
            (
                detections[part(detections.len(), per_d)].to_vec(),
                relations[part(relations.len(), per_r)].to_vec(),
            )
        })
        .collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]
    #[test]
    fn any_order_of_arrival_gives_the_same_incidents(
        seed in 0u64..,
        pieces in 1usize..12,
        is_busy in proptest::prelude::any::<bool>(),
        is_bounded in proptest::prelude::any::<bool>(),
    ) {
        let facts = if is_busy { busy_campaign() } else { campaign() };
        let settings = match is_bounded {
            true => CorrelateSettings { span_max: 7 * HOUR, members_max: 12, ..settings() },
            false => settings(),
        };
        let expected = incidents_with(settings.clone(), vec![facts.clone()]);
        proptest::prop_assert!(!expected.is_empty());
        let found = incidents_with(settings, shuffled(facts, seed, pieces));
        proptest::prop_assert!(found == expected, "incidents differ");
    }
}

#[test]
fn what_thousands_share_joins_nobody() {
    // Each has an incident of two findings.
    let mut detections = Vec::new();
    for person in 0..1000i64 {
        let principal = format!("principal:p{person}@acme.example");
        for n in 0..2 {
            let at = person * 100_000 + n * MINUTE;
            detections.push(detection(
                &format!("{person}/{n}"),
                at,
                Low,
                &[(Actor, principal.as_str())],
            ));
        }
    }
    let uses = |person: i64| {
        let principal = format!("principal:p{person}@acme.example");
        relation(&principal, "used-from", "address:192.0.2.1", person * 100_000)
    };
    let alone = incidents(vec![(detections.clone(), vec![])]);
    assert_eq!(alone.len(), 1000);
    assert_eq!(
        incidents(vec![
            (detections.clone(), vec![]),
            (vec![], (0..1000).map(uses).collect())
        ]),
        alone
    );
    // A few of them are one.
    assert_eq!(incidents(vec![(detections, (0..5).map(uses).collect())]).len(), 996);
}

#[test]
fn what_is_shared_is_told_by_kind_and_configuration() {
    let asked = |count: usize| {
        let mut facts = (Vec::new(), Vec::new());
        for n in 0..count {
            let key = format!("gateway_key:k{n}");
            let at = n as Micros * MINUTE;
            let entities = [(Actor, key.as_str()), (Context, "conversation:default")];
            facts.0.push(detection(&format!("{n:03}"), at, Low, &entities));
            facts.1.push(relation("conversation:default", "belongs-to", &key, at));
        }
        vec![facts]
    };
    assert_eq!(incidents(asked(8)).len(), 1);
    assert!(incidents(asked(9)).is_empty());
    let pattern = |text: &str| vec![glob::Pattern::new(text).expect("a pattern")];
    let stopped = CorrelateSettings {
        stop_values: pattern("conversation:def*"),
        ..settings()
    };
    assert!(incidents_with(stopped, asked(8)).is_empty());
    let specific = CorrelateSettings {
        specific_values: pattern("conversation:default"),
        ..settings()
    };
    assert_eq!(incidents_with(specific, asked(9)).len(), 1);
    let mut more = settings();
    more.identities_max.insert("conversation".into(), 20);
    assert_eq!(incidents_with(more, asked(20)).len(), 1);
}

#[test]
fn an_incident_that_outgrows_its_span_has_a_successor_that_does_not_depend_on_it() {
    let settings = CorrelateSettings {
        span_max: 24 * HOUR,
        ..settings()
    };
    let who = [(Actor, "session:s")];
    let day = 24 * HOUR;
    // Less than a span over the end of one: whole.
    let at = |hour: i64| detection(&format!("{hour}"), hour * HOUR, Low, &who);
    let short: Vec<Detection> = (20..30).map(at).collect();
    assert_eq!(incidents_with(settings.clone(), vec![(short, vec![])]).len(), 1);
    let long: Vec<Detection> = (0..60).map(at).collect();
    let found = incidents_with(settings.clone(), vec![(long.clone(), vec![])]);
    let mut spans: Vec<(Micros, Micros)> = found
        .iter()
        .map(|incident| (incident.first_time, incident.last_time))
        .collect();
    spans.sort();
    assert_eq!(spans, [(0, day - HOUR), (day, 2 * day - HOUR), (2 * day, 59 * HOUR)]);
    // As it goes on, with the first long gone, the last is the same.
    let mut correlator = Correlator::new(settings);
    let mut last = BTreeMap::new();
    for detection in long {
        let time = detection.time;
        correlator.apply(vec![detection], vec![]);
        for incident in correlator.changes() {
            last.insert(incident.first_time, incident);
        }
        correlator.expire(time);
    }
    assert!(correlator.size().detections < 40);
    let newest = found.iter().find(|incident| incident.first_time == 2 * day);
    assert_eq!(last.get(&(2 * day)), newest);
}

#[test]
fn an_incident_of_too_many_findings_is_cut() {
    let settings = CorrelateSettings {
        members_max: 100,
        ..settings()
    };
    let at = |n: i64| detection(&format!("{n}"), n * MINUTE, Low, &[(Actor, "session:s")]);
    let found = incidents_with(settings.clone(), vec![((0..250).map(at).collect(), vec![])]);
    assert!(found.iter().all(|incident| incident.detection_ids.len() <= 100));
    assert_eq!(
        found.iter().map(|incident| incident.detection_ids.len()).sum::<usize>(),
        250
    );
    // Also when all are of one moment.
    let at = |n: i64| detection(&format!("{n}"), 5, Low, &[(Actor, "session:s")]);
    let found = incidents_with(settings, vec![((0..250).map(at).collect(), vec![])]);
    assert_eq!(found.len(), 3);
}

#[test]
fn short_memory_lets_go_of_the_oldest_and_says_so() {
    let mut correlator = Correlator::new(CorrelateSettings {
        memory_bytes_max: 1 << 20,
        ..settings()
    });
    for n in 0..6_000i64 {
        let at = n * 3 * HOUR / 6_000;
        let address = format!("address:198.18.{}.{}", n / 250, n % 250);
        correlator.apply(
            vec![],
            vec![relation(&format!("session:{n}"), "used-from", &address, at)],
        );
    }
    correlator.apply(vec![detection("old", MINUTE, Low, &[(Actor, "session:0")])], vec![]);
    assert!(correlator.size().bytes() > 1 << 20);
    correlator.expire(3 * HOUR);
    let size = correlator.size();
    assert!(size.evicted > 1_000, "{size:?}");
    assert_eq!(size.detections, 0);
    assert!(size.entities < 6_000, "{size:?}");
}

#[test]
fn each_part_of_a_score_is_told_and_more_evidence_never_takes_away() {
    let weighs = CorrelateSettings {
        criticality: vec![crate::config::Criticality {
            entity: glob::Pattern::new("collection:patients*").expect("a pattern"),
            weight: 25.0,
        }],
        ..settings()
    };
    let step = |name: &str, at, technique: &str, layer: &str, target: &str| {
        let mut found = detection(name, at, Low, &[(Actor, "session:s"), (EntityRole::Target, target)]);
        found.techniques = vec![technique.into()];
        found.layer = layer.into();
        found
    };
    // Valid accounts, then discovery, then exfiltration to a cloud account.
    let all = [
        step("a", 0, "T1078.004", "gateway", "model:m"),
        step("b", 1, "T1580", "cloud", "account:1"),
        step("c", 2, "T1537", "cloud", "collection:patients-eu"),
    ];
    let scored = |found: &[Detection]| {
        let of = incidents_with(weighs.clone(), vec![(found.to_vec(), vec![])]);
        of.into_iter().next().expect("an incident")
    };
    let whole = scored(&all);
    let part = |name: &str| {
        let part = whole.score_parts.iter().find(|part| part.name == name);
        part.map(|part| (part.points, part.why.clone())).expect(name)
    };
    assert_eq!(part("severity").0, 15.0);
    assert_eq!(part("techniques").0, 4.0);
    assert_eq!(part("progress").0, 8.0);
    assert!(
        part("progress").1.ends_with("discovery, exfiltration"),
        "{}",
        part("progress").1
    );
    assert_eq!(part("layers").0, 8.0);
    assert_eq!(part("criticality"), (25.0, "it reached collection:patients-eu".into()));
    assert_eq!(part("rarity").0, 8.0);
    assert_eq!(whole.score, 68.0);
    assert!(scored(&all[..2]).score < whole.score);
    // The other way round it is no progress.
    let back = [
        step("a", 2, "T1078.004", "gateway", "model:m"),
        step("b", 1, "T1580", "cloud", "account:1"),
        step("c", 0, "T1537", "cloud", "account:1"),
    ];
    assert!(
        scored(&back)
            .score_parts
            .iter()
            .all(|part| part.name != "progress" || part.points < 8.0)
    );
}

#[test]
fn an_identity_with_thousands_of_keys_and_addresses_is_one_incident() {
    let mut facts = (Vec::new(), Vec::new());
    for n in 0..3_000i64 {
        let (key, address) = (
            format!("access_key:A{n}"),
            format!("address:198.18.{}.{}", n / 250, n % 250),
        );
        let at = n * 2 * HOUR / 3_000;
        facts.1.push(relation("principal:eve", "used-from", &address, at));
        facts.1.push(relation(&key, "belongs-to", "principal:eve", at));
        let entities = [(Actor, key.as_str()), (Context, address.as_str())];
        facts.0.push(detection(&format!("{n}"), at, Low, &entities));
    }
    let began = std::time::Instant::now();
    let found = incidents(shuffled(facts, 1, 30));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detection_ids.len(), 3_000);
    // Every pair is 4,500,000 walks, which take minutes.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

/// Three days in which every hour ten people trip a rule each, as people do.
fn ordinary_days() -> Vec<Detection> {
    let mut detections = Vec::new();
    for n in 0..720i64 {
        let person = format!("principal:p{}@acme.example", n * 7 % 300);
        let noise = tripped(&format!("noise-{}", n % 10), n * 6 * MINUTE, &person);
        detections.push(noise);
    }
    detections
}

/// A finding of the rule.
fn tripped(rule: &str, at: Micros, person: &str) -> Detection {
    Detection {
        rule: rule.into(),
        severity: Severity::Medium,
        ..detection(&format!("{rule}-{at}"), at, Low, &[(Actor, person)])
    }
}

#[test]
fn what_happens_every_day_makes_no_incident_and_belongs_to_none_that_it_is_far_from() {
    let end = 72 * HOUR;
    let with = |more: &[Detection]| {
        let found = incidents(vec![([ordinary_days(), more.to_vec()].concat(), vec![])]);
        let ours = |incident: &Incident| incident.entities.contains(&"principal:eve@acme.example".to_owned());
        let found: Vec<Incident> = found.into_iter().filter(ours).collect();
        found
            .iter()
            .map(|incident| incident.detection_ids.len())
            .collect::<Vec<_>>()
    };
    let eve = |rule: &str, at: Micros| tripped(rule, end + at, "principal:eve@acme.example");
    let (usual, other) = (eve("noise-1", 0), eve("noise-2", 2 * HOUR));
    let (rare, rarer) = (eve("rare", 3 * HOUR), eve("rarer", 4 * HOUR));
    assert_eq!(with(&[usual.clone(), other.clone()]), [0; 0]);
    assert_eq!(with(&[rare.clone(), rarer.clone()]), [2]);
    assert_eq!(with(&[usual, rare.clone(), rarer.clone()]), [2], "it is hours away");
    assert_eq!(
        with(&[eve("noise-1", 3 * HOUR + MINUTE), rare, rarer]),
        [3],
        "a minute away"
    );
}

#[test]
fn what_somebody_trips_all_the_time_is_usual_with_them_alone() {
    let end = 72 * HOUR;
    let (ann, eve) = ("principal:ann@acme.example", "principal:eve@acme.example");
    let mut past = ordinary_days();
    past.extend((0..216).map(|n| tripped("chatter", n * 20 * MINUTE, ann)));
    let members = |who: &str| {
        let now = [
            tripped("chatter", end, who),
            tripped("rare", end + MINUTE, who),
            tripped("rarer", end + 2 * MINUTE, who),
        ];
        let found = incidents(vec![([past.clone(), now.to_vec()].concat(), vec![])]);
        let ours = |incident: &&Incident| incident.last_time >= end && incident.entities.contains(&who.to_owned());
        found
            .iter()
            .filter(ours)
            .map(|incident| incident.detection_ids.len())
            .collect::<Vec<_>>()
    };
    assert_eq!((members(ann), members(eve)), (vec![2], vec![3]));
}

#[test]
fn what_is_usual_does_not_depend_on_the_order_of_arrival_or_on_a_restart() {
    let mut detections = ordinary_days();
    for (rule, at) in [("rare", 40), ("rarer", 41), ("noise-3", 41), ("rarest", 43)] {
        detections.push(tripped(rule, at * HOUR + MINUTE, "principal:p7@acme.example"));
    }
    let expected = incidents(vec![(detections.clone(), vec![])]);
    assert!(!expected.is_empty());
    for seed in 0..8 {
        let found = incidents(shuffled((detections.clone(), vec![]), seed, 5));
        assert!(found == expected, "incidents differ with seed {seed}");
    }
    // As the tables give them back at hour 44, of which an hour before the window is kept whole.
    let now = 44 * HOUR;
    let oldest = Correlator::retention_start(&settings(), now);
    let mut again = Correlator::new(settings());
    for past in detections
        .iter()
        .filter(|found| found.time < oldest && found.time >= Correlator::history_start(oldest))
    {
        again.learn(past);
    }
    let kept = detections
        .iter()
        .filter(|found| found.time >= oldest && found.time <= now);
    again.resume(kept.cloned().collect(), Vec::new(), Vec::new());
    let found = again.changes();
    let ours = |incident: &Incident| incident.entities.contains(&"principal:p7@acme.example".to_owned());
    let young = |all: &[Incident]| {
        all.iter()
            .filter(|incident| ours(incident))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(young(&found), young(&expected));
    assert_eq!(young(&found).len(), 1);
}

#[test]
fn an_account_name_joins_the_identities_of_a_person_and_not_those_of_a_function() {
    let of = |name: &str| {
        let mail = format!("principal:{name}@acme.example");
        let session = format!("session:arn:aws:sts::1:assumed-role/dev/{name}");
        vec![
            detection("asks", 0, Low, &[(Actor, &mail)]),
            detection("grants", HOUR, Low, &[(Actor, &session)]),
        ]
    };
    let found = incidents(vec![(of("ann.lee"), vec![])]);
    assert_eq!(told(&found[0]), ["the first finding", "same name:ann.lee as \"asks\""]);
    let many = |name: &str| {
        let uses = |n: usize| {
            relation(
                &format!("principal:arn:aws:iam::{n}:user/{name}"),
                "used-from",
                &format!("address:192.0.2.{n}"),
                0,
            )
        };
        (0..20).map(uses).collect::<Vec<_>>()
    };
    assert!(incidents(vec![(of("deploy"), many("deploy"))]).is_empty());
    assert!(incidents(vec![(of("deploy"), vec![]), (vec![], many("deploy"))]).is_empty());
    assert_eq!(incidents(vec![(of("ann.lee"), many("deploy"))]).len(), 1);
}

#[test]
fn a_host_joins_until_many_are_seen_on_it() {
    let on = |name: &str, at, who: &str| detection(name, at, Low, &[(Actor, who), (Context, "host:web-1")]);
    let two = vec![
        on("a", 0, "principal:x@y.example"),
        on("bb", MINUTE, "address:192.0.2.1"),
    ];
    assert_eq!(incidents(vec![(two.clone(), vec![])]).len(), 1);
    let many: Vec<Detection> = (2..20i64)
        .map(|n| on(&format!("{n:05}"), n * MINUTE, &format!("address:192.0.2.{n}")))
        .collect();
    assert!(incidents(vec![(two, vec![]), (many, vec![])]).is_empty());
}

#[test]
fn what_lost_its_link_to_noise_is_joined_by_a_relation_whenever_that_comes() {
    // Somebody's usual finding lies between two rare ones, and too far from both to belong to them.
    let end = 72 * HOUR;
    let on = |rule: &str, at: Micros, who: &[(EntityRole, &str)]| Detection {
        rule: rule.into(),
        severity: High,
        ..detection(&format!("{rule}-{at}"), end + at, Low, who)
    };
    let (eve, mallory) = (
        (Actor, "principal:eve@acme.example"),
        (Context, "principal:mallory@acme.example"),
    );
    let mut detections = ordinary_days();
    detections.extend([
        on("rare", 0, &[eve]),
        on("noise-4", 2 * HOUR, &[eve, mallory]),
        on("rarer", 4 * HOUR, &[mallory]),
    ]);
    let late = vec![relation(
        "principal:eve@acme.example",
        "same-as",
        "principal:mallory@acme.example",
        end + 2 * HOUR,
    )];
    let ours = |all: Vec<Incident>| {
        let is_ours = |incident: &Incident| incident.entities.contains(&"principal:mallory@acme.example".to_owned());
        all.into_iter().filter(is_ours).collect::<Vec<_>>()
    };
    let at_once = ours(incidents(vec![(detections.clone(), late.clone())]));
    assert_eq!(
        at_once
            .iter()
            .map(|incident| incident.detection_ids.len())
            .collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(ours(incidents(vec![(detections, vec![]), (vec![], late)])), at_once);
}
