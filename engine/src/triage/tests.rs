use std::collections::BTreeMap;

use super::*;
use crate::config::{Equal, InhibitSettings};
use crate::model::{Entity, EntityRole, RoledEntity, Severity, Silence};

fn detection(id: &str, rule: &str, entity: &str) -> Detection {
    Detection {
        detection_id: id.into(),
        tenant: "t".into(),
        time: 10,
        plugin: "p".into(),
        plugin_version: "1".into(),
        rule: rule.into(),
        severity: Severity::High,
        title: String::new(),
        message: String::new(),
        techniques: Vec::new(),
        entities: vec![RoledEntity {
            role: EntityRole::Actor,
            entity: Entity::parse(entity).unwrap(),
        }],
        event_ids: Vec::new(),
        layer: String::new(),
        action: String::new(),
        late: false,
    }
}

fn incident(id: &str, members: &[&str]) -> Incident {
    Incident::bare(id, members)
}

/// What the engine holds beside the triage: detections, and of incidents what was journaled last.
#[derive(Default)]
struct World {
    triage: Triage,
    detections: BTreeMap<String, Detection>,
    standing: BTreeMap<String, Standing>,
    backfill: bool,
}

impl World {
    fn new(detections: &[(&str, &str, &str)]) -> World {
        let detections = detections.iter();
        World {
            detections: detections
                .map(|(id, rule, entity)| ((*id).to_owned(), detection(id, rule, entity)))
                .collect(),
            ..World::default()
        }
    }

    /// As the pipeline does it: judged, journaled, learnt.
    fn tell(&mut self, incidents: Vec<Incident>, splits: &[Split]) -> Vec<Incident> {
        let facts = Facts {
            find: &|_, id| self.detections.get(id),
            standing: &|id| self.standing.get(id).copied(),
            backfill: self.backfill,
            now: 1_000,
        };
        let judged = self.triage.judge(incidents, splits, &facts);
        self.journal(&judged);
        judged
    }

    fn one(&mut self, incident: Incident) -> Incident {
        self.tell(vec![incident], &[]).remove(0)
    }

    fn update(&mut self, incident: Incident, update: IncidentUpdate) -> Updated {
        let facts = Facts {
            find: &|_, id| self.detections.get(id),
            standing: &|id| self.standing.get(id).copied(),
            backfill: self.backfill,
            now: 2_000,
        };
        let update = IncidentUpdate {
            incident_id: incident.incident_id.clone(),
            by: "ann".into(),
            ..update
        };
        let updated = self.triage.update(incident, &update, (500, Micros::MIN), &facts);
        self.journal(std::slice::from_ref(&updated.incident));
        updated
    }

    fn journal(&mut self, revisions: &[Incident]) {
        for incident in revisions {
            let told = self.standing.get(&incident.incident_id).is_some_and(|held| held.told);
            let standing = Standing {
                status: incident.status,
                severity: incident.severity,
                told: told || !incident.case.withheld,
                silenced: incident.case.is_silenced(),
            };
            self.standing.insert(incident.incident_id.clone(), standing);
        }
        self.triage.learn(revisions);
    }
}

fn closed() -> IncidentUpdate {
    IncidentUpdate {
        status: Some(WorkflowStatus::Closed),
        verdict: Some(Verdict::TruePositive),
        assignee: Some("bob".into()),
        note: Some("done".into()),
        ..IncidentUpdate::default()
    }
}

fn benign() -> IncidentUpdate {
    IncidentUpdate {
        status: Some(WorkflowStatus::Closed),
        verdict: Some(Verdict::Benign),
        ..IncidentUpdate::default()
    }
}

fn note(incident: &Incident) -> &str {
    incident
        .case
        .change
        .as_ref()
        .and_then(|change| change.note.as_deref())
        .unwrap_or_default()
}

#[test]
fn a_closed_incident_reopens_for_what_its_update_did_not_know_and_says_so() {
    let mut world = World::new(&[
        ("a", "r", "principal:x"),
        ("b", "r", "principal:x"),
        ("c", "r", "principal:y"),
    ]);
    let first = world.one(incident("i", &["a", "b"]));
    assert!(first.case.is_plain() && !world.triage.is_done("i"));
    let updated = world.update(incident("i", &["a", "b"]), closed()).incident;
    assert_eq!(
        updated
            .case
            .change
            .as_ref()
            .map(|change| (change.by.as_str(), change.at)),
        Some(("ann", 2_000))
    );
    assert!(world.triage.is_done("i"));

    // A finding that it had says nothing new, also after a restart.
    let mut restarted = Triage::default();
    restarted.learn([&updated]);
    world.triage = restarted;
    let same = world.one(incident("i", &["a"]));
    assert_eq!((same.case.status, note(&same)), (WorkflowStatus::Closed, ""));
    let again = world.one(incident("i", &["a", "b", "c"]));
    assert_eq!(
        (again.case.status, again.case.verdict, again.case.assignee.as_deref()),
        (WorkflowStatus::New, None, Some("bob"))
    );
    assert!(
        note(&again).starts_with("reopened: 1 finding that it did not have when it was Closed"),
        "{}",
        note(&again)
    );
    assert_eq!(
        again.case.change.as_ref().map(|change| change.by.as_str()),
        Some(ENGINE)
    );
    assert!(!again.case.withheld);
    // It is told once.
    assert_eq!(note(&world.one(incident("i", &["a", "b", "c"]))), "");
}

#[test]
fn what_a_closed_incident_lost_meanwhile_is_no_news_when_it_comes_back() {
    let found = ["a", "b", "c", "d"].map(|id| (id, "r", "principal:x"));
    let lost = [Split {
        from: "i".into(),
        into: None,
        findings: 2,
    }];
    for restarts in [false, true] {
        let mut world = World::new(&found);
        world.one(incident("i", &["a", "b", "c"]));
        let mut told = vec![world.update(incident("i", &["a", "b", "c"]), closed()).incident];
        told.extend(world.tell(vec![incident("i", &["a"])], &lost));
        if restarts {
            world.triage = Triage::default();
            world.triage.learn(&told);
        }
        let grown = world.one(incident("i", &["a", "b", "c"]));
        assert_eq!((grown.case.status, note(&grown)), (WorkflowStatus::Closed, ""));
        assert_eq!(
            world.one(incident("i", &["a", "b", "c", "d"])).case.status,
            WorkflowStatus::New
        );
        // What it held before somebody worked on it again says nothing of the next time.
        world.tell(vec![incident("i", &["a"])], &lost);
        world.update(incident("i", &["a"]), closed());
        assert_eq!(world.one(incident("i", &["a", "d"])).case.status, WorkflowStatus::New);
    }
    // The same where it has another id by then, because its seed left it.
    let mut world = World::new(&found);
    world.one(incident("i", &["a", "b", "c"]));
    world.update(incident("i", &["a", "b", "c"]), closed());
    let merged = Incident {
        status: IncidentStatus::Merged,
        merged_into: Some("h".into()),
        ..incident("i", &["a", "b", "c"])
    };
    assert_eq!(
        world.tell(vec![incident("h", &["b"]), merged], &[])[0].case.status,
        WorkflowStatus::Closed
    );
    assert_eq!(
        world.one(incident("h", &["b", "c"])).case.status,
        WorkflowStatus::Closed
    );
    assert_eq!(
        world.one(incident("h", &["b", "c", "d"])).case.status,
        WorkflowStatus::New
    );
    // Another closed incident does not know for it.
    world.one(incident("k", &["d"]));
    world.update(incident("k", &["d"]), closed());
    assert_eq!(world.one(incident("k", &["a", "d"])).case.status, WorkflowStatus::New);
}

#[test]
fn decisions_go_on_with_the_incident_whatever_its_id() {
    let mut world = World::new(&[("0", "r", "principal:x"), ("a", "r", "principal:x")]);
    world.one(incident("i", &["a"]));
    world.update(incident("i", &["a"]), closed());
    // An earlier finding came late: another seed, another id.
    let merged = Incident {
        status: IncidentStatus::Merged,
        merged_into: Some("h".into()),
        ..incident("i", &["a"])
    };
    let told = world.tell(vec![incident("h", &["0", "a"]), merged], &[]);
    assert_eq!(told[0].case.assignee.as_deref(), Some("bob"));
    assert_eq!(told[0].case.status, WorkflowStatus::New);
    assert!(
        note(&told[0]).contains("incident i; reopened: 1 finding "),
        "{}",
        note(&told[0])
    );
    assert!(!told[1].case.withheld, "receivers know it, and learn what became of it");
}

#[test]
fn a_split_is_on_record_on_both_sides() {
    let mut world = World::new(&[("a", "r", "principal:x"), ("b", "r", "principal:y")]);
    world.one(incident("i", &["a", "b"]));
    world.update(incident("i", &["a", "b"]), closed());
    let splits = [
        Split {
            from: "i".into(),
            into: Some("j".into()),
            findings: 1,
        },
        Split {
            from: "i".into(),
            into: None,
            findings: 2,
        },
    ];
    let told = world.tell(vec![incident("i", &["a"]), incident("j", &["b"])], &splits);
    assert!(
        note(&told[0]).contains("1 finding left for incident j"),
        "{}",
        note(&told[0])
    );
    assert!(
        note(&told[0]).contains("2 findings left and belong to no incident"),
        "{}",
        note(&told[0])
    );
    assert!(
        note(&told[1]).contains("1 finding came from incident i"),
        "{}",
        note(&told[1])
    );
    assert_eq!(
        told[1].case.status,
        WorkflowStatus::Closed,
        "it was known when that was said"
    );
}

#[test]
fn benign_silences_the_like_and_nothing_disappears() {
    let mut world = World::new(&[
        ("a", "r", "principal:x"),
        ("b", "r", "principal:x"),
        ("c", "r", "principal:y"),
        ("n", "s", "conversation:1"),
    ]);
    world.one(incident("i", &["a", "n"]));
    let updated = world.update(incident("i", &["a", "n"]), benign());
    assert_eq!((updated.taught.len(), updated.left_out), (1, 1));
    let until = updated
        .incident
        .case
        .change
        .as_ref()
        .and_then(|change| change.silences_until);
    assert_eq!(until, Some(500 + 30 * 24 * time::HOUR));
    // New incidents of the same are there, and told nobody; those of another are.
    let same = world.one(incident("j", &["b"]));
    assert_eq!(
        (same.case.silences.clone(), same.case.withheld),
        (updated.taught.clone(), true)
    );
    let other = world.one(incident("k", &["b", "c"]));
    assert_eq!((other.case.silences.len(), other.case.withheld), (0, false));
    // The closed one does not reopen for what is silenced.
    assert_eq!(
        world.one(incident("i", &["a", "b", "n"])).case.status,
        WorkflowStatus::Closed
    );
    // One that was known is told that it is silent, once; and one that was not is new when the silence goes.
    let known = world.one(incident("k", &["b"]));
    assert!(!known.case.silences.is_empty() && !known.case.withheld);
    assert!(world.one(incident("k", &["a", "b"])).case.withheld);
    world
        .triage
        .silences
        .count(&[detection("b", "r", "principal:x"), detection("c", "r", "principal:y")]);
    world.triage.silences.remove(&updated.taught[0][..6], "bob").unwrap();
    let facts = Facts {
        find: &|_, id| world.detections.get(id),
        standing: &|id| world.standing.get(id).copied(),
        backfill: false,
        now: 0,
    };
    assert!(world.triage.is_stale(&incident("j", &["b"]), &facts));
    let loud = world.one(incident("j", &["b"]));
    assert!(loud.case.silences.is_empty() && !loud.case.withheld && loud.case.first_sent);
    let told = world.triage.silences.changes();
    let told: Vec<(u64, Option<&str>)> = told
        .iter()
        .map(|part| (part.hits, part.removed_by.as_deref()))
        .collect();
    assert_eq!(told, [(0, None), (1, Some("bob"))]);
    assert!(world.triage.silences.remove(&updated.taught[0], "bob").is_err());
    assert!(world.triage.silences.changes().is_empty());
}

#[test]
fn of_history_nobody_is_told_until_something_live_comes() {
    let mut world = World::new(&[("a", "r", "principal:x"), ("b", "r", "principal:x")]);
    world.one(incident("known", &["a"]));
    world.backfill = true;
    assert!(world.one(incident("i", &["a"])).case.withheld);
    assert!(world.one(incident("known", &["a", "b"])).case.withheld);
    assert!(
        !world
            .update(incident("known", &["a", "b"]), closed())
            .incident
            .case
            .withheld,
        "somebody decided it"
    );
    let gone = |id: &str| Incident {
        status: IncidentStatus::Dissolved,
        ..incident(id, &["a"])
    };
    world.one(incident("g", &["a"]));
    assert!(world.one(gone("g")).case.withheld, "nobody knew it");
    world.backfill = false;
    let resolved = world.update(incident("i", &["a"]), closed()).incident;
    assert!(resolved.case.withheld, "it still is history");
    let live = world.one(incident("i", &["a", "b"]));
    assert!(!live.case.withheld && live.case.first_sent);
    assert!(!world.one(gone("i")).case.withheld);
}

/// An inhibition with the keys that are said, and else of `p/s` over `p/t`, among findings of one entity, within 10 µs.
fn inhibits(equal: Equal, source: &str, target: &str) -> Inhibits {
    Inhibits::new(vec![InhibitSettings {
        name: "n".into(),
        source: vec![source.into()],
        target: vec![target.into()],
        equal,
        within: 10,
        owner: "o".into(),
        reason: "r".into(),
        expires: 1_000,
    }])
}

fn at(time: Micros, detection: Detection) -> Detection {
    Detection {
        detection_id: format!("{}{time}", detection.rule),
        time,
        ..detection
    }
}

#[test]
fn a_source_holds_back_what_comes_at_its_time_and_for_a_while_behind() {
    let mut held = inhibits(Equal::Entity, "p/s", "p/t*");
    let found = |time, rule: &str, entity: &str| at(time, detection("", rule, entity));
    held.add(&[found(100, "s", "principal:x"), found(100, "u", "principal:z")]);
    assert!(held.take_moved() && !held.take_moved());
    for (time, rule, entity, is) in [
        (99, "t", "principal:x", false),
        (100, "t", "principal:x", true),
        (110, "two", "principal:x", true),
        (111, "t", "principal:x", false),
        (105, "t", "principal:y", false),
        (105, "u", "principal:x", false),
        (105, "t", "principal:z", false),
    ] {
        let name = held.holding(&found(time, rule, entity)).map(str::to_owned);
        assert_eq!(name.is_some(), is, "{time} {rule} {entity}");
    }
    let stranger = Detection {
        tenant: "other".into(),
        ..found(105, "t", "principal:x")
    };
    assert_eq!(held.holding(&stranger), None);
    // Who acted is decisive.
    let mut both = found(105, "t", "principal:y");
    both.entities.push(RoledEntity {
        role: EntityRole::Context,
        entity: Entity::new("principal", "x"),
    });
    assert_eq!(held.holding(&both), None);
    both.entities.remove(0);
    assert_eq!(held.holding(&both), Some("n"), "nobody acted");
    // It has expired, for findings from then on.
    held.add(&[found(995, "s", "principal:x")]);
    assert!(held.holding(&found(999, "t", "principal:x")).is_some());
    assert_eq!(held.holding(&found(1_000, "t", "principal:x")), None);
    held.forget_before(time::HOUR);
    assert_eq!(held.holding(&found(999, "t", "principal:x")), None);
    assert!(held.take_moved());
    held.replace(Vec::new());
    held.add(&[found(995, "s", "principal:x")]);
    assert!(!held.take_moved());
}

#[test]
fn nothing_holds_back_itself_and_no_two_each_other() {
    let mut held = inhibits(Equal::Tenant, "p", "p/t");
    let found = |time, rule: &str| at(time, detection("", rule, "principal:x"));
    held.add(&[found(100, "t"), found(101, "t")]);
    assert_eq!(
        (held.holding(&found(100, "t")), held.holding(&found(101, "t"))),
        (None, None)
    );
    held.add(&[found(101, "s")]);
    assert_eq!(held.holding(&found(100, "t")), None);
    assert_eq!(held.holding(&found(101, "t")), Some("n"));
    let mut held = inhibits(Equal::Tenant, "p/*", "*");
    held.add(&[found(100, "t")]);
    let other = Detection {
        plugin: "q".into(),
        ..found(100, "t")
    };
    assert_eq!(
        (held.holding(&found(100, "t")), held.holding(&other)),
        (None, Some("n"))
    );
}

#[test]
fn of_an_incident_that_is_inhibited_nobody_is_told_and_order_does_not_show() {
    let found = ["s", "a", "b"].map(|id| {
        let rule = if id == "s" { "s" } else { "t" };
        (id, rule, "principal:x")
    });
    let judged = |late: bool| {
        let mut world = World::new(&found);
        world.triage.inhibits = inhibits(Equal::Entity, "p/s", "p/t");
        let source = [world.detections["s"].clone()];
        let mut told = Vec::new();
        if !late {
            world.triage.inhibits.add(&source);
        }
        told.push(world.one(incident("i", &["a", "b"])));
        if late {
            world.triage.inhibits.add(&source);
            let facts = Facts {
                find: &|_, id| world.detections.get(id),
                standing: &|id| world.standing.get(id).copied(),
                backfill: false,
                now: 0,
            };
            assert!(world.triage.is_stale(&incident("i", &["a", "b"]), &facts));
            told.push(world.one(incident("i", &["a", "b"])));
        }
        (world, told)
    };
    let (mut world, told) = judged(false);
    assert_eq!(
        (told[0].case.inhibited.as_slice(), told[0].case.withheld),
        (&["n".to_owned()][..], true)
    );
    assert!(told[0].case.silences.is_empty() && told[0].case.is_silenced());
    // With its source in it, or another, it is told.
    let grown = world.one(incident("i", &["a", "b", "s"]));
    assert!(!grown.case.is_silenced() && !grown.case.withheld && grown.case.first_sent);
    // A silence and an inhibition together hold back what neither does alone.
    world.update(incident("k", &["s"]), benign());
    let both = world.one(incident("j", &["a", "s"]));
    assert_eq!(
        (both.case.silences.len(), both.case.inhibited.len(), both.case.withheld),
        (1, 1, true)
    );

    let (world, late) = judged(true);
    assert!(!late[0].case.withheld && !late[1].case.withheld, "receivers know it");
    assert_eq!(late[1].case.inhibited, told[0].case.inhibited);
    // After a crash the source is still to be found again: what was journaled stands.
    let mut restarted = World::new(&found);
    restarted.standing = world.standing;
    restarted.triage.inhibits = inhibits(Equal::Entity, "p/s", "p/t");
    let facts = Facts {
        find: &|_, id| restarted.detections.get(id),
        standing: &|id| restarted.standing.get(id).copied(),
        backfill: false,
        now: 0,
    };
    assert!(restarted.triage.is_stale(&incident("i", &["a", "b"]), &facts));
    restarted.triage.inhibits.remember(&late[1]);
    assert!(!restarted.triage.is_stale(&incident("i", &["a", "b"]), &facts));
}

/// Whether a closed incident reopens must not depend on whether the source or the target came first.
#[test]
fn a_closed_incident_reopens_for_an_inhibited_finding_in_either_order() {
    for late in [false, true] {
        let mut world = World::new(&[
            ("s", "s", "principal:x"),
            ("a", "u", "principal:x"),
            ("b", "t", "principal:x"),
        ]);
        world.triage.inhibits = inhibits(Equal::Entity, "p/s", "p/t");
        let source = [world.detections["s"].clone()];
        world.one(incident("i", &["a"]));
        world.update(incident("i", &["a"]), closed());
        if !late {
            world.triage.inhibits.add(&source);
        }
        world.one(incident("i", &["a", "b"]));
        world.triage.inhibits.add(&source);
        assert_eq!(world.one(incident("i", &["a", "b"])).case.status, WorkflowStatus::New);
    }
}

#[test]
fn silences_are_bounded_and_expired_ones_make_room() {
    let mut silences = Silences::default();
    let silence = |number: usize, expires: Micros| {
        Silence {
            silence: String::new(),
            tenant: "t".into(),
            rule: format!("p/{number}"),
            entities: Vec::new(),
            incident_id: None,
            owner: "ann".into(),
            reason: "x".into(),
            created: 0,
            expires,
        }
        .named()
    };
    for number in 0..SILENCES_MAX {
        silences.add(silence(number, 100), 0).unwrap();
    }
    assert!(silences.add(silence(SILENCES_MAX, 100), 99).is_err());
    assert_eq!(silences.add(silence(SILENCES_MAX, 200), 100), Ok(()));
    assert!(silences.remove("", "bob").is_err());
    let error = silences.remove("zz\u{1b}", "bob").unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error}");
}
