//! A finding of the graph: detections that repeat each other, as one.

use petgraph::stable_graph::NodeIndex;

use crate::model::{Detection, Id, Micros};

use super::chance::{Firing, firing_of};
use super::link::Slots;

/// A finding with its repeats, and the entities through which it can be linked.
pub struct Placed {
    /// The first by (time, id), which stands for all.
    pub detection: Detection,
    pub fold: Id,
    /// What is counted of it to tell how usual it is.
    pub firing: Firing,
    pub anchors: Vec<NodeIndex>,
    /// When they were, in pieces within which links do not tell times apart; in order.
    pub spans: Vec<Span>,
    /// The detections, itself among them.
    ids: Vec<Id>,
}

/// The first and the last time of detections that are near each other.
#[derive(Clone, Copy)]
pub struct Span {
    pub first: Micros,
    pub last: Micros,
}

impl Placed {
    pub fn new(id: Id, fold: Id, detection: Detection, anchors: Vec<NodeIndex>) -> Placed {
        let (first, last) = (detection.time, detection.time);
        Placed {
            fold,
            firing: firing_of(&detection),
            detection,
            anchors,
            spans: vec![Span { first, last }],
            ids: vec![id],
        }
    }

    /// Event time of the last repeat.
    pub fn last_time(&self) -> Micros {
        self.spans.last().map_or(self.detection.time, |span| span.last)
    }

    /// How many detections it is.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// Takes in a repeat; whether its time lies within what was known.
    pub fn repeat(&mut self, id: Id, time: Micros, slots: Slots) -> bool {
        self.ids.push(id);
        let slot = slots.of(time);
        let at = self.spans.partition_point(|span| slots.of(span.first) < slot);
        match self.spans.get_mut(at).filter(|span| slots.of(span.first) == slot) {
            Some(span) if (span.first..=span.last).contains(&time) => true,
            Some(span) => {
                (span.first, span.last) = (span.first.min(time), span.last.max(time));
                false
            }
            None => {
                let (first, last) = (time, time);
                self.spans.insert(at, Span { first, last });
                false
            }
        }
    }
}
