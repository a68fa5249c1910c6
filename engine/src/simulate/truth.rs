//! What really happened: written beside the logs, never into them.

use serde::Serialize;

use super::attack::Campaign;
use crate::model::Micros;
use crate::model::time::to_rfc3339;

/// One stage of the attack.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Counts from 1.
    pub stage: u32,
    pub name: &'static str,
    /// `kind:value`: what the stage turns on.
    pub entity: String,
    /// ATT&CK and ATLAS ids.
    pub techniques: Vec<&'static str>,
    pub events: Vec<TruthEvent>,
}

/// One record of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct TruthEvent {
    #[serde(serialize_with = "rfc3339")]
    pub time: Micros,
    pub format: &'static str,
    /// The log's own id; null where the format has none.
    pub id: Option<String>,
    pub operation: String,
}

/// The incident that a correlation engine should report: one, with all of this.
#[derive(Clone, Debug, Serialize)]
pub struct ExpectedIncident {
    #[serde(serialize_with = "rfc3339")]
    pub first_time: Micros,
    #[serde(serialize_with = "rfc3339")]
    pub last_time: Micros,
    pub address: String,
    /// `kind:value`.
    pub entities: Vec<String>,
    pub techniques: Vec<&'static str>,
    pub layers: Vec<&'static str>,
}

/// The content of truth.json.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    pub seed: u64,
    pub events: u64,
    pub attack_events: usize,
    pub incident: ExpectedIncident,
    pub stages: Vec<Stage>,
}

impl Truth {
    pub(super) fn of(seed: u64, events: u64, campaign: &Campaign) -> Truth {
        let mut techniques = Vec::new();
        for technique in campaign.stages.iter().flat_map(|stage| &stage.techniques) {
            if !techniques.contains(technique) {
                techniques.push(*technique);
            }
        }
        let time = |record: Option<&super::SimRecord>| record.map_or(0, |record| record.time);
        Truth {
            seed,
            events,
            attack_events: campaign.records.len(),
            incident: ExpectedIncident {
                first_time: time(campaign.records.first()),
                last_time: time(campaign.records.last()),
                address: campaign.address.to_owned(),
                entities: campaign.entities.clone(),
                techniques,
                layers: vec!["gateway", "cloud", "vector_db"],
            },
            stages: campaign.stages.clone(),
        }
    }
}

fn rfc3339<S: serde::Serializer>(time: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_rfc3339(*time))
}
