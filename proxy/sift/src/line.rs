//! Who waits for a worker to come free, and since when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Those who wait, the first one first.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// One place in the line, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    line: &'a Line,
    number: u64,
}

/// How long the line is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bodies that wait.
    pub bodies: usize,
    /// How long the first of them has waited.
    pub longest: Duration,
}

impl Line {
    /// The last place, if fewer than `most` wait.
    pub(crate) fn join(&self, most: usize, now: Instant) -> Option<Place<'_>> {
        let mut places = self.places();
        if places.since.len() >= most {
            return None;
        }
        let number = places.next;
        places.next += 1;
        places.since.insert(number, now);
        Some(Place { line: self, number })
    }

    pub(crate) fn waiting(&self, now: Instant) -> Waiting {
        let places = self.places();
        let first = places.since.first_key_value();
        Waiting {
            bodies: places.since.len(),
            longest: first.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since)),
        }
    }

    /// Nothing panics while it holds the lock.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.places().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_who_still_waits_counts_and_the_line_has_an_end() {
        let (line, start) = (Line::default(), Instant::now());
        let seconds = Duration::from_secs;
        assert_eq!(line.waiting(start), Waiting::default());
        let first = line.join(2, start).unwrap();
        let second = line.join(2, start + seconds(2)).unwrap();
        assert!(line.join(2, start + seconds(2)).is_none());
        let now = start + seconds(3);
        assert_eq!(line.waiting(now), Waiting { bodies: 2, longest: seconds(3) });
        drop(first);
        assert_eq!(line.waiting(now), Waiting { bodies: 1, longest: seconds(1) });
        drop(second);
        assert_eq!(line.waiting(now), Waiting::default());
    }
}
