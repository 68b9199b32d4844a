//! Why a message was judged as it was, in words that an administrator can check against the message.

use crate::verdict::{Judgement, Thresholds, Verdict, log_odds};

/// Why.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The verdict and every check with its share.
    pub judgement: Judgement,
    /// What the classifier's members said.
    pub members: Vec<MemberSays>,
    /// Words, pairs and facts that weighed most, the strongest first.
    pub clues: Vec<Clue>,
    /// Sequences of words that told most, the strongest first.
    pub sequences: Vec<Clue>,
    /// What would have changed the verdict.
    pub otherwise: Vec<Otherwise>,
}

/// A member of the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberSays {
    /// Its name.
    pub name: &'static str,
    /// Its share of the classifier's log-odds.
    pub share: f64,
}

/// A word, a sequence or a fact, and what it told.
#[derive(Clone, Debug, PartialEq)]
pub struct Clue {
    /// As it stands in the message; of header tokens with the field's name.
    pub text: String,
    /// In log-odds, above 0 for spam.
    pub weight: f64,
    /// Spam messages it was learnt from, by weight.
    pub spam: f32,
    /// Ham messages it was learnt from, by weight.
    pub ham: f32,
}

/// Another verdict, and what would have led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Otherwise {
    /// The other verdict.
    pub verdict: Verdict,
    /// What would have led there.
    pub because: String,
}

/// Which single checks decided: without one of them the verdict had been another.
pub fn otherwise(judgement: &Judgement, thresholds: &Thresholds) -> Vec<Otherwise> {
    let mut found: Vec<Otherwise> = Vec::new();
    for (place, check) in judgement.checks.iter().enumerate() {
        let rest = judgement.checks.iter().enumerate().filter(|(other, _)| *other != place);
        let verdict = crate::verdict::weigh(rest.map(|(_, check)| check), thresholds).0;
        if verdict != judgement.verdict {
            let because = format!("without {} ({})", check.name, check.result);
            found.push(Otherwise { verdict, because });
        }
    }
    let bounds = [thresholds.tag, thresholds.quarantine, thresholds.reject].map(log_odds);
    let above = bounds.iter().filter(|bound| judgement.log_odds >= **bound).max_by(|a, b| a.total_cmp(b));
    let below = bounds.iter().filter(|bound| judgement.log_odds < **bound).min_by(|a, b| a.total_cmp(b));
    for (bound, word) in [(above, "less"), (below, "more")] {
        let Some(bound) = bound else { continue };
        let distance = (judgement.log_odds - bound).abs();
        let there = if word == "less" { bound - 1e-6 } else { bound + 1e-6 };
        let verdict = thresholds.verdict(crate::verdict::probability(there));
        let because = format!("with {distance:.2} {word} in log-odds");
        found.push(Otherwise { verdict, because });
    }
    found
}
