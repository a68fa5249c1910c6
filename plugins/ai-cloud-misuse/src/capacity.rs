//! Accelerators that are started, and where.

use sentrail_plugin::json::Value;
use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Burst, DAY, Familiarity, FirstSeen, HOUR, Habit, MINUTE, RecentSet, Search, Severity, Spread};

use crate::Config;
use crate::call::Call;
use crate::rules::{BURST, KEYS_LISTED, REGION};
use crate::single::{self, Hit};

/// How long a region or an identity is remembered.
pub const HABIT: i64 = 90 * DAY;
/// How long a region that the account began to use counts as strange.
const STRANGE: i64 = DAY;
/// What Azure says when a call begins and again when it ends is told once.
const QUIET: i64 = 10 * MINUTE;
/// Members that a set remembers: clouds have some forty regions.
const MEMBERS: usize = 128;

/// Families of machines with accelerators, as their names begin.
const AWS: [&str; 15] = [
    "p2", "p3", "p4", "p5", "p6", "g3", "g4", "g5", "g6", "gr6", "inf1", "inf2", "trn1", "trn2", "dl1",
];
const AZURE: [&str; 3] = ["standard_nc", "standard_nd", "standard_nv"];
const GOOGLE: [&str; 6] = ["a2-", "a3-", "a4-", "a4x-", "g2-", "g4-"];
/// How calls that start machines name their number.
const COUNTS: [&str; 6] = [
    "maxCount",
    "instanceCount",
    "initialInstanceCount",
    "totalTargetCapacity",
    "capacity",
    "acceleratorCount",
];

/// What is remembered of an account.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Account {
    regions: FirstSeen,
    strange: RecentSet,
    tried: Spread,
    started: Burst,
    /// Identities that read keys.
    listers: FirstSeen,
    told: RecentSet,
}

impl Account {
    /// The rules that this call, on top of those before it, breaks.
    pub fn judge(&mut self, config: &Config, call: &Call, found: &mut Vec<Hit>) {
        let habit = Habit {
            learning: config.learning_days * DAY,
            sightings: config.learning_calls,
            keep: HABIT,
            max: MEMBERS,
        };
        if !call.failed && !call.reads && !call.region.is_empty() {
            let new = self.regions.see(&habit, call.time, call.region) == Familiarity::New;
            if new {
                self.strange.insert(STRANGE, MEMBERS, call.time, call.region);
            }
        }
        if let Some(count) = accelerators(call) {
            self.accelerators(config, call, count, found);
        }
        if single::lists_keys(call) && !call.failed {
            let habit = Habit { sightings: 1, ..habit };
            if self.listers.see(&habit, call.time, call.actor) == Familiarity::New {
                let message = format!("{} of {} by {}", call.operation, call.resource, call.actor);
                found.push((&KEYS_LISTED, KEYS_LISTED.severity, message));
            }
        }
        if let Some(hit) = single::judge(call) {
            let member = format!("{} {} {} {}", call.operation, call.failed, call.actor, call.resource);
            if self.told.insert(QUIET, MEMBERS, call.time, &member).new {
                found.push(hit);
            }
        }
    }

    fn accelerators(&mut self, config: &Config, call: &Call, count: u64, found: &mut Vec<Hit>) {
        let actor = call.actor;
        if let Some(regions) = self.tried.insert(HOUR, call.time, call.region, config.regions) {
            let message =
                format!("accelerators asked for in {regions} regions within an hour, {actor} the last who did");
            found.push((&REGION, REGION.severity, message));
        } else if self.strange.contains(STRANGE, call.time, call.region) {
            let severity = if call.failed { Severity::Medium } else { REGION.severity };
            let member = format!("{} {}", REGION.id, call.region);
            if self.told.insert(STRANGE, MEMBERS, call.time, &member).new {
                let message = format!(
                    "{} in {} by {actor}; the account changed nothing there before",
                    call.operation, call.region
                );
                found.push((&REGION, severity, message));
            }
        }
        if !call.failed
            && let Some(started) = self.started.add(HOUR, call.time, count, config.accelerators)
        {
            let message = format!("{started} machines with accelerators within an hour, the last by {actor}");
            found.push((&BURST, BURST.severity, message));
        }
    }
}

/// How many machines with accelerators the call starts.
fn accelerators(call: &Call) -> Option<u64> {
    let operation = call.operation.rsplit('.').next().unwrap_or_default();
    let starts = [
        "runinstances",
        "requestspotinstances",
        "createfleet",
        "createnotebookinstance",
        "createtrainingjob",
        "createprocessingjob",
        "createendpointconfig",
        "createcluster",
        "insert",
        "bulkinsert",
        "createnode",
        "createcustomjob",
    ]
    .contains(&operation)
        || call.operation.ends_with("/virtualmachines/write")
        || call.operation.ends_with("/virtualmachinescalesets/write")
        || call.operation.ends_with("/computes/write");
    if !starts {
        return None;
    }
    let accelerated = call
        .all(&["instanceType", "machineType", "vmSize", "acceleratorType"])
        .into_iter()
        .filter_map(Value::as_str)
        .any(is_accelerated);
    if !accelerated {
        return None;
    }
    let counts = call.all(&COUNTS);
    let most = counts
        .into_iter()
        .filter_map(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()))
        .max();
    Some(most.unwrap_or(1).max(1))
}

fn is_accelerated(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    // projects/p/zones/z/machineTypes/a3-highgpu-8g
    let kind = kind.rsplit('/').next().unwrap_or_default().trim_start_matches("ml.");
    let is = |families: &[&str]| families.iter().any(|family| kind.starts_with(family));
    // A family's name ends with a digit or with letters for its variant, and its size follows a dot.
    (kind.contains('.') && is(&AWS)) || is(&AZURE) || is(&GOOGLE) || kind.starts_with("nvidia-") || kind.holds("-tpu")
}

#[cfg(test)]
mod tests {
    use super::is_accelerated;

    #[test]
    fn accelerators_are_told_from_other_machines() {
        for kind in [
            "p5.48xlarge",
            "ml.g5.2xlarge",
            "Standard_NC24ads_A100_v4",
            "zones/europe-west4-a/machineTypes/a3-highgpu-8g",
            "nvidia-l4",
        ] {
            assert!(is_accelerated(kind), "{kind}");
        }
        for kind in [
            "t3.small",
            "m5.large",
            "Standard_D4s_v5",
            "n2-standard-4",
            "ml.t3.medium",
            "",
        ] {
            assert!(!is_accelerated(kind), "{kind}");
        }
    }
}
