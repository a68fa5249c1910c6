//! Fits one head: a linear classifier with squared hinge loss by stochastic gradient descent. Only additions, products, quotients
//! and square roots, in one order, so that every machine computes the same bits.

use std::collections::BTreeMap;

use prompt_injection::{BUCKETS, Features, HEAD_BYTES, norm};

use crate::grammar::Dice;

/// A text of the training set.
pub struct Case {
    /// `None`: it must stay quiet.
    pub label: Option<usize>,
    pub source: String,
    pub text: String,
    pub features: Features,
}

const EPOCHS: usize = 8;
/// How much large weights cost.
const DECAY: f32 = 5e-5;
const RATE: f32 = 0.5;
/// A text without any feature is this far from being flagged, whatever is learned.
const BIAS: f32 = -1.0;
/// A feature of fewer texts is chance.
const FEWEST_TEXTS: u32 = 2;
/// No text weighs more than this.
const HEAVIEST: f32 = 4.0;

/// The head's bytes as they stand in the model. `shift` is taken off every margin: how sure the head must be.
pub fn fit(cases: &[&Case], head: usize, shift: f32) -> Vec<u8> {
    let slots = |case: &Case| -> Vec<usize> {
        let telling = case.features.telling.iter().map(|bucket| *bucket as usize);
        let calming = case.features.calming.iter().map(|bucket| *bucket as usize + BUCKETS);
        telling.chain(calming).collect()
    };
    let mut texts = vec![0u32; 2 * BUCKETS];
    for case in cases {
        for slot in slots(case) {
            texts[slot] += 1;
        }
    }
    let own: Vec<&Case> = cases
        .iter()
        .filter(|case| case.label.is_none_or(|label| label == head))
        .copied()
        .collect();
    let own_slots: Vec<Vec<usize>> = own.iter().map(|case| slots(case)).collect();
    let importance = importance(&own);
    let mut weights = vec![0f32; 2 * BUCKETS];
    let mut mean = vec![0f32; 2 * BUCKETS];
    let mut order: Vec<usize> = (0..own.len()).collect();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    // The weights are held as multiples of `scale`, which makes decay one product.
    let (mut scale, mut steps, mut summed) = (1f32, 0f32, 0f32);
    for epoch in 0..EPOCHS {
        for last in (1..order.len()).rev() {
            order.swap(last, dice.below(last + 1));
        }
        for &at in &order {
            let (case, slots) = (own[at], &own_slots[at]);
            let wanted = if case.label.is_none() { -1f32 } else { 1f32 };
            let rate = RATE / (1.0 + steps * DECAY * 2.0);
            steps += 1.0;
            let share = 1.0 / norm(&case.features);
            let sum: f32 = slots.iter().map(|slot| weights[*slot]).sum();
            let missing = 1.0 - wanted * (BIAS + scale * share * sum);
            scale *= 1.0 - rate * DECAY;
            if missing > 0.0 {
                let step = rate * importance[at] * missing.min(2.0) * wanted * share / scale;
                for &slot in slots {
                    if texts[slot] >= FEWEST_TEXTS {
                        let moved = weights[slot] + step;
                        weights[slot] = if slot >= BUCKETS { moved.min(0.0) } else { moved };
                    }
                }
            }
        }
        // The mean over the later half is steadier than where the last text left it.
        if epoch >= EPOCHS / 2 {
            summed += 1.0;
            for (mean, weight) in mean.iter_mut().zip(&weights) {
                *mean += weight * scale;
            }
        }
    }
    for mean in &mut mean {
        *mean /= summed;
    }
    bytes(&mean, shift)
}

/// A source counts by the root of its texts, and what is to be found as much as what is to stay quiet.
fn importance(cases: &[&Case]) -> Vec<f32> {
    let mut count: BTreeMap<(bool, &str), f32> = BTreeMap::new();
    for case in cases {
        *count.entry((case.label.is_none(), &case.source)).or_default() += 1.0;
    }
    let raw = |case: &Case| 1.0 / count[&(case.label.is_none(), case.source.as_str())].sqrt();
    let mut sums = [0f32; 2];
    for case in cases {
        sums[usize::from(case.label.is_none())] += raw(case);
    }
    let half = 0.5 * cases.len() as f32;
    cases
        .iter()
        .map(|case| (raw(case) * half / sums[usize::from(case.label.is_none())]).min(HEAVIEST))
        .collect()
}

fn bytes(weights: &[f32], shift: f32) -> Vec<u8> {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    bytes.extend(step.to_le_bytes());
    bytes.extend((BIAS - shift).to_le_bytes());
    // Within -127..=127 by the step.
    bytes.extend(weights.iter().map(|weight| (weight / step).round() as i8 as u8));
    bytes
}
