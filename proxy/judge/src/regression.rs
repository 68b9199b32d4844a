//! Logistic regression on things a message has or has not, one step per lesson.
//!
//! The more mistakes a feature has been told of, the less it moves (as in adaptive regularisation, AROW): what is new learns fast, the
//! words of everybody's footer hold still. What a message is rather sure of and right about teaches nothing.
//!
//! Weights are whole numbers of a small unit, and how much less each of them moved is written down with the lesson, so that what is
//! added and taken away leaves no trace.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// A weight of 1.
const ONE: f32 = (1 << 20) as f32;
/// A weight never goes beyond, in log-odds.
const BOUND: i32 = 1 << 24;
/// A mistake of 1 in the unit of [`Moved::told`].
const WHOLE: f32 = 256.0;
/// After mistakes that add up to so many a feature moves by half.
const SETTLED: f32 = 10.0;
/// A smaller mistake than this teaches nothing.
const RIGHT: f32 = 0.05;
/// By how much less a feature moves: each number divides by the root of two, 15 by 181.
const SLOWEST: u8 = 15;

/// How a regression learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tuning {
    /// Weights, as a power of two.
    pub(crate) bits: u32,
    /// How far one lesson moves a weight, at most.
    pub(crate) rate: f32,
    /// Whether a message's features are scaled to the length of one: long messages then say no more than short ones.
    pub(crate) to_length: bool,
}

/// The weights.
#[derive(Debug)]
pub(crate) struct Regression {
    weights: Box<[AtomicI32]>,
    /// Of how many mistakes each feature has been told.
    told: Box<[AtomicI32]>,
    tuning: Tuning,
}

/// What a lesson moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// By how much a feature moves that was never told anything.
    step: i32,
    /// How large the mistake was.
    told: i32,
    /// By how much less each feature moves, two in an octet; empty where nothing moves.
    slower: Vec<u8>,
}

impl Regression {
    pub(crate) fn new(tuning: Tuning) -> Self {
        let zeroed = || bytemuck::zeroed_slice_box(1 << tuning.bits);
        Self { weights: zeroed(), told: zeroed(), tuning }
    }

    /// Octets of all weights.
    pub(crate) fn octets(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.told)
    }

    /// Log-odds. Features are hashes whose upper bits are well mixed.
    pub(crate) fn score(&self, features: &[u64]) -> f32 {
        let weight = |feature: &u64| i64::from(self.weights[self.place(*feature)].load(Relaxed));
        let sum: i64 = features.iter().map(weight).sum();
        sum as f32 / ONE * self.scale(features.len())
    }

    /// How the weights of a message are to move, given what was said before.
    pub(crate) fn step(&self, score: f32, spam: bool, weight: f32, features: &[u64]) -> Moved {
        let said = 1.0 / (1.0 + (-score).exp());
        let wrong = if spam { 1.0 - said } else { -said };
        if wrong.abs() < RIGHT {
            return Moved::default();
        }
        let step = wrong * self.tuning.rate * self.scale(features.len()) * ONE * weight;
        let slower = features.chunks(2).map(|two| {
            let [one, other] =
                [two.first(), two.get(1)].map(|feature| feature.map_or(0, |feature| self.slower(*feature)));
            one | (other << 4)
        });
        Moved { step: step as i32, told: (wrong.abs() * weight * WHOLE) as i32, slower: slower.collect() }
    }

    /// Moves the weights, or back.
    pub(crate) fn add(&self, features: &[u64], moved: &Moved, forward: bool) {
        let sign = if forward { 1 } else { -1 };
        for (number, feature) in features.iter().enumerate() {
            let Some(both) = moved.slower.get(number / 2) else { return };
            let slower = if number % 2 == 0 { both & 15 } else { both >> 4 };
            let step = (moved.step as f32 * slowed(slower)) as i32;
            let place = self.place(*feature);
            let weight = self.weights[place].load(Relaxed).wrapping_add(sign * step).clamp(-BOUND, BOUND);
            self.weights[place].store(weight, Relaxed);
            let told = self.told[place].load(Relaxed).saturating_add(sign * moved.told).max(0);
            self.told[place].store(told, Relaxed);
        }
    }

    /// Halves what was told so many times: what has settled long ago may move again.
    pub(crate) fn age(&self, halvings: u32) {
        for told in &self.told {
            told.store(told.load(Relaxed) >> halvings.min(i32::BITS - 1), Relaxed);
        }
    }

    /// Weights and what they were told, by their places; those that are as they began are left out.
    pub(crate) fn used(&self) -> impl Iterator<Item = (u32, i32, i32)> {
        let both = self.weights.iter().zip(&self.told).enumerate();
        let read =
            both.map(|(place, (weight, told))| (place as u32, weight.load(Relaxed), told.load(Relaxed)));
        read.filter(|(_, weight, told)| *weight != 0 || *told != 0)
    }

    /// Puts one back; `false` if there is no such place.
    pub(crate) fn put(&self, (place, weight, told): (u32, i32, i32)) -> bool {
        let place = place as usize;
        let (Some(weights), Some(tolds)) = (self.weights.get(place), self.told.get(place)) else {
            return false;
        };
        weights.store(weight, Relaxed);
        tolds.store(told.max(0), Relaxed);
        true
    }

    fn slower(&self, feature: u64) -> u8 {
        let told = self.told[self.place(feature)].load(Relaxed).max(0) as f32 / WHOLE;
        ((1.0 + told / SETTLED).log2() * 2.0).round().min(f32::from(SLOWEST)) as u8
    }

    fn scale(&self, number: usize) -> f32 {
        if self.tuning.to_length { 1.0 / (number.max(1) as f32).sqrt() } else { 1.0 }
    }

    fn place(&self, feature: u64) -> usize {
        (feature >> (u64::BITS - self.tuning.bits)) as usize
    }
}

/// What is left of a step.
fn slowed(slower: u8) -> f32 {
    (-f32::from(slower) / 2.0).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: [u64; 3] = [1 << 60, 2 << 60, 3 << 60];

    fn regression() -> Regression {
        Regression::new(Tuning { bits: 8, rate: 1.0, to_length: false })
    }

    #[test]
    fn what_was_told_often_moves_less_and_is_taken_back_exactly() {
        let regression = regression();
        let lesson = |spam, features: &[u64]| {
            let moved = regression.step(regression.score(features), spam, 1.0, features);
            regression.add(features, &moved, true);
            moved
        };
        for number in 0..60 {
            lesson(number % 2 == 0, &FEATURES[..1]);
        }
        let before: Vec<_> = regression.used().collect();
        let moved = lesson(true, &FEATURES);
        let weights: Vec<_> = regression.used().map(|(_, weight, _)| weight).collect();
        assert!((weights[0] - before[0].1) * 2 < weights[1], "{before:?} {weights:?}");
        regression.add(&FEATURES, &moved, false);
        assert_eq!(regression.used().collect::<Vec<_>>(), before);
    }

    #[test]
    fn what_is_known_teaches_nothing_and_age_lets_it_move_again() {
        let regression = regression();
        assert_eq!(regression.step(9.0, true, 1.0, &FEATURES), Moved::default());
        for _ in 0..100 {
            let moved = regression.step(0.0, true, 1.0, &FEATURES);
            regression.add(&FEATURES, &moved, true);
        }
        let settled = regression.slower(FEATURES[0]);
        regression.age(3);
        assert!(regression.slower(FEATURES[0]) < settled && settled <= SLOWEST);
        assert!(!regression.put((256, 1, 1)) && regression.put((255, 1, 1)));
    }
}
