//! Counts for the charts: by the minute for an hour, by the hour for a day, by the day for thirty days.
//!
//! There are so many steps, and each has so few kinds, that it is bounded whatever comes. What changes is given out to be
//! stored, so that it is there again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use record::{Direction, Event, Session, TlsOutcome, Transaction};

use super::metrics::leg_of;
use crate::report::{Count, Trend, TrendSpan, TrendStep};

/// Kinds of one sort in one step: versions, groups and languages are closed sets of less.
const MAX_KINDS: usize = 32;

/// Where a step belongs: its span's place in [`TrendSpan::ALL`], and its number since 1970.
pub type StepKey = (u8, u64);

/// All spans.
#[derive(Debug, Default)]
pub struct Trends {
    rows: [Row; TrendSpan::ALL.len()],
}

/// The steps of one span; those in which nothing happened are not there.
#[derive(Debug, Default)]
struct Row {
    steps: BTreeMap<u64, TrendStep>,
    changed: BTreeSet<u64>,
}

impl Row {
    /// The step of `now`; the clock may step back, then the latest one serves.
    fn at(&mut self, span: TrendSpan, now: Duration) -> &mut TrendStep {
        let (seconds, _) = span.steps();
        let latest = self.steps.last_key_value().map_or(0, |(step, _)| *step);
        let step = latest.max(now.as_secs() / seconds);
        if step > latest {
            self.forget(span, now);
        }
        self.changed.insert(step);
        self.steps.entry(step).or_insert_with(|| TrendStep { at: step * seconds, ..TrendStep::default() })
    }

    fn forget(&mut self, span: TrendSpan, now: Duration) {
        let kept = self.steps.split_off(&oldest(span, now));
        let old = std::mem::replace(&mut self.steps, kept);
        self.changed.extend(old.into_keys());
    }
}

/// The first step of a span that ends now.
fn oldest(span: TrendSpan, now: Duration) -> u64 {
    let (seconds, steps) = span.steps();
    (now.as_secs() / seconds + 1).saturating_sub(steps)
}

impl Trends {
    pub(super) fn add(&mut self, event: &Event, now: Duration) {
        let count: &dyn Fn(&mut TrendStep) = match event {
            Event::Session(session) => &|step| step.session(session),
            Event::Transaction(transaction) => &|step| step.transaction(transaction),
            Event::LegFailed(_) | Event::FarTls(_) | Event::Afterwards(_) => return,
        };
        self.each(now, count);
    }

    fn each(&mut self, now: Duration, count: impl Fn(&mut TrendStep)) {
        for (span, row) in TrendSpan::ALL.into_iter().zip(&mut self.rows) {
            count(row.at(span, now));
        }
    }

    /// So many messages wait for their server. Of what is less than before in the same step nothing is kept.
    pub(crate) fn waiting(&mut self, messages: u64, now: Duration) {
        for (span, row) in TrendSpan::ALL.into_iter().zip(&mut self.rows) {
            let known = row.steps.get(&(now.as_secs() / span.steps().0)).map_or(0, |step| step.waiting);
            if messages > known {
                let step = row.at(span, now);
                step.waiting = step.waiting.max(messages);
            }
        }
    }

    /// A step that was stored, beside what has been counted since.
    pub(crate) fn recall(&mut self, (span, number): StepKey, stored: &TrendStep, now: Duration) {
        let place = usize::from(span);
        let (Some(span), Some(row)) = (TrendSpan::ALL.get(place), self.rows.get_mut(place)) else { return };
        if number < oldest(*span, now) || number > now.as_secs() / span.steps().0 {
            // Too old, or of a clock that was wrong: it goes from the store, too.
            row.changed.insert(number);
            return;
        }
        let empty = || TrendStep { at: number * span.steps().0, ..TrendStep::default() };
        row.steps.entry(number).or_insert_with(empty).merge(stored);
    }

    /// What has changed since it was asked for last; `None` for what is kept no longer.
    pub(crate) fn changed(&mut self) -> Vec<(StepKey, Option<TrendStep>)> {
        let mut changed = Vec::new();
        for (place, row) in (0..).zip(&mut self.rows) {
            let numbers = std::mem::take(&mut row.changed);
            changed.extend(numbers.into_iter().map(|one| ((place, one), row.steps.get(&one).cloned())));
        }
        changed
    }

    /// These were not stored.
    pub(crate) fn change_again(&mut self, keys: impl Iterator<Item = StepKey>) {
        for (span, number) in keys {
            if let Some(row) = self.rows.get_mut(usize::from(span)) {
                row.changed.insert(number);
            }
        }
    }

    /// One span as it is now.
    pub fn told(&self, span: TrendSpan, now: Duration) -> Trend {
        let (step_seconds, _) = span.steps();
        let place = TrendSpan::ALL.iter().position(|one| *one == span).unwrap_or_default();
        let step = |number: u64| {
            let known = self.rows[place].steps.get(&number).cloned();
            known.unwrap_or_else(|| TrendStep { at: number * step_seconds, ..TrendStep::default() })
        };
        let steps = (oldest(span, now)..=now.as_secs() / step_seconds).map(step).collect();
        Trend { span, step_seconds, steps }
    }
}

impl TrendStep {
    fn session(&mut self, session: &Session) {
        self.sessions += 1;
        self.octets_in += session.bytes.0;
        self.octets_out += session.bytes.1;
        tls(&session.tls, &mut self.client_tls, &mut self.client_groups);
    }

    fn transaction(&mut self, transaction: &Transaction) {
        for leg in transaction.groups.iter().filter_map(leg_of) {
            tls(&leg.tls, &mut self.server_tls, &mut self.server_groups);
        }
        let direction = match transaction.direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        };
        add(direction, transaction.verdict.name(), 1);
        let language = transaction.opinion.as_ref().map_or("", |opinion| opinion.language);
        if !language.is_empty() {
            add(&mut self.languages, language, 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.octets_in += other.octets_in;
        self.octets_out += other.octets_out;
        self.waiting = self.waiting.max(other.waiting);
        let both = [
            (&mut self.inbound, &other.inbound),
            (&mut self.outbound, &other.outbound),
            (&mut self.client_tls, &other.client_tls),
            (&mut self.client_groups, &other.client_groups),
            (&mut self.server_tls, &other.server_tls),
            (&mut self.server_groups, &other.server_groups),
            (&mut self.languages, &other.languages),
        ];
        for (own, others) in both {
            others.iter().for_each(|count| add(own, &count.what, count.count));
        }
    }
}

fn tls(outcome: &TlsOutcome, versions: &mut Vec<Count>, groups: &mut Vec<Count>) {
    match outcome {
        TlsOutcome::Plain => add(versions, "plain", 1),
        TlsOutcome::Failed(_) => add(versions, "failed", 1),
        TlsOutcome::Established { facts, .. } => {
            add(versions, facts.version.name(), 1);
            add(groups, facts.group, 1);
        }
    }
}

fn add(counts: &mut Vec<Count>, what: &str, count: u64) {
    match counts.iter().position(|known| known.what == what) {
        Some(at) => counts[at].count += count,
        None if counts.len() < MAX_KINDS => counts.push(Count { what: what.to_owned(), count }),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    const NOW: Duration = Duration::from_secs(1_795_288_205);
    const HOUR: Duration = Duration::from_secs(3600);

    fn mail() -> Event {
        Event::Transaction(Box::new(samples::judged(1)))
    }

    fn session() -> Event {
        Event::Session(Box::new(samples::session(samples::tls("mx1.example.net"))))
    }

    fn count(what: &str, count: u64) -> Count {
        Count { what: what.to_owned(), count }
    }

    #[test]
    fn what_happens_is_counted_in_each_span_and_goes_with_the_span() {
        let mut trends = Trends::default();
        trends.add(&session(), NOW - HOUR * 30);
        trends.add(&session(), NOW - HOUR * 2);
        trends.add(&session(), NOW);
        trends.add(&mail(), NOW);
        trends.waiting(7, NOW);
        trends.waiting(3, NOW);
        for (span, sessions, steps) in
            [(TrendSpan::Hour, 1, 60), (TrendSpan::Day, 2, 24), (TrendSpan::Month, 3, 30)]
        {
            let trend = trends.told(span, NOW);
            assert_eq!(trend.steps.iter().map(|step| step.sessions).sum::<u64>(), sessions, "{span:?}");
            let last = trend.steps.last().unwrap();
            assert_eq!((trend.steps.len(), last.waiting), (steps, 7), "{span:?}");
            assert_eq!(last.languages, [count("German", 1)]);
            assert_eq!((&last.inbound[..], &last.outbound[..]), (&[count("tag", 1)][..], &[][..]));
            assert_eq!(last.server_groups, [count("X25519MLKEM768", 1)]);
            assert_eq!(last.client_tls.first(), Some(&count("TLSv1.3", last.sessions)));
            assert!(last.at <= NOW.as_secs() && last.at + trend.step_seconds > NOW.as_secs());
        }
        assert_eq!(
            trends.told(TrendSpan::Day, NOW + HOUR * 48).steps.iter().map(|step| step.sessions).max(),
            Some(0)
        );
    }

    #[test]
    fn what_was_stored_is_there_again_beside_what_came_since() {
        let mut before = Trends::default();
        before.add(&session(), NOW - HOUR * 40);
        before.add(&session(), NOW);
        before.waiting(5, NOW);
        let stored = before.changed();
        assert!(before.changed().is_empty());
        let mut after = Trends::default();
        after.add(&session(), NOW);
        for (key, step) in &stored {
            // The hour and the day of 40 hours ago are kept no longer.
            if let Some(step) = step {
                after.recall(*key, step, NOW);
            }
        }
        let sums = TrendSpan::ALL.map(|span| {
            let trend = after.told(span, NOW);
            (trend.steps.iter().map(|step| step.sessions).sum::<u64>(), trend.steps.last().unwrap().waiting)
        });
        assert_eq!(sums, [(2, 5), (2, 5), (3, 5)]);
        after.recall((0, 1), &TrendStep::default(), NOW);
        after.recall((9, 1), &TrendStep::default(), NOW);
        assert!(after.changed().contains(&((0, 1), None)), "what is too old goes from the store");
    }

    #[test]
    fn steps_and_kinds_are_bounded_and_a_clock_that_steps_back_loses_nothing() {
        let mut trends = Trends::default();
        for minute in 0..200 {
            trends.add(&session(), NOW + Duration::from_secs(60 * minute));
        }
        assert_eq!(trends.rows[0].steps.len(), 60);
        trends.add(&session(), NOW);
        let last = trends.told(TrendSpan::Hour, NOW + Duration::from_secs(60 * 199)).steps.pop().unwrap();
        assert_eq!(last.sessions, 2);
        let mut counts = Vec::new();
        (0..100).for_each(|kind| add(&mut counts, &kind.to_string(), 1));
        assert_eq!(counts.len(), MAX_KINDS);
    }
}
