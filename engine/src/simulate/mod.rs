//! A made-up company's telemetry with one attack in it, from a seed: the same seed and count always give the same bytes.
//!
//! About 40 people and 10 services write gateway, cloud and vector-database logs in the exact shapes of the real systems; a campaign of some
//! 180 records over 40 minutes runs through all three. Addresses are of the documentation ranges (RFC 5737), keys end in EXAMPLE.
//! Records come in time order and are made as they are asked for, so any number streams in constant memory.

mod attack;
mod ordinary;
pub mod shapes;
mod truth;

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use ordinary::{access_key, hex};
pub use truth::{ExpectedIncident, Stage, Truth, TruthEvent};

use crate::model::Micros;
use crate::model::time::SECOND;
use attack::ATTACK_SPAN;
use ordinary::Company;

pub const AWS_CLOUDTRAIL: &str = "aws_cloudtrail";
pub const LITELLM: &str = "litellm";
pub const QDRANT_AUDIT: &str = "qdrant_audit";

/// The formats a simulation writes.
pub const FORMATS: [&str; 3] = [AWS_CLOUDTRAIL, LITELLM, QDRANT_AUDIT];

/// 2026-03-02T08:00:00Z, a Monday.
pub const START: Micros = 1_772_438_400 * SECOND;

/// Seconds between two events of a small simulation, and of a large one: about 15 events a second.
const GAP_SMALL: f64 = 1.5;
const GAP_LARGE: f64 = 1.0 / 15.0;
/// Simulations are made this long, in seconds, while the gap may still shrink.
const SPAN_SECONDS: f64 = 7500.0;

/// One line of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRecord {
    /// Name of the format, as of the mappings.
    pub format: &'static str,
    pub time: Micros,
    pub line: String,
    /// The attack's stage, from 1; `None` for ordinary traffic.
    pub stage: Option<u32>,
}

/// The records of one seed, by time.
pub struct Simulation {
    rng: ChaCha8Rng,
    company: Company,
    attack: VecDeque<SimRecord>,
    truth: Truth,
    /// Ordinary records still to come, and when the next is due.
    ordinary: u64,
    due: Micros,
    gap: f64,
}

impl Simulation {
    /// `events` records in all; never fewer than the attack's own.
    pub fn new(seed: u64, events: u64) -> Simulation {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let company = Company::new(&mut rng);
        let gap = (SPAN_SECONDS / events.max(1) as f64).clamp(GAP_LARGE, GAP_SMALL);
        let span = (events as f64 * gap * SECOND as f64) as Micros;
        // The attack starts after a third, when rules that learn have seen ordinary traffic; a short simulation squeezes it.
        let attack_span = ATTACK_SPAN.min(span * 6 / 10).max(SECOND);
        let campaign = attack::campaign(&mut rng, &company, START + span / 3, attack_span);
        let ordinary = events.saturating_sub(campaign.records.len() as u64);
        let truth = Truth::of(seed, ordinary + campaign.records.len() as u64, &campaign);
        let due = START + ordinary::gap(&mut rng, gap, START);
        Simulation {
            rng,
            company,
            attack: campaign.records.into(),
            truth,
            ordinary,
            due,
            gap,
        }
    }

    /// What the attack in these records is.
    pub fn truth(&self) -> Truth {
        self.truth.clone()
    }
}

impl Iterator for Simulation {
    type Item = SimRecord;

    fn next(&mut self) -> Option<SimRecord> {
        let attack_first = self
            .attack
            .front()
            .is_some_and(|record| self.ordinary == 0 || record.time <= self.due);
        if attack_first {
            return self.attack.pop_front();
        }
        self.ordinary = self.ordinary.checked_sub(1)?;
        let time = self.due;
        self.due = time + ordinary::gap(&mut self.rng, self.gap, time);
        Some(self.company.event(&mut self.rng, time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_records_in_time_order() {
        let records: Vec<SimRecord> = Simulation::new(7, 3000).collect();
        assert_eq!(records.len(), 3000);
        assert!(records.is_sorted_by_key(|record| record.time));
        assert_eq!(records, Simulation::new(7, 3000).collect::<Vec<_>>());
        assert_ne!(records[5], Simulation::new(8, 3000).nth(5).expect("more than five"));
        for format in FORMATS {
            assert!(
                records
                    .iter()
                    .filter(|record| record.format == format && record.stage.is_none())
                    .count()
                    > 300,
                "{format}"
            );
        }
    }

    #[test]
    fn the_truth_names_every_attack_record() {
        for events in [1, 500, 5000] {
            let simulation = Simulation::new(3, events);
            let truth = simulation.truth();
            let records: Vec<SimRecord> = simulation.collect();
            assert_eq!(records.len() as u64, truth.events);
            let attack: Vec<&SimRecord> = records.iter().filter(|record| record.stage.is_some()).collect();
            assert_eq!(attack.len(), truth.attack_events);
            for stage in &truth.stages {
                for event in &stage.events {
                    let of_stage =
                        |record: &&&SimRecord| record.stage == Some(stage.stage) && record.time == event.time;
                    let found = attack
                        .iter()
                        .find(of_stage)
                        .expect("the record of the truth is in the logs");
                    assert!(
                        event
                            .id
                            .as_ref()
                            .is_none_or(|id| found.line.contains(id.as_str()) || stage.events.len() > 1)
                    );
                }
            }
        }
        let truth = Simulation::new(3, 5000).truth();
        assert_eq!(
            truth
                .incident
                .last_time
                .max(truth.incident.first_time + 38 * 60 * SECOND),
            truth.incident.last_time
        );
    }

    #[test]
    fn large_simulations_keep_their_rate() {
        let mut simulation = Simulation::new(1, 1_000_000);
        let first = simulation.next().expect("a record").time;
        let last = simulation.nth(20_000).expect("a record").time;
        let rate = 20_000.0 / ((last - first) as f64 / SECOND as f64);
        assert!((10.0..20.0).contains(&rate), "{rate} events/s");
    }
}
