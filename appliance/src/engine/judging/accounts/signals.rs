//! What speaks for it that somebody else sends in a sender's name: four things, of which none is enough alone. Who writes a newsletter
//! has many recipients, who looks for work writes to strangers.

use std::time::Duration;

use super::Limits;
use super::record::{Count, Record, of};

/// Points from which it is a case.
pub(super) const CASE: u8 = 3;
/// Fewer recipients than these say nothing of strangers, fewer refusals nothing of refusals.
const FEW_LOOKED_UP: u32 = 20;
const FEW_REFUSED: u32 = 10;
/// So much worse than before the last messages have to look: who was always taken for a spammer is none for it.
const CHANGE: f32 = 0.25;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signal {
    /// 1 or 2.
    pub(super) points: u8,
    pub(super) words: String,
}

/// All that speak now, of a record whose hours are those of `now`.
pub(super) fn signals(record: &Record, limits: &Limits, knows_strangers: bool, now: Duration) -> Vec<Signal> {
    // Within two hours and within a day: who is slow is not overlooked, and what is new not drowned.
    let windows = [record.within(2), record.within(24)];
    let worse = |of: &dyn Fn(Count) -> Option<Signal>| {
        windows.iter().filter_map(|count| of(*count)).max_by_key(|signal| signal.points)
    };
    let strangers = worse(&strangers).filter(|_| knows_strangers);
    let all = [volume(record, limits, now), strangers, worse(&refusals), content(record, limits)];
    all.into_iter().flatten().collect()
}

fn volume(record: &Record, limits: &Limits, now: Duration) -> Option<Signal> {
    let (usual_hour, usual_day) = record.usual();
    let ratio = |count: f32, limit: u32, usual: f32| match limit {
        0 => 0.0,
        limit => count / of(limit).max(2.0 * usual),
    };
    let (hour, day) = (record.in_an_hour(now), of(record.within(24).recipients));
    let by_hour = ratio(hour, limits.per_hour, usual_hour);
    let by_day = ratio(day, limits.per_day, usual_day);
    let (ratio, count, word, usual, limit) = match by_hour >= by_day {
        true => (by_hour, hour, "an hour", usual_hour, limits.per_hour),
        false => (by_day, day, "a day", usual_day, limits.per_day),
    };
    let points = points(ratio, 1.0, 3.0)?;
    let words =
        format!("{count:.0} recipients within {word}; the limit is {limit}, and up to {usual:.0} were usual");
    Some(Signal { points, words })
}

fn strangers(count: Count) -> Option<Signal> {
    let share = of(count.strangers) / of(count.looked_up.max(FEW_LOOKED_UP));
    let points = if count.looked_up < 50 { points(share, 0.7, f32::MAX) } else { points(share, 0.7, 0.9) };
    let words = format!("nobody here had written to {} of {} recipients", count.strangers, count.looked_up);
    Some(Signal { points: points.filter(|_| count.looked_up >= FEW_LOOKED_UP)?, words })
}

fn refusals(count: Count) -> Option<Signal> {
    let share = of(count.refused) / of(count.recipients.max(1));
    let words = format!("the servers of {} of {} recipients refused them", count.refused, count.recipients);
    Some(Signal { points: points(share, 0.1, 0.25).filter(|_| count.refused >= FEW_REFUSED)?, words })
}

fn content(record: &Record, limits: &Limits) -> Option<Signal> {
    let (recent, before) = record.content()?;
    if recent - before < CHANGE {
        return None;
    }
    let words = format!(
        "the last messages look like spam by {recent:.2} on the average, those before by {before:.2}"
    );
    Some(Signal { points: points(recent, limits.tag, limits.quarantine)?, words })
}

fn points(value: f32, one: f32, two: f32) -> Option<u8> {
    match value {
        value if value >= two => Some(2),
        value if value >= one => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_287_600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn of_day(count: Count, contents: &[f64]) -> u8 {
        let mut record = Record::new(NOW);
        record.add(count, NOW);
        contents.iter().for_each(|one| record.add_content(*one));
        signals(&record, &Limits::default(), true, NOW).iter().map(|signal| signal.points).sum()
    }

    fn count(recipients: u32, strangers: u32, refused: u32) -> Count {
        Count { messages: recipients, recipients, looked_up: recipients, strangers, refused }
    }

    #[test]
    fn no_signal_is_enough_alone_and_two_strong_ones_are() {
        let spam = [0.99; 10];
        for (name, points, is_case) in [
            ("a busy day", of_day(count(80, 10, 2), &[0.1; 30]), false),
            ("a newsletter", of_day(count(100_000, 50, 1000), &[0.3; 30]), false),
            ("somebody who looks for work", of_day(count(60, 60, 3), &[0.1; 20]), false),
            ("an old list", of_day(count(60, 5, 20), &[]), false),
            ("odd mail", of_day(count(10, 2, 0), &spam), false),
            ("a run of spam", of_day(count(300, 300, 5), &[]), true),
            ("a run of spam to people who are gone", of_day(count(50, 50, 15), &[]), true),
            ("a slow run of what looks like spam", of_day(count(50, 48, 0), &spam), true),
            ("a large run to people who are gone", of_day(count(900, 0, 100), &[]), true),
        ] {
            assert_eq!(points >= CASE, is_case, "{name}: {points}");
        }
    }

    #[test]
    fn what_was_usual_raises_the_limits_and_who_always_looked_so_does_not_stand_out() {
        let mut record = Record::new(NOW);
        record.add(count(5000, 0, 0), NOW);
        (0..60).for_each(|_| record.add_content(0.97));
        let soon = NOW + HOUR + HOUR * 5 / 6;
        record.add(count(4000, 0, 0), soon);
        assert!(signals(&record, &Limits::default(), true, soon).is_empty());
        let later = NOW + 30 * 24 * HOUR;
        record.advance(later);
        record.add(count(40_000, 0, 0), later);
        assert_eq!(signals(&record, &Limits::default(), true, later).len(), 1);
    }

    #[test]
    fn strangers_say_nothing_where_nobody_is_known_yet_and_no_limit_is_none() {
        let mut record = Record::new(NOW);
        record.add(count(2000, 2000, 0), NOW);
        assert_eq!(signals(&record, &Limits::default(), false, NOW).len(), 1);
        let limits = Limits { per_hour: 0, per_day: 0, ..Limits::default() };
        assert!(signals(&record, &limits, false, NOW).is_empty());
    }
}
