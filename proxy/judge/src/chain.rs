//! A hidden Markov model over the chain of words: at each word the message goes on from no, one or two words before, and which of
//! them it is stays hidden. What each class says next is counted; how one order follows another is learned by expectation and
//! maximisation, apart for contexts that were seen often and seldom. The score is the ratio of the likelihoods that the forward
//! algorithm finds in both classes.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::lesson::Class;
use crate::prepared::pair_hash;
use crate::slots::{Counts, Epoch, Slots, UNIT};

/// Orders: words of context.
pub(crate) const ORDERS: usize = 3;
/// Contexts by how often they were seen: never; once; to three; to fifteen; more. For one word and for two of context.
const SEEN: usize = 5;
/// Transitions that are learned: from an order to an order, given how often both contexts were seen.
pub(crate) const TRANSITIONS: usize = SEEN * SEEN * ORDERS * ORDERS;
/// One in the unit of the learned transitions.
const ONE: f32 = 1024.0;
/// Words there are, for those never seen.
const VOCABULARY: f32 = 200_000.0;
/// How often each word is taken to have been seen before.
const PRIOR: f32 = 0.05;
/// Log-odds of one word at most.
const CERTAIN: f32 = 4.0;

/// The counts.
#[derive(Debug)]
pub(crate) struct Chain {
    slots: Slots,
    /// Words of each class, in eighths.
    totals: [AtomicI64; 2],
    transitions: Box<[AtomicI64]>,
}

/// What a word's chain counts: the word alone, after one, after two; and how often those contexts were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    word: Counts,
    pair: Counts,
    triple: Counts,
}

/// Probabilities of the orders to follow, from each order: `[from][to]`.
type Steps = [[f32; ORDERS]; ORDERS];

impl Chain {
    pub(crate) fn new(bits: u32) -> Self {
        let transitions = (0..TRANSITIONS).map(|_| AtomicI64::new(0)).collect();
        Self { slots: Slots::new(bits), totals: Default::default(), transitions }
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn total(&self, class: Class) -> &AtomicI64 {
        &self.totals[class as usize]
    }

    pub(crate) fn transitions(&self) -> &[AtomicI64] {
        &self.transitions
    }

    /// The log-likelihood ratio of both classes over the root of the number of words.
    pub(crate) fn score(&self, words: &[u64], now: Epoch) -> f32 {
        let sum: f32 = self.word_by_word(words, now).sum();
        sum / (words.len().max(1) as f32).sqrt()
    }

    /// What each word adds to the log-likelihood ratio.
    pub(crate) fn word_by_word(&self, words: &[u64], now: Epoch) -> impl Iterator<Item = f32> {
        let steps = self.steps();
        let totals = [Class::Ham, Class::Spam].map(|class| self.words(class));
        let mut hidden = [[1.0, 0.0, 0.0]; 2];
        let mut before = Link::default();
        self.links(words, now).map(move |link| {
            let [ham, spam] = [Class::Ham, Class::Spam].map(|class| {
                let emitted = emissions(&link, &before, class, totals[class as usize]);
                let steps = &steps[seen(&before, class)];
                let (likelihood, next) = forward(&hidden[class as usize], steps, &emitted);
                hidden[class as usize] = next;
                likelihood
            });
            before = link;
            (spam / ham).ln().clamp(-CERTAIN, CERTAIN)
        })
    }

    /// What the transitions are to learn of a message of a class: forward and backward over it with the counts before it.
    pub(crate) fn expectations(&self, words: &[u64], class: Class, now: Epoch) -> Vec<i32> {
        let steps = self.steps();
        let total = self.words(class);
        let links: Vec<Link> = self.links(words, now).collect();
        let mut hidden = [1.0, 0.0, 0.0];
        let mut before = Link::default();
        let mut forwards = Vec::with_capacity(links.len());
        for link in &links {
            let emitted = emissions(link, &before, class, total);
            let place = seen(&before, class);
            let (_, next) = forward(&hidden, &steps[place], &emitted);
            forwards.push((place, hidden, emitted));
            hidden = next;
            before = *link;
        }
        let mut expected = vec![0.0_f32; TRANSITIONS];
        let mut behind = [1.0; ORDERS];
        for (place, hidden, emitted) in forwards.iter().rev() {
            behind = backward(*place, hidden, emitted, &steps[*place], &behind, &mut expected);
        }
        expected.into_iter().map(|share| (share * ONE) as i32).collect()
    }

    /// Counts a message; with negative units it takes it away.
    pub(crate) fn add(&self, words: &[u64], expectations: &[i32], class: Class, units: i32, now: Epoch) {
        let number = i64::try_from(words.len()).unwrap_or_default();
        self.total(class).fetch_add(number * i64::from(units), Relaxed);
        let mut former = [0; 2];
        for word in words {
            for hash in hashes(*word, former) {
                self.slots.add(hash, class, units, now);
            }
            former = [*word, former[0]];
        }
        for (transition, expected) in self.transitions.iter().zip(expectations) {
            transition.fetch_add(i64::from(*expected) * i64::from(units.signum()), Relaxed);
        }
    }

    fn words(&self, class: Class) -> f32 {
        self.total(class).load(Relaxed).max(0) as f32 / UNIT as f32
    }

    fn links(&self, words: &[u64], now: Epoch) -> impl Iterator<Item = Link> {
        let mut former = [0; 2];
        words.iter().map(move |word| {
            let [word_hash, pair, triple] = hashes(*word, former);
            let word_counts = self.slots.get(word_hash, now);
            let pair = self.slots.get(pair, now);
            // Who never followed one word cannot have followed two.
            let triple =
                if pair.spam + pair.ham > 0.0 { self.slots.get(triple, now) } else { Counts::default() };
            former = [*word, former[0]];
            Link { word: word_counts, pair, triple }
        })
    }

    fn steps(&self) -> Vec<Steps> {
        (0..SEEN * SEEN)
            .map(|place| {
                let mut steps = [[0.0; ORDERS]; ORDERS];
                for (from, row) in steps.iter_mut().enumerate() {
                    let start = start(place);
                    for (to, share) in row.iter_mut().enumerate() {
                        let learned =
                            self.transitions[transition(place, from, to)].load(Relaxed).max(0) as f32 / ONE;
                        // The start counts as a hundred words.
                        *share = learned + 100.0 * start[to];
                    }
                    let sum: f32 = row.iter().sum();
                    row.iter_mut().for_each(|share| *share /= sum);
                }
                steps
            })
            .collect()
    }
}

fn transition(place: usize, from: usize, to: usize) -> usize {
    (place * ORDERS + from) * ORDERS + to
}

/// What is believed of the orders before anything is learned: as Witten and Bell would, the more often seen the longer.
fn start(place: usize) -> [f32; ORDERS] {
    const TRUST: [f32; SEEN] = [0.0, 0.4, 0.6, 0.75, 0.85];
    let (one, two) = (TRUST[place % SEEN], TRUST[place / SEEN]);
    let triple = two * 0.7;
    let pair = (1.0 - triple) * one * 0.8;
    [1.0 - triple - pair, pair, triple]
}

/// How often the contexts of the next word were seen in a class.
fn seen(before: &Link, class: Class) -> usize {
    let bucket = |count: f32| match count {
        count if count <= 0.0 => 0,
        count if count < 2.0 => 1,
        count if count < 4.0 => 2,
        count if count < 16.0 => 3,
        _ => 4,
    };
    bucket(before.word.of(class)) + SEEN * bucket(before.pair.of(class))
}

fn hashes(word: u64, [first, second]: [u64; 2]) -> [u64; ORDERS] {
    let pair = pair_hash(first, word, 1);
    [word, pair, pair_hash(second, pair, 2)]
}

/// The probability of a word in each order.
fn emissions(link: &Link, before: &Link, class: Class, total: f32) -> [f32; ORDERS] {
    let alone = (link.word.of(class) + PRIOR) / (total + PRIOR * VOCABULARY);
    let after = |count: f32, context: f32| if context > 0.0 { (count / context).min(1.0) } else { 0.0 };
    [
        alone,
        after(link.pair.of(class), before.word.of(class)),
        after(link.triple.of(class), before.pair.of(class)),
    ]
}

/// One step: the likelihood of the word, and what is then believed of the order.
fn forward(hidden: &[f32; ORDERS], steps: &Steps, emitted: &[f32; ORDERS]) -> (f32, [f32; ORDERS]) {
    let mut next = [0.0; ORDERS];
    for (to, next) in next.iter_mut().enumerate() {
        let reached: f32 = (0..ORDERS).map(|from| hidden[from] * steps[from][to]).sum();
        *next = reached * emitted[to];
    }
    let likelihood = next.iter().sum::<f32>().max(1e-12);
    (likelihood, next.map(|share| share / likelihood))
}

/// One step back: adds how probable each transition was, and gives what is believed before it.
fn backward(
    place: usize,
    hidden: &[f32; ORDERS],
    emitted: &[f32; ORDERS],
    steps: &Steps,
    behind: &[f32; ORDERS],
    expected: &mut [f32],
) -> [f32; ORDERS] {
    let weight = |from: usize, to: usize| steps[from][to] * emitted[to] * behind[to];
    let mut sum = 0.0;
    let mut before = [0.0; ORDERS];
    for (from, before) in before.iter_mut().enumerate() {
        *before = (0..ORDERS).map(|to| weight(from, to)).sum();
        sum += hidden[from] * *before;
    }
    let sum = sum.max(1e-20);
    for from in 0..ORDERS {
        for to in 0..ORDERS {
            expected[transition(place, from, to)] += hidden[from] * weight(from, to) / sum;
        }
    }
    before.map(|share| share / sum)
}
