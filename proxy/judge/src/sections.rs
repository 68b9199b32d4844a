//! A hidden Markov model over the sections of a message: greeting, offer, listing, small print, or whatever four states find to
//! be. One for each class, over words in a small table; learned message by message (stepwise expectation and maximisation).

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::lesson::Class;

/// States.
pub(crate) const STATES: usize = 4;
/// Words that are told apart.
const WORDS_BITS: u32 = 15;
const WORDS: usize = 1 << WORDS_BITS;
/// Words of a message that are read.
const MAX_WORDS: usize = 400;
/// One in the counters' unit: a posterior is kept in an octet.
const ONE: f32 = 255.0;
/// How often each word, and each step, is taken to have been seen before.
const WORD_PRIOR: f32 = 0.02;
const STEP_PRIOR: f32 = 2.0;
/// How much likelier a state is to go on than to change, before anything is learned.
const STAY: f32 = 8.0;
/// A state's own leaning to a word, so that states that know nothing differ.
const LEANING: f32 = 0.5;

/// Both classes.
#[derive(Debug)]
pub(crate) struct Sections {
    classes: [Counters; 2],
}

#[derive(Debug)]
struct Counters {
    /// `[word][state]`.
    emitted: Box<[AtomicI64]>,
    /// Sums of the above.
    totals: [AtomicI64; STATES],
    /// `[from][to]`.
    steps: [AtomicI64; STATES * STATES],
}

/// What a lesson adds: how probable each state was at each word, and each step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expectations {
    /// Of each word, [`STATES`] octets.
    pub(crate) states: Vec<u8>,
    /// Of each step, in 255ths.
    pub(crate) steps: [u32; STATES * STATES],
}

struct Parameters<'a> {
    counters: &'a Counters,
    totals: [f32; STATES],
    steps: [[f32; STATES]; STATES],
}

impl Sections {
    pub(crate) fn new() -> Self {
        Self { classes: [Counters::new(), Counters::new()] }
    }

    /// The log-likelihood ratio over the root of the number of words.
    pub(crate) fn score(&self, words: &[u64]) -> f32 {
        let words = &words[..words.len().min(MAX_WORDS)];
        let [ham, spam] = [Class::Ham, Class::Spam].map(|class| {
            let parameters = Parameters::of(&self.classes[class as usize]);
            let mut hidden = [1.0 / STATES as f32; STATES];
            words.iter().map(|word| parameters.forward(*word, &mut hidden).ln()).sum::<f32>()
        });
        (spam - ham) / (words.len().max(1) as f32).sqrt()
    }

    /// What a message of a class is to add.
    pub(crate) fn expectations(&self, words: &[u64], class: Class) -> Expectations {
        let words = &words[..words.len().min(MAX_WORDS)];
        let parameters = Parameters::of(&self.classes[class as usize]);
        let mut hidden = [1.0 / STATES as f32; STATES];
        let mut forwards = Vec::with_capacity(words.len());
        for word in words {
            let before = hidden;
            let _ = parameters.forward(*word, &mut hidden);
            forwards.push((before, hidden));
        }
        let mut expectations =
            Expectations { states: vec![0; words.len() * STATES], ..Expectations::default() };
        let mut steps = [[0.0; STATES]; STATES];
        let mut behind = [1.0; STATES];
        for (place, (before, after)) in forwards.iter().enumerate().rev() {
            let posterior: [f32; STATES] = std::array::from_fn(|state| after[state] * behind[state]);
            octets(&posterior, &mut expectations.states[place * STATES..(place + 1) * STATES]);
            behind = parameters.backward(words[place], before, &behind, &mut steps);
        }
        for (place, kept) in expectations.steps.iter_mut().enumerate() {
            *kept = (steps[place / STATES][place % STATES] * ONE) as u32;
        }
        expectations
    }

    /// Counts a message by weight in eighths; with negative units it takes it away.
    pub(crate) fn add(&self, words: &[u64], expectations: &Expectations, class: Class, units: i32) {
        let counters = &self.classes[class as usize];
        for (word, states) in words.iter().zip(expectations.states.chunks_exact(STATES)) {
            let emitted = counters.emitted(*word);
            for (state, share) in states.iter().enumerate() {
                let change = i64::from(*share) * i64::from(units);
                emitted[state].fetch_add(change, Relaxed);
                counters.totals[state].fetch_add(change, Relaxed);
            }
        }
        for (step, share) in counters.steps.iter().zip(expectations.steps) {
            step.fetch_add(i64::from(share) * i64::from(units), Relaxed);
        }
    }

    /// All counters in a fixed order, for a snapshot and for ageing.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &AtomicI64> {
        self.classes.iter().flat_map(|class| class.emitted.iter().chain(&class.totals).chain(&class.steps))
    }
}

/// Posteriors as octets whose sum is 255.
fn octets(posterior: &[f32; STATES], kept: &mut [u8]) {
    let sum: f32 = posterior.iter().sum();
    let mut left = 255_u8;
    for (state, kept) in kept.iter_mut().enumerate() {
        let share = (posterior[state] / sum.max(f32::MIN_POSITIVE) * ONE).round() as u8;
        *kept = if state == STATES - 1 { left } else { share.min(left) };
        left -= *kept;
    }
}

impl Counters {
    fn new() -> Self {
        Self {
            emitted: bytemuck::zeroed_slice_box(WORDS * STATES),
            totals: Default::default(),
            steps: Default::default(),
        }
    }

    fn emitted(&self, word: u64) -> &[AtomicI64] {
        let place = usize::try_from(word >> (u64::BITS - WORDS_BITS)).unwrap_or_default();
        &self.emitted[place * STATES..(place + 1) * STATES]
    }
}

impl<'a> Parameters<'a> {
    fn of(counters: &'a Counters) -> Self {
        let count =
            |counter: &AtomicI64| counter.load(Relaxed).max(0) as f32 / (ONE * crate::slots::UNIT as f32);
        let mut steps = [[0.0; STATES]; STATES];
        for (from, row) in steps.iter_mut().enumerate() {
            for (to, share) in row.iter_mut().enumerate() {
                let prior = if from == to { STEP_PRIOR * STAY } else { STEP_PRIOR };
                *share = count(&counters.steps[from * STATES + to]) + prior;
            }
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= sum);
        }
        let totals = counters.totals.each_ref().map(|total| count(total) + WORD_PRIOR * WORDS as f32);
        Self { counters, totals, steps }
    }

    /// The probability of a word in each state.
    fn emissions(&self, word: u64) -> [f32; STATES] {
        let emitted = self.counters.emitted(word);
        std::array::from_fn(|state| {
            let count = emitted[state].load(Relaxed).max(0) as f32 / (ONE * crate::slots::UNIT as f32);
            // A bit of the hash that is used for nothing else decides which way a state leans.
            let leans = (word >> (8 + state)) & 1 == 1;
            let prior = WORD_PRIOR * if leans { 1.0 + LEANING } else { 1.0 - LEANING };
            (count + prior) / self.totals[state]
        })
    }

    fn forward(&self, word: u64, hidden: &mut [f32; STATES]) -> f32 {
        let emitted = self.emissions(word);
        let next: [f32; STATES] = std::array::from_fn(|to| {
            (0..STATES).map(|from| hidden[from] * self.steps[from][to]).sum::<f32>() * emitted[to]
        });
        let likelihood = next.iter().sum::<f32>().max(1e-20);
        *hidden = next.map(|share| share / likelihood);
        likelihood
    }

    fn backward(
        &self,
        word: u64,
        before: &[f32; STATES],
        behind: &[f32; STATES],
        steps: &mut [[f32; STATES]; STATES],
    ) -> [f32; STATES] {
        let emitted = self.emissions(word);
        let weight = |from: usize, to: usize| self.steps[from][to] * emitted[to] * behind[to];
        let reached: [f32; STATES] = std::array::from_fn(|from| (0..STATES).map(|to| weight(from, to)).sum());
        let sum = (0..STATES).map(|from| before[from] * reached[from]).sum::<f32>().max(1e-30);
        for (from, row) in steps.iter_mut().enumerate() {
            for (to, share) in row.iter_mut().enumerate() {
                *share += before[from] * weight(from, to) / sum;
            }
        }
        reached.map(|share| share / sum)
    }
}
