//! What is printed of a set.

use std::collections::{BTreeMap, BTreeSet};

use sentrail::model::{Detection, Id, Incident, time::to_rfc3339};

use super::Telling;
use super::run::Outcome;
use super::scene::Line;
use super::score::{Placed, score};

/// A campaign of a set: its name there and what it is.
pub type Case = (&'static str, &'static str);

fn counted(incident: &Incident, counts: &BTreeMap<&str, usize>) -> bool {
    counts.contains_key(incident.incident_id.as_str())
}

/// An incident of which not everything belongs to one step of a campaign, in a control, or to one campaign.
fn show_impure(incident: &Incident, outcome: &Outcome, telling: Telling) {
    let is_member = |(detection, _): &&(Detection, _)| incident.folds.contains(&detection.fold());
    let members: Vec<_> = outcome.detections.iter().filter(is_member).collect();
    let whose = |campaign: Option<(usize, usize)>| {
        campaign.map(|(campaign, step)| (campaign, if telling == Telling::True { 0 } else { step }))
    };
    let owners: BTreeSet<_> = members.iter().map(|(_, campaign)| whose(*campaign)).collect();
    if owners.len() == 1 && owners.first().is_some_and(Option::is_some) {
        return;
    }
    println!("  {}", incident.title);
    for part in &incident.score_parts {
        println!("    {} {}: {}", part.name, part.points, part.why);
    }
    for (detection, campaign) in members {
        let entities: Vec<String> = detection
            .entities
            .iter()
            .map(|roled| roled.entity.to_string())
            .collect();
        let time = to_rfc3339(detection.time);
        println!("    {time} {campaign:?} {}: {}", detection.rule, entities.join(" "));
    }
}

pub fn report(title: &str, telling: Telling, lines: &[Line], cases: &[Case], outcome: &Outcome, show: Option<&str>) {
    let mut by_fold: BTreeMap<Id, &str> = BTreeMap::new();
    for incident in &outcome.incidents {
        by_fold.extend(incident.folds.iter().map(|fold| (*fold, incident.incident_id.as_str())));
    }
    let detections = outcome.detections.iter().map(|(detection, _)| detection);
    let incident_of: BTreeMap<&str, &str> = detections
        .filter_map(|detection| Some((detection.detection_id.as_str(), *by_fold.get(&detection.fold())?)))
        .collect();
    let place = |(detection, campaign): &(Detection, Option<(usize, usize)>)| Placed {
        campaign: campaign.map(|(campaign, _)| campaign),
        event: detection.event_ids.last().cloned().unwrap_or_default(),
        incident: incident_of
            .get(detection.detection_id.as_str())
            .map(|id| (*id).to_owned()),
    };
    let placed: Vec<Placed> = outcome.detections.iter().map(place).collect();
    let score = score(&placed);
    let ordinary = lines.iter().filter(|line| line.campaign.is_none()).count();
    let noisy = placed.iter().filter(|placed| placed.campaign.is_none()).count();
    println!("{title}");
    if show == Some("impure") {
        for incident in &outcome.incidents {
            show_impure(incident, outcome, telling);
        }
    }
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
                .filter(|(detection, _)| incident.folds.contains(&detection.fold()))
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
        "  campaigns {} of which detections speak of two events and more ({} of fewer): whole {} ({:.1} %, goal 95), split {}, merged {} (goal 0)",
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
    for (number, (case, name)) in cases.iter().enumerate() {
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
        println!("  {} {}: {counts:?}{alone} {}{rarity}", case, name, rules.join(" "));
        if show == Some(case) {
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
