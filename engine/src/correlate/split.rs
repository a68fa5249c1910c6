//! Members that leave an incident, and looking incidents and detections up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Correlator, Tenant};
use crate::model::{Detection, Id, Incident, Split};

impl Correlator {
    /// What the newest [`Correlator::changes`] parted; once.
    pub fn take_splits(&mut self) -> Vec<Split> {
        let splits = self
            .tenants
            .values_mut()
            .map(|tenant| std::mem::take(&mut tenant.splits));
        splits.flatten().collect()
    }

    /// The incident as it stands, while it can still change.
    pub fn incident(&self, id: &str) -> Option<&Incident> {
        self.tenants.values().find_map(|tenant| tenant.incidents.get(id))
    }

    /// All incidents that can still change.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.tenants.values().flat_map(|tenant| tenant.incidents.values())
    }

    pub fn detection(&self, tenant: &str, id: &str) -> Option<&Detection> {
        self.tenants.get(tenant)?.graph.detection(id)
    }
}

impl Tenant {
    /// Members of `old` that are with another incident now, or with none, but for those that went where their whole incident did. Facts
    /// that were let go of did not leave.
    pub(super) fn splits(
        &self,
        old: &BTreeMap<Arc<str>, Incident>,
        found: &BTreeMap<Arc<str>, Incident>,
    ) -> Vec<Split> {
        let mut splits = Vec::new();
        for (id, before) in old {
            let owner = |fold: &Id| Some(&self.member_of.get(fold)?.incident);
            let mut left: BTreeMap<Option<&Arc<str>>, usize> = BTreeMap::new();
            for fold in &before.folds {
                if let Some(placed) = self.graph.folded(*fold).and_then(|member| self.graph.placed(member)) {
                    *left.entry(owner(fold)).or_default() += placed.count();
                }
            }
            if found.contains_key(id) {
                left.remove(&Some(id));
            } else {
                // Merged into this one; where there is none, it dissolved, which its status says.
                let heir = before.folds.iter().find_map(owner);
                left.remove(&heir);
                if heir.is_none() {
                    continue;
                }
            }
            splits.extend(left.into_iter().map(|(into, findings)| Split {
                from: id.to_string(),
                into: into.map(|into| into.to_string()),
                findings,
            }));
        }
        splits
    }
}
