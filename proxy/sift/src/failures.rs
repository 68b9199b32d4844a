//! Bodies that made workers fail. A body is recognised by its length and, only where that fits, by its digest, so that
//! nothing is digested while all goes well.

use std::collections::VecDeque;

/// Bodies that are remembered; the oldest one makes room. Each costs its sender a worker, and us 48 octets.
const REMEMBERED: usize = 1024;
/// From so many failures on a body is held.
const HELD_FROM: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Failures(VecDeque<Failure>);

#[derive(Debug)]
struct Failure {
    length: u64,
    digest: [u8; 32],
    times: u8,
}

impl Failures {
    /// Whether a body of this length might be held; then its digest is worth computing.
    pub(crate) fn may_hold(&self, length: u64) -> bool {
        self.0.iter().any(|one| one.length == length && one.times >= HELD_FROM)
    }

    /// Whether this body is held.
    pub(crate) fn holds(&self, length: u64, digest: &[u8; 32]) -> bool {
        self.0.iter().any(|one| one.length == length && one.times >= HELD_FROM && one.digest == *digest)
    }

    /// It made a worker fail. Returns whether it is held from now on.
    pub(crate) fn note(&mut self, length: u64, digest: [u8; 32]) -> bool {
        if let Some(one) = self.0.iter_mut().find(|one| one.length == length && one.digest == digest) {
            one.times = one.times.saturating_add(1);
            return one.times >= HELD_FROM;
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Failure { length, digest, times: 1 });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_failure_holds_that_body_and_no_other() {
        let mut failures = Failures::default();
        assert!(!failures.note(3, [1; 32]) && !failures.may_hold(3));
        assert!(!failures.note(3, [2; 32]));
        assert!(failures.note(3, [1; 32]) && failures.may_hold(3));
        assert!(failures.holds(3, &[1; 32]) && !failures.holds(3, &[2; 32]) && !failures.holds(4, &[1; 32]));
    }

    #[test]
    fn a_flood_of_them_takes_no_more_memory() {
        let mut failures = Failures::default();
        for length in 0..10_000 {
            failures.note(length, [0; 32]);
        }
        assert_eq!(failures.0.len(), REMEMBERED);
    }
}
