//! The bound of an incident. Detections that are linked over a longer time than an incident may last, or more of them than it may
//! have, make several incidents, one after the other.
//!
//! Where one ends and the next begins is fixed in event time, so that a late fact moves no end: at the multiples of the longest span,
//! and where there are too many within one, at those of its half, of its quarter and so on. What is linked only through detections on
//! the other side of an end is not linked. What is within the bounds is not cut: so what is left of a chain whose beginning was let go of
//! can be one incident where the whole chain would be two.

use crate::config::CorrelateSettings;
use crate::model::{Micros, time};

use super::graph::{Member, TenantGraph};
use super::link::Links;

/// An incident that is cut by its number of findings still covers this much time; more findings within it are counted off.
const SPAN_MIN: Micros = time::SECOND;

/// The incidents' members: each ordered by (time, id), as `members` are.
pub fn cut(graph: &TenantGraph, members: Vec<Member>, settings: &CorrelateSettings) -> Vec<Vec<Member>> {
    let Some((first, last)) = ends(graph, &members) else {
        return Vec::new();
    };
    if last.saturating_sub(first) <= settings.span_max && members.len() <= settings.members_max {
        return vec![members];
    }
    let mut parts = Vec::new();
    divide(graph, &members, settings.span_max, settings.members_max, &mut parts);
    parts
        .into_iter()
        .flat_map(|part| linked(graph, part, settings.window))
        .collect()
}

fn ends(graph: &TenantGraph, members: &[Member]) -> Option<(Micros, Micros)> {
    let time = |member: &Member| Some(graph.placed(*member)?.detection.time);
    Some((time(members.first()?)?, time(members.last()?)?))
}

fn divide<'a>(graph: &TenantGraph, members: &'a [Member], span: Micros, most: usize, parts: &mut Vec<&'a [Member]>) {
    let cell = |member: &Member| {
        graph
            .placed(*member)
            .map(|placed| placed.detection.time.div_euclid(span))
    };
    for part in members.chunk_by(|a, b| cell(a) == cell(b)) {
        if part.len() <= most {
            parts.push(part);
        } else if span / 2 >= SPAN_MIN {
            divide(graph, part, span / 2, most, parts);
        } else {
            parts.extend(part.chunks(most));
        }
    }
}

/// The sets that a part falls into by itself.
pub fn linked(graph: &TenantGraph, part: &[Member], window: Micros) -> Vec<Vec<Member>> {
    let mut links = Links::new(window);
    for member in part {
        links.add(graph, *member);
    }
    let sets = links.sets();
    sets.labels().map(|label| graph.by_time(sets.members(label))).collect()
}
