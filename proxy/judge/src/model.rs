//! The classifier as a whole: scored by many threads at once, taught by one at a time.

use std::path::Path;
use std::time::Duration;

use crate::error::JudgeError;
use crate::explanation::{Explanation, otherwise};
use crate::features::{Digest, Features};
use crate::lesson::{Learnt, Lesson, Whom};
use crate::verdict::{Check, Thresholds, judge};

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
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Lessons that the snapshot holds.
    pub in_snapshot: u64,
    /// Lessons of the log's tail that were learnt again.
    pub replayed: u64,
    /// Octets at the end of the log that made no sense and were cut; 0 after an orderly end.
    pub cut: u64,
    /// The snapshot was damaged and was moved aside: what it held beyond the log is lost.
    pub snapshot_lost: bool,
}

/// How much a model has learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// Ham, by weight.
    pub ham: f64,
    /// Spam, by weight.
    pub spam: f64,
    /// Octets of counters in use.
    pub memory: u64,
}

/// The classifier.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
}

impl Model {
    /// An empty model that is kept nowhere.
    pub fn in_memory(settings: Settings) -> Self {
        Self { settings }
    }

    /// The model of a folder: its snapshot, and what the log has beyond it. A folder that is empty or missing is a cold start;
    /// damage is moved aside or cut and told in [`Recovered`].
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the folder cannot be read or written at all.
    pub fn open(folder: &Path, settings: Settings, now: Duration) -> Result<(Self, Recovered), JudgeError> {
        let _ = (folder, now);
        Ok((Self { settings }, Recovered::default()))
    }

    /// What the classifier says of a message. Never waits for training.
    pub fn score(&self, features: &Features, whom: Whom<'_>, now: Duration) -> Score {
        let _ = (features, whom, now, &self.settings);
        Score { log_odds: 0.0, probability: 0.5, unsure: true }
    }

    /// Learns a message. One at a time: waits for another lesson, never for a score.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the log could not be written; it has been learnt in memory all the same.
    pub fn learn(&self, lesson: &Lesson<'_>) -> Result<Learnt, JudgeError> {
        let _ = lesson;
        Ok(Learnt::Declined)
    }

    /// Undoes what was learnt from a message within the last 30 days, exactly; `false` if nothing was.
    ///
    /// # Errors
    ///
    /// As [`Self::learn`].
    pub fn forget(&self, digest: &Digest, now: Duration) -> Result<bool, JudgeError> {
        let _ = (digest, now);
        Ok(false)
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
        let _ = (features, score, now);
        Ok(Learnt::Declined)
    }

    /// To be called about once a second: makes the log durable, and writes a snapshot when the log has grown long.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the disk fails; the next call tries again.
    pub fn tick(&self, now: Duration) -> Result<(), JudgeError> {
        let _ = now;
        Ok(())
    }

    /// Writes a snapshot now.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the disk fails: the former snapshot and the log remain.
    pub fn snapshot(&self, now: Duration) -> Result<(), JudgeError> {
        let _ = now;
        Ok(())
    }

    /// How much has been learnt.
    pub fn learned(&self) -> Learned {
        Learned::default()
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
        let score = self.score(features, whom, now);
        let judgement = judge(Some(&score), checks, thresholds);
        let otherwise = otherwise(&judgement, thresholds);
        Explanation { judgement, members: Vec::new(), clues: Vec::new(), sequences: Vec::new(), otherwise }
    }
}
