//! When something is due, as functions of time. Everything is since 1970.

use std::time::Duration;

/// After the first failure; four tries in the first hour stay below the five that Let's Encrypt allows a name.
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// However often it failed: a CA that is back is found the same day.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// Where a CA speaks of rate limits without saying how long.
const RATE_LIMITED: Duration = Duration::from_secs(3600);
/// A CA that asks for a year of patience is not obeyed: the certificate would run out without anybody having asked.
const MOST_PATIENCE: Duration = Duration::from_secs(3 * 86_400);

/// How often the CA is asked for its window (RFC 9773 §4.3.2), whatever it says itself: not all the time, and not so seldom that a
/// revocation is missed.
const WINDOW_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));
/// After a failure, and where the CA does not say (RFC 9773 §4.3.3).
pub(crate) const WINDOW_UNTOLD: Duration = Duration::from_secs(6 * 3600);
/// A CA whose windows begin in the past, whatever is issued, would have a certificate ordered every minute.
const BETWEEN_WINDOWS: Duration = Duration::from_secs(86_400);

/// A window in which the CA wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub start: Duration,
    /// Its end.
    pub end: Duration,
}

/// When a certificate is to be renewed: somewhere in the CA's window, where it has one, chosen by `chance` (RFC 9773 §4.2), else
/// when a third of its life is left. Never later than a tenth before its end.
pub fn renewal(not_before: Duration, not_after: Duration, window: Option<Window>, chance: u8) -> Duration {
    let life = not_after.saturating_sub(not_before);
    let last = not_after.saturating_sub(life / 10);
    let due = match window {
        Some(window) => {
            let width = window.end.saturating_sub(window.start);
            window.start + width * u32::from(chance) / 256
        }
        None => not_after.saturating_sub(life / 3),
    };
    due.min(last)
}

/// When to ask for the window again, `wanted` after `now` by the CA's word.
pub fn ask_again(now: Duration, wanted: Duration) -> Duration {
    now + wanted.clamp(WINDOW_AGAIN.0, WINDOW_AGAIN.1)
}

/// The window as it counts: not before a day after the last renewal that a window had asked for.
pub fn heeded(window: Window, last: Option<Duration>) -> Window {
    let earliest = last.map_or(Duration::ZERO, |last| last + BETWEEN_WINDOWS);
    Window { start: window.start.max(earliest), end: window.end.max(earliest) }
}

/// When to try again after `failures` in a row, the last of them at `now`. What the CA said (Retry-After) is obeyed, up
/// to three days.
pub fn retry(now: Duration, failures: u32, retry_after: Option<Duration>, is_rate_limit: bool) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let own = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
    let wanted = retry_after.unwrap_or(if is_rate_limit { RATE_LIMITED } else { Duration::ZERO });
    now + own.max(wanted.min(MOST_PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn without_a_window_a_third_of_the_life_is_left() {
        assert_eq!(renewal(DAY * 100, DAY * 190, None, 0), DAY * 160);
        assert_eq!(renewal(DAY * 100, DAY * 106, None, 255), DAY * 104, "short-lived ones, too");
    }

    #[test]
    fn the_cas_window_decides_and_never_beyond_the_end() {
        let window = Window { start: DAY * 110, end: DAY * 112 };
        let at = |chance| renewal(DAY * 100, DAY * 190, Some(window), chance);
        assert_eq!(at(0), DAY * 110);
        assert_eq!(at(128), DAY * 111);
        assert!(at(255) < DAY * 112);
        let late = Window { start: DAY * 300, end: DAY * 400 };
        assert_eq!(renewal(DAY * 100, DAY * 190, Some(late), 0), DAY * 181);
        let upside_down = Window { start: DAY * 150, end: DAY * 120 };
        assert_eq!(renewal(DAY * 100, DAY * 190, Some(upside_down), 9), DAY * 150);
    }

    #[test]
    fn the_ca_is_asked_for_its_window_neither_all_the_time_nor_too_seldom() {
        let after = |wanted| ask_again(DAY, wanted) - DAY;
        assert_eq!(after(Duration::ZERO), Duration::from_secs(60));
        assert_eq!(after(Duration::from_secs(7200)), Duration::from_secs(7200));
        assert_eq!(after(DAY * 365), DAY);
    }

    #[test]
    fn a_window_that_is_always_over_makes_no_storm_of_orders() {
        let over = Window { start: DAY, end: DAY * 2 };
        assert_eq!(heeded(over, None), over);
        let again = heeded(over, Some(DAY * 100));
        assert_eq!(renewal(DAY * 100, DAY * 190, Some(again), 200), DAY * 101);
        let later = Window { start: DAY * 150, end: DAY * 160 };
        assert_eq!(heeded(later, Some(DAY * 100)), later);
    }

    #[test]
    fn pauses_grow_to_a_day_and_the_cas_word_counts() {
        let pauses: Vec<_> = (1..12).map(|failures| retry(DAY, failures, None, false) - DAY).collect();
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(*pauses.last().unwrap(), DAY);
        assert!(
            pauses.iter().take(5).sum::<Duration>() > Duration::from_secs(3600),
            "five in an hour are too many"
        );
        assert_eq!(retry(DAY, 1, Some(DAY), false), DAY * 2);
        assert_eq!(retry(DAY, 1, None, true), DAY + RATE_LIMITED);
        assert_eq!(retry(DAY, 1, Some(DAY * 365), true), DAY * 4);
        assert_eq!(retry(DAY, u32::MAX, None, false), DAY * 2);
    }
}
