//! Sigma rules: the detector beside rsigma, which evaluates one JSON object at a time, over the same rules and events.
//! `cargo xtask eval sigma [--data DIR]` compares what they find, rule by rule; `cargo xtask bench sigma [EVENTS] [--data DIR]` how fast.

#[path = "sigma/events.rs"]
mod events;
#[path = "sigma/ours.rs"]
mod ours;
#[path = "sigma/theirs.rs"]
mod theirs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sentrail_benches::Scratch;

use events::GROUPS;

const USAGE: &str = "usage: cargo xtask eval sigma [--data DIR] | cargo xtask bench sigma [EVENTS] [--data DIR]";
/// Both go over the events this often, in turn; the fastest pass counts.
const PASSES: usize = 3;
const EVENTS: usize = 100_000;

/// A match: the number of the event, and the rule's id.
type Match = (usize, String);

struct Arguments {
    verb: String,
    events: usize,
    data: PathBuf,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut words = std::env::args().skip(1);
        let mut read = Arguments {
            verb: words.next().context(USAGE)?,
            events: EVENTS,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--data" => read.data = words.next().context(USAGE)?.into(),
                number => read.events = number.replace('_', "").parse().context(USAGE)?,
            }
        }
        Ok(read)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let rsigma = match std::env::var("SENTRAIL_BENCH_RSIGMA") {
        Ok(program) => PathBuf::from(program),
        Err(_) => {
            let why = std::env::var("SENTRAIL_BENCH_NO_RSIGMA").unwrap_or_else(|_| USAGE.to_owned());
            println!("skipped: {why}");
            return Ok(());
        }
    };
    let rules = arguments.data.join("sigma/rules");
    if !rules.is_dir() {
        println!("skipped: {} is absent", rules.display());
        return Ok(());
    }
    match arguments.verb.as_str() {
        "sigma" => compare(&arguments.data, &rsigma),
        "speed" => speed(&arguments, &rsigma),
        _ => bail!(USAGE),
    }
}

fn compare(data: &Path, rsigma: &Path) -> Result<()> {
    let mut different = 0;
    for group in GROUPS {
        let scratch = Scratch::new("sigma")?;
        let rules = data.join("sigma").join(group.rules);
        let (engine, refused) = ours::Engine::new(&rules, group.format, scratch.path())?;
        let texts = group.events(data)?;
        let ours = engine.matches(&texts)?;
        // Both see the same events: what the format does not read is left out.
        let theirs = theirs::matches(rsigma, &rules, group.format, &ours.read, scratch.path())?;

        let known = |id: &str| engine.rules.contains_key(id);
        let mut only: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let (mut both, mut refused_found) = (0, 0);
        for found in &theirs {
            if ours.found.contains(found) {
                both += 1;
            } else if known(&found.1) {
                *only.entry(("rsigma", &found.1)).or_default() += 1;
            } else {
                refused_found += 1;
            }
        }
        for found in ours.found.iter().filter(|found| !theirs.contains(*found)) {
            *only.entry(("Sentrail", &found.1)).or_default() += 1;
        }
        println!(
            "{}: {} rules run, {} refused, {} events of {}; {both} matches of both, {} of rsigma alone, {} of Sentrail alone, {refused_found} of \
             refused rules",
            group.title,
            engine.rules.len(),
            refused.lines().count().saturating_sub(1),
            ours.read.len(),
            texts.len(),
            only.iter()
                .filter(|((who, _), _)| *who == "rsigma")
                .map(|(_, count)| count)
                .sum::<usize>(),
            only.iter()
                .filter(|((who, _), _)| *who == "Sentrail")
                .map(|(_, count)| count)
                .sum::<usize>(),
        );
        for line in refused.lines().skip(1) {
            println!("  refused {line}");
        }
        for ((who, id), count) in &only {
            let title = engine.rules.get(*id).map_or(*id, String::as_str);
            println!("  {count} of {who} alone: {title}");
            different += count;
        }
    }
    ensure!(different == 0, "{different} matches differ");
    println!("all matches are the same");
    Ok(())
}

fn speed(arguments: &Arguments, rsigma: &Path) -> Result<()> {
    let scratch = Scratch::new("sigma")?;
    let group = &GROUPS[0];
    let rules = arguments.data.join("sigma").join(group.rules);
    let texts = events::repeated(&arguments.data, arguments.events)?;
    let (engine, _) = ours::Engine::new(&rules, group.format, scratch.path())?;
    let file = scratch.path().join("events.ndjson");
    std::fs::write(&file, texts.join("\n") + "\n")?;
    let bytes: usize = texts.iter().map(String::len).sum();
    println!(
        "{} events of {} bytes on average, {} rules",
        texts.len(),
        bytes / texts.len(),
        engine.rules.len()
    );

    let (mut decode, mut detect, mut theirs) = (f64::MAX, f64::MAX, f64::MAX);
    let mut found = 0;
    for _ in 0..PASSES {
        let pass = engine.timed(&texts)?;
        if pass.decode + pass.detect < decode + detect {
            (decode, detect) = (pass.decode, pass.detect);
        }
        found = pass.found;
        theirs = theirs.min(theirs::timed(rsigma, &rules, &file)?);
    }
    let rate = |seconds: f64| texts.len() as f64 / seconds;
    println!(
        "Sentrail, one core, decoding included   {:>9.0} events/s, {found} matches",
        rate(decode + detect)
    );
    println!("  decoding {decode:.2} s, rules {detect:.2} s");
    println!("rsigma engine eval                      {:>9.0} events/s", rate(theirs));
    println!(
        "ratio                                   {:>9.2}",
        theirs / (decode + detect)
    );
    Ok(())
}
