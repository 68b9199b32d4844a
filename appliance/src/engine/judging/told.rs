//! What the judge found, as the trace has it.

use judge::{Check, Thresholds};
use record::Verdict;

/// Octets of a word, and of a check's result, that are told.
const MAX_TOLD: usize = 80;

pub(super) fn verdict_of(verdict: judge::Verdict) -> Verdict {
    match verdict {
        judge::Verdict::Pass => Verdict::Pass,
        judge::Verdict::Tag => Verdict::Tag,
        judge::Verdict::Quarantine => Verdict::Quarantine,
        judge::Verdict::Reject => Verdict::Reject,
        judge::Verdict::Defer => Verdict::Defer,
        judge::Verdict::Discard => Verdict::Discard,
    }
}

pub(super) fn told(check: &Check) -> record::Check {
    let demand = check.demand.map(verdict_of);
    record::Check {
        name: shortened(&check.name),
        result: shortened(&check.result),
        weight: check.weight,
        demand,
    }
}

/// What would have changed the verdict.
pub(super) fn otherwise(weighed: &judge::Judgement, thresholds: &Thresholds) -> Vec<(Verdict, Box<str>)> {
    let others = judge::otherwise(weighed, thresholds);
    let told = |other: judge::Otherwise| (verdict_of(other.verdict), other.because.into());
    others.into_iter().take(record::MAX_OTHERWISE).map(told).collect()
}

pub(super) fn shortened(text: &str) -> Box<str> {
    text.get(..text.floor_char_boundary(MAX_TOLD)).unwrap_or_default().into()
}
