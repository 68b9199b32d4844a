//! When a message that could not be delivered is tried again: a pure function of what is known about it and of now.

use std::time::Duration;

use crate::EntryId;

/// How long to wait between attempts, and for how long in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait before the first attempt; doubles with each.
    pub first: Duration,
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// After this long a message is expired (DECISIONS: 5 days).
    pub lifetime: Duration,
}

impl Default for Schedule {
    /// One minute, thirty minutes, five days.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(60),
            longest: Duration::from_secs(30 * 60),
            lifetime: Duration::from_secs(5 * 86_400),
        }
    }
}

impl Schedule {
    /// When to try next, since 1970: after the wait for this many `attempts`, moved by up to a quarter either way so that
    /// what came together does not come back together; the same for the same arguments. The end of the lifetime is never
    /// slept through.
    pub fn next(&self, id: EntryId, attempts: u32, first_seen: Duration, now: Duration) -> Duration {
        let doubled = self.first.checked_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX));
        let wait = doubled.map_or(self.longest, |wait| wait.min(self.longest));
        let next = now.saturating_add(jittered(wait, id, attempts));
        let end = first_seen.saturating_add(self.lifetime);
        if now < end { next.min(end) } else { next }
    }

    /// Whether the message has waited for its lifetime.
    pub fn expired(&self, first_seen: Duration, now: Duration) -> bool {
        now >= first_seen.saturating_add(self.lifetime)
    }
}

/// Three to five quarters of `wait`.
fn jittered(wait: Duration, id: EntryId, attempts: u32) -> Duration {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&id.to_bits().to_le_bytes());
    key[8..].copy_from_slice(&attempts.to_le_bytes());
    let hash = blake3::hash(&key);
    let [a, b, ..] = *hash.as_bytes();
    let share = u32::from(u16::from_le_bytes([a, b]));
    wait * 3 / 4 + wait / 2 * share / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn id(bits: u64) -> EntryId {
        EntryId::from_bits(bits)
    }

    #[test]
    fn waits_grow_from_a_minute_to_half_an_hour() {
        let schedule = Schedule::default();
        let mut now = 1000 * DAY;
        for (attempts, minutes) in [1_u32, 2, 4, 8, 16, 30, 30, 30].into_iter().enumerate() {
            let attempts = u32::try_from(attempts).unwrap();
            let wait = schedule.next(id(7), attempts, 1000 * DAY, now) - now;
            let middle = Duration::from_secs(60) * minutes;
            assert!(wait >= middle * 3 / 4 && wait <= middle * 5 / 4, "{attempts}: {wait:?}");
            now += wait;
        }
        assert!(schedule.next(id(7), u32::MAX, now, now) <= now + schedule.longest * 5 / 4);
    }

    #[test]
    fn what_came_together_is_spread_and_the_same_each_time() {
        let schedule = Schedule::default();
        let times: std::collections::BTreeSet<_> =
            (0..100).map(|i| schedule.next(id(i), 5, DAY, DAY)).collect();
        assert!(times.len() > 95);
        assert_eq!(schedule.next(id(3), 5, DAY, DAY), schedule.next(id(3), 5, DAY, DAY));
    }

    #[test]
    fn the_end_of_the_lifetime_is_a_time_to_try() {
        let schedule = Schedule::default();
        let end = 6 * DAY;
        let now = end - Duration::from_secs(60);
        assert_eq!(schedule.next(id(1), 20, DAY, now), end);
        assert!(schedule.expired(DAY, end) && !schedule.expired(DAY, now));
        assert!(schedule.next(id(1), 20, DAY, end) > end, "held on in disaster mode");
        assert!(!schedule.expired(end, DAY), "a clock that was set back");
    }
}
