//! Whether a detection completes a sequence, and by which others. A function of the detections under one key alone, so that neither order
//! of arrival nor batches show: all up to the time that is judged, and as far behind it as absence is asked for, have arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::{Plan, There};
use crate::model::{Detection, Micros};

/// A detection under a key: which steps it can be, as bits.
#[derive(Clone)]
pub struct Hit {
    pub detection: Arc<Detection>,
    pub steps: u32,
}

impl Hit {
    pub fn time(&self) -> Micros {
        self.detection.time
    }

    /// Total order of hits.
    pub fn order(&self) -> (Micros, &str) {
        (self.detection.time, &self.detection.detection_id)
    }

    fn is(&self, step: usize) -> bool {
        self.steps & 1 << step != 0
    }
}

/// What a sequence was found by: per step that must be there, in the order of the steps, the places of its hits.
pub type Found = Vec<(usize, Vec<usize>)>;

/// Whether the hit at `at`, of `hits` in their order, completes the sequence. Of several chains it is the one whose parts are latest.
pub fn judge(plan: &Plan, hits: &[Hit], at: usize) -> Option<Found> {
    let end = hits[at].time();
    let from = hits.partition_point(|hit| hit.time() < end.saturating_sub(plan.within));
    // Those of the same time count, whichever comes first: logs often have whole seconds.
    let to = hits.partition_point(|hit| hit.time() <= end);
    let span = Span {
        hits,
        from,
        to,
        there: plan.there_bits(),
    };
    let found = match plan.ordered {
        true => ordered(plan, &span, at)?,
        false => unordered(plan, &span, at)?,
    };
    let mut used: Vec<usize> = found.iter().flat_map(|(_, places)| places.iter().copied()).collect();
    let count = used.len();
    used.sort_unstable();
    used.dedup();
    // One detection is one step.
    (used.len() == count && used.contains(&at)).then_some(found)
}

struct Span<'h> {
    hits: &'h [Hit],
    /// Places of the hits that can be part of it.
    from: usize,
    to: usize,
    there: u32,
}

impl Span<'_> {
    fn places(&self, step: usize) -> Vec<usize> {
        (self.from..self.to)
            .filter(|place| self.hits[*place].is(step))
            .collect()
    }

    /// Times of the detections that should be absent. What can be a step that must be there is not one of them.
    fn absent(&self, steps: impl Iterator<Item = usize>) -> Vec<Micros> {
        let bits = steps.fold(0u32, |bits, step| bits | 1 << step);
        let is_absent = |hit: &&Hit| hit.steps & bits != 0 && hit.steps & self.there == 0;
        self.hits.iter().filter(is_absent).map(Hit::time).collect()
    }
}

fn has_any(times: &[Micros], from: Micros, to: Micros) -> bool {
    let at = times.partition_point(|time| *time < from);
    times.get(at).is_some_and(|time| *time <= to)
}

fn ordered(plan: &Plan, span: &Span, at: usize) -> Option<Found> {
    let hits = span.hits;
    let last = plan.there.last()?;
    if !hits[at].is(last.step) {
        return None;
    }
    let before: Vec<(Vec<Micros>, Micros)> = plan
        .absent_before
        .iter()
        .map(|(step, within)| (span.absent([*step].into_iter()), *within))
        .collect();
    let mut chains: Vec<Chain> = Vec::new();
    for there in &plan.there {
        let places = span.places(there.step);
        let absent = span.absent(there.absent.iter().copied());
        let mut runs = BTreeMap::new();
        for (begin, end) in sufficient(there, hits, &places) {
            let run = &places[begin..=end];
            let (started, complete) = (hits[places[begin]].time(), hits[places[end]].time());
            let previous = match chains.last() {
                None => {
                    let is_clear = |(times, within): &(Vec<Micros>, Micros)| {
                        !has_any(times, started.saturating_sub(*within), complete)
                    };
                    if !before.iter().all(is_clear) {
                        continue;
                    }
                    None
                }
                Some(chain) => {
                    let latest = started.min(complete.saturating_sub(there.after));
                    let mut earliest = complete.saturating_sub(there.within);
                    let gone = absent.partition_point(|time| *time <= complete);
                    if let Some(time) = gone.checked_sub(1).and_then(|place| absent.get(place)) {
                        earliest = earliest.max(time.saturating_add(1));
                    }
                    let limit = hits.partition_point(|hit| hit.time() <= latest);
                    let mut candidates = chain.runs.range(..limit).rev().map(|(place, _)| *place);
                    let Some(previous) = candidates.find(|place| run.binary_search(place).is_err()) else {
                        continue;
                    };
                    if hits[previous].time() < earliest {
                        continue;
                    }
                    Some(previous)
                }
            };
            runs.insert(places[end], Run { begin, end, previous });
        }
        if runs.is_empty() {
            return None;
        }
        chains.push(Chain { places, runs });
    }
    if !chains.last()?.runs.contains_key(&at) {
        return None;
    }
    let end = hits[at].time();
    let is_clear = |(step, within): &(usize, Micros)| {
        let times = span.absent([*step].into_iter());
        !has_any(&times, end, end.saturating_add(*within))
    };
    if !plan.absent_after.iter().all(is_clear) {
        return None;
    }
    let mut found = Vec::new();
    let mut complete = Some(at);
    for (there, chain) in plan.there.iter().zip(&chains).rev() {
        let run = chain.runs.get(&complete?)?;
        found.push((there.step, chain.places[run.begin..=run.end].to_vec()));
        complete = run.previous;
    }
    found.reverse();
    Some(found)
}

/// A step's hits, and which of them suffice for it behind the steps before it.
struct Chain {
    /// All of them, as places.
    places: Vec<usize>,
    /// By the place of the last of each.
    runs: BTreeMap<usize, Run>,
}

struct Run {
    /// In `places`.
    begin: usize,
    end: usize,
    /// Where the step before was complete.
    previous: Option<usize>,
}

/// For each of `places`, the shortest run of them that ends there and suffices for the step, if there is one: its first and its last.
fn sufficient(there: &There, hits: &[Hit], places: &[usize]) -> Vec<(usize, usize)> {
    let Some(part) = &there.distinct else {
        let first = there.count - 1;
        return (first..places.len()).map(|end| (end - first, end)).collect();
    };
    let mut runs = Vec::new();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let mut begin = 0;
    for (rank, place) in places.iter().enumerate() {
        for value in part.values(&hits[*place].detection) {
            *held.entry(value).or_default() += 1;
        }
        // What can be left out at its beginning without missing a value that is needed.
        while held.len() >= there.count && begin < rank {
            let values = || part.values(&hits[places[begin]].detection);
            for value in values() {
                if let Some(times) = held.get_mut(&**value) {
                    *times -= 1;
                }
            }
            let left = held.values().filter(|times| **times > 0).count();
            if left < there.count {
                for value in values() {
                    *held.entry(value).or_default() += 1;
                }
                break;
            }
            held.retain(|_, times| *times > 0);
            begin += 1;
        }
        if held.len() >= there.count {
            runs.push((begin, rank));
        }
    }
    runs
}

fn unordered(plan: &Plan, span: &Span, at: usize) -> Option<Found> {
    let hits = span.hits;
    // A detection that could be several steps is the first of them.
    let step_of = |place: usize| {
        plan.there
            .iter()
            .find(|there| hits[place].is(there.step))
            .map(|there| there.step)
    };
    let own = step_of(at)?;
    let mut found = Vec::new();
    for there in &plan.there {
        let others = (span.from..span.to).rev().filter(|place| *place != at);
        let places = [at].into_iter().filter(|_| own == there.step).chain(others);
        let mut taken = Vec::new();
        let mut values = std::collections::BTreeSet::new();
        let mut suffices = false;
        for place in places.filter(|place| step_of(*place) == Some(there.step)) {
            match &there.distinct {
                None => {
                    taken.push(place);
                    suffices = taken.len() >= there.count;
                }
                Some(part) => {
                    let held = values.len();
                    values.extend(part.values(&hits[place].detection));
                    if values.len() > held || place == at {
                        taken.push(place);
                    }
                    suffices = values.len() >= there.count;
                }
            }
            if suffices {
                break;
            }
        }
        if !suffices {
            return None;
        }
        taken.sort_unstable();
        found.push((there.step, taken));
    }
    let places = found.iter().flat_map(|(_, places)| places);
    let first = places.map(|place| hits[*place].time()).min()?;
    let end = hits[at].time();
    let absent = span.absent(plan.absent_around.iter().copied());
    let is_clear = !has_any(
        &absent,
        end.saturating_sub(plan.within),
        first.saturating_add(plan.within),
    );
    is_clear.then_some(found)
}
