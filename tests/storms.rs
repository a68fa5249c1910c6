//! Other tools' alerts by the thousand: a scan is a step of an incident, and no alert of it is without the incident.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::*;

const SCAN: usize = 12_000;

/// What Wazuh says of a scan that Suricata saw, too, and of the shell behind it.
fn write_alerts(log: &Path) {
    let mut text = String::new();
    let mut alert = |n: usize, second: usize, rule: &str, data: &str| {
        let (hour, minute, second) = (10 + second / 3600, second / 60 % 60, second % 60);
        writeln!(
            text,
            "{{\"@timestamp\":\"2026-02-01T{hour:02}:{minute:02}:{second:02}.000Z\",\"rule\":{rule},\
             \"agent\":{{\"id\":\"004\",\"name\":\"shop-1\",\"ip\":\"192.0.2.20\"}},\"manager\":{{\"name\":\"wazuh-1\"}},\
             \"id\":\"1.{n}\",\"decoder\":{{\"name\":\"json\"}},\"data\":{data},\"location\":\"/var/log/access.log\"}}"
        )
        .unwrap();
    };
    let missed = r#"{"level":5,"description":"Web server 400 error code.","id":"31101"}"#;
    for n in 0..SCAN {
        alert(
            n,
            n / 8,
            missed,
            &format!(r#"{{"srcip":"203.0.113.9","url":"/{n}","id":"404"}}"#),
        );
    }
    let suricata = r#"{"level":3,"description":"Suricata: Alert - A scanner","id":"86601"}"#;
    let seen = r#"{"src_ip":"203.0.113.9","dest_ip":"192.0.2.20","alert":{"gid":"1","signature_id":"7","severity":"1","signature":"A scanner","category":"Scan"}}"#;
    alert(SCAN, 1, suricata, seen);
    let shell = r#"{"level":12,"description":"A web shell ran a command","id":"100","mitre":{"id":["T1505.003"]}}"#;
    alert(SCAN + 1, 2_000, shell, r#"{"srcip":"203.0.113.9"}"#);
    std::fs::write(log, text).unwrap();
}

#[test]
fn a_scan_of_thousands_is_one_incident_whenever_a_run_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("alerts.ndjson");
    write_alerts(&log);
    std::fs::create_dir_all(scratch.path().join("plugins")).unwrap();
    let config_of = |data: &Path| {
        format!(
            "[storage]\nurl = \"{}\"\nflush_bytes = 200000\n[plugins]\ndir = \"{}\"\n[correlate]\nmembers = 1000\n\
             [[source]]\nname = \"ids\"\ntype = \"file\"\npath = \"{}\"\nformat = \"wazuh\"\n",
            data.display(),
            scratch.path().join("plugins").display(),
            log.display()
        )
    };
    let (whole, killed) = (scratch.path().join("whole"), scratch.path().join("killed"));
    run_to_end(&config_of(&whole), &scratch.path().join("whole.toml"));
    let incidents = "SELECT incident_id, detection_count, severity, first_time, last_time, title FROM incidents WHERE status = 'open'";
    let found = rows(&whole, incidents);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(&format!("\"detection_count\":{}", SCAN + 2)),
        "{found:#?}"
    );
    let owned =
        "SELECT count(*) AS n, count(incident_id) AS owned, count(DISTINCT incident_id) AS owners FROM detections";
    let all = SCAN + 2;
    assert_eq!(
        rows(&whole, owned),
        [format!("{{\"n\":{all},\"owned\":{all},\"owners\":1}}")]
    );
    assert_eq!(count(&whole, "incident_evidence"), all);
    // What is written of it does not grow with every alert.
    let written = rows(
        &whole,
        "SELECT count(*) AS n FROM stored.incident_evidence e JOIN incidents i ON e.incident_id = i.incident_id AND e.revision = i.revision",
    );
    assert_eq!(
        written,
        ["{\"n\":5}"],
        "three pieces of ten minutes, the scanner and the shell"
    );

    let at = scratch.path().join("killed.toml");
    for epochs_before in [2, 5] {
        let mut child = spawn_run(&config_of(&killed), &at, &[]);
        while epochs(&killed) < epochs_before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    run_to_end(&config_of(&killed), &at);
    assert_eq!(rows(&killed, incidents), found);
    assert_eq!(rows(&killed, owned), rows(&whole, owned));
}
