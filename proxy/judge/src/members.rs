//! The members and what they make of a message; a lesson as what it adds to each of their counters.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bayes::{Bayes, Overlay};
use crate::chain::Chain;
use crate::features::{Digest, Features};
use crate::lesson::{Class, Source, Whom};
use crate::prepared::Prepared;
use crate::regression::{Moved, Regression, Tuning};
use crate::sections::{Expectations, Sections};
use crate::slots::Epoch;
use crate::stack::{Said, Stack, Step, in_units};

/// Counts lose half their weight in this time: spam changes faster, mailboxes more slowly.
const HALF_LIFE: Duration = Duration::from_secs(60 * 86_400);
/// Slots of words and pairs, and of chains, as powers of two: 64 MiB each.
const BAYES_BITS: u32 = 23;
const CHAIN_BITS: u32 = 23;
/// 8 MiB of weights for sequences of letters.
const LETTERS: Tuning = Tuning { bits: 20, rate: 0.02, to_length: false };
/// 32 MiB of weights for words and pairs. What is learned is divided by the root of their number twice, some hundreds to thousands.
const PHRASES: Tuning = Tuning { bits: 22, rate: 40.0, to_length: true };
/// Messages somebody must have judged before their taste counts.
const TASTE: f32 = 20.0;
/// How much the counts of a domain and of a user weigh beside the site's.
const DOMAIN_FACTOR: f32 = 2.0;
const USER_FACTOR: f32 = 3.0;
/// Seeds that keep a domain's salt and a user's apart.
const DOMAIN_SEED: u64 = 1;
const USER_SEED: u64 = 2;
/// Hashed with an overlay's salt it counts the messages of that overlay.
const OVERLAY: u64 = 0x6F76_6572_6C61_7921;

/// All that is learned.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) bayes: Bayes,
    pub(crate) chain: Chain,
    pub(crate) sections: Sections,
    pub(crate) letters: Regression,
    pub(crate) phrases: Regression,
    pub(crate) stack: Stack,
    /// Half-lives since 1970 at the latest lesson.
    half_lives: AtomicU64,
}

/// What a lesson adds; written down, so that it is added again at a start and taken away when it is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Addition {
    pub(crate) digest: Digest,
    pub(crate) spam: bool,
    pub(crate) own: bool,
    /// Its weight in eighths.
    pub(crate) units: i32,
    pub(crate) half_lives: u64,
    salts: [u64; 2],
    /// The features' byte form: what is counted is derived from it.
    pub(crate) features: Vec<u8>,
    chain: Vec<i32>,
    states: Vec<u8>,
    steps: [u32; 16],
    letters: Moved,
    phrases: Moved,
    stack: Step,
    /// The log-odds before, where they calibrate.
    pub(crate) before: Option<f32>,
}

impl Addition {
    pub(crate) fn class(&self) -> Class {
        if self.spam { Class::Spam } else { Class::Ham }
    }
}

/// What the members make of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opinion {
    pub(crate) said: Said,
    /// Log-odds before the cut.
    pub(crate) log_odds: f32,
    /// What the regressions said, unscaled.
    letters: f32,
    phrases: f32,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            bayes: Bayes::new(BAYES_BITS),
            chain: Chain::new(CHAIN_BITS),
            sections: Sections::new(),
            letters: Regression::new(LETTERS),
            phrases: Regression::new(PHRASES),
            stack: Stack::default(),
            half_lives: AtomicU64::new(0),
        }
    }

    /// Octets of all counters.
    pub(crate) fn octets(&self) -> u64 {
        let weights = self.letters.octets() + self.phrases.octets();
        let slots = self.bayes.slots().octets() + self.chain.slots().octets();
        slots + u64::try_from(weights).unwrap_or_default()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::of(self.half_lives.load(Relaxed))
    }

    pub(crate) fn half_lives(&self) -> &AtomicU64 {
        &self.half_lives
    }

    /// Messages learned, ham first.
    pub(crate) fn learned(&self) -> [f32; 2] {
        [Class::Ham, Class::Spam].map(|class| self.bayes.messages(class))
    }

    pub(crate) fn opinion(&self, prepared: &Prepared, whom: Whom<'_>) -> Opinion {
        let epoch = self.epoch();
        let (bayes, _) = self.bayes.score(&prepared.clues, &self.overlays(whom), epoch);
        let letters = self.letters.score(&prepared.letters);
        let phrases = self.phrases.score(&prepared.clues);
        let scores = [
            bayes,
            self.chain.score(&prepared.sequence, epoch),
            self.sections.score(&prepared.sequence),
            letters,
            phrases,
        ];
        let said = in_units(scores);
        let log_odds = self.stack.log_odds(&said, prepared.language, self.learned());
        Opinion { said, log_odds, letters, phrases }
    }

    /// The overlays that have seen enough to count.
    pub(crate) fn overlays(&self, whom: Whom<'_>) -> Vec<Overlay> {
        let salts = salts(whom);
        let grown = |salt: u64| {
            let counts = self.bayes.salted_counts(OVERLAY, salt, self.epoch());
            salt != 0 && counts.spam + counts.ham >= TASTE
        };
        let both = salts.into_iter().zip([DOMAIN_FACTOR, USER_FACTOR]);
        both.filter(|(salt, _)| grown(*salt)).map(|(salt, factor)| Overlay { salt, factor }).collect()
    }

    /// What a lesson is to add, given what is known before it.
    pub(crate) fn addition(
        &self,
        features: &Features,
        class: Class,
        source: Source,
        units: i32,
        whom: Whom<'_>,
        now: Duration,
    ) -> Addition {
        let prepared = features.prepared();
        let epoch = self.epoch();
        let opinion = self.opinion(prepared, whom);
        let sections = self.sections.expectations(&prepared.sequence, class);
        let (trusted, spam) = (source.is_trusted(), class == Class::Spam);
        // The model's own opinion counts for less where messages are counted. A regression moves by what it is not sure of: that is
        // little where it taught itself before, and the whole of it is what keeps up with mail that changes.
        let weight = if trusted { units as f32 / crate::slots::UNIT as f32 } else { 1.0 };
        Addition {
            digest: features.digest(),
            spam,
            own: !trusted,
            units,
            half_lives: now.as_secs() / HALF_LIFE.as_secs(),
            salts: salts(whom),
            features: features.to_bytes(),
            chain: self.chain.expectations(&prepared.sequence, class, epoch),
            states: sections.states,
            steps: sections.steps,
            letters: self.letters.step(opinion.letters, spam, weight, &prepared.letters),
            phrases: self.phrases.step(opinion.phrases, spam, weight, &prepared.clues),
            stack: if trusted {
                self.stack.step(&opinion.said, prepared.language, class, self.learned())
            } else {
                Step::default()
            },
            before: trusted.then_some(opinion.log_odds),
        }
    }

    /// Adds a lesson, or takes it away. One thread at a time.
    pub(crate) fn apply(&self, addition: &Addition, prepared: &Prepared, forward: bool) {
        self.age(addition.half_lives);
        let epoch = self.epoch();
        // What has aged since it was added is taken away as what is left of it.
        let units = addition.units >> epoch.since(Epoch::of(addition.half_lives));
        let units = if forward { units } else { -units };
        let class = addition.class();
        self.bayes.add(&prepared.clues, class, units, epoch);
        for salt in addition.salts.into_iter().filter(|salt| *salt != 0) {
            self.bayes.add_salted(&prepared.clues, salt, class, units, epoch);
            self.bayes.add_salted(&[OVERLAY], salt, class, units, epoch);
        }
        self.chain.add(&prepared.sequence, &addition.chain, class, units, epoch);
        let sections = Expectations { states: addition.states.clone(), steps: addition.steps };
        self.sections.add(&prepared.sequence, &sections, class, units);
        self.letters.add(&prepared.letters, &addition.letters, forward);
        self.phrases.add(&prepared.clues, &addition.phrases, forward);
        self.stack.add(&addition.stack, forward);
    }

    /// Lets all sums lose half their weight for each half-life that has passed; slots do so by themselves.
    fn age(&self, half_lives: u64) {
        let passed = half_lives.saturating_sub(self.half_lives.load(Relaxed));
        if passed == 0 {
            return;
        }
        self.half_lives.store(half_lives, Relaxed);
        let shift = u32::try_from(passed).unwrap_or(u32::MAX).min(i64::BITS - 1);
        for counter in self.sums() {
            counter.store(counter.load(Relaxed) >> shift, Relaxed);
        }
        self.letters.age(shift);
        self.phrases.age(shift);
    }

    /// Every sum that is no slot, in a fixed order; those of the stack apart: weights do not age.
    pub(crate) fn sums(&self) -> impl Iterator<Item = &AtomicI64> {
        let totals = [Class::Ham, Class::Spam]
            .into_iter()
            .flat_map(|class| [self.bayes.total(class), self.chain.total(class)]);
        totals.chain(self.chain.transitions()).chain(self.sections.counters())
    }
}

fn salts(whom: Whom<'_>) -> [u64; 2] {
    [(whom.domain, DOMAIN_SEED), (whom.user, USER_SEED)]
        .map(|(name, seed)| if name.is_empty() { 0 } else { xxh3_64_with_seed(name.as_bytes(), seed).max(1) })
}
