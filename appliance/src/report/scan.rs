//! What is said of a message that is judged without being sent, and of one that is taught.

use std::net::IpAddr;

use judge::{Explanation, Judgement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message to be judged, and what its envelope would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanOrder {
    /// The message, in base64.
    pub message: String,
    /// The reverse-path, without brackets; empty: the null one.
    #[serde(default)]
    pub from: String,
    /// The recipients.
    #[serde(default)]
    pub to: Vec<String>,
    /// The client's address; without it nobody is asked who may send.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// What the client called itself.
    #[serde(default)]
    pub helo: String,
    /// Whether the words are wanted, too.
    #[serde(default)]
    pub explain: bool,
}

/// What would be made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scanned {
    /// `pass`, `tag`, `quarantine`, `defer`, `reject` or `discard`: by the thresholds, whatever `action` lets it do.
    pub verdict: String,
    /// 0 to 1.
    pub spam_probability: f64,
    /// What was found, in the order in which it was looked at.
    pub checks: Vec<CheckResult>,
    /// What could not be found out.
    pub trouble: Vec<String>,
    /// Why, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Why>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// What it found.
    pub result: String,
    /// Its share, in log-odds; above 0 speaks for spam.
    pub weight: f64,
}

/// The classifier's reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// What each member of the classifier says.
    pub members: Vec<Share>,
    /// Words, pairs and facts that weighed most.
    pub words: Vec<Share>,
    /// Sequences of words that did.
    pub sequences: Vec<Share>,
    /// What would have changed the verdict.
    pub otherwise: Vec<Otherwise>,
}

/// Something and what it weighs, in log-odds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// What.
    pub text: String,
    /// How much.
    pub weight: f64,
}

/// Another verdict and what would have led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Otherwise {
    /// The other verdict.
    pub verdict: String,
    /// What would have led there.
    pub because: String,
}

impl Scanned {
    /// From what was weighed.
    pub fn of(judgement: &Judgement, trouble: Vec<String>, why: Option<Explanation>) -> Self {
        let checks = judgement.checks.iter().map(|check| CheckResult {
            name: check.name.to_string(),
            result: check.result.to_string(),
            weight: check.weight,
        });
        Self {
            verdict: judgement.verdict.name().to_owned(),
            spam_probability: judgement.probability,
            checks: checks.collect(),
            trouble,
            explanation: why.map(Why::from),
        }
    }
}

impl From<Explanation> for Why {
    fn from(explanation: Explanation) -> Self {
        let shares = |clues: Vec<judge::Clue>| {
            clues.into_iter().map(|clue| Share { text: clue.text, weight: clue.weight }).collect()
        };
        let member = |says: judge::MemberSays| Share { text: says.name.to_owned(), weight: says.share };
        let otherwise = |other: judge::Otherwise| Otherwise {
            verdict: other.verdict.name().to_owned(),
            because: other.because,
        };
        Self {
            members: explanation.members.into_iter().map(member).collect(),
            words: shares(explanation.clues),
            sequences: shares(explanation.sequences),
            otherwise: explanation.otherwise.into_iter().map(otherwise).collect(),
        }
    }
}

/// A message to be learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LearnOrder {
    /// The message, in base64.
    pub message: String,
}

/// What came of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lesson {
    /// It was not known.
    New,
    /// It was known so already, and counts once.
    Again,
    /// It was known as the opposite, which was taken back.
    Corrected,
}

impl From<judge::Learnt> for Lesson {
    fn from(learnt: judge::Learnt) -> Self {
        match learnt {
            judge::Learnt::New => Self::New,
            // Nobody who has the last word is declined; what counts already, counts once.
            judge::Learnt::Again | judge::Learnt::Declined => Self::Again,
            judge::Learnt::Corrected => Self::Corrected,
        }
    }
}

/// The answer to [`LearnOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taught {
    /// What came of it.
    pub learnt: Lesson,
}

/// Why nothing could be said or learnt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJudging {
    /// The config switches it off.
    #[error("mail is not judged here: [judge] enabled is false")]
    Off,
    /// What was sent makes no sense.
    #[error("{0}")]
    Wrong(&'static str),
    /// It cannot be read or written now.
    #[error("{0}")]
    Failed(String),
}
