//! How well incidents tell campaigns apart.

use std::collections::{BTreeMap, BTreeSet};

/// A detection: whose it is in truth, and which incident has it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// `None` for ordinary work, which belongs to nothing.
    pub campaign: Option<usize>,
    pub incident: Option<String>,
    /// The event that it speaks of.
    pub event: String,
}

#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Score {
    /// Campaigns of which detections speak of at least two events, and what became of them.
    pub campaigns: usize,
    pub whole: usize,
    pub split: usize,
    pub merged: usize,
    /// Campaigns of which fewer were found: there was nothing to join.
    pub unseen: usize,
    /// Of all pairs of detections in one incident, those of one campaign; and of all pairs of one campaign, those in one incident.
    pub precision: f64,
    pub recall: f64,
    /// Adjusted Rand index (Hubert and Arabie, 1985) over all detections; what belongs to nothing is a cluster of its own.
    pub rand_index: f64,
    /// Incidents without any detection of a campaign.
    pub false_incidents: usize,
}

pub fn score(placed: &[Placed]) -> Score {
    // Clusters in truth and as found; singletons are told apart by their place.
    let truth = |at: usize| {
        placed[at]
            .campaign
            .map_or(format!("-{at}"), |campaign| campaign.to_string())
    };
    let found = |at: usize| placed[at].incident.clone().unwrap_or_else(|| format!("-{at}"));
    let (mut both, mut by_truth, mut by_found) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for at in 0..placed.len() {
        *both.entry((truth(at), found(at))).or_insert(0u64) += 1;
        *by_truth.entry(truth(at)).or_insert(0u64) += 1;
        *by_found.entry(found(at)).or_insert(0u64) += 1;
    }
    let pairs = |count: &u64| (count * (count - 1) / 2) as f64;
    let agreed: f64 = both.values().map(pairs).sum();
    let of_truth: f64 = by_truth.values().map(pairs).sum();
    let of_found: f64 = by_found.values().map(pairs).sum();
    let all = pairs(&(placed.len().max(1) as u64));
    let expected = if all > 0.0 { of_truth * of_found / all } else { 0.0 };
    let most = (of_truth + of_found) / 2.0;
    let part = |of: f64| if of > 0.0 { agreed / of } else { 1.0 };
    let mut score = Score {
        precision: part(of_found),
        recall: part(of_truth),
        rand_index: if most > expected {
            (agreed - expected) / (most - expected)
        } else {
            1.0
        },
        ..Score::default()
    };
    let mut owners: BTreeMap<&str, BTreeSet<Option<usize>>> = BTreeMap::new();
    let mut places: BTreeMap<usize, Vec<&Option<String>>> = BTreeMap::new();
    let mut events: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for placed in placed {
        if let Some(incident) = &placed.incident {
            owners.entry(incident).or_default().insert(placed.campaign);
        }
        if let Some(campaign) = placed.campaign {
            places.entry(campaign).or_default().push(&placed.incident);
            events.entry(campaign).or_default().insert(&placed.event);
        }
    }
    places.retain(|campaign, _| {
        let is_seen = events.get(campaign).is_some_and(|events| events.len() > 1);
        score.unseen += usize::from(!is_seen);
        is_seen
    });
    for places in places.values() {
        score.campaigns += 1;
        let distinct: BTreeSet<_> = places.iter().collect();
        let alone = places.iter().any(|place| place.is_none());
        let is_merged = places.iter().flat_map(|place| place.as_deref()).any(|incident| {
            owners
                .get(incident)
                .is_some_and(|owners| owners.iter().flatten().count() > 1)
        });
        score.merged += usize::from(is_merged);
        score.split += usize::from(distinct.len() > 1 || alone);
        score.whole += usize::from(distinct.len() == 1 && !alone && !is_merged);
    }
    score.false_incidents = owners
        .values()
        .filter(|owners| owners.iter().all(Option::is_none))
        .count();
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(of: &[(Option<usize>, Option<&str>)]) -> Vec<Placed> {
        let place = |(campaign, incident): &(Option<usize>, Option<&str>)| Placed {
            campaign: *campaign,
            incident: incident.map(str::to_owned),
            event: String::new(),
        };
        let placed = of.iter().map(place).enumerate();
        let named = placed.map(|(at, placed)| Placed {
            event: at.to_string(),
            ..placed
        });
        named.collect()
    }

    #[test]
    fn what_is_right_scores_one() {
        let score = score(&placed(&[
            (Some(0), Some("a")),
            (Some(0), Some("a")),
            (Some(1), Some("b")),
            (Some(1), Some("b")),
            (None, None),
        ]));
        assert_eq!((score.campaigns, score.whole, score.merged, score.split), (2, 2, 0, 0));
        assert!((score.rand_index - 1.0).abs() < 1e-12);
        assert_eq!(score.false_incidents, 0);
    }

    #[test]
    fn a_merge_a_split_and_a_false_incident_are_seen() {
        let score = score(&placed(&[
            (Some(0), Some("a")),
            (Some(0), Some("a")),
            (Some(1), Some("a")),
            (Some(1), None),
            (None, Some("c")),
            (None, Some("c")),
        ]));
        assert_eq!(
            (score.whole, score.merged, score.split, score.false_incidents),
            (0, 2, 1, 1)
        );
        // Pairs found: 3 of a, 1 of c, of which one is of a campaign.
        assert!((score.precision - 0.25).abs() < 1e-12);
        assert!((score.recall - 0.5).abs() < 1e-12);
        assert!(score.rand_index < 0.5);
    }
}
