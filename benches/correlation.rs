//! How well incidents tell attacks apart: campaigns of many steps among ordinary work, behind shared addresses, late and shuffled, through the
//! engine's own normalizer, detectors and correlator. `cargo xtask eval correlation [--seed N] [--events N] [--show CASE]`

#[path = "correlation/benign.rs"]
mod benign;
#[path = "correlation/campaigns.rs"]
mod campaigns;
#[path = "correlation/run.rs"]
mod run;
#[path = "correlation/scene.rs"]
mod scene;
#[path = "correlation/score.rs"]
mod score;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::config;
use sentrail::model::Micros;
use sentrail::model::time::{HOUR, MINUTE, SECOND};
use sentrail_benches::{Scratch, given};

use campaigns::{SCRIPTS, Script};
use run::Outcome;
use scene::{Actor, Apart, Company, Line, START, Scene};
use score::{Placed, score};

const USAGE: &str = "usage: cargo xtask eval correlation [--seed N] [--events N] [--show CASE]";
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
            show: None,
        };
        while let Some(word) = words.next() {
            let value = words.next().context(USAGE)?;
            match word.as_str() {
                "--seed" => read.seed = value.parse().context(USAGE)?,
                "--events" => read.events = value.parse().context(USAGE)?,
                "--show" => read.show = Some(value),
                _ => bail!(USAGE),
            }
        }
        Ok(read)
    }
}

/// How a campaign is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
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
    for (title, telling) in [
        ("Campaigns", Telling::True),
        ("Control: every step by somebody else", Telling::Shuffled),
        ("Control: steps further apart than the window", Telling::Spread),
    ] {
        let lines = lines(&arguments, telling, settings.window);
        let outcome = run::run(&lines, LATENESS, &settings, &plugins, cache.path())?;
        report(title, telling, &lines, &outcome, arguments.show.as_deref());
    }
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
    let start = START + 4 * HOUR + rng.random_range(0..SPAN - 12 * HOUR);
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

fn counted(incident: &sentrail::model::Incident, counts: &BTreeMap<&str, usize>) -> bool {
    counts.contains_key(incident.incident_id.as_str())
}

/// What an incident without any detection of a campaign is made of.
fn show_false(incident: &sentrail::model::Incident, outcome: &Outcome) {
    let of = |id: &String| outcome.detections.iter().find(|(held, _)| held.detection_id == *id);
    let members: Vec<_> = incident.detection_ids.iter().filter_map(of).collect();
    if members.iter().any(|(_, campaign)| campaign.is_some()) {
        return;
    }
    println!("  false: {}", incident.title);
    for part in &incident.score_parts {
        println!("    {} {}: {}", part.name, part.points, part.why);
    }
    for (detection, _) in members {
        let entities: Vec<String> = detection
            .entities
            .iter()
            .map(|roled| roled.entity.to_string())
            .collect();
        let time = sentrail::model::time::to_rfc3339(detection.time);
        println!("    {time} {}: {}", detection.rule, entities.join(" "));
    }
}

fn report(title: &str, telling: Telling, lines: &[Line], outcome: &Outcome, show: Option<&str>) {
    let mut incident_of: BTreeMap<&str, &str> = BTreeMap::new();
    for incident in &outcome.incidents {
        for detection in &incident.detection_ids {
            incident_of.insert(detection, &incident.incident_id);
        }
    }
    let place = |(detection, campaign): &(sentrail::model::Detection, Option<(usize, usize)>)| Placed {
        campaign: campaign.map(|(campaign, _)| campaign),
        incident: incident_of
            .get(detection.detection_id.as_str())
            .map(|id| (*id).to_owned()),
    };
    let placed: Vec<Placed> = outcome.detections.iter().map(place).collect();
    let score = score(&placed);
    let ordinary = lines.iter().filter(|line| line.campaign.is_none()).count();
    let noisy = placed.iter().filter(|placed| placed.campaign.is_none()).count();
    println!("{title}");
    println!(
        "  {} events, {} rejected; {} detections of campaigns, {noisy} of ordinary work ({:.2} %)",
        lines.len(),
        outcome.rejected,
        placed.len() - noisy,
        100.0 * noisy as f64 / ordinary.max(1) as f64
    );
    println!(
        "  incidents {}, of which false {} ({:.1} per 100,000 ordinary events)",
        outcome.incidents.len(),
        score.false_incidents,
        100_000.0 * score.false_incidents as f64 / ordinary.max(1) as f64
    );
    if telling != Telling::True {
        let several = outcome.incidents.iter().filter(|incident| {
            let steps: BTreeSet<(usize, usize)> = outcome
                .detections
                .iter()
                .filter(|(detection, _)| incident.detection_ids.contains(&detection.detection_id))
                .filter_map(|(_, campaign)| *campaign)
                .collect();
            steps.len() > 1
        });
        println!(
            "  incidents of several steps of campaigns: {} (goal 0)\n",
            several.count()
        );
        return;
    }
    println!(
        "  campaigns {} with two detections and more ({} with fewer): whole {} ({:.1} %, goal 95), split {}, merged {} (goal 0)",
        score.campaigns,
        score.unseen,
        score.whole,
        100.0 * score.whole as f64 / score.campaigns.max(1) as f64,
        score.split,
        score.merged
    );
    println!(
        "  pairs of detections: precision {:.3}, recall {:.3}; adjusted Rand index {:.3} (goal 0.95)",
        score.precision, score.recall, score.rand_index
    );
    let examined = |part| outcome.examined.quantile(part).unwrap_or(0);
    println!(
        "  links looked at for a detection: {} at most for half of them, {} for 99 %\n",
        examined(0.5),
        examined(0.99)
    );
    if show == Some("false") {
        for incident in &outcome.incidents {
            show_false(incident, outcome);
        }
    }
    for (number, script) in SCRIPTS.iter().enumerate() {
        let found = outcome
            .detections
            .iter()
            .filter(|(_, campaign)| campaign.is_some_and(|(campaign, _)| campaign == number));
        let mut incidents: BTreeMap<&str, usize> = BTreeMap::new();
        let mut rules = BTreeSet::new();
        for (detection, _) in found.clone() {
            let incident = incident_of.get(detection.detection_id.as_str());
            *incidents.entry(incident.copied().unwrap_or("none")).or_default() += 1;
            rules.insert(detection.rule.as_str());
        }
        let alone = incidents.remove("none").map(|alone| format!(" and {alone} in none"));
        let counts: Vec<usize> = incidents.values().copied().collect();
        let alone = alone.unwrap_or_default();
        let rarity = outcome.incidents.iter().find(|incident| counted(incident, &incidents));
        let rarity = rarity.and_then(|incident| incident.score_parts.iter().find(|part| part.name == "rarity"));
        let rarity = rarity.map_or(String::new(), |part| format!("; {}", part.why));
        let rules: Vec<&str> = rules.into_iter().collect();
        println!(
            "  {} {}: {counts:?}{alone} {}{rarity}",
            script.case,
            script.name,
            rules.join(" ")
        );
        if show == Some(script.case) {
            for (detection, _) in found {
                let incident = incident_of.get(detection.detection_id.as_str());
                let entities: Vec<String> = detection
                    .entities
                    .iter()
                    .map(|roled| roled.entity.to_string())
                    .collect();
                println!(
                    "    {:?} {} {}: {}",
                    incident,
                    detection.rule,
                    detection.time,
                    entities.join(" ")
                );
            }
        }
    }
    println!();
}
