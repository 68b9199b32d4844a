//! From the classifier's log-odds and all other evidence to a verdict, and why.

use std::borrow::Cow;

use crate::model::Score;

/// What is done with a message, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes on with a field that says so.
    Tag,
    /// It is held.
    Quarantine,
    /// It is to come again later (4xx).
    Defer,
    /// It is refused (5xx).
    Reject,
    /// It is taken and delivered to nobody: traps only.
    Discard,
}

impl Verdict {
    /// All of them, the mildest first.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::Tag, Self::Quarantine, Self::Defer, Self::Reject, Self::Discard];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// Its name in output and fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tag => "tag",
            Self::Quarantine => "quarantine",
            Self::Defer => "defer",
            Self::Reject => "reject",
            Self::Discard => "discard",
        }
    }
}

/// What one check found: SPF, a DNS list, a virus scanner, the classifier itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its name, as `spf` or `dnsbl:zen.example`.
    pub name: Cow<'static, str>,
    /// What it found, in a word or two.
    pub result: Cow<'static, str>,
    /// Its share in log-odds (natural logarithm); above 0 speaks for spam. Kept within [`MAX_WEIGHT`]; what is no number counts 0.
    pub weight: f64,
    /// The least that must be done, whatever the probability; [`Verdict::Pass`] is a pass unless another check demands more.
    pub demand: Option<Verdict>,
}

/// No single check outweighs this, in log-odds: certainty is said by a demand.
pub const MAX_WEIGHT: f64 = 12.0;

impl Check {
    /// A check that speaks by its weight alone.
    pub fn weighing(
        name: impl Into<Cow<'static, str>>,
        result: impl Into<Cow<'static, str>>,
        weight: f64,
    ) -> Self {
        Self { name: name.into(), result: result.into(), weight, demand: None }
    }

    /// A check that demands at least a verdict.
    pub fn demanding(
        name: impl Into<Cow<'static, str>>,
        result: impl Into<Cow<'static, str>>,
        demand: Verdict,
    ) -> Self {
        Self { name: name.into(), result: result.into(), weight: 0.0, demand: Some(demand) }
    }

    fn share(&self) -> f64 {
        if self.weight.is_nan() { 0.0 } else { self.weight.clamp(-MAX_WEIGHT, MAX_WEIGHT) }
    }
}

/// Spam probabilities from which something is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// From here it is tagged.
    pub tag: f64,
    /// From here it is held.
    pub quarantine: f64,
    /// From here it is refused.
    pub reject: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { tag: 0.80, quarantine: 0.95, reject: 0.999 }
    }
}

impl Thresholds {
    /// What a probability alone leads to.
    pub fn verdict(&self, probability: f64) -> Verdict {
        match probability {
            p if p >= self.reject => Verdict::Reject,
            p if p >= self.quarantine => Verdict::Quarantine,
            p if p >= self.tag => Verdict::Tag,
            _ => Verdict::Pass,
        }
    }
}

/// What all the evidence says together.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What is to be done.
    pub verdict: Verdict,
    /// That it is spam: 0 to 1.
    pub probability: f64,
    /// The same in log-odds.
    pub log_odds: f64,
    /// Every check in the order given, the classifier's first where there is a score; weights as they counted.
    pub checks: Vec<Check>,
}

/// Weighs the classifier's score and the checks. Without a score (the model was not asked, law 8) the checks speak alone.
pub fn judge(score: Option<&Score>, checks: &[Check], thresholds: &Thresholds) -> Judgement {
    let classifier = score.map(|score| {
        Check::weighing("classifier", if score.unsure { "unsure" } else { "sure" }, score.log_odds)
    });
    let mut all: Vec<Check> = classifier.into_iter().chain(checks.iter().cloned()).collect();
    for check in &mut all {
        check.weight = check.share();
    }
    let (verdict, log_odds) = weigh(all.iter(), thresholds);
    Judgement { verdict, probability: probability(log_odds), log_odds, checks: all }
}

/// What checks, with weights as they count, come to, and their log-odds together.
pub(crate) fn weigh<'a>(
    checks: impl Iterator<Item = &'a Check> + Clone,
    thresholds: &Thresholds,
) -> (Verdict, f64) {
    let log_odds = checks.clone().map(|check| check.weight).sum();
    let verdict = thresholds.verdict(probability(log_odds));
    (demanded(checks.filter_map(|check| check.demand), verdict), log_odds)
}

/// The probability that log-odds stand for.
pub fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The log-odds of a probability.
pub fn log_odds(probability: f64) -> f64 {
    let probability = probability.clamp(1e-9, 1.0 - 1e-9);
    (probability / (1.0 - probability)).ln()
}

fn demanded(demands: impl Iterator<Item = Verdict>, weighed: Verdict) -> Verdict {
    match demands.max() {
        None => weighed,
        Some(Verdict::Pass) => Verdict::Pass,
        Some(demand) => demand.max(weighed),
    }
}
