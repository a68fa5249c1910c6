use tempfile::TempDir;

use super::*;
use crate::model::{PathStep, Severity};

fn incident(id: &str, title: &str, severity: Severity, techniques: &[&str], entities: &[&str], why: &str) -> Incident {
    let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    Incident {
        tenant: "default".into(),
        revision: 1,
        severity,
        score: 50.0,
        title: title.into(),
        techniques: texts(techniques),
        entities: texts(entities),
        layers: vec!["cloud".into(), "vector_db".into()],
        path: vec![PathStep {
            step: 1,
            time: 0,
            from_entity: entities[0].into(),
            to_entity: String::new(),
            action: "CreateAccessKey".into(),
            technique: None,
            detection_id: None,
            why: why.into(),
        }],
        ..Incident::bare(id, &[])
    }
}

fn two() -> [Incident; 2] {
    [
        incident(
            "aa11",
            "Leaked key reads support collection",
            Severity::Critical,
            &["T1078.004", "AML.T0051.000"],
            &[
                "principal:arn:aws:iam::111122223333:user/ci-bot",
                "address:203.0.113.7",
                "principal:Eve.Smith@example.com",
                "collection:support_docs",
            ],
            "the same address used both keys",
        ),
        incident(
            "bb22",
            "Prompt injection followed by a tool call",
            Severity::Low,
            &["AML.T0051"],
            &[
                "address:203.0.113.77",
                "address:2001:db8::7",
                "principal:arn:aws:iam::111122223333:role/ops",
                "gateway_key:88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
            ],
            "the conversation asked to ignore its rules",
        ),
    ]
}

fn ids(searcher: &Searcher, query: &str) -> Vec<String> {
    let mut ids: Vec<String> = searcher
        .search(query, 10)
        .unwrap_or_else(|error| panic!("{error}"))
        .into_iter()
        .map(|hit| hit.incident_id)
        .collect();
    ids.sort();
    ids
}

#[test]
fn parts_of_names_are_found() {
    let dir = TempDir::new().unwrap();
    let mut index = Index::open_or_create(dir.path()).unwrap();
    index.apply(&two()).unwrap();
    index.commit(1).unwrap();
    let searcher = index.searcher();
    let cases: &[(&str, &[&str])] = &[
        ("ci-bot", &["aa11"]),
        ("user/ci-bot", &["aa11"]),
        ("arn:aws:iam::111122223333:user/ci-bot", &["aa11"]),
        ("111122223333", &["aa11", "bb22"]),
        ("entity:principal:arn:aws:iam::111122223333:role/ops", &["bb22"]),
        ("203.0.113.7", &["aa11"]),
        ("entity:203.0.113.77", &["bb22"]),
        ("address:203.0.113.7", &["aa11"]),
        ("2001:db8::7", &["bb22"]),
        ("eve.smith@example.com", &["aa11"]),
        ("entity:example", &["aa11"]),
        ("support_docs", &["aa11"]),
        (
            "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
            &["bb22"],
        ),
        ("technique:T1078", &["aa11"]),
        ("T1078.004", &["aa11"]),
        ("technique:AML.T0051", &["aa11", "bb22"]),
        ("aml.t0051.000", &["aa11"]),
        ("technique:AML", &[]),
        ("severity:critical", &["aa11"]),
        ("severity:Critical OR severity:low", &["aa11", "bb22"]),
        ("status:open layer:vector_db", &["aa11", "bb22"]),
        ("createaccesskey", &["aa11", "bb22"]),
        ("prompt injection", &["bb22"]),
        ("injection leaked", &[]),
        ("injection gateway_key", &["bb22"]),
        ("title:\"leaked key\"", &["aa11"]),
        ("(leaked OR injection) -severity:low", &["aa11"]),
        ("incident_id:aa11", &["aa11"]),
        ("bb22", &["bb22"]),
        ("nothing-of-the-kind", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&searcher, query), *expected, "{query}");
    }
    let hit = searcher.search("ignore rules", 1).unwrap().remove(0);
    assert!(
        hit.score > 0.0 && hit.snippet.contains("asked to ignore its rules"),
        "{}",
        hit.snippet
    );
    assert_eq!(
        searcher.search("severity:critical", 1).unwrap()[0].snippet,
        "Leaked key reads support collection"
    );
}

#[test]
fn bad_queries_say_why() {
    let dir = TempDir::new().unwrap();
    let index = Index::open_or_create(dir.path()).unwrap();
    let long = "x ".repeat(QUERY_BYTES_MAX);
    for query in ["", "  ", "\"open", "(a", "-a", "AND", "title:", &long] {
        let error = index.searcher().search(query, 10).unwrap_err();
        assert!(matches!(error, SearchError::Query { .. }), "{query}: {error}");
        assert!(error.to_string().contains("title, entity, technique"), "{error}");
    }
}

#[test]
fn a_search_that_can_find_nothing_is_refused_with_what_could() {
    let dir = TempDir::new().unwrap();
    let mut index = Index::open_or_create(dir.path()).unwrap();
    index.apply(&two()).unwrap();
    index.commit(1).unwrap();
    for (query, words) in [
        ("sevrity:high", ["no field `sevrity`", "severity, status"]),
        ("key -(user:bob)", ["no field `user`", "\"user:bob\""]),
        ("title:(foo:bar)", ["no field `foo`", "severity, status"]),
        (
            "severity:hihg",
            ["`hihg`", "informational, low, medium, high, critical"],
        ),
        ("leaked OR (a -severity:(low OR severe))", ["`severe`", "critical"]),
        ("severity: IN [low urgent]", ["`urgent`", "critical"]),
        ("status:closed", ["`closed`", "open, merged, dissolved"]),
        ("status:\"in progress\"", ["`in progress`", "open, merged, dissolved"]),
        ("layer:gatway^2", ["`gatway`", "gateway, cloud"]),
    ] {
        let error = index.searcher().search(query, 10).expect_err(query).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{query}: {error}");
    }
    for query in [
        "\"user:bob\"",
        "Severity:LOW",
        "fe80:ab::1",
        "https://example.com/x",
        "urn:uuid:1",
        "tool:shell",
        "10:30",
        "s3:GetObject",
        "-severity:high key",
        "severity:(LOW critical)",
    ] {
        index
            .searcher()
            .search(query, 10)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(ids(&index.searcher(), "Severity:LOW"), ["bb22"]);
}

#[test]
fn a_revision_replaces_the_one_before_and_needs_a_commit() {
    let dir = TempDir::new().unwrap();
    let mut index = Index::open_or_create(dir.path()).unwrap();
    assert_eq!(index.committed_epoch(), None);
    let [first, _] = two();
    index.apply(&two()).unwrap();
    assert_eq!(ids(&index.searcher(), "leaked"), [""; 0]);
    index.commit(4).unwrap();
    index
        .apply(&[
            first.clone(),
            Incident {
                revision: 2,
                title: "Renamed".into(),
                ..first
            },
        ])
        .unwrap();
    index.commit(4).unwrap();
    assert_eq!(ids(&index.searcher(), "leaked"), [""; 0]);
    assert_eq!(ids(&index.searcher(), "renamed"), ["aa11"]);
    drop(index);
    let index = Index::open_or_create(dir.path()).unwrap();
    assert_eq!(index.committed_epoch(), Some(4));
    assert_eq!(ids(&index.searcher(), "ci-bot"), ["aa11"]);
}

#[test]
fn a_reader_needs_no_lock_and_a_second_writer_is_refused() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Searcher::open(dir.path()), Err(SearchError::Absent { .. })));
    let mut index = Index::open_or_create(dir.path()).unwrap();
    index.apply(&two()).unwrap();
    index.commit(1).unwrap();
    let reader = Searcher::open(dir.path()).unwrap();
    assert_eq!(ids(&reader, "leaked"), ["aa11"]);
    assert!(matches!(
        Index::open_or_create(dir.path()),
        Err(SearchError::InUse { .. })
    ));
    index.clear().unwrap();
    index.commit(2).unwrap();
    assert_eq!(ids(&index.searcher(), "leaked"), [""; 0]);
    assert_eq!(ids(&reader, "leaked"), ["aa11"], "a reader keeps the view it opened");
}

#[test]
fn a_damaged_or_foreign_index_is_rebuilt() {
    let damage: [fn(&Path); 4] = [
        |dir| std::fs::write(dir.join("meta.json"), "{").unwrap(),
        |dir| {
            let store = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            let store = store
                .into_iter()
                .find(|path| path.extension().is_some_and(|end| end == "store"))
                .unwrap();
            let mut bytes = std::fs::read(&store).unwrap();
            bytes[3] ^= 0xff;
            std::fs::remove_file(&store).unwrap();
            std::fs::write(&store, bytes).unwrap();
        },
        |dir| {
            let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            let term = files
                .into_iter()
                .find(|path| path.extension().is_some_and(|end| end == "term"))
                .unwrap();
            std::fs::remove_file(term).unwrap();
        },
        |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            std::fs::create_dir(dir).unwrap();
            let mut schema = tantivy::schema::Schema::builder();
            schema.add_text_field("title", tantivy::schema::TEXT);
            tantivy::Index::create_in_dir(dir, schema.build()).unwrap();
        },
    ];
    for (case, damage) in damage.iter().enumerate() {
        let dir = TempDir::new().unwrap();
        let mut index = Index::open_or_create(dir.path()).unwrap();
        index.apply(&two()).unwrap();
        index.commit(9).unwrap();
        drop(index);
        damage(dir.path());
        let mut index = Index::open_or_create(dir.path()).unwrap();
        assert_eq!(index.committed_epoch(), None, "case {case}");
        assert_eq!(ids(&index.searcher(), "leaked"), [""; 0], "case {case}");
        index.apply(&two()).unwrap();
        index.commit(9).unwrap();
        assert_eq!(ids(&index.searcher(), "leaked"), ["aa11"], "case {case}");
    }
}

/// Whatever is typed, there is an answer or a reason, and soon.
#[test]
fn no_query_panics_or_hangs() {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    let dir = TempDir::new().unwrap();
    let mut index = Index::open_or_create(dir.path()).unwrap();
    index.apply(&two()).unwrap();
    index.commit(1).unwrap();
    let searcher = index.searcher();
    let pieces = [
        "a",
        "key",
        "title:",
        "entity:",
        "x:",
        ":",
        "\"",
        "'",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        " TO ",
        " AND ",
        " OR ",
        "NOT ",
        "-",
        "+",
        "^2",
        "~1",
        "*",
        "\\",
        "/",
        " ",
        "é",
        "IN [",
        ">=",
        "<",
        "203.0.113.7",
        "\u{0}",
        "😀",
    ];
    let mut random = StdRng::seed_from_u64(11);
    let mut answered = 0;
    for _ in 0..3000 {
        let length = random.random_range(1..12);
        let query: String = (0..length)
            .map(|_| pieces[random.random_range(0..pieces.len())])
            .collect();
        match searcher.search(&query, 10) {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, SearchError::Query { .. }), "{query}: {error}"),
        }
    }
    assert!(answered > 300, "{answered}");
    // As long and as deep as allowed, in a thread with the stack that servers give theirs.
    let pieces = [
        "(",
        "-",
        "- ",
        "+",
        "NOT ",
        "NOT a ",
        "title:",
        "\"",
        "a OR ",
        "a AND ",
        "a ",
        "a -",
        "[",
        "[a TO ",
        "{",
        "\\",
        "'",
        ">",
        "^",
        "~",
        "*",
        "title:IN [",
    ];
    for piece in pieces {
        let started = std::time::Instant::now();
        let deep = |open: &str| format!("{}a{}", open.repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
        for query in [
            piece.repeat(QUERY_BYTES_MAX / piece.len()),
            deep("("),
            deep("-("),
            deep("title:("),
            deep("a OR ("),
            deep("NOT "),
            deep("NOT a "),
        ] {
            let _ = searcher.search(&query, 10);
        }
        println!("{piece:?} {:?}", started.elapsed());
    }
}

#[test]
fn a_commit_that_a_kill_interrupted_can_be_made_again() {
    let dir = TempDir::new().unwrap();
    let meta = dir.path().join("meta.json");
    let mut index = Index::open_or_create(dir.path()).unwrap();
    index.apply(&two()).unwrap();
    index.commit(1).unwrap();
    let before = std::fs::read(&meta).unwrap();
    let [first, _] = two();
    index.apply(std::slice::from_ref(&first)).unwrap();
    index.commit(2).unwrap();
    drop(index);
    // Its files are there, the list that names them is the one before.
    std::fs::write(&meta, before).unwrap();
    let mut index = Index::open_or_create(dir.path()).unwrap();
    assert_eq!(index.committed_epoch(), Some(1));
    index.apply(&[first]).unwrap();
    index.commit(2).unwrap();
    assert_eq!(index.searcher().search("leaked", 10).unwrap().len(), 1);
}
