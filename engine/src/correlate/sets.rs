//! Disjoint sets of detections that can name their members.

use std::collections::HashMap;

use ahash::RandomState;

use super::graph::Member;

/// Joining relabels the smaller set, so that each detection is relabelled seldom. A set's label is one of its members.
#[derive(Default)]
pub struct Sets {
    label: HashMap<Member, Member, RandomState>,
    members: HashMap<Member, Vec<Member>, RandomState>,
}

impl Sets {
    /// Adds `member` as a set of its own, unless it is there.
    pub fn add(&mut self, member: Member) {
        self.label.entry(member).or_insert_with(|| {
            self.members.insert(member, vec![member]);
            member
        });
    }

    pub fn label(&self, member: Member) -> Option<Member> {
        self.label.get(&member).copied()
    }

    /// The members of a set, in no order.
    pub fn members(&self, label: Member) -> &[Member] {
        self.members.get(&label).map_or(&[], Vec::as_slice)
    }

    /// Makes one set of those of `a` and `b`; whether they were two.
    pub fn join(&mut self, a: Member, b: Member) -> bool {
        let (Some(a), Some(b)) = (self.label(a), self.label(b)) else {
            return false;
        };
        if a == b {
            return false;
        }
        let (few, many) = if self.members(a).len() <= self.members(b).len() {
            (a, b)
        } else {
            (b, a)
        };
        let moved = self.members.remove(&few).unwrap_or_default();
        for member in &moved {
            self.label.insert(*member, many);
        }
        self.members.entry(many).or_default().extend(moved);
        true
    }

    /// Takes a set out, with all its members.
    pub fn remove(&mut self, label: Member) -> Vec<Member> {
        let members = self.members.remove(&label).unwrap_or_default();
        for member in &members {
            self.label.remove(member);
        }
        members
    }

    /// The labels of all sets, in no order.
    pub fn labels(&self) -> impl Iterator<Item = Member> + '_ {
        self.members.keys().copied()
    }
}
