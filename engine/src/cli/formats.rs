//! `sentrail formats`

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::config;
use crate::model::time::SECOND;
use crate::model::{InputId, InputOffset, LAYERS, Payload, Position, RawBatch};
use crate::normalize::{self, Format, Normalized, Normalizer};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// As one Markdown page, with what each format fills and how it is known.
    #[arg(long)]
    markdown: bool,
    /// A directory of mappings of your own, beside those of the build.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draft a mapping from sample records of JSON; a person corrects it.
    New {
        /// The format's name: lower-case letters, digits and _. The mapping becomes NAME.toml.
        name: String,
        /// Records of the log: one per line, documents or arrays; plain, gzip or zstd.
        #[arg(long)]
        sample: PathBuf,
        /// The part of the stack that writes the log; without it, a guess.
        #[arg(long, value_parser = LAYERS)]
        layer: Option<String>,
        /// Where to write it.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// Records that a draft is made of; more say nothing new.
const SAMPLE_RECORDS_MAX: usize = 10_000;
/// A sample is read whole.
const SAMPLE_BYTES_MAX: u64 = 512 << 20;

pub fn formats(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Command::New {
        name,
        sample,
        layer,
        dir,
    }) = &arguments.command
    {
        return new(name, sample, layer.as_deref(), dir);
    }
    let formats = all(arguments.dir.as_deref())?;
    super::out(&if arguments.markdown {
        markdown(&formats)
    } else {
        list(&formats)
    })
}

fn all(dir: Option<&Path>) -> anyhow::Result<Vec<Format>> {
    Ok(Normalizer::new(&[], &config::read_formats(dir)?)?.formats())
}

fn new(name: &str, sample: &Path, layer: Option<&str>, dir: &Path) -> anyhow::Result<()> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name == normalize::AUTO || !name.chars().all(valid) {
        bail!("`{name}` is no name of a format; valid are lower-case letters, digits and _");
    }
    let shown = sample.display();
    let bytes = read(sample).with_context(|| format!("cannot read {shown}"))?;
    let (unwrap, records) = records(&bytes).with_context(|| {
        format!(
            "{shown}: a draft is made of records of JSON; for lines of another layout, see `line` in CONTRIBUTING.md"
        )
    })?;
    let draft = normalize::draft(name, layer, unwrap.as_deref(), &records)
        .with_context(|| format!("{shown}: there is no JSON object with a value in it"))?;
    let mut normalizer = Normalizer::alone(&draft)?;
    let decoded = decoded(&mut normalizer, name, sample, bytes)?;
    let path = dir.join(&draft.file);
    let mut file = std::fs::File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    std::io::Write::write_all(&mut file, draft.text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut text = format!(
        "{}: {} of {} records of the sample are decoded by it\n",
        path.display(),
        decoded.records - decoded.rejected.len() as u64,
        decoded.records
    );
    if let Some(rejected) = decoded.rejected.first() {
        let _ = writeln!(text, "{}: {}", rejected.position, rejected.reason);
    }
    let _ = writeln!(
        text,
        "Read it and correct it, then see what the records become:\n\n  sentrail decode --dir {} --format {name} {shown}",
        dir.display()
    );
    super::out(&text)
}

/// What a file's bytes become as those of a source.
fn decoded(normalizer: &mut Normalizer, source: &str, path: &Path, bytes: Vec<u8>) -> anyhow::Result<Normalized> {
    let name = path.display().to_string();
    let raw = RawBatch {
        source: source.into(),
        input: InputId::file(source, &name),
        payloads: vec![Payload {
            bytes: bytes.into(),
            position: Position::File {
                path: name.as_str().into(),
                record: 1,
            },
            truncated: false,
            attributes: None,
        }],
        block: None,
        next: InputOffset::Kafka { next: 0 },
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(normalizer.decode(&raw, now.as_micros() as i64))
}

/// A file's bytes, unpacked.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let whole = |input: &mut dyn Read| {
        let mut bytes = Vec::new();
        input.take(SAMPLE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > SAMPLE_BYTES_MAX {
            true => Err(std::io::Error::other(format!(
                "a sample of more than {} MiB; some thousand records are enough",
                SAMPLE_BYTES_MAX >> 20
            ))),
            false => Ok(bytes),
        }
    };
    let bytes = whole(&mut std::fs::File::open(path)?)?;
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => whole(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice())),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => whole(&mut zstd::Decoder::new(bytes.as_slice())?),
        _ => Ok(bytes),
    }
}

/// The sample's records, and the key under which a document holds them where one does.
fn records(bytes: &[u8]) -> anyhow::Result<(Option<String>, Vec<Value>)> {
    let mut documents = Vec::new();
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        documents.push(document?);
        if documents.len() >= SAMPLE_RECORDS_MAX {
            break;
        }
    }
    let is_record = |value: &Value| value.is_object();
    if let [Value::Object(wrapper)] = documents.as_slice() {
        let mut arrays = wrapper.iter().filter_map(|(key, value)| Some((key, value.as_array()?)));
        if let (Some((key, items)), None) = (arrays.next(), arrays.next())
            && items.len() > 1
            && items.iter().all(is_record)
        {
            let records = items.iter().take(SAMPLE_RECORDS_MAX).cloned();
            return Ok((Some(key.clone()), records.collect()));
        }
    }
    let single = documents.into_iter().flat_map(|document| match document {
        Value::Array(items) => items,
        other => vec![other],
    });
    Ok((None, single.filter(is_record).take(SAMPLE_RECORDS_MAX).collect()))
}

fn list(formats: &[Format]) -> String {
    let mut text = String::new();
    for format in formats {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:22} {:36} {}",
            format.name,
            format.layers.join(","),
            format.title
        );
    }
    text
}

/// schemas/FORMATS.md
fn markdown(formats: &[Format]) -> String {
    let mut page = String::from(
        "# Log formats\n\nWritten by `sentrail formats --markdown` from schemas/sources; a test keeps it so.\n\n\
         | format | log | layers | findings |\n|---|---|---|---|\n",
    );
    for format in formats {
        let findings = if format.findings { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| [{0}](#{0}) | {1} | {2} | {findings} |",
            format.name,
            format.title,
            format.layers.join(", ")
        );
    }
    for format in formats {
        let _ = write!(page, "\n## {}\n\n{}.\n\n", format.name, format.title);
        if format.lines {
            page.push_str("Records are lines, no JSON.\n\n");
        }
        match format.known_by.as_slice() {
            [] => page.push_str("Known by its template.\n"),
            [one] => drop(writeln!(page, "Known by: {one}.")),
            several => drop(writeln!(page, "Known by: {}.", several.join("; or "))),
        }
        let _ = writeln!(
            page,
            "\nEvents may come {} s late: {}. A record {}.",
            format.lateness / SECOND,
            format.lateness_reason,
            if format.own_id {
                "has an id of its own"
            } else {
                "is known by its position"
            }
        );
        let columns: Vec<String> = format.columns.iter().map(|column| format!("`{column}`")).collect();
        let _ = writeln!(page, "\nFills: `time`, {}.", columns.join(", "));
        for relation in &format.relations {
            let _ = writeln!(
                page,
                "{}- {relation}",
                if Some(relation) == format.relations.first() {
                    "\nStates:\n\n"
                } else {
                    ""
                }
            );
        }
    }
    page
}

/// `SENTRAIL_BLESS=1` writes the page anew.
#[test]
fn the_page_of_formats_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/FORMATS.md");
    let page = markdown(&all(None).unwrap());
    if std::env::var_os("SENTRAIL_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap();
    assert!(
        held == page,
        "{} is not what `sentrail formats --markdown` says",
        path.display()
    );
}

/// Logs of the shapes that logs have: flat and nested, with times of each kind, one by one and in a document.
#[test]
fn a_draft_decodes_its_sample() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |of: &dyn Fn(usize) -> String| (0..30).map(|number| of(number) + "\n").collect::<String>();
    let flat = lines(&|number| {
        format!(
            r#"{{"ts":{}.25,"event_id":"e{number}","user_email":"u{}@example.com","client_ip":"192.0.2.{number}:443","action":"query","result":"{}","index_name":"docs","x'y":1,"took":{number}}}"#,
            1_770_000_000 + number,
            number % 3,
            if number % 4 == 0 { "denied" } else { "ok" }
        )
    });
    let nested = lines(&|number| {
        format!(
            r#"{{"meta":{{"when":"2026-02-01 10:00:{number:02}","a.b":"c"}},"actor":{{"id":"svc-1","tags":["x","y"]}},"request":{{"method":"GET","remoteAddr":"2001:db8::1"}},"response":{{"code":{}}}}}"#,
            if number == 3 { 403 } else { 200 }
        )
    });
    let document = format!(r#"{{"count":30,"entries":[{}]}}"#, flat.trim_end().replace('\n', ","));
    let cases = [
        (
            "flat",
            flat,
            [
                "time = { from = \"ts\", time = [\"epoch_seconds\"] }",
                "id = \"event_id\"",
                "\"denied\" = \"Failure\"",
            ],
        ),
        (
            "nested",
            nested,
            [
                "from = \"meta.when\", time = [\"utc\"]",
                "src_endpoint_ip = { from = \"request.remoteAddr\" }",
                "\"403\" = \"Failure\"",
            ],
        ),
        (
            "document",
            document,
            [
                "unwrap = \"entries\"",
                "collection_uid = { from = \"index_name\" }",
                "kind = \"used-from\"",
            ],
        ),
    ];
    for (name, sample, expected) in cases {
        let file = dir.path().join(format!("{name}.ndjson"));
        std::fs::write(&file, &sample).unwrap();
        new(name, &file, None, dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(format!("{name}.toml"))).unwrap();
        for part in expected {
            assert!(text.contains(part), "{name}: no `{part}` in\n{text}");
        }
        let draft = config::MappingText {
            file: name.to_owned(),
            text,
        };
        let mut normalizer = Normalizer::alone(&draft).unwrap();
        let decoded = decoded(&mut normalizer, name, &file, sample.into_bytes()).unwrap();
        assert_eq!(
            (decoded.events.rows(), decoded.rejected.len()),
            (30, 0),
            "{name}: {:?}",
            decoded.rejected.first()
        );
        let events = decoded.events;
        assert_eq!(
            events.column("flags").null_count(),
            30,
            "{name}: times and addresses are read"
        );
        for column in ["actor_user_uid", "src_endpoint_ip", "api_operation", "status"] {
            assert_eq!(events.text(column).iter().flatten().count(), 30, "{name}: {column}");
        }
        let again = new(name, &file, None, dir.path()).unwrap_err();
        assert!(
            format!("{again:#}").contains("cannot create"),
            "a draft overwrites nothing: {again:#}"
        );
    }
    let plain = dir.path().join("plain.log");
    std::fs::write(&plain, "no json\n").unwrap();
    assert!(format!("{:#}", new("plain", &plain, None, dir.path()).unwrap_err()).contains("records of JSON"));
}
