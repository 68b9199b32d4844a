//! The members' scores to one: an online logistic regression that begins with fixed weights, and a cut by the ham that one is
//! ready to lose.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use crate::lesson::Class;

/// Members, in this order everywhere.
pub(crate) const MEMBERS: [&str; 4] = ["bayes", "chain", "sections", "letters"];
/// How many there are.
pub(crate) const MEMBER_COUNT: usize = MEMBERS.len();
/// Brings each member's score to about the size of log-odds.
const SCALE: [f32; MEMBER_COUNT] = [1.0 / 6.0, 1.0 / 1.5, 1.0 / 3.0, 1.0];
/// Scaled scores are cut here: no member alone is certain.
const CERTAIN: f32 = 8.0;
/// Weights while little is learned.
const START: [f32; MEMBER_COUNT + 1] = [0.45, 0.45, 0.1, 0.5, 0.0];
/// How far one lesson moves a weight.
const RATE: f32 = 0.02;
/// Messages of each class before the weights move.
const COLD: f32 = 200.0;
/// A weight of 1 in the unit it is kept in.
const ONE: f32 = (1 << 20) as f32;

/// What each member says, scaled and cut.
pub(crate) type Said = [f32; MEMBER_COUNT];
/// By how much a lesson moves the weights.
pub(crate) type Step = [i32; MEMBER_COUNT + 1];

/// The weights; the last is a bias.
#[derive(Debug)]
pub(crate) struct Stack {
    moved: [AtomicI32; MEMBER_COUNT + 1],
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self { moved: Default::default() }
    }

    /// What a member's score is worth.
    pub(crate) fn scaled(raw: Said) -> Said {
        std::array::from_fn(|member| (raw[member] * SCALE[member]).clamp(-CERTAIN, CERTAIN))
    }

    /// Each member's share of the log-odds, the bias last.
    pub(crate) fn shares(&self, said: &Said) -> [f32; MEMBER_COUNT + 1] {
        std::array::from_fn(|place| {
            let weight = START[place] + self.moved[place].load(Relaxed) as f32 / ONE;
            weight * said.get(place).copied().unwrap_or(1.0)
        })
    }

    /// How the weights are to move, given how many messages of the rarer class were learnt.
    pub(crate) fn step(&self, said: &Said, class: Class, weight: f32, rarer: f32) -> Step {
        if rarer < COLD {
            return Step::default();
        }
        let score: f32 = self.shares(said).iter().sum();
        let truth = if class == Class::Spam { 1.0 } else { 0.0 };
        let error = truth - 1.0 / (1.0 + (-score).exp());
        std::array::from_fn(|place| {
            let input = said.get(place).copied().unwrap_or(1.0);
            (error * input * RATE * weight * ONE) as i32
        })
    }

    pub(crate) fn add(&self, step: &Step, sign: i32) {
        for (weight, step) in self.moved.iter().zip(step) {
            weight.fetch_add(step * sign, Relaxed);
        }
    }
}
