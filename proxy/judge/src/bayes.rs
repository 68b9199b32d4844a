//! Bayes on words and sparse pairs: how many messages of each class had a clue.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::lesson::Class;
use crate::slots::{Counts, Epoch, Slots, UNIT};

/// Clues that count at most, the strongest first. Nearly all do: a list's footer alone fills the first hundreds.
const STRONGEST: usize = 3_000;
/// As many messages as a clue is taken to have been seen in before, undecided (Robinson).
const DOUBT: f32 = 0.1;
/// A clue in fewer log-odds than this tells nothing.
const FAINT: f32 = 0.3;
/// Log-odds of one clue at most: nothing that a spammer can write down is certain.
const CERTAIN: f32 = 7.0;

/// The counts of the site and of those who have a taste of their own.
#[derive(Debug)]
pub(crate) struct Bayes {
    slots: Slots,
    totals: [AtomicI64; 2],
}

/// An overlay: whose clues, how many messages it has learnt of each class, and how much it weighs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay {
    pub(crate) salt: u64,
    pub(crate) factor: f32,
}

impl Bayes {
    pub(crate) fn new(bits: u32) -> Self {
        Self { slots: Slots::new(bits), totals: Default::default() }
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Messages of a class, in eighths.
    pub(crate) fn total(&self, class: Class) -> &AtomicI64 {
        &self.totals[class as usize]
    }

    /// Messages of a class, by weight.
    pub(crate) fn messages(&self, class: Class) -> f32 {
        self.total(class).load(Relaxed).max(0) as f32 / UNIT as f32
    }

    pub(crate) fn add(&self, clues: &[u64], class: Class, units: i32, now: Epoch) {
        self.total(class).fetch_add(units.into(), Relaxed);
        self.add_salted(clues, 0, class, units, now);
    }

    pub(crate) fn add_salted(&self, clues: &[u64], salt: u64, class: Class, units: i32, now: Epoch) {
        for clue in clues {
            self.slots.add(salted(*clue, salt), class, units, now);
        }
    }

    /// Log-odds of the strongest clues, over the root of their number; and the share of clues that are known.
    pub(crate) fn score(&self, clues: &[u64], overlays: &[Overlay], now: Epoch) -> (f32, f32) {
        let odds = self.odds();
        let mut known = 0_u32;
        let mut strong: Vec<f32> = Vec::with_capacity(clues.len());
        for clue in clues {
            let counts = self.counts(*clue, overlays, now);
            if counts.spam + counts.ham > 0.0 {
                known += 1;
                let weight = odds.weight(counts);
                if weight.abs() > FAINT {
                    strong.push(weight);
                }
            }
        }
        if strong.len() > STRONGEST {
            strong.select_nth_unstable_by(STRONGEST, |a, b| b.abs().total_cmp(&a.abs()));
            strong.truncate(STRONGEST);
        }
        let sum: f32 = strong.iter().sum();
        let share = known as f32 / (clues.len().max(1)) as f32;
        (sum / (strong.len().max(1) as f32).sqrt(), share)
    }

    /// What one clue counts, overlays included.
    pub(crate) fn counts(&self, clue: u64, overlays: &[Overlay], now: Epoch) -> Counts {
        let mut counts = self.slots.get(clue, now);
        for overlay in overlays {
            let own = self.slots.get(salted(clue, overlay.salt), now);
            counts.spam += own.spam * overlay.factor;
            counts.ham += own.ham * overlay.factor;
        }
        counts
    }

    /// What a clue counts in one overlay alone.
    pub(crate) fn salted_counts(&self, clue: u64, salt: u64, now: Epoch) -> Counts {
        self.slots.get(salted(clue, salt), now)
    }

    pub(crate) fn odds(&self) -> Odds {
        // Half a message more of each: a class that nobody has seen is not impossible.
        Odds { spam: self.messages(Class::Spam) + 0.5, ham: self.messages(Class::Ham) + 0.5 }
    }
}

/// How often each class was seen: what counts are held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odds {
    spam: f32,
    ham: f32,
}

impl Odds {
    /// The log-odds that a clue of these counts stands for.
    pub(crate) fn weight(self, counts: Counts) -> f32 {
        let (spam, ham) = (counts.spam / self.spam, counts.ham / self.ham);
        let number = counts.spam + counts.ham;
        let raw = spam / (spam + ham).max(f32::MIN_POSITIVE);
        let believed = (DOUBT * 0.5 + number * raw) / (DOUBT + number);
        (believed / (1.0 - believed)).ln().clamp(-CERTAIN, CERTAIN)
    }
}

fn salted(clue: u64, salt: u64) -> u64 {
    if salt == 0 { clue } else { (clue ^ salt).wrapping_mul(0x9FB2_1C65_1E98_DF25) }
}
