//! What detectors are told by files beside the configuration, and what joins a leak with the use of what leaked.

use std::process::Command;

use crate::support::*;

/// A gateway's key, and the hash under which the gateway logs it.
const KEY: &str = "sk-dGlMoiyrlfxX1rTnyFf3vA";
const HASH: &str = "ea984ed22f83b5dd2337a2fadf2acd8114fb1b54251d365956c036bf8b78b630";

#[test]
fn a_leaked_key_and_its_use_from_an_address_of_a_feed_are_one_incident() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let call = |id: &str, second: u32, key: &str, user: &str, address: &str, answer: &str| {
        serde_json::json!({
            "id": id, "call_type": "acompletion", "startTime": 1_770_000_000 + second, "model": "m", "status": "success",
            "requester_ip_address": address, "metadata": {"user_api_key_hash": key, "user_api_key_user_id": user},
            "messages": [{"role": "user", "content": "Which key does the build use?"}],
            "response": {"choices": [{"message": {"role": "assistant", "content": answer}}]},
        })
        .to_string()
    };
    let lines = [
        call(
            "leak",
            0,
            "00aa",
            "mara",
            "192.0.2.1",
            &format!("It uses {KEY}, as the notes say."),
        ),
        call("use", 600, HASH, "svc-build", "203.0.113.9", "Hello."),
        call("other", 900, "00bb", "svc-web", "192.0.2.2", "Hello."),
    ];
    std::fs::write(at("log.ndjson"), lines.join("\n") + "\n").unwrap();
    std::fs::write(at("own.csv"), "value,name,confidence\n203.0.113.0/24,Relays,90\n").unwrap();
    let config = format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n[plugins.config.indicators.feeds]\nown = {{ file = \"{}\" }}\n\
         [[source]]\nname = \"gateway\"\ntype = \"file\"\npath = \"{}\"\nformat = \"litellm\"\n",
        at("data"),
        plugins.display(),
        at("own.csv"),
        at("log.ndjson")
    );
    run_to_end(&config, &scratch.path().join("c.toml"));
    let data = scratch.path().join("data");
    let found = rows(
        &data,
        "SELECT rule, severity, message, incident_id FROM detections ORDER BY rule",
    );
    let found: Vec<serde_json::Value> = found.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let rules: Vec<&str> = found.iter().filter_map(|row| row["rule"].as_str()).collect();
    assert_eq!(rules, ["indicator-contact", "secret-in-answer"], "{found:?}");
    assert!(
        found[0]["message"]
            .as_str()
            .unwrap()
            .contains("the feed own has it as \"Relays\""),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|row| row["message"].as_str().unwrap().contains(KEY)),
        "{found:?}"
    );
    let incident = found[0]["incident_id"].as_str().unwrap();
    assert_eq!(found[1]["incident_id"].as_str(), Some(incident));

    std::fs::remove_file(at("own.csv")).unwrap();
    let output = Command::new(SENTRAIL)
        .args(["check", "--config", &at("c.toml")])
        .output()
        .unwrap();
    let all = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let words = format!(
        "[plugins.config.indicators] feeds.own: {}: cannot read it",
        at("own.csv")
    );
    assert!(!output.status.success() && all.contains(&words), "{all}");
}
