//! Logistic regression on things a message has or has not, one step per lesson.
//!
//! Every feature of a message moves by the same step: undoing a lesson takes one number. Weights are whole numbers of a small
//! unit, so that what is added and taken away leaves no trace.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// A weight of 1.
const ONE: f32 = (1 << 20) as f32;
/// A weight never goes beyond, in log-odds.
const BOUND: i32 = 1 << 24;

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
    tuning: Tuning,
}

impl Regression {
    pub(crate) fn new(tuning: Tuning) -> Self {
        Self { weights: bytemuck::zeroed_slice_box(1 << tuning.bits), tuning }
    }

    pub(crate) fn weights(&self) -> &[AtomicI32] {
        &self.weights
    }

    /// Log-odds. Features are hashes whose upper bits are well mixed.
    pub(crate) fn score(&self, features: &[u64]) -> f32 {
        let sum: i64 = features.iter().map(|feature| i64::from(self.weight(*feature).load(Relaxed))).sum();
        sum as f32 / ONE * self.scale(features.len())
    }

    /// By how much each weight of a message with so many features is to move, given what was said before.
    pub(crate) fn step(&self, score: f32, spam: bool, weight: f32, number: usize) -> i32 {
        let said = 1.0 / (1.0 + (-score).exp());
        let truth = if spam { 1.0 } else { 0.0 };
        ((truth - said) * self.tuning.rate * self.scale(number) * ONE * weight) as i32
    }

    /// Moves the weights; by the opposite to undo.
    pub(crate) fn add(&self, features: &[u64], step: i32) {
        if step == 0 {
            return;
        }
        for feature in features {
            let weight = self.weight(*feature);
            weight.store(weight.load(Relaxed).wrapping_add(step).clamp(-BOUND, BOUND), Relaxed);
        }
    }

    fn scale(&self, number: usize) -> f32 {
        if self.tuning.to_length { 1.0 / (number.max(1) as f32).sqrt() } else { 1.0 }
    }

    fn weight(&self, feature: u64) -> &AtomicI32 {
        &self.weights[(feature >> (u64::BITS - self.tuning.bits)) as usize]
    }
}
