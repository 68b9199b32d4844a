//! How far the judge is behind. Only what is judged at this moment counts: when that is done the strain is over, so that nobody is kept
//! out by what was slow an hour ago.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use relay::Strain;
use sift::Workers;
use tokio::time::Instant;

/// A verdict that has not come in half its budget is late; so many of them at once are no single sender's doing.
const LATE: usize = 16;
/// With so many even clients in good standing wait outside.
const FAR_TOO_LATE: usize = 64;
/// Bodies in line for each worker: fewer are the everyday burst.
const IN_LINE: usize = 4;

/// Messages that are being judged, by when each is late.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Messages>);

#[derive(Debug, Default)]
struct Messages {
    next: u64,
    late_at: BTreeMap<u64, Instant>,
}

/// A message that is being judged, for as long as this lives: also one whose judgement breaks off.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    under_way: &'a UnderWay,
    number: u64,
}

impl UnderWay {
    /// A message is judged from now on, by `deadline`.
    pub(super) fn begin(&self, now: Instant, deadline: Instant) -> Turn<'_> {
        let mut messages = self.messages();
        let number = messages.next;
        messages.next += 1;
        messages.late_at.insert(number, now + deadline.saturating_duration_since(now) / 2);
        Turn { under_way: self, number }
    }

    /// Strain where verdicts are late: many, and no fewer than those in time.
    pub(super) fn strain(&self, now: Instant) -> Strain {
        let messages = self.messages();
        let late = messages.late_at.values().filter(|at| **at <= now).count();
        match late {
            _ if late * 2 < messages.late_at.len() => Strain::None,
            FAR_TOO_LATE.. => Strain::Full,
            LATE.. => Strain::High,
            _ => Strain::None,
        }
    }

    /// Nothing panics while it holds the lock.
    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.under_way.messages().late_at.remove(&self.number);
    }
}

/// Strain where those who read mail cannot keep pace. Where none of them works, nobody waits the shorter for being kept out: then the
/// config says what becomes of mail (law 8).
pub(super) fn of_readers(workers: &Workers) -> Strain {
    let working = workers.seats().iter().filter(|seat| seat.works).count();
    of_line(workers.waiting(), working, workers.settings())
}

fn of_line(waiting: sift::Waiting, working: usize, settings: sift::Settings) -> Strain {
    let sift::Waiting { bodies, longest } = waiting;
    let many = working > 0 && bodies >= IN_LINE * working;
    match many {
        true if bodies >= settings.waiting / 10 * 9 || longest >= settings.patience / 2 => Strain::Full,
        true if bodies >= settings.waiting / 10 * 8 || longest >= settings.patience / 4 => Strain::High,
        _ => Strain::None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BUDGET: Duration = Duration::from_secs(20);

    #[test]
    fn many_late_verdicts_are_strain_until_they_have_come() {
        let (under_way, now) = (UnderWay::default(), Instant::now());
        let (half, whole) = (now + BUDGET / 2, now + BUDGET);
        let mut turns: Vec<_> = (0..LATE).map(|_| under_way.begin(now, whole)).collect();
        assert_eq!(under_way.strain(now), Strain::None, "nothing is late");
        assert_eq!(under_way.strain(half), Strain::High);
        let quick: Vec<_> = (0..=LATE).map(|_| under_way.begin(half, half + BUDGET)).collect();
        assert_eq!(under_way.strain(half), Strain::None, "most are in time");
        drop(quick);
        turns.extend((LATE..FAR_TOO_LATE).map(|_| under_way.begin(half, half + BUDGET)));
        assert_eq!(under_way.strain(whole), Strain::Full);
        turns.truncate(LATE - 1);
        assert_eq!(under_way.strain(whole), Strain::None, "a few slow ones are nothing");
        drop(turns);
        assert!(under_way.messages().late_at.is_empty());
    }

    #[test]
    fn a_line_that_is_long_or_does_not_move_is_strain_and_a_short_one_is_not() {
        let settings = sift::Settings::default();
        let of = |bodies, millis, working| {
            let waiting = sift::Waiting { bodies, longest: Duration::from_millis(millis) };
            of_line(waiting, working, settings)
        };
        assert_eq!(of(7, 4000, 2), Strain::None, "less than four for each");
        assert_eq!(of(8, 1000, 2), Strain::None, "they will be read in time");
        assert_eq!(of(8, 1250, 2), Strain::High);
        assert_eq!(of(8, 2500, 2), Strain::Full);
        assert_eq!(of(200, 10, 2), Strain::High);
        assert_eq!(of(225, 10, 2), Strain::Full);
        assert_eq!(of(255, 4000, 0), Strain::None, "nobody reads at all");
    }
}
