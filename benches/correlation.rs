//! How well incidents tell attacks apart: campaigns of many steps among ordinary work, behind shared addresses, late and shuffled, through the
//! engine's own normalizer, detectors and correlator. `cargo xtask eval correlation [--seed N] [--events N] [--data DIR] [--show CASE|impure]`

#[path = "correlation/benign.rs"]
mod benign;
#[path = "correlation/campaigns.rs"]
mod campaigns;
#[path = "correlation/invictus.rs"]
mod invictus;
#[path = "correlation/report.rs"]
mod report;
#[path = "correlation/run.rs"]
mod run;
#[path = "correlation/scene.rs"]
mod scene;
#[path = "correlation/score.rs"]
mod score;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::config;
use sentrail::model::Micros;
use sentrail::model::time::{HOUR, MINUTE, SECOND};
use sentrail_benches::{Scratch, given};

use campaigns::{SCRIPTS, Script};
use report::{Case, report};
use scene::{Actor, Apart, Company, Line, START, Scene};

const USAGE: &str = "usage: cargo xtask eval correlation [--seed N] [--events N] [--data DIR] [--show CASE|impure]";
/// What a configuration has to hold, and nothing of correlation.
const DEFAULTS: &str =
    "[storage]\nurl = \"none\"\n[[source]]\nname = \"none\"\ntype = \"file\"\npath = \"none\"\nformat = \"litellm\"\n";
/// People who work here, and for how long they are watched.
const PEOPLE: usize = 1_200;
const SPAN: Micros = 72 * HOUR;
/// Of ordinary acts, those that a detector may speak of.
const NOISE: f64 = 0.008;
/// Of a campaign's lines, those that no log has.
const DROPPED: f64 = 0.05;
/// Lines come this late at most.
const LATENESS: Micros = 10 * MINUTE;

struct Arguments {
    seed: u64,
    events: usize,
    data: PathBuf,
    show: Option<String>,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut words = std::env::args().skip(1);
        if words.next().as_deref() != Some("correlation") {
            bail!(USAGE);
        }
        let mut read = Arguments {
            seed: 1,
            events: 100_000,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
            show: None,
        };
        while let Some(word) = words.next() {
            let value = words.next().context(USAGE)?;
            match word.as_str() {
                "--seed" => read.seed = value.parse().context(USAGE)?,
                "--events" => read.events = value.parse().context(USAGE)?,
                "--data" => read.data = value.into(),
                "--show" => read.show = Some(value),
                _ => bail!(USAGE),
            }
        }
        Ok(read)
    }
}

/// How a campaign is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// As it went.
    True,
    /// Each step by somebody else, from somewhere else.
    Shuffled,
    /// Each step further from the last than links reach.
    Spread,
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let plugins = given("SENTRAIL_BENCH_PLUGINS")?;
    let settings = config::parse(DEFAULTS, "correlation.toml", &|_| None)
        .map(|settings| settings.correlate)
        .context("the default configuration")?;
    let cache = Scratch::new("correlation")?;
    println!(
        "Campaigns modelled on {} ATLAS case studies among {} ordinary events of {PEOPLE} people over {} hours, seed {}.",
        SCRIPTS.len(),
        arguments.events,
        SPAN / HOUR,
        arguments.seed
    );
    println!(
        "Every fourth intruder sits behind an office's address; {:.0} % of the campaigns' lines are lost; lines come up to {} minutes late.\n",
        DROPPED * 100.0,
        LATENESS / MINUTE
    );
    let cases: Vec<Case> = SCRIPTS.iter().map(|script| (script.case, script.name)).collect();
    for (title, telling) in [
        ("Campaigns", Telling::True),
        ("Control: every step by somebody else", Telling::Shuffled),
        ("Control: steps further apart than the window", Telling::Spread),
    ] {
        let lines = lines(&arguments, telling, settings.window);
        let outcome = run::run(&lines, LATENESS, &settings, &plugins, cache.path())?;
        report(title, telling, &lines, &cases, &outcome, arguments.show.as_deref());
    }
    let staged = arguments.data.join(invictus::FILE);
    if !staged.exists() {
        println!("skipped: {} is absent", invictus::FILE);
        return Ok(());
    }
    let lines = invictus::lines(&staged)?;
    let outcome = run::run(&lines, LATENESS, &settings, &plugins, cache.path())?;
    let show = arguments.show.as_deref();
    report(
        invictus::TITLE,
        Telling::True,
        &lines,
        &[invictus::CASE],
        &outcome,
        show,
    );
    Ok(())
}

/// All lines of a world, as they arrive.
fn lines(arguments: &Arguments, telling: Telling, window: Micros) -> Vec<Line> {
    let mut rng = ChaCha8Rng::seed_from_u64(arguments.seed);
    let company = Company::new(arguments.seed, PEOPLE);
    let mut lines = Vec::new();
    for _ in 0..arguments.events {
        let person = company.people[rng.random_range(0..PEOPLE)].clone();
        let address = if rng.random_bool(0.8) {
            person.office.clone()
        } else {
            person.home.clone()
        };
        let start = START + rng.random_range(0..SPAN);
        let actor = Actor::new(&mut rng, person, address);
        let is_noise = rng.random_bool(NOISE);
        let mut scene = Scene::new(&mut rng, actor, start);
        match is_noise {
            true => benign::noise(&mut scene),
            false => benign::ordinary(&mut scene),
        }
        lines.extend(scene.lines);
    }
    for (number, script) in SCRIPTS.iter().enumerate() {
        lines.extend(campaign(&mut rng, &company, number, script, telling, window));
    }
    let mut arriving: Vec<(Micros, Line)> = lines
        .into_iter()
        .map(|line| {
            // Most come at once, some late.
            let late = if rng.random_bool(0.05) { LATENESS } else { 20 * SECOND };
            (line.time + rng.random_range(0..late), line)
        })
        .collect();
    arriving.shuffle(&mut rng);
    arriving.sort_by_key(|(arrival, _)| *arrival);
    arriving.into_iter().map(|(_, line)| line).collect()
}

fn campaign(
    rng: &mut ChaCha8Rng,
    company: &Company,
    number: usize,
    script: &Script,
    telling: Telling,
    window: Micros,
) -> Vec<Line> {
    let person = company.people[(number * 47 + 11) % PEOPLE].clone();
    let address = match number % 4 {
        3 => person.office.clone(),
        _ => format!("203.0.113.{}", 10 + number),
    };
    // Until its end others work, too.
    let lasts = if telling == Telling::Spread {
        8 * (window + HOUR)
    } else {
        12 * HOUR
    };
    let start = START + 4 * HOUR + rng.random_range(0..SPAN - lasts);
    let actor = Actor::new(rng, person, address);
    let pace = rng.random_range(0.7..3.0);
    let mut scene = Scene::new(rng, actor, start);
    (scene.pace, scene.campaign) = (pace, Some(number));
    scene.telling = match telling {
        Telling::True => None,
        Telling::Shuffled => Some(Apart::ByOthers(company)),
        Telling::Spread => Some(Apart::Later(window + HOUR)),
    };
    (script.play)(&mut scene);
    let lines = scene.lines;
    let mut first = true;
    let kept = lines
        .into_iter()
        .filter(|_| std::mem::take(&mut first) || !rng.random_bool(DROPPED));
    kept.collect()
}
