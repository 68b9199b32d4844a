//! Whoever failed is left alone for a while, so that mail does not wait for the same silence again and again.

use std::time::Duration;

use tokio::time::Instant;

/// After a failure nobody asks for so long; twice as long after the next, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Mail that waits comes back by itself, so that it may be asked often enough.
const LONGEST: Duration = Duration::from_secs(30);
/// Silences in a row until that is a failure of who is asked, and not of a question that takes long.
const SILENCES: u32 = 3;

/// Somebody who is asked, and who may fail.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    failures: u32,
    silences: u32,
    /// When it failed last, and until when it is left alone.
    since: Option<(Instant, Instant)>,
}

impl Rest {
    /// How long ago it failed, if it is to be left alone now.
    pub(crate) fn left_alone(&self, now: Instant) -> Option<Duration> {
        self.since.filter(|(_, until)| now < *until).map(|(failed, _)| now.saturating_duration_since(failed))
    }

    /// It has answered.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has failed.
    pub(crate) fn failed(&mut self, now: Instant) {
        let rest = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.since = Some((now, now + rest));
    }

    /// It has not answered in time; whether it is left alone now.
    pub(crate) fn was_silent(&mut self, now: Instant) -> bool {
        self.silences = self.silences.saturating_add(1);
        let fails = self.silences >= SILENCES;
        if fails {
            self.failed(now);
        }
        fails
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_left_alone_longer_each_time_and_who_answers_is_not() {
        let mut rest = Rest::default();
        let now = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            rest.failed(now);
            let (_, until) = rest.since.unwrap();
            assert!(until - now >= longest && until - now <= LONGEST);
            longest = until - now;
            assert_eq!(rest.left_alone(now), Some(Duration::ZERO));
            assert_eq!(rest.left_alone(until), None);
        }
        assert_eq!(longest, LONGEST);
        rest.answered();
        assert_eq!(rest.left_alone(now), None);
    }

    #[test]
    fn one_question_that_takes_long_is_no_failure() {
        let mut rest = Rest::default();
        let now = Instant::now();
        assert!(!rest.was_silent(now) && !rest.was_silent(now));
        assert!(rest.was_silent(now) && rest.left_alone(now).is_some());
    }
}
