//! What is linked and still is there by chance, taken apart: what is usual and lies far from the rest in time belongs to nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::config::CorrelateSettings;
use crate::model::{Micros, time};

use super::chance::{Rate, Usual};
use super::cut::linked;
use super::graph::{Member, TenantGraph};

/// A step belongs to others when chance would put one so usual beside them less often than this.
const ACCIDENT_MAX: f64 = 0.03;
/// What is closer than this is not the less likely for it, in hours.
const AT_ONCE: f64 = 1.0 / 60.0;
/// Different rules that count; any more say nothing new.
const RULES_MAX: usize = 16;

/// Detections that belong together.
pub struct Group {
    /// Ordered by (time, id).
    pub members: Vec<Member>,
    /// How often in a day chance would bring as much together somewhere.
    pub chance: f64,
}

/// Neighbours in time.
struct Cluster {
    members: Vec<Member>,
    first: Micros,
    last: Micros,
    /// The different rules, each with how often in an hour the same identity trips it.
    rules: Vec<(u64, f64)>,
    /// How often something like it comes by chance. Of several what all of them together do to anybody, and the most unusual to the same.
    rate: Rate,
    before: Option<usize>,
    after: Option<usize>,
    is_there: bool,
}

/// The groups that linked detections, ordered by (time, id), fall into.
pub fn divide(
    graph: &TenantGraph,
    members: Vec<Member>,
    usual: &mut Usual,
    settings: &CorrelateSettings,
) -> Vec<Group> {
    let mut rows = clusters(graph, &members, usual);
    let set_aside = join(&mut rows, ACCIDENT_MAX);
    if set_aside.is_empty() {
        let rate = rows
            .iter()
            .find(|row| row.is_there)
            .map_or(f64::MAX, |row| row.rate.anybody);
        return vec![Group {
            members,
            chance: rate * 24.0,
        }];
    }
    let rest = rows.iter().position(|row| row.is_there);
    let mut groups = Vec::new();
    for at in set_aside.into_iter().chain(rest) {
        // What was between them may have held them together.
        let set = graph.by_time(&rows[at].members);
        let sets = match set.len() {
            1 => vec![set],
            _ => linked(graph, &set, settings.window),
        };
        for members in sets {
            let mut rows = clusters(graph, &members, usual);
            join(&mut rows, f64::MAX);
            let rate = rows
                .iter()
                .find(|row| row.is_there)
                .map_or(f64::MAX, |row| row.rate.anybody);
            groups.push(Group {
                members,
                chance: rate * 24.0,
            });
        }
    }
    groups
}

/// Each detection for itself, but for those that speak of one event.
fn clusters(graph: &TenantGraph, members: &[Member], usual: &mut Usual) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut events: HashMap<&str, usize> = HashMap::new();
    for &member in members {
        let Some(placed) = graph.placed(member) else { continue };
        let detection = &placed.detection;
        let rates = usual.at(detection.time);
        let (rule, _) = placed.firing;
        let rate = rates.of(placed.firing);
        let event = detection.event_ids.last().map_or("", String::as_str);
        let place = *events.entry(event).or_insert(clusters.len());
        // Findings of one event have one time, so they are neighbours but for what else is of that time.
        match clusters.get_mut(place).filter(|held| held.first == detection.time) {
            Some(held) => {
                held.members.push(member);
                held.last = held.last.max(placed.last_time());
                if rate.anybody < held.rate.anybody {
                    held.rules = vec![(rule, rate.same())];
                    held.rate = rate;
                }
            }
            None => {
                let place = clusters.len();
                clusters.push(Cluster {
                    members: vec![member],
                    first: detection.time,
                    last: placed.last_time(),
                    rules: vec![(rule, rate.same())],
                    rate,
                    before: place.checked_sub(1),
                    after: None,
                    is_there: true,
                });
                if let Some(before) = place.checked_sub(1) {
                    clusters[before].after = Some(place);
                }
            }
        }
    }
    clusters
}

/// Joins neighbours, the nearest first. What is too likely to lie beside its neighbour by chance is set aside, and its neighbours become
/// each other's. Gives what was set aside; what is left is one.
fn join(rows: &mut [Cluster], accident_max: f64) -> Vec<usize> {
    let gap = |rows: &[Cluster], left: usize, right: usize| rows[right].first.saturating_sub(rows[left].last).max(0);
    let mut gaps: BinaryHeap<Reverse<(Micros, usize, usize)>> = BinaryHeap::new();
    for right in 1..rows.len() {
        gaps.push(Reverse((gap(rows, right - 1, right), right - 1, right)));
    }
    let mut set_aside = Vec::new();
    while let Some(Reverse((distance, left, right))) = gaps.pop() {
        let are_neighbours = rows[left].is_there && rows[right].is_there && rows[left].after == Some(right);
        if !are_neighbours || gap(rows, left, right) != distance {
            continue;
        }
        let usual = if rows[left].rate.same() > rows[right].rate.same() {
            left
        } else {
            right
        };
        let reach = 2.0 * (distance as f64 / time::HOUR as f64 + AT_ONCE);
        let (before, after) = if rows[usual].rate.same() * reach > accident_max {
            rows[usual].is_there = false;
            set_aside.push(usual);
            (rows[usual].before, rows[usual].after)
        } else {
            let taken = std::mem::take(&mut rows[right].members);
            let (rules, rate) = together(&rows[left], &rows[right], reach);
            let (last, after) = (rows[right].last, rows[right].after);
            rows[right].is_there = false;
            let held = &mut rows[left];
            held.members.extend(taken);
            (held.rules, held.rate) = (rules, rate);
            held.last = held.last.max(last);
            (Some(left), after)
        };
        if let Some(before) = before {
            rows[before].after = after;
        }
        if let Some(after) = after {
            rows[after].before = before;
        }
        if let (Some(before), Some(after)) = (before, after) {
            gaps.push(Reverse((gap(rows, before, after), before, after)));
        }
    }
    set_aside
}

/// What two neighbours are made of, and how often such a pair comes by chance.
fn together(left: &Cluster, right: &Cluster, reach: f64) -> (Vec<(u64, f64)>, Rate) {
    let (more, less) = if right.rules.len() > left.rules.len() {
        (right, left)
    } else {
        (left, right)
    };
    let mut rules = more.rules.clone();
    let mut rate = Rate {
        own: left.rate.own.min(right.rate.own),
        ..more.rate
    };
    for (rule, of) in &less.rules {
        if rules.len() < RULES_MAX && rules.iter().all(|(held, _)| held != rule) {
            rules.push((*rule, *of));
            rate.anybody *= (of * reach).min(1.0);
        }
    }
    (rules, rate)
}
