//! Logistic regression on sequences of four octets, one step per lesson.
//!
//! Every feature of a message moves by the same step: undoing a lesson takes one number. Weights are whole numbers of a small
//! unit, so that what is added and taken away leaves no trace.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// A weight of 1.
const ONE: f32 = (1 << 20) as f32;
/// How far one lesson moves a weight, at most.
const RATE: f32 = 0.02;
/// A weight never goes beyond, in log-odds.
const BOUND: i32 = 1 << 24;

/// The weights.
#[derive(Debug)]
pub(crate) struct Letters {
    weights: Box<[AtomicI32]>,
    shift: u32,
}

impl Letters {
    pub(crate) fn new(bits: u32) -> Self {
        Self { weights: bytemuck::zeroed_slice_box(1 << bits), shift: u32::BITS - bits }
    }

    pub(crate) fn weights(&self) -> &[AtomicI32] {
        &self.weights
    }

    /// Log-odds.
    pub(crate) fn score(&self, letters: &[u32]) -> f32 {
        let sum: i64 = letters.iter().map(|letter| i64::from(self.weight(*letter).load(Relaxed))).sum();
        sum as f32 / ONE
    }

    /// By how much each weight is to move, given what was said before.
    pub(crate) fn step(score: f32, spam: bool, weight: f32) -> i32 {
        let said = 1.0 / (1.0 + (-score).exp());
        let truth = if spam { 1.0 } else { 0.0 };
        ((truth - said) * RATE * ONE * weight) as i32
    }

    /// Moves the weights; by the opposite to undo.
    pub(crate) fn add(&self, letters: &[u32], step: i32) {
        if step == 0 {
            return;
        }
        for letter in letters {
            let weight = self.weight(*letter);
            weight.store(weight.load(Relaxed).wrapping_add(step).clamp(-BOUND, BOUND), Relaxed);
        }
    }

    fn weight(&self, letter: u32) -> &AtomicI32 {
        &self.weights[(letter >> self.shift) as usize]
    }
}
