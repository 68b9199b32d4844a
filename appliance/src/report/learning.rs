//! How the classifier does, day by day, and who is blocked by a person's word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::Count;

/// What it has learnt, and how often it was right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearningState {
    /// Wanted messages that it has learnt, by weight.
    pub ham: f64,
    /// Unwanted ones.
    pub spam: f64,
    /// The last days, the oldest first.
    pub days: Vec<LearningDay>,
    /// Of all days that are kept, by its probability.
    pub reliability: Vec<ReliabilityBin>,
}

/// One day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearningDay {
    /// Its beginning, in seconds since 1970.
    pub day: u64,
    /// What was decided, mildest first.
    pub verdicts: Vec<Count>,
    /// Wanted mail for which somebody vouched.
    pub ham: u64,
    /// Of it what the classifier would have acted upon, before it was told.
    pub ham_lost: u64,
    /// Unwanted mail for which somebody vouched.
    pub spam: u64,
    /// Of it what the classifier would have let pass.
    pub spam_missed: u64,
}

/// Messages to which the classifier gave probabilities of ten percent's range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReliabilityBin {
    /// From this percentage on.
    pub percent_from: usize,
    /// How many.
    pub messages: u64,
    /// How many of them were spam.
    pub spam: u64,
}

/// A sender from whom a person wants nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedSender {
    /// An address or a domain, in lower case.
    pub entry: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}
