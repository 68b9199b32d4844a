//! The classifier as a whole: scored by many threads at once, taught by one at a time.

mod teaching;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::bayes::{Bayes, Overlay};
use crate::chain::Chain;

use crate::error::JudgeError;
use crate::explanation::{Clue, Explanation, MemberSays, otherwise};
use crate::features::{Digest, Features};
use crate::lesson::{Class, Learnt, Lesson, Source, Whom};
use crate::letters::Letters;
use crate::prepared::{Prepared, word_hash};
use crate::sections::Sections;
use crate::slots::Epoch;
use crate::stack::{MEMBERS, Said, Stack};
use crate::verdict::{Check, Thresholds, judge, probability};
use crate::words::{Hearer, Space, tell};
use teaching::Teacher;

/// How large a model is, and how it is tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The share of ham that may be taken for spam: the cut follows it.
    pub ham_loss: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ham_loss: 0.001 }
    }
}

/// What the classifier says of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Calibrated; above 0 is spam.
    pub log_odds: f64,
    /// The same as a probability.
    pub probability: f64,
    /// It says too little to act upon alone.
    pub unsure: bool,
    /// Whether at least two members say the same.
    pub(crate) agreed: bool,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Lessons of the log that were learnt again.
    pub replayed: u64,
    /// Octets at the end of the log that made no sense and were cut; 0 after an orderly end.
    pub cut: u64,
}

/// How much a model has learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// Ham, by weight.
    pub ham: f64,
    /// Spam, by weight.
    pub spam: f64,
    /// Octets of counters, all in use.
    pub memory: u64,
}

/// Counts halve in this time.
const HALF_LIFE: Duration = Duration::from_secs(60 * 86_400);
/// Slots of words and pairs, and of chains, as a power of two: 64 MiB each.
const SLOT_BITS: u32 = 23;
/// Weights of letters, as a power of two: 16 MiB.
const LETTER_BITS: u32 = 22;
/// Below this many messages of a class the score is drawn to undecided.
const FEW: f32 = 8.0;
/// Log-odds within which a score is unsure.
const UNSURE: f64 = 1.0;
/// What an overlay's message counts beside the site's: a domain's, a person's.
const OVERLAY_FACTORS: [f32; 2] = [2.0, 3.0];
/// Clues that an explanation names.
const MAX_CLUES: usize = 15;

/// The classifier.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
    bayes: Bayes,
    chain: Chain,
    sections: Sections,
    letters: Letters,
    stack: Stack,
    /// By how much log-odds are lowered for the ham that may be lost, as bits of an `f32`.
    shift: AtomicU32,
    teacher: Mutex<Teacher>,
}

impl Model {
    /// An empty model that is kept nowhere.
    pub fn in_memory(settings: Settings) -> Self {
        Self {
            settings,
            bayes: Bayes::new(SLOT_BITS),
            chain: Chain::new(SLOT_BITS),
            sections: Sections::new(),
            letters: Letters::new(LETTER_BITS),
            stack: Stack::new(),
            shift: AtomicU32::new(0),
            teacher: Mutex::new(Teacher::default()),
        }
    }

    /// The model of a folder: its log is learnt again. A folder that is empty or missing is a cold start; a damaged end of the log
    /// is cut and told in [`Recovered`].
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the folder cannot be read or written at all.
    pub fn open(folder: &Path, settings: Settings) -> Result<(Self, Recovered), JudgeError> {
        let model = Self::in_memory(settings);
        let recovered = teaching::recover(&model, folder)?;
        Ok((model, recovered))
    }

    /// What the classifier says of a message. Never waits for training.
    pub fn score(&self, features: &Features, whom: Whom<'_>, now: Duration) -> Score {
        let said = self.said(features.prepared(), whom, epoch(now));
        self.weighed(&said)
    }

    /// Learns a message. One at a time: waits for another lesson, never for a score.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the log could not be written; it has been learnt in memory all the same.
    pub fn learn(&self, lesson: &Lesson<'_>) -> Result<Learnt, JudgeError> {
        teaching::learn(self, &mut teaching::locked(&self.teacher), lesson)
    }

    /// Undoes what was learnt from a message, exactly; `false` if nothing was, or too long ago.
    ///
    /// # Errors
    ///
    /// As [`Self::learn`].
    pub fn forget(&self, digest: &Digest, now: Duration) -> Result<bool, JudgeError> {
        teaching::forget(self, &mut teaching::locked(&self.teacher), digest, now)
    }

    /// Lets the model learn its own verdict on a message where that helps: neither what it knows well nor what it only guesses,
    /// little of each sibling, ham and spam in balance, never on the word of one member. [`Learnt::Declined`] mostly.
    ///
    /// # Errors
    ///
    /// As [`Self::learn`].
    pub fn teach_itself(
        &self,
        features: &Features,
        score: &Score,
        now: Duration,
    ) -> Result<Learnt, JudgeError> {
        let mut teacher = teaching::locked(&self.teacher);
        let class = if score.log_odds > 0.0 { Class::Spam } else { Class::Ham };
        if !score.agreed || !teacher.may_teach_itself(features.body_hash(), score.log_odds, class, now) {
            return Ok(Learnt::Declined);
        }
        let weight = teaching::OWN_WEIGHT;
        let lesson = Lesson { features, class, source: Source::Own, weight, whom: Whom::default(), now };
        teaching::learn(self, &mut teacher, &lesson)
    }

    /// To be called about once a second: makes the log durable.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the disk fails; the next call tries again.
    pub fn tick(&self) -> Result<(), JudgeError> {
        teaching::locked(&self.teacher).sync()
    }

    /// How much has been learnt.
    pub fn learned(&self) -> Learned {
        let slots = self.bayes.slots().octets() + self.chain.slots().octets();
        Learned {
            ham: self.bayes.messages(Class::Ham).into(),
            spam: self.bayes.messages(Class::Spam).into(),
            memory: slots + (4 << LETTER_BITS),
        }
    }

    /// Why a message gets its verdict. Slower than a score: it looks the words up by name.
    pub fn explain(
        &self,
        features: &Features,
        whom: Whom<'_>,
        checks: &[Check],
        thresholds: &Thresholds,
        now: Duration,
    ) -> Explanation {
        let epoch = epoch(now);
        let said = self.said(features.prepared(), whom, epoch);
        let judgement = judge(Some(&self.weighed(&said)), checks, thresholds);
        let otherwise = otherwise(&judgement, thresholds);
        let shares = self.stack.shares(&said);
        let members =
            MEMBERS.iter().zip(shares).map(|(name, share)| MemberSays { name, share: share.into() });
        let mut naming = Naming::default();
        tell(features.pieces(), &mut naming);
        let clues = self.named_clues(&naming, whom, epoch);
        let sequences = self.named_sequences(features.prepared(), &naming, epoch);
        Explanation { judgement, members: members.collect(), clues, sequences, otherwise }
    }

    fn said(&self, prepared: &Prepared, whom: Whom<'_>, now: Epoch) -> Said {
        let (bayes, _) = self.bayes.score(&prepared.clues, &overlays(whom), now);
        let chain = self.chain.score(&prepared.sequence, now);
        let sections = self.sections.score(&prepared.sequence);
        Stack::scaled([bayes, chain, sections, self.letters.score(&prepared.letters)])
    }

    fn weighed(&self, said: &Said) -> Score {
        let raw: f32 = self.stack.shares(said).iter().sum();
        let rarer = self.rarer();
        let believed = raw * rarer / (rarer + FEW);
        let log_odds = f64::from(believed - f32::from_bits(self.shift.load(Relaxed)));
        let same = said.iter().filter(|said| f64::from(**said) * log_odds > 0.0).count();
        let unsure = log_odds.abs() < UNSURE;
        Score { log_odds, probability: probability(log_odds), unsure, agreed: same >= 2 }
    }

    fn rarer(&self) -> f32 {
        self.bayes.messages(Class::Ham).min(self.bayes.messages(Class::Spam))
    }

    fn named_clues(&self, naming: &Naming, whom: Whom<'_>, now: Epoch) -> Vec<Clue> {
        let odds = self.bayes.odds();
        let overlays = overlays(whom);
        let clues = naming.words.iter().map(|(hash, text)| {
            let counts = self.bayes.counts(*hash, &overlays, now);
            Clue {
                text: text.clone(),
                weight: odds.weight(counts).into(),
                spam: counts.spam,
                ham: counts.ham,
            }
        });
        strongest(clues.filter(|clue| clue.spam + clue.ham > 0.0).collect())
    }

    fn named_sequences(&self, prepared: &Prepared, naming: &Naming, now: Epoch) -> Vec<Clue> {
        let names: std::collections::HashMap<u64, &str> =
            naming.words.iter().map(|(hash, text)| (*hash, text.as_str())).collect();
        let words = &prepared.sequence;
        let sequences = self.chain.word_by_word(words, now).enumerate().filter_map(|(place, weight)| {
            let named =
                words[place.saturating_sub(2)..=place].iter().filter_map(|hash| names.get(hash).copied());
            let text = named.collect::<Vec<_>>().join(" ");
            (!text.is_empty()).then_some(Clue { text, weight: weight.into(), spam: 0.0, ham: 0.0 })
        });
        strongest(sequences.collect())
    }
}

fn strongest(mut clues: Vec<Clue>) -> Vec<Clue> {
    clues.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then_with(|| a.text.cmp(&b.text)));
    clues.dedup_by(|a, b| a.text == b.text);
    clues.truncate(MAX_CLUES);
    clues
}

fn epoch(now: Duration) -> Epoch {
    Epoch::at(now, HALF_LIFE)
}

/// Whose counts lie over the site's.
fn overlays(whom: Whom<'_>) -> Vec<Overlay> {
    let owners = [("domain", whom.domain), ("user", whom.user)].into_iter().zip(OVERLAY_FACTORS);
    let named = owners.filter(|((_, name), _)| !name.is_empty());
    named.map(|((kind, name), factor)| Overlay { salt: word_hash(kind, name) | 1, factor }).collect()
}

/// Words by their hashes.
#[derive(Default)]
struct Naming {
    words: Vec<(u64, String)>,
}

impl Hearer for Naming {
    fn word(&mut self, space: Space, tag: &str, text: &str) {
        let name = match space {
            Space::Body | Space::Fact => text.to_owned(),
            Space::Field | Space::Hidden | Space::Link => format!("{tag}:{text}"),
        };
        self.words.push((word_hash(tag, text), name));
    }

    fn pause(&mut self) {}
}
