//! How the members' words become one: a logistic regression over what they said, taught message by message, and the cut that
//! keeps the loss of ham to what was asked for.
//!
//! While cold it has fixed weights. Each lesson is one step that is written down with the lesson, in whole numbers, so that it can be
//! taken back.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::language::{LANGUAGES, Language};
use crate::lesson::Class;

/// Members: Bayes, chain, sections, letters, phrases.
pub(crate) const MEMBERS: usize = 5;
/// Their names, for people.
pub(crate) const NAMES: [&str; MEMBERS] = ["bayes", "chain", "sections", "letters", "phrases"];
/// What each member says of a message that it is rather sure of: its unit.
const SCALES: [f32; MEMBERS] = [30.0, 20.0, 14.0, 8.0, 3.0];
/// A member says so many units at most.
const LOUDEST: f32 = 6.0;
/// Weights before anything is learned.
const START: [f32; MEMBERS] = [0.3, 3.0, 0.5, 1.5, 2.0];
/// A weight is learned within these bounds: a member may be silenced, never turned around.
const BOUNDS: (f32, f32) = (0.0, 6.0);
/// How far one lesson moves a weight.
const RATE: f32 = 0.05;
/// Before anything is learned: where the members are of two minds it mostly is spam, as ham has known senders.
const START_BIAS: f32 = 0.3;
/// How far it moves the bias, and that of the language.
const BIAS_RATE: f32 = 0.01;
/// One in the unit of weights.
const ONE: f32 = 65_536.0;
/// Labels of each class before weights are learned: with fewer the scale would wander.
const COLD: f32 = 100.0;
/// Until so many messages of each class were learned the score is drawn towards "unknown".
const SHY: f32 = 5.0;
/// Until so many were, what counts (the first three members) is taken for less than it says, and the regressions for up to twice as much:
/// counts of a class that was hardly seen speak against it.
const GROWN: f32 = 100.0;
/// Members that count.
const COUNTING: usize = 3;

/// What the members said of a message, each in its unit.
pub(crate) type Said = [f32; MEMBERS];

/// One step of the regression, as it is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    weights: [i32; MEMBERS],
    bias: i32,
    language: u8,
}

/// The regression and the cut.
#[derive(Debug)]
pub(crate) struct Stack {
    /// What was learned, on top of [`START`].
    weights: [AtomicI64; MEMBERS],
    bias: AtomicI64,
    languages: [AtomicI64; LANGUAGES],
    /// What is taken off every score so that no more ham is lost than was asked for; bits of an f32.
    cut: AtomicU32,
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            weights: Default::default(),
            bias: AtomicI64::default(),
            languages: std::array::from_fn(|_| AtomicI64::default()),
            cut: AtomicU32::new(0.0_f32.to_bits()),
        }
    }
}

/// Brings a member's score into its unit.
pub(crate) fn in_units(scores: [f32; MEMBERS]) -> Said {
    std::array::from_fn(|member| (scores[member] / SCALES[member]).clamp(-LOUDEST, LOUDEST))
}

impl Stack {
    /// Each member's share of the log-odds.
    pub(crate) fn shares(&self, said: &Said, learned: [f32; 2]) -> [f32; MEMBERS] {
        let heard = heard(learned);
        std::array::from_fn(|member| self.weight(member) * said[member] * heard[member])
    }

    /// The log-odds before the cut.
    pub(crate) fn log_odds(&self, said: &Said, language: Language, learned: [f32; 2]) -> f32 {
        let sum: f32 = self.shares(said, learned).iter().sum::<f32>()
            + START_BIAS
            + number(&self.bias)
            + number(&self.languages[language as usize]);
        let fewer = learned[0].min(learned[1]);
        sum * (fewer / SHY).min(1.0)
    }

    /// What is taken off.
    pub(crate) fn cut(&self) -> f32 {
        f32::from_bits(self.cut.load(Relaxed))
    }

    pub(crate) fn set_cut(&self, cut: f32) {
        self.cut.store(cut.to_bits(), Relaxed);
    }

    /// The step that a lesson is.
    pub(crate) fn step(&self, said: &Said, language: Language, class: Class, learned: [f32; 2]) -> Step {
        let mut step = Step { language: language as u8, ..Step::default() };
        if learned[0].min(learned[1]) < COLD {
            return step;
        }
        let odds = self.log_odds(said, language, learned);
        let truth = if class == Class::Spam { 1.0 } else { 0.0 };
        let wrong = truth - 1.0 / (1.0 + (-odds).exp());
        let heard = heard(learned);
        for (member, moved) in step.weights.iter_mut().enumerate() {
            let weight = self.weight(member);
            let to = (weight + RATE * wrong * said[member] * heard[member]).clamp(BOUNDS.0, BOUNDS.1);
            *moved = ((to - weight) * ONE) as i32;
        }
        step.bias = (BIAS_RATE * wrong * ONE) as i32;
        step
    }

    /// Goes a step, or back.
    pub(crate) fn add(&self, step: &Step, forward: bool) {
        let sign = if forward { 1 } else { -1 };
        for (weight, moved) in self.weights.iter().zip(step.weights) {
            weight.fetch_add(sign * i64::from(moved), Relaxed);
        }
        self.bias.fetch_add(sign * i64::from(step.bias), Relaxed);
        if let Some(language) = self.languages.get(usize::from(step.language)) {
            language.fetch_add(sign * i64::from(step.bias), Relaxed);
        }
    }

    /// All that was learned, in a fixed order, for a snapshot.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &AtomicI64> {
        self.weights.iter().chain(std::iter::once(&self.bias)).chain(&self.languages)
    }

    fn weight(&self, member: usize) -> f32 {
        (START[member] + number(&self.weights[member])).clamp(BOUNDS.0, BOUNDS.1)
    }
}

/// How much each member is listened to, by what was learned of either class.
fn heard(learned: [f32; 2]) -> [f32; MEMBERS] {
    let grown = (learned[0].min(learned[1]) / GROWN).min(1.0);
    std::array::from_fn(|member| if member < COUNTING { grown } else { 2.0 - grown })
}

fn number(counter: &AtomicI64) -> f32 {
    counter.load(Relaxed) as f32 / ONE
}

/// The log-odds of the latest ham that somebody vouched for, as they were before it was learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatestHam {
    scores: std::collections::VecDeque<f32>,
    /// Messages that were taken for ham and that nobody spoke of; at most [`LATEST`].
    unspoken: usize,
}

/// Ham whose scores are remembered.
const LATEST: usize = 5_000;
/// With fewer nothing is said of so rare an event as a loss.
const ENOUGH: usize = 200;
/// Ham that is taken to have been seen before, none of it lost: one newsletter is not to cost a tenth of the spam.
const BENIGN: usize = 1_000;
/// No more than this is taken off: spam that somebody calls ham by mistake would take all other spam with it.
const MOST: f32 = 1.5;

impl LatestHam {
    pub(crate) fn add(&mut self, score: f32) {
        if self.scores.len() == LATEST {
            self.scores.pop_front();
        }
        self.scores.push_back(score);
    }

    pub(crate) fn remove(&mut self, score: f32) {
        if let Some(place) = self.scores.iter().rposition(|kept| *kept == score) {
            self.scores.remove(place);
        }
    }

    /// A message was taken for ham. Where people speak of mistakes alone, what they do not speak of is most of the ham: without it
    /// the few that they name would be taken for the rule.
    pub(crate) fn pass(&mut self) {
        self.unspoken = (self.unspoken + 1).min(LATEST);
    }

    /// What has to be taken off so that at most this share of the ham reaches `bound`.
    pub(crate) fn cut(&self, loss: f64, bound: f32) -> f32 {
        let number = self.scores.len();
        if number < ENOUGH {
            return 0.0;
        }
        let lost = ((number + BENIGN + self.unspoken) as f64 * loss) as usize;
        let mut highest: Vec<f32> = self.scores.iter().copied().filter(|score| *score >= bound).collect();
        if highest.len() <= lost {
            return 0.0;
        }
        highest.sort_unstable_by(|a, b| b.total_cmp(a));
        (highest[lost] - bound + 0.01).clamp(0.0, MOST)
    }
}
