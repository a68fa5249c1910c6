use std::collections::BTreeMap;

use super::*;

#[test]
fn equal_content_is_the_same_revision_also_after_a_reopen() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let fresh = journal
        .append(vec![
            titled("a", "1"),
            titled("b", "1"),
            titled("a", "1"),
            titled("a", "2"),
        ])
        .unwrap();
    let pairs: Vec<_> = fresh
        .iter()
        .map(|incident| (&*incident.incident_id, incident.revision))
        .collect();
    assert_eq!(pairs, [("a", 1), ("b", 1), ("a", 2)]);
    assert!(
        journal
            .append(vec![titled("a", "2"), titled("b", "1")])
            .unwrap()
            .is_empty()
    );
    drop(journal);

    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.position(), 3);
    assert!(
        journal
            .append(vec![titled("a", "2"), titled("b", "1")])
            .unwrap()
            .is_empty()
    );
    assert_eq!(journal.append(vec![titled("a", "1")]).unwrap()[0].revision, 3);
    let all = journaled(&journal);
    assert_eq!(all.len(), 4);
    assert_eq!(all[3], ("a".into(), 3, "1".into()));
}

#[test]
fn the_greater_of_journal_and_tables_is_remembered() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    journal.append(vec![titled("a", "1"), titled("a", "2")]).unwrap();
    let high = Standing {
        status: IncidentStatus::Open,
        severity: Severity::High,
        told: true,
        silenced: false,
    };
    journal.remember("a", 1, "older than what the journal knows", high);
    let content = titled("c", "1").content_id().to_string();
    let merged = Standing {
        status: IncidentStatus::Merged,
        severity: Severity::Low,
        told: false,
        silenced: false,
    };
    journal.remember("c", 7, &content, merged);
    assert_eq!(journal.standing("a"), Some(high));
    assert_eq!(journal.standing("c"), Some(merged));
    assert_eq!(journal.standing("b"), None);
    assert_eq!(*journal.by_status(), BTreeMap::from([("merged", 1), ("open", 1)]));
    assert!(
        journal
            .append(vec![titled("a", "2"), titled("c", "1")])
            .unwrap()
            .is_empty()
    );
    assert_eq!(journal.append(vec![titled("c", "2")]).unwrap()[0].revision, 8);
    assert_eq!(*journal.by_status(), BTreeMap::from([("merged", 0), ("open", 2)]));
    let unstored = journal.unstored(|id, revision| id == "a" && revision == 1).unwrap();
    assert_eq!(
        unstored
            .iter()
            .map(|i| (&*i.incident_id, i.revision))
            .collect::<Vec<_>>(),
        [("a", 2), ("c", 8)]
    );
}

/// A crash may leave any prefix of the last write.
#[test]
fn any_torn_tail_is_cut_and_the_rest_stays() {
    let whole = {
        let dir = TempDir::new().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(vec![titled("a", "1")]).unwrap();
        let first = std::fs::metadata(segment_path(dir.path(), 0)).unwrap().len();
        journal.append(vec![titled("a", "2")]).unwrap();
        (first, std::fs::read(segment_path(dir.path(), 0)).unwrap())
    };
    let (first, bytes) = whole;
    for length in [
        first,
        first + 1,
        first + 11,
        first + 12,
        first + 40,
        bytes.len() as u64 - 1,
    ] {
        let dir = TempDir::new().unwrap();
        std::fs::write(segment_path(dir.path(), 0), &bytes[..length as usize]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        assert_eq!(
            std::fs::metadata(segment_path(dir.path(), 0)).unwrap().len(),
            first,
            "cut at {length}"
        );
        assert_eq!(journal.append(vec![titled("a", "3")]).unwrap()[0].revision, 2);
        assert_eq!(journaled(&journal).len(), 2);
    }
}

#[test]
fn damage_before_the_newest_segment_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open_sized(dir.path(), 1).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    journal.append(vec![titled("a", "2")]).unwrap();
    drop(journal);
    OpenOptions::new()
        .append(true)
        .open(segment_path(dir.path(), 0))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(ForwardError::Damaged { .. })));
}

/// No interrupted write leaves whole records behind it.
#[test]
fn damage_within_the_newest_segment_is_refused_and_nothing_is_cut_off() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    journal
        .append(vec![titled("a", "{\"format\":1"), titled("b", "1")])
        .unwrap();
    drop(journal);
    let path = segment_path(dir.path(), 0);
    let whole = std::fs::read(&path).unwrap();
    // In the first record's length, its hash, and its body.
    for place in [0, 5, 40] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let refused = Journal::open(dir.path()).unwrap_err();
        assert!(matches!(refused, ForwardError::Damaged { offset: 0, .. }), "{refused}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(journaled(&Journal::open(dir.path()).unwrap()).len(), 2);
}

/// What another version wrote is not an interrupted write: alerts in it may not have left yet.
#[test]
fn a_whole_record_that_cannot_be_read_is_refused_and_nothing_is_deleted() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    journal.append(vec![titled("a", "1")]).unwrap();
    drop(journal);
    let path = segment_path(dir.path(), 0);
    let good = std::fs::read(&path).unwrap();
    for (body, word) in [
        ("{\"format\":2,\"incident\":\"b\"}", "format 2"),
        ("{\"incident_id\":\"b\",\"revision\":1}", "does not say its format"),
        ("{\"format\":1,\"incident_id\":\"b\",\"revision\":1}", "content_id"),
    ] {
        let bytes = [good.as_slice(), &frame(body.as_bytes())].concat();
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, ForwardError::Foreign { offset, .. } if *offset == good.len() as u64),
            "{error}"
        );
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was cut off");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(journaled(&Journal::open(dir.path()).unwrap()).len(), 1);
}

#[test]
fn one_writer_per_directory() {
    let dir = TempDir::new().unwrap();
    let _journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(ForwardError::InUse { .. })));
}

#[test]
fn a_score_that_json_cannot_hold_is_left_out_and_stops_nobody() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let bad = Incident {
        score: f64::NAN,
        ..incident()
    };
    let written = journal.append(vec![bad, incident()]).unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].revision, 1);
}

#[tokio::test]
async fn segments_go_when_committed_and_passed_by_every_sink() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open_sized(dir.path(), 1).unwrap();
    for title in ["1", "2", "3", "4"] {
        journal.append(vec![titled("a", title)]).unwrap();
    }
    assert_eq!(segments(dir.path()).unwrap(), [0, 1, 2, 3]);
    journal.committed(4).unwrap();
    assert_eq!(
        segments(dir.path()).unwrap().len(),
        4,
        "no forwarder has said who reads"
    );
    let reader = journal.reader().unwrap();
    reader.report(|cursors| *cursors = Some(vec![4, 2]));
    journal.committed(1).unwrap();
    assert_eq!(segments(dir.path()).unwrap(), [1, 2, 3]);
    journal.committed(4).unwrap();
    assert_eq!(segments(dir.path()).unwrap(), [2, 3]);
    reader.report(|cursors| *cursors = Some(vec![]));
    journal.committed(4).unwrap();
    assert_eq!(segments(dir.path()).unwrap(), [3]);
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append(vec![titled("a", "5")]).unwrap()[0].revision, 5);
    assert_eq!(
        journaled(&journal),
        [("a".into(), 4, "4".into()), ("a".into(), 5, "5".into())]
    );
}

#[test]
fn what_receivers_know_is_remembered_with_the_revision() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let withheld = |title: &str, withheld: bool| Incident {
        case: Case {
            withheld,
            ..Case::default()
        },
        ..titled("a", title)
    };
    let told = |journal: &Journal| journal.standing("a").map(|standing| standing.told);
    journal.append(vec![withheld("1", true)]).unwrap();
    assert_eq!(told(&journal), Some(false));
    assert!(
        journal.append(vec![withheld("1", false)]).unwrap().is_empty(),
        "what is sent is not of the content"
    );
    journal.append(vec![withheld("2", false), withheld("3", true)]).unwrap();
    assert_eq!(told(&journal), Some(true));
    drop(journal);
    assert_eq!(told(&Journal::open(dir.path()).unwrap()), Some(true));
}
