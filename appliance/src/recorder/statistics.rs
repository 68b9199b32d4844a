//! Rolling sums: by the minute for an hour, by the hour for two days.

use std::collections::VecDeque;
use std::time::Duration;

use record::{Event, Session, SessionEnd, TlsOutcome, Transaction};

use super::metrics::leg_of;
use super::{Outcome, outcome};
use crate::report::{Count, Period, TlsCount, Totals};

/// Kinds counted in one span. Suites and groups are few; servers may invent reply codes.
const MAX_KINDS: usize = 64;

/// The numbers of the last hour and of the last two days.
#[derive(Debug)]
pub struct Statistics {
    spans: [Span; 2],
}

impl Default for Statistics {
    fn default() -> Self {
        Self { spans: [Span::new(60, 60), Span::new(3600, 48)] }
    }
}

impl Statistics {
    pub(crate) fn add(&mut self, event: &Event, now: Duration) {
        for span in &mut self.spans {
            let bucket = span.at(now);
            match event {
                Event::Session(session) => bucket.session(session),
                Event::Transaction(transaction) => bucket.transaction(transaction),
                Event::LegFailed(_) | Event::FarTls(_) | Event::Afterwards(_) => {}
            }
        }
    }

    /// The sums as of `now`: the last hour, then the last two days.
    pub fn periods(&self, now: Duration) -> Vec<Period> {
        self.spans.iter().map(|span| span.period(now)).collect()
    }
}

/// A row of buckets of the same length; buckets in which nothing happened are not kept.
#[derive(Debug)]
struct Span {
    step_seconds: u64,
    steps: u64,
    buckets: VecDeque<(u64, Bucket)>,
}

#[derive(Debug, Default)]
struct Bucket {
    totals: Totals,
    client_tls: Tally<TlsKind>,
    server_tls: Tally<TlsKind>,
    refusals: Tally<Refused>,
    verdicts: Tally<&'static str>,
}

/// Version, suite, group.
type TlsKind = (&'static str, &'static str, &'static str);

/// Why something was refused: by name, or by a server's or Postern's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Abuse(&'static str),
    Reply(u16, Option<smtp::EnhancedCode>),
}

impl Refused {
    fn words(self) -> String {
        match self {
            Self::Abuse(name) => name.replace('_', " "),
            Self::Reply(code, Some(enhanced)) => format!("{code} {enhanced}"),
            Self::Reply(code, None) => code.to_string(),
        }
    }
}

/// Counts of a few kinds; a list is faster than a map for so few.
#[derive(Debug)]
struct Tally<K>(Vec<(K, u64)>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq> Tally<K> {
    fn add(&mut self, kind: K, count: u64) {
        match self.0.iter().position(|(known, _)| *known == kind) {
            Some(at) => self.0[at].1 += count,
            None if self.0.len() < MAX_KINDS => self.0.push((kind, count)),
            None => {}
        }
    }

    fn extend(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            self.add(*kind, *count);
        }
    }

    fn most_first(mut self) -> Vec<(K, u64)> {
        self.0.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.0
    }
}

impl Span {
    fn new(step_seconds: u64, steps: u64) -> Self {
        Self { step_seconds, steps, buckets: VecDeque::new() }
    }

    /// The bucket of `now`; the clock may step back, then the latest one serves.
    fn at(&mut self, now: Duration) -> &mut Bucket {
        let step = now.as_secs() / self.step_seconds;
        if self.buckets.back().is_none_or(|(latest, _)| *latest < step) {
            self.buckets.push_back((step, Bucket::default()));
        }
        while self.buckets.front().is_some_and(|(oldest, _)| oldest + self.steps <= step) {
            self.buckets.pop_front();
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last].1
    }

    fn period(&self, now: Duration) -> Period {
        let latest = now.as_secs() / self.step_seconds;
        let oldest = (latest + 1).saturating_sub(self.steps);
        let mut steps = vec![Totals::default(); usize::try_from(self.steps).unwrap_or_default()];
        let mut sum = Bucket::default();
        for (step, bucket) in self.buckets.iter().filter(|(step, _)| *step >= oldest) {
            let at = usize::try_from(step - oldest).unwrap_or_default().min(steps.len() - 1);
            steps[at].add(&bucket.totals);
            sum.extend(bucket);
        }
        let tls = |tally: Tally<TlsKind>| tally.most_first().into_iter().map(tls_count).collect();
        let refusals = sum.refusals.most_first().into_iter();
        Period {
            seconds: self.step_seconds * self.steps,
            step_seconds: self.step_seconds,
            totals: sum.totals,
            steps,
            client_tls: tls(sum.client_tls),
            server_tls: tls(sum.server_tls),
            verdicts: sum
                .verdicts
                .most_first()
                .into_iter()
                .map(|(verdict, count)| Count { what: verdict.to_owned(), count })
                .collect(),
            refusals: refusals.map(|(kind, count)| Count { what: kind.words(), count }).collect(),
        }
    }
}

fn tls_count(((version, suite, group), count): (TlsKind, u64)) -> TlsCount {
    TlsCount { version: version.to_owned(), suite: suite.to_owned(), group: group.to_owned(), count }
}

impl Bucket {
    fn session(&mut self, session: &Session) {
        self.totals.sessions += 1;
        self.totals.plain_sessions += u64::from(session.tls.facts().is_none());
        self.client_tls.add(kind(&session.tls), 1);
        if let SessionEnd::Abuse(abuse) = &session.end {
            self.refusals.add(Refused::Abuse(abuse.name()), 1);
        }
    }

    fn transaction(&mut self, transaction: &Transaction) {
        let outcome = outcome(transaction);
        match outcome {
            Outcome::Accepted | Outcome::Spooled => {
                self.totals.accepted += 1;
                self.totals.bytes += transaction.size;
            }
            Outcome::Refused => self.totals.refused += 1,
            Outcome::Deferred => self.totals.deferred += 1,
            Outcome::Abandoned => {}
        }
        if transaction.verdict.is_judged() {
            self.verdicts.add(transaction.verdict.name(), 1);
        }
        let recipients = transaction.recipients.iter().filter_map(|recipient| recipient.reply.as_ref());
        let alone = transaction.size > 0 || transaction.ended_at_mail();
        let at_the_end = transaction.reply.as_ref().filter(|_| alone);
        for reply in recipients.chain(at_the_end).filter(|reply| !reply.code().is_positive()) {
            self.refusals.add(Refused::Reply(reply.code().get(), reply.enhanced()), 1);
        }
        for leg in transaction.groups.iter().filter_map(leg_of) {
            self.server_tls.add(kind(&leg.tls), 1);
        }
    }

    fn extend(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.client_tls.extend(&other.client_tls);
        self.server_tls.extend(&other.server_tls);
        self.refusals.extend(&other.refusals);
        self.verdicts.extend(&other.verdicts);
    }
}

fn kind(outcome: &TlsOutcome) -> TlsKind {
    match outcome {
        TlsOutcome::Plain => ("plain", "", ""),
        TlsOutcome::Failed(_) => ("failed", "", ""),
        TlsOutcome::Established { facts, .. } => (facts.version.name(), facts.suite, facts.group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    #[test]
    fn sums_roll_over_an_hour_and_two_days() {
        let mut statistics = Statistics::default();
        let start = Duration::from_secs(1_795_284_000);
        for minutes in 0..90 {
            let event = Event::Transaction(Box::new(samples::transaction(1)));
            statistics.add(&event, start + Duration::from_secs(60 * minutes));
        }
        let periods = statistics.periods(start + Duration::from_secs(60 * 89));
        assert_eq!((periods[0].totals.accepted, periods[0].steps.len()), (60, 60));
        assert_eq!((periods[1].totals.accepted, periods[1].steps.len()), (90, 48));
        assert_eq!(periods[1].totals.bytes, 90 * 10_240);
        assert_eq!(periods[1].steps[46].accepted + periods[1].steps[47].accepted, 90);
        assert_eq!(periods[0].server_tls[0].group, "X25519MLKEM768");
        assert_eq!(periods[0].refusals, [Count { what: "550 5.0.0".to_owned(), count: 60 }]);
        let later = statistics.periods(start + Duration::from_secs(86_400));
        assert_eq!((later[0].totals, later[1].totals.accepted), (Totals::default(), 90));
    }

    #[test]
    fn a_clock_that_steps_back_loses_nothing() {
        let mut statistics = Statistics::default();
        let event = Event::Session(Box::new(samples::refused_session()));
        statistics.add(&event, Duration::from_secs(7200));
        statistics.add(&event, Duration::from_secs(60));
        let periods = statistics.periods(Duration::from_secs(7200));
        assert_eq!((periods[0].totals.sessions, periods[0].totals.plain_sessions), (2, 2));
        assert_eq!(periods[0].refusals[0].what, "too many errors");
    }
}
