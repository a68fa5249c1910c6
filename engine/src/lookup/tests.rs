#![allow(clippy::unwrap_used)] // a failed test is a panic

mod mmdb;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringViewArray, new_null_array};
use arrow::datatypes::Int64Type;

use super::*;
use crate::config::{LookupFormat, LookupKey, LookupMatch};
use crate::model::EventSchema;

fn settings(
    path: &Path,
    format: LookupFormat,
    on: &str,
    key: Option<LookupKey>,
    take: &[(&str, &str)],
) -> LookupSettings {
    LookupSettings {
        name: "l".into(),
        tenant: Some("t".into()),
        from: LookupFrom::File {
            path: path.to_owned(),
            format,
        },
        on: on.into(),
        key,
        take: take
            .iter()
            .map(|(to, from)| (to.to_string(), from.to_string()))
            .collect(),
    }
}

fn key(column: &str, matching: LookupMatch) -> Option<LookupKey> {
    let column = column.to_owned();
    Some(LookupKey { column, matching })
}

fn inventory(matching: LookupMatch) -> LookupSettings {
    let take = [
        ("src_endpoint_zone", "site"),
        ("src_endpoint_autonomous_system_number", "asn"),
        ("actor_session_is_mfa", "mfa"),
    ];
    settings(
        Path::new("assets.csv"),
        LookupFormat::Csv,
        "src_endpoint_ip",
        key("ip", matching),
        &take,
    )
}

fn table(settings: &LookupSettings, text: &str) -> Result<Table, String> {
    load::csv(settings, text.as_bytes(), String::new())
}

/// Events with these columns; every other column of text holds its name, unless it may be null.
fn events(columns: &[(&str, ArrayRef)]) -> EventBatch {
    let rows = columns[0].1.len();
    let schema = EventSchema::get().arrow();
    let arrays = schema.fields().iter().map(|field| -> ArrayRef {
        match columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, array)) => array.clone(),
            None if field.is_nullable() => new_null_array(field.data_type(), rows),
            None if field.name() == "tenant" => text(&vec![Some("t"); rows]),
            None if field.data_type() == &arrow::datatypes::DataType::Utf8View => text(&vec![Some("x"); rows]),
            None => arrow::compute::cast(&Int64Array::from(vec![7; rows]), field.data_type()).unwrap(),
        }
    });
    EventBatch::new(RecordBatch::try_new(schema.clone(), arrays.collect()).unwrap())
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values.iter().copied()))
}

fn sites(events: &EventBatch, name: &str) -> Vec<Option<String>> {
    events.text(name).iter().map(|value| value.map(str::to_owned)).collect()
}

const LONG: &str = "the northern branch office";

#[test]
fn rows_are_found_by_the_value_and_fill_what_is_null() {
    let settings = inventory(LookupMatch::Exact);
    let table = table(
        &settings,
        &format!(
            "\u{feff}ip, asn,site,mfa\r\n192.0.2.1,64500,\"{LONG}\",TRUE\r\n 2001:DB8::1,,\"a \"\"b\"\"\nc\",0\r\n"
        ),
    )
    .unwrap();
    assert_eq!(table.rows(), 2);
    let log = events(&[
        (
            "src_endpoint_ip",
            text(&[
                Some("192.0.2.1"),
                None,
                Some("2001:db8::1"),
                Some("192.0.2.2"),
                Some("192.0.2.1"),
                Some("192.0.2.1"),
            ]),
        ),
        (
            "src_endpoint_zone",
            text(&[None, None, None, None, Some("the log's own"), None]),
        ),
        (
            "tenant",
            text(&[Some("t"), Some("t"), Some("t"), Some("t"), Some("t"), Some("u")]),
        ),
    ]);
    let joined = join::join(log.clone(), &settings, &table).unwrap();
    assert_eq!(
        sites(&joined, "src_endpoint_zone"),
        [Some(LONG), None, Some("a \"b\"\nc"), None, Some("the log's own"), None].map(|site| site.map(str::to_owned)),
        "another tenant's events are not looked up"
    );
    let numbers = joined
        .column("src_endpoint_autonomous_system_number")
        .as_primitive::<Int64Type>();
    let numbers: Vec<Option<i64>> = numbers.iter().collect();
    assert_eq!(numbers, [Some(64500), None, None, None, Some(64500), None]);
    let mfa: Vec<Option<bool>> = joined.column("actor_session_is_mfa").as_boolean().iter().collect();
    assert_eq!(mfa, [Some(true), None, Some(false), None, Some(true), None]);
    // Everything else is as it was.
    for column in EventSchema::get().columns() {
        if !settings.take.contains_key(&column.name) {
            assert_eq!(joined.column(&column.name), log.column(&column.name), "{}", column.name);
        }
    }
    let everybody = LookupSettings {
        tenant: None,
        ..settings
    };
    let joined = join::join(log, &everybody, &table).unwrap();
    assert_eq!(sites(&joined, "src_endpoint_zone")[5].as_deref(), Some(LONG));
}

#[test]
fn a_batch_keeps_nothing_of_the_table_but_what_it_shows() {
    let settings = inventory(LookupMatch::Exact);
    let rows = (0..2_000).map(|row| {
        format!(
            "10.0.{}.{},1,a long name of the site number {row},1\n",
            row / 256,
            row % 256
        )
    });
    let table = table(&settings, &format!("ip,asn,site,mfa\n{}", rows.collect::<String>())).unwrap();
    let log = events(&[("src_endpoint_ip", text(&[Some("10.0.1.1")]))]);
    let joined = join::join(log, &settings, &table).unwrap();
    let held = joined.text("src_endpoint_zone");
    assert_eq!(held.value(0), "a long name of the site number 257");
    assert!(held.get_array_memory_size() < 4096, "{}", held.get_array_memory_size());
}

#[test]
fn the_smallest_network_wins() {
    let settings = inventory(LookupMatch::Cidr);
    let table = table(
        &settings,
        "ip,asn,site,mfa\n0.0.0.0/0,1,world,\n10.0.0.0/8,1,company,\n10.1.2.3/16,1,branch,\n10.1.2.3,1,printer,\n\
         2001:db8::/32,1,six,\n2001:db8:0:1::/64,1,lab,\n::ffff:198.51.100.0/120,1,mapped,\n",
    )
    .unwrap();
    for (address, site) in [
        ("10.1.2.3", "printer"),
        ("10.1.2.4", "branch"),
        ("10.2.0.1", "company"),
        ("::ffff:10.2.0.1", "company"),
        ("203.0.113.7", "world"),
        ("198.51.100.9", "mapped"),
        ("2001:db8:0:1::9", "lab"),
        ("2001:db8:0:2::9", "six"),
        ("2001:db9::1", ""),
        ("no address", ""),
    ] {
        let log = events(&[("src_endpoint_ip", text(&[Some(address)]))]);
        let joined = join::join(log, &settings, &table).unwrap();
        assert_eq!(
            joined.text_at("src_endpoint_zone", 0).unwrap_or_default(),
            site,
            "{address}"
        );
    }
}

#[test]
fn later_lookups_use_and_leave_what_earlier_ones_filled() {
    let first = inventory(LookupMatch::Exact);
    let first_table = table(&first, "ip,asn,site,mfa\n192.0.2.1,1,north,\n").unwrap();
    let take = [("resource_criticality", "criticality")];
    let second = settings(
        Path::new("x.csv"),
        LookupFormat::Csv,
        "src_endpoint_zone",
        key("site", LookupMatch::Exact),
        &take,
    );
    let second_table = table(&second, "criticality,site\nhigh,north\n").unwrap();
    let third_table = table(&first, "ip,asn,site,mfa\n192.0.2.1,2,south,\n").unwrap();
    let mut log = events(&[("src_endpoint_ip", text(&[Some("192.0.2.1")]))]);
    for (settings, table) in [(&first, &first_table), (&second, &second_table), (&first, &third_table)] {
        log = join::join(log, settings, table).unwrap();
    }
    assert_eq!(log.text_at("resource_criticality", 0), Some("high"));
    assert_eq!(log.text_at("src_endpoint_zone", 0), Some("north"));
}

#[test]
fn what_names_an_entity_is_compared_as_the_entity() {
    let take = [("actor_user_org_ou_name", "team")];
    let settings = settings(
        Path::new("x.csv"),
        LookupFormat::Csv,
        "actor_user_uid",
        key("who", LookupMatch::Exact),
        &take,
    );
    let table = table(&settings, "who,team\nAlice@Example.com,ml\n").unwrap();
    let log = events(&[("actor_user_uid", text(&[Some("alice@example.COM")]))]);
    let joined = join::join(log, &settings, &table).unwrap();
    assert_eq!(joined.text_at("actor_user_org_ou_name", 0), Some("ml"));
}

#[test]
fn the_last_of_repeated_keys_counts_and_rows_without_key_do_not() {
    let settings = inventory(LookupMatch::Exact);
    let table = table(
        &settings,
        "ip,asn,site,mfa\n192.0.2.1,1,old,\n,1,nowhere,\n192.0.2.1,1,new,\n",
    )
    .unwrap();
    assert_eq!((table.told().repeated, table.told().keyless), (1, 1));
    let log = events(&[("src_endpoint_ip", text(&[Some("192.0.2.1")]))]);
    let joined = join::join(log, &settings, &table).unwrap();
    assert_eq!(joined.text_at("src_endpoint_zone", 0), Some("new"));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_and_without_its_cells() {
    let settings = inventory(LookupMatch::Cidr);
    let long = "x".repeat(cells::CELL_BYTES_MAX + 1);
    for (text, words) in [
        ("", &["no column `ip`", "empty"][..]),
        ("ip;asn;site;mfa\n", &["no column `ip`", "`ip;asn;site;mfa`"]),
        ("ip,asn,site\n", &["no column `mfa`", "`site`"]),
        ("ip,asn,site,site,mfa\n", &["two columns", "`site`"]),
        (
            "ip,asn,site,mfa\n192.0.2.0/24,1,secret,\n192.0.2.1,1\n",
            &["line 3", "2 cells", "4"],
        ),
        (
            "ip,asn,site,mfa\r\nsecret,1,x,\r\n",
            &["line 2", "`ip`", "192.0.2.0/24"],
        ),
        (
            "ip,asn,site,mfa\n192.0.2.0/33,1,x,\n",
            &["line 2", "`ip`", "no network"],
        ),
        (
            "ip,asn,site,mfa\n192.0.2.1,AS1 secret,x,\n",
            &["line 2", "`asn`", "whole number"],
        ),
        (
            "ip,asn,site,mfa\n192.0.2.1,1,x,secret\n",
            &["line 2", "`mfa`", "`true`"],
        ),
        ("ip,asn,site,mfa\n192.0.2.1,1,x,\n192.0.2.2,1,\0,\n", &["line 3", "NUL"]),
        (
            "ip,mfa,asn,site\n192.0.2.1,,1,x\n192.0.2.2,,1,\"cut off in the mid",
            &["quotation mark", "line 3"],
        ),
        (
            &format!("ip,asn,site,mfa\n192.0.2.1,1,{long},\n"),
            &["line 2", "`site`", "longer than 4096"],
        ),
        (
            &format!("ip,asn,site,mfa\n{long},1,x,\n"),
            &["line 2", "`ip`", "longer than 4096"],
        ),
    ] {
        let reason = table(&settings, text).err().unwrap_or_else(|| panic!("read: {text}"));
        assert!(
            words.iter().all(|word| reason.contains(word)),
            "{words:?} are not in: {reason}"
        );
        assert!(!reason.contains("secret"), "{reason}");
    }
    let reason = load::csv(&settings, b"ip,asn,site,mfa\n192.0.2.1,1,\xff,\n", String::new())
        .err()
        .unwrap();
    assert!(reason.contains("line 2") && reason.contains("UTF-8"), "{reason}");
}

fn parquet_file(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_is_read_by_the_names_of_its_columns() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("assets.parquet");
    parquet_file(
        &path,
        vec![
            (
                "mfa",
                Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None])) as ArrayRef,
            ),
            ("ip", Arc::new(StringArray::from(vec!["192.0.2.1", "192.0.2.2"]))),
            ("other", Arc::new(Int64Array::from(vec![1, 2]))),
            (
                "asn",
                Arc::new(arrow::array::UInt32Array::from(vec![Some(64500), None])),
            ),
            ("site", Arc::new(StringArray::from(vec![Some(LONG), None]))),
        ],
    );
    let settings = inventory(LookupMatch::Exact);
    let loaded = load(&settings, &path, LookupFormat::Parquet, 1).unwrap();
    let log = events(&[("src_endpoint_ip", text(&[Some("192.0.2.2"), Some("192.0.2.1")]))]);
    let joined = join::join(log, &settings, &loaded.table).unwrap();
    assert_eq!(sites(&joined, "src_endpoint_zone"), [None, Some(LONG.to_owned())]);
    let numbers = joined
        .column("src_endpoint_autonomous_system_number")
        .as_primitive::<Int64Type>();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [None, Some(64500)]);

    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let error = load(&settings, &path, LookupFormat::Parquet, 1)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("name = \"l\"") && error.contains("assets.parquet") && error.contains("Parquet"),
        "{error}"
    );
    parquet_file(&path, vec![("ip", Arc::new(Int64Array::from(vec![1])))]);
    let error = load(&settings, &path, LookupFormat::Parquet, 1)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no column") && error.contains("`ip`"), "{error}");
    // Nobody writes to the pipe: to wait for that would end all reloading.
    let pipe = scratch.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [scratch.path(), &pipe] {
        let error = load(&settings, path, LookupFormat::Parquet, 1)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
}

#[test]
fn a_statements_rows_of_other_tenants_are_left_out() {
    let asked = LookupSettings {
        from: LookupFrom::Sql {
            statement: String::new(),
            refresh: std::time::Duration::from_secs(1),
        },
        take: BTreeMap::from([("src_endpoint_zone".to_owned(), "site".to_owned())]),
        ..inventory(LookupMatch::Exact)
    };
    let column = |values: [Option<&str>; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let addresses = column([Some("192.0.2.1"), Some("192.0.2.1"), Some("192.0.2.2")]);
    let sites = column([Some("ours"), Some("theirs"), Some("nobody's")]);
    let rows = vec![("ip", addresses), ("site", sites)];
    let batch = RecordBatch::try_from_iter(rows.clone()).unwrap();
    let reason = RowsReader::new(&asked, &batch.schema()).err().unwrap();
    assert!(reason.contains("`tenant`"), "{reason}");
    let tenants = ("tenant", column([Some("t"), Some("u"), None]));
    let batch = RecordBatch::try_from_iter([rows, vec![tenants]].concat()).unwrap();
    let mut reader = RowsReader::new(&asked, &batch.schema()).unwrap();
    reader.push(&batch).unwrap();
    let table = reader.finish(String::new());
    assert_eq!(table.rows(), 1);
    let log = events(&[("src_endpoint_ip", text(&[Some("192.0.2.1"), Some("192.0.2.2")]))]);
    let joined = join::join(log, &asked, &table).unwrap();
    assert_eq!(
        super::tests::sites(&joined, "src_endpoint_zone"),
        [Some("ours".to_owned()), None]
    );
}

#[test]
fn a_maxmind_database_is_asked_by_path() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("geo.mmdb");
    let take = [
        ("src_endpoint_location_city", "city.names.en"),
        ("src_endpoint_location_region", "subdivisions.0.iso_code"),
        ("src_endpoint_autonomous_system_number", "autonomous_system_number"),
        ("src_endpoint_zone", "city.names.eo"),
    ];
    let settings = settings(&path, LookupFormat::MaxMind, "src_endpoint_ip", None, &take);
    fs::write(&path, mmdb::database()).unwrap();
    let loaded = load(&settings, &path, LookupFormat::MaxMind, 1).unwrap();
    assert_eq!(loaded.table.told().unseen, ["city.names.eo"]);
    let addresses = [
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "2001:db8::7",
        "192.0.2.1",
        "text",
    ];
    let log = events(&[("src_endpoint_ip", text(&addresses.map(Some)))]);
    let joined = join::join(log, &settings, &loaded.table).unwrap();
    let owned = |texts: [Option<&str>; 5]| texts.map(|text| text.map(str::to_owned));
    let lisbon = Some("Lisbon");
    assert_eq!(
        sites(&joined, "src_endpoint_location_city"),
        owned([lisbon, lisbon, Some("Oslo"), None, None])
    );
    assert_eq!(
        sites(&joined, "src_endpoint_location_region"),
        owned([Some("11"), Some("11"), None, None, None])
    );
    let numbers = joined
        .column("src_endpoint_autonomous_system_number")
        .as_primitive::<Int64Type>();
    assert_eq!(
        numbers.iter().collect::<Vec<_>>(),
        [Some(64500), Some(64500), Some(64501), None, None]
    );

    let whole = mmdb::database();
    for cut in [0, 10, whole.len() / 2, whole.len() - 20] {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = load(&settings, &path, LookupFormat::MaxMind, 1)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("geo.mmdb") && error.contains("MaxMind DB"), "{error}");
    }
    // Damage within is an error or a null, never a panic.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        if let Ok(loaded) = load(&settings, &path, LookupFormat::MaxMind, 1) {
            let log = events(&[("src_endpoint_ip", text(&addresses.map(Some)))]);
            join::join(log, &settings, &loaded.table).unwrap();
        }
    }
}

#[test]
fn a_failure_keeps_the_table_and_a_success_forgets_it() {
    let settings = inventory(LookupMatch::Exact);
    let slot = Slot::new("l", table(&settings, "ip,asn,site,mfa\n192.0.2.1,1,x,\n").unwrap(), 5);
    slot.failed("line 2: no".into());
    slot.failed("line 2: no".into());
    let status = slot.with(|held| held.status.clone());
    assert_eq!((status.rows, status.loaded, status.failures), (1, 5, 2));
    assert_eq!(status.trouble.as_deref(), Some("line 2: no"));
    slot.put(table(&settings, "ip,asn,site,mfa\n").unwrap(), 6);
    let status = slot.with(|held| held.status.clone());
    assert_eq!(
        (status.rows, status.loaded, status.loads, status.trouble),
        (0, 6, 2, None)
    );
}
