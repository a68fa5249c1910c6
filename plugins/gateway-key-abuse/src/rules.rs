//! What can be found.

use sentrail_plugin::{Rule, Severity};

pub const NEW_NETWORK: Rule = Rule {
    id: "key-new-network",
    title: "A gateway key is used from a new network",
    description: "The key has long been used from few networks and now comes from another. Ask its owner whether something moved; otherwise \
                  replace the key and read what was asked with it.",
    severity: Severity::Medium,
    techniques: &["AML.T0012", "AML.T0055"],
};
pub const SHARED: Rule = Rule {
    id: "key-shared",
    title: "A gateway key is used by many at once",
    description: "Within minutes the key came from many networks or for many users: it was passed around or leaked. Replace it, give each \
                  user a key, and look for the place where it was published.",
    severity: Severity::High,
    techniques: &["AML.T0012", "AML.T0055"],
};
pub const FAILURES: Rule = Rule {
    id: "key-failure-burst",
    title: "Calls with a gateway key fail in a burst",
    description: "Many refused or broken calls in minutes: a key that was revoked and is still tried, a script that probes, or an \
                  application gone wrong. Look at the reasons, and block the source if nobody knows it.",
    severity: Severity::Medium,
    techniques: &["AML.T0040"],
};
pub const SPEND: Rule = Rule {
    id: "key-spend-burst",
    title: "A gateway key spends far more than it used to",
    description: "In minutes the key cost many times what it usually does. Set a budget on it now, then find out whether its owner knows; \
                  stolen keys are sold and run dry within hours.",
    severity: Severity::High,
    techniques: &["AML.T0034", "T1496.004"],
};
pub const MODELS: Rule = Rule {
    id: "key-model-enumeration",
    title: "A gateway key tries many models",
    description: "Applications use one or two models; trying many is how somebody learns what a found key can do. Ask the key's owner.",
    severity: Severity::Medium,
    techniques: &["AML.T0040"],
};

/// All of them.
pub const ALL: &[&Rule] = &[&NEW_NETWORK, &SHARED, &FAILURES, &SPEND, &MODELS];
