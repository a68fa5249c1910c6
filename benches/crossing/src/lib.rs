//! A detector that takes five text columns and does nothing with them: what is left is the crossing into the sandbox.

use sentrail_plugin::{Batch, Detector, Findings, Manifest, Rule, Severity, col};

const NOTHING: Rule = Rule {
    id: "nothing",
    title: "Never told",
    description: "This detector finds nothing.",
    severity: Severity::Informational,
    techniques: &[],
};

/// The detector.
pub struct Crossing;

impl Detector for Crossing {
    type Config = ();
    type State = ();

    fn new((): ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "crossing",
            version: env!("CARGO_PKG_VERSION"),
            description: "Takes five text columns and finds nothing.",
            columns: &[
                col::EVENT_ID.name,
                col::SOURCE.name,
                col::API_OPERATION.name,
                col::ACTOR_USER_UID.name,
                col::SRC_ENDPOINT_IP.name,
            ],
            rules: &[&NOTHING],
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), _batch: &Batch, _out: &mut Findings) {}
}

sentrail_plugin::export!(Crossing);
