//! A first mapping for a log that has none: written from its records, to be corrected by a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::address;
use super::time::{self, TimeFormat};
use crate::config::MappingText;
use crate::model::LAYERS;
use crate::model::time::SECOND;

/// Paths looked at; a log with more is described by its first.
const PATHS_MAX: usize = 400;
/// Objects in objects that are looked into.
const DEPTH_MAX: usize = 8;
/// Different values of a path that are remembered.
const VALUES_MAX: usize = 40;
/// Keys that a record is recognised by.
const KEYS_MAX: usize = 4;
/// Characters of an example.
const EXAMPLE_CHARS: usize = 60;

/// 2000-01-01 and 2100-01-01: a number between them can be a time.
const NUMBER_MIN: i64 = 946_684_800 * SECOND;
const NUMBER_MAX: i64 = 4_102_444_800 * SECOND;

/// How logs call what a column holds, the surest name first: in lower case without marks, the end of a path.
const NAMES: &[(&str, &[&str])] = &[
    (
        "actor_user_uid",
        &[
            "actoruserid",
            "actorid",
            "actoremail",
            "actorname",
            "useridentityarn",
            "userid",
            "useremail",
            "userarn",
            "principalid",
            "principalname",
            "principal",
            "useruid",
            "username",
            "subject",
            "actor",
            "user",
            "accountid",
            "owner",
            "login",
            "email",
        ],
    ),
    (
        "actor_user_name",
        &[
            "username",
            "userdisplayname",
            "actorname",
            "displayname",
            "useremail",
            "actoremail",
            "email",
            "login",
        ],
    ),
    (
        "src_endpoint_ip",
        &[
            "sourceipaddress",
            "sourceip",
            "srcip",
            "clientip",
            "clientaddress",
            "remoteip",
            "remoteaddr",
            "remoteaddress",
            "requesteripaddress",
            "ipaddress",
            "sourceaddress",
            "callerip",
            "userip",
            "peer",
            "remote",
            "ip",
        ],
    ),
    (
        "api_operation",
        &[
            "eventname",
            "operationname",
            "operation",
            "action",
            "methodname",
            "apimethod",
            "method",
            "verb",
            "eventtype",
            "activity",
            "command",
            "event",
            "calltype",
            "type",
        ],
    ),
    (
        "status",
        &[
            "outcome",
            "result",
            "status",
            "success",
            "decision",
            "statuscode",
            "responsecode",
            "code",
            "ok",
        ],
    ),
    (
        "status_detail",
        &["errormessage", "statusmessage", "error", "reason", "statusdetail"],
    ),
    ("http_request_user_agent", &["useragent", "agent"]),
    (
        "api_request_uid",
        &["requestid", "correlationid", "traceid", "xrequestid"],
    ),
    (
        "resource_uid",
        &[
            "resourceid",
            "resourcename",
            "resourcearn",
            "resource",
            "targetid",
            "target",
            "objectid",
            "object",
            "path",
        ],
    ),
    (
        "collection_uid",
        &["collectionname", "collection", "indexname", "index", "tablename"],
    ),
    ("ai_model_name", &["modelname", "modelid", "model"]),
    ("ai_prompt", &["prompt", "messages", "query", "question"]),
    (
        "gateway_key_uid",
        &["apikeyid", "apikeyhash", "keyhash", "keyid", "virtualkey", "apikey"],
    ),
];

/// Names of a log's own id of a record, and of its time.
const IDS: &[&str] = &[
    "eventid",
    "auditid",
    "id",
    "uuid",
    "uid",
    "insertid",
    "logid",
    "recordid",
    "requestid",
];
const TIMES: &[&str] = &[
    "eventtime",
    "timestamp",
    "time",
    "starttime",
    "datetime",
    "occurredat",
    "createdat",
    "requesttime",
    "created",
    "date",
    "ts",
    "t",
];
const TIME_FORMATS: [(TimeFormat, &str); 6] = [
    (TimeFormat::Rfc3339, "rfc3339"),
    (TimeFormat::Utc, "utc"),
    (TimeFormat::EpochSeconds, "epoch_seconds"),
    (TimeFormat::EpochMillis, "epoch_millis"),
    (TimeFormat::EpochMicros, "epoch_micros"),
    (TimeFormat::EpochNanos, "epoch_nanos"),
];

/// Words for how a call ended.
const SUCCESS: &[&str] = &[
    "success",
    "succeeded",
    "successful",
    "ok",
    "true",
    "allow",
    "allowed",
    "permit",
    "permitted",
    "granted",
    "accepted",
    "completed",
    "pass",
];
const FAILURE: &[&str] = &[
    "failure",
    "failed",
    "fail",
    "error",
    "false",
    "deny",
    "denied",
    "forbidden",
    "forbid",
    "rejected",
    "blocked",
    "unauthorized",
    "refused",
    "timeout",
];

/// What the records have at one path.
#[derive(Default)]
struct Found {
    /// Records that have a value here.
    records: usize,
    /// Some of the values, as they are written.
    values: BTreeSet<String>,
    /// There are more.
    more: bool,
    /// Values seen twice.
    repeats: bool,
    /// Values that are objects or arrays of scalars.
    containers: bool,
    times: [usize; TIME_FORMATS.len()],
    addresses: usize,
    depth: usize,
    order: usize,
}

/// A mapping of the format `name`, drafted from `records`, which are JSON objects. `unwrap` is the key under which documents hold their
/// records. `None` when there is nothing to map.
pub fn draft(name: &str, layer: Option<&str>, unwrap: Option<&str>, records: &[Value]) -> Option<MappingText> {
    let mut paths: BTreeMap<String, Found> = BTreeMap::new();
    for record in records {
        let mut seen = BTreeSet::new();
        look(record, String::new(), 0, &mut paths, &mut seen);
    }
    if paths.is_empty() {
        return None;
    }
    let draft = Draft {
        paths: &paths,
        records: records.len(),
    };
    Some(MappingText {
        file: format!("{name}.toml"),
        text: draft.write(name, layer, unwrap),
    })
}

fn look(value: &Value, path: String, depth: usize, paths: &mut BTreeMap<String, Found>, seen: &mut BTreeSet<String>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            if depth > 0 {
                note(path.clone(), None, depth, paths, seen);
            }
            if depth < DEPTH_MAX {
                for (key, member) in members {
                    let key = written(key);
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    look(member, path, depth + 1, paths, seen);
                }
            }
        }
        Value::Array(items) => {
            note(path.clone(), None, depth, paths, seen);
            for item in items.iter().take(VALUES_MAX) {
                match item {
                    Value::Object(_) => look(item, format!("{path}[*]"), depth, paths, seen),
                    Value::Array(_) | Value::Null => {}
                    scalar => note(format!("{path}[*]"), Some(shown(scalar)), depth, paths, seen),
                }
            }
        }
        scalar => {
            let text = shown(scalar);
            if !text.is_empty() {
                note(path, Some(text), depth, paths, seen);
            }
        }
    }
}

fn shown(scalar: &Value) -> String {
    scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned)
}

/// A key as paths write it.
fn written(key: &str) -> String {
    let plain = !key.is_empty() && !key.contains(['.', '[', ']', '\'', '<', '{', '}']);
    if plain { key.to_owned() } else { format!("'{key}'") }
}

fn note(
    path: String,
    value: Option<String>,
    depth: usize,
    paths: &mut BTreeMap<String, Found>,
    seen: &mut BTreeSet<String>,
) {
    // A key with a quote in it cannot be written, nor one with a brace in a `from`, where it would begin a template.
    if !path.matches('\'').count().is_multiple_of(2) || path.contains(['{', '}', '\n']) {
        return;
    }
    let order = paths.len();
    if order >= PATHS_MAX && !paths.contains_key(&path) {
        return;
    }
    let found = paths.entry(path.clone()).or_insert_with(|| Found {
        depth,
        order,
        ..Found::default()
    });
    found.records += usize::from(seen.insert(path));
    let Some(value) = value else {
        found.containers = true;
        return;
    };
    for (count, (format, _)) in found.times.iter_mut().zip(TIME_FORMATS) {
        let time = time::parse(&value, &[format]);
        let likely = matches!(format, TimeFormat::Rfc3339 | TimeFormat::Utc);
        *count += usize::from(time.is_some_and(|time| likely || (NUMBER_MIN..NUMBER_MAX).contains(&time)));
    }
    found.addresses += usize::from(address::standard(&value).is_some());
    if found.values.contains(&value) {
        found.repeats = true;
    } else if found.values.len() < VALUES_MAX {
        found.values.insert(value);
    } else {
        found.more = true;
    }
}

/// The keys of a path in lower case without marks, joined: `user.e-mail` is `useremail`.
fn plain(path: &str) -> String {
    let letters = path.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_ascii_lowercase()
}

struct Draft<'a> {
    paths: &'a BTreeMap<String, Found>,
    records: usize,
}

impl<'a> Draft<'a> {
    /// Paths whose end is one of `names` and that `fits`: the surest name first, then the one that most records have.
    fn named(&self, names: &[&str], fits: impl Fn(&Found) -> bool) -> Vec<&'a str> {
        let mut ranked: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, found)| !found.values.is_empty() && fits(found))
            .filter_map(|(path, found)| {
                let whole = plain(path);
                let last = plain(path.rsplit('.').next().unwrap_or(path));
                let same = names.iter().position(|name| whole == *name || last == *name);
                let ends = names.iter().position(|name| name.len() > 4 && whole.ends_with(name));
                let rank = same.or(ends)?;
                Some((rank, std::cmp::Reverse(found.records), found.depth, path.as_str()))
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(.., path)| path).collect()
    }

    /// The path of the event time and how it is written.
    fn time(&self) -> Option<(&'a str, Vec<&'static str>)> {
        let written = |found: &Found| -> Vec<&'static str> {
            let formats = TIME_FORMATS.iter().zip(found.times);
            let mut fitting: Vec<_> = formats.filter(|(_, count)| *count > 0).collect();
            fitting.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            fitting.into_iter().map(|((_, name), _)| *name).collect()
        };
        let is_time = |found: &Found| {
            found
                .times
                .iter()
                .any(|count| *count > 0 && *count * 10 >= found.records * 9)
        };
        // A number is a time only where it is called so; a calendar's form is one whatever its name.
        let by_name = self.named(TIMES, is_time);
        let by_form = self.paths.iter().filter(|(path, found)| {
            !path.contains("[*]") && (found.times[0] + found.times[1]) * 10 >= self.records * 9
        });
        let by_form = by_form
            .min_by_key(|(_, found)| (found.depth, found.order))
            .map(|(path, _)| path.as_str());
        let path = by_name.into_iter().find(|path| !path.contains("[*]")).or(by_form)?;
        Some((path, written(&self.paths[path])))
    }

    /// Keys that every record has: those that other logs have least.
    fn keys(&self) -> Vec<&'a str> {
        let common = |path: &str| {
            let name = plain(path);
            let named = NAMES.iter().flat_map(|(_, names)| *names).chain(IDS).chain(TIMES);
            ["level", "message", "msg", "version", "name", "data"].contains(&&*name)
                || named.into_iter().any(|held| *held == name)
        };
        let always = self
            .paths
            .iter()
            .filter(|(path, found)| found.records == self.records && !path.contains("[*]"));
        let mut keys: Vec<_> = always
            .map(|(path, found)| (found.depth, common(path), found.order, path.as_str()))
            .collect();
        keys.sort_unstable();
        keys.into_iter().take(KEYS_MAX).map(|(.., path)| path).collect()
    }

    fn id(&self) -> Option<&'a str> {
        let own = |found: &Found| found.records == self.records && !found.repeats && self.records > 1;
        self.named(IDS, own).into_iter().find(|path| !path.contains("[*]"))
    }

    /// What a value of the outcome means.
    fn outcome(value: &str) -> Option<&'static str> {
        let word = plain(value);
        let code = value.parse::<u16>().ok().filter(|code| (100..600).contains(code));
        match code {
            Some(code) => Some(if code < 400 { "Success" } else { "Failure" }),
            None if SUCCESS.contains(&&*word) => Some("Success"),
            None if FAILURE.contains(&&*word) => Some("Failure"),
            None => None,
        }
    }

    fn write(&self, name: &str, layer: Option<&str>, unwrap: Option<&str>) -> String {
        let mut text = String::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let time = self.time();
        let mut columns: Vec<(&str, Vec<&str>)> = Vec::new();
        for (column, names) in NAMES {
            let fits = |found: &Found| match *column {
                "src_endpoint_ip" => found.addresses * 2 >= found.records,
                "status" => found.values.iter().any(|value| Self::outcome(value).is_some()),
                _ => found.addresses * 2 < found.records.max(1),
            };
            let mut from = self.named(names, fits);
            let is_time = |path: &&str| time.as_ref().is_some_and(|(time, _)| time == path);
            from.retain(|path| !is_time(path) && (*column == "actor_user_name" || !taken.contains(path)));
            from.truncate(3);
            taken.extend(&from);
            if !from.is_empty() {
                columns.push((column, from));
            }
        }
        let has = |column: &str| columns.iter().any(|(held, _)| *held == column);
        let layer = layer.unwrap_or(match () {
            () if has("ai_model_name") || has("gateway_key_uid") => "gateway",
            () if has("collection_uid") => "vector_db",
            () => "cloud",
        });
        let id = self.id();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# Drafted from {} records: read every line. What each key does is told in CONTRIBUTING.md, \"A new log format\".\n\n\
             format = {}\ntitle = {}\nlayer = {}          # valid: {}\n",
            self.records,
            quoted(name),
            quoted(name),
            quoted(layer),
            LAYERS.join(", ")
        );
        if let Some(unwrap) = unwrap {
            let _ = writeln!(text, "unwrap = {}", quoted(unwrap));
        }
        match id {
            Some(id) => drop(writeln!(text, "id = {}", quoted(id))),
            None => text.push_str("# id = \"…\"  the log's own id of a record: no path looks like one\n"),
        }
        text.push_str(
            "lateness = { seconds = 60, reason = \"a guess: how much later than its neighbours a record may come\" }\n",
        );
        let keys: Vec<String> = self.keys().into_iter().map(quoted).collect();
        let _ = writeln!(
            text,
            "\n# Present in every record. Enough to tell this log from all others?\n[[recognise]]\npresent = [{}]\n\n[columns]",
            keys.join(", ")
        );
        match &time {
            Some((path, formats)) => {
                let formats: Vec<String> = formats.iter().map(|format| quoted(format)).collect();
                let _ = writeln!(text, "time = {{ from = {}, time = [{}] }}", quoted(path), formats.join(", "));
                taken.insert(path);
            }
            None => text.push_str("# time = { from = \"…\", time = [\"rfc3339\"] }  no path holds times: events get the time of reading\n"),
        }
        text.push_str("class = { const = \"api_activity\" }  # or datastore_activity, authentication, …\n");
        for (column, from) in columns.iter().filter(|(column, _)| *column != "status") {
            let container = from.iter().any(|path| self.paths[*path].containers);
            let from: Vec<String> = from.iter().map(|path| quoted(path)).collect();
            let list = if let [one] = from.as_slice() {
                one.clone()
            } else {
                format!("[{}]", from.join(", "))
            };
            let json = if container { ", json = true" } else { "" };
            let _ = writeln!(text, "{column} = {{ from = {list}{json} }}");
        }
        if let Some((_, from)) = columns.iter().find(|(column, _)| *column == "status") {
            let paths: Vec<String> = from.iter().take(1).map(|path| quoted(path)).collect();
            let _ = writeln!(
                text,
                "\n[columns.status]\nfrom = {}\n[columns.status.map]",
                paths.join(", ")
            );
            let values = from.iter().take(1).flat_map(|path| &self.paths[*path].values);
            for value in values {
                match Self::outcome(value) {
                    Some(outcome) => drop(writeln!(text, "{} = {}", quoted(value), quoted(outcome))),
                    None => drop(writeln!(
                        text,
                        "# {} = \"Success\" or \"Failure\"?",
                        quoted(&short(value))
                    )),
                }
            }
        }
        if has("actor_user_uid") && has("src_endpoint_ip") {
            text.push_str(
                "\n[[relation]]\nfrom = \"actor_user_uid\"\nkind = \"used-from\"\nto = \"src_endpoint_ip\"\n",
            );
        }
        self.rest(&taken, id, &mut text);
        text
    }

    /// What no column takes.
    fn rest(&self, taken: &BTreeSet<&str>, id: Option<&str>, text: &mut String) {
        let others = self.paths.iter().filter(|(path, found)| {
            !found.values.is_empty() && !taken.contains(path.as_str()) && Some(path.as_str()) != id
        });
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|(_, found)| found.order);
        if others.is_empty() {
            return;
        }
        text.push_str(
            "\n# Not taken: path, how many records have it, an example. Columns are those of schemas/events.toml.\n",
        );
        for (path, found) in others {
            let example = found.values.first().map(|value| short(value)).unwrap_or_default();
            let percent = 100 * found.records / self.records.max(1);
            let _ = writeln!(text, "#   {path:40} {percent:3} %  {}", quoted(&example));
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(EXAMPLE_CHARS).collect()
}

/// As a text of TOML on one line: JSON writes it so, but for one character.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
