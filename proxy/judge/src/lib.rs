//! Facts, evidence, a model and now to a verdict: pure and synchronous.
//!
//! - [`Features`] are what the classifier sees of a message, bounded, with a byte form that is kept for reports.
//! - [`Model`] says how likely a message is spam: Bayes on sparse word pairs, a hidden Markov model over word chains, one over
//!   sections of a message and logistic regressions on letters and phrases, stacked and calibrated. Any number of threads score at once.
//! - [`Lesson`]s teach it. What is learnt is on disk within two seconds, counts once, and can be undone exactly for 30 days.
//! - [`judge()`] weighs its [`Score`] with other [`Check`]s to a [`Verdict`]; [`Explanation`] says why.
//! - [`pretence`] finds who a message would like to be taken for, [`looks`] what names look like.
//! - `evaluation` is the instrument that accuracy is measured with.
//!
//! The time is always given: nothing here reads a clock.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole numbers of small units: `as` from a float saturates, and each is bounded where it is made"
)]

pub mod error;
pub mod evaluation;
pub mod explanation;
pub mod features;
pub mod lesson;
pub mod looks;
pub mod model;
pub mod pretence;
pub mod verdict;

mod bayes;
mod chain;
mod disguise;
#[doc(hidden)]
pub mod fuzzing;
mod journal;
mod known;
mod language;
mod members;
mod prepared;
mod regression;
mod sections;
mod self_training;
mod slots;
mod snapshot;
mod stack;
mod why;
mod words;

pub use error::JudgeError;
pub use explanation::{Clue, Explanation, MemberSays, Otherwise, otherwise};
pub use features::{Client, Digest, Features, Transport};
pub use language::LANGUAGE_NAMES;
pub use lesson::{Class, Learnt, Lesson, Source, Whom};
pub use model::{Learned, Model, Recovered, Score, Settings};
pub use verdict::{Check, Judgement, Thresholds, Verdict, judge, probability};
