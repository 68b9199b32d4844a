//! When the next key may serve (DECISIONS 26): its TLSA record (RFC 6698) must have been there for twice as long as an old set of
//! records may still be remembered somewhere (RFC 7671 §8.1). Everything is since 1970.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a key serves before its successor is due.
pub const KEY_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// A resolver that remembers a set only says how long it goes on to; most sets are meant to hold for a day at most.
const SHORTEST_TTL: Duration = Duration::from_secs(86_400);

/// What the names that the key serves have published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// None of them has TLSA records: nobody could be misled.
    Nothing,
    /// All that have records have the next key's among them; the longest time that any of these sets holds.
    Next(Duration),
    /// Some that have records lack it.
    Missing,
    /// It could not be told for all of them.
    Unclear,
}

/// What a person has ordered of the next key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// It is to serve as soon as its records have been seen long enough, however young the present one is.
    Soon,
    /// It is to serve at once, whatever is published: the present key is in other hands. Who verifies by DANE and knows the old
    /// records only does not deliver until they have run out.
    AtOnce,
}

/// Since when the next key's record has been seen, without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    since: Option<u64>,
    ttl: u64,
}

impl Watch {
    /// After a look at `now`. One that told nothing changes nothing, but the time without a look must not count: the caller
    /// looks more often than a set of records lasts.
    pub fn saw(&mut self, seen: Seen, now: Duration) {
        match seen {
            Seen::Next(ttl) => {
                self.since.get_or_insert(now.as_secs());
                self.ttl = self.ttl.max(ttl.as_secs());
            }
            Seen::Nothing | Seen::Missing => *self = Self::default(),
            Seen::Unclear => {}
        }
    }

    /// From when on the next key may serve; `None` while its record is not seen everywhere.
    pub fn ready_at(&self) -> Option<Duration> {
        let wait = 2 * self.ttl.max(SHORTEST_TTL.as_secs());
        self.since.map(|since| Duration::from_secs(since.saturating_add(wait)))
    }
}

/// Whether a key that has not served yet may serve, as far as records go.
pub fn may_serve(seen: Seen, watch: &Watch, now: Duration) -> bool {
    match seen {
        Seen::Nothing => true,
        Seen::Next(_) => watch.ready_at().is_some_and(|ready| ready <= now),
        Seen::Missing | Seen::Unclear => false,
    }
}

/// Whether the certificate that is ordered at `now` gets the next key. `made` is when the present one was.
pub fn takes_next(seen: Seen, watch: &Watch, made: Duration, order: Option<Order>, now: Duration) -> bool {
    match order {
        Some(Order::AtOnce) => true,
        Some(Order::Soon) => may_serve(seen, watch, now),
        None => now.saturating_sub(made) >= KEY_LIFE && may_serve(seen, watch, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Duration = Duration::from_secs(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_key_is_kept_until_it_is_time() {
        let watch = Watch::default();
        assert!(!takes_next(Seen::Nothing, &watch, MADE, None, MADE + KEY_LIFE - HOUR));
        assert!(takes_next(Seen::Nothing, &watch, MADE, None, MADE + KEY_LIFE));
    }

    #[test]
    fn the_next_key_serves_only_after_its_record_has_aged() {
        let (mut watch, now) = (Watch::default(), MADE + KEY_LIFE);
        let seen = Seen::Next(DAY * 2);
        watch.saw(seen, now);
        assert!(!takes_next(seen, &watch, MADE, None, now));
        assert!(!takes_next(seen, &watch, MADE, None, now + DAY * 4 - HOUR));
        assert!(takes_next(seen, &watch, MADE, None, now + DAY * 4));
        assert!(!takes_next(Seen::Missing, &watch, MADE, None, now + DAY * 4), "what is so now counts");
        assert!(!takes_next(Seen::Unclear, &watch, MADE, None, now + DAY * 4));
    }

    #[test]
    fn an_order_spares_the_age_and_only_the_urgent_one_the_records() {
        let (mut watch, seen) = (Watch::default(), Seen::Next(HOUR));
        let taken = |seen, watch: &Watch, order, now| takes_next(seen, watch, MADE, Some(order), now);
        assert!(taken(Seen::Nothing, &watch, Order::Soon, MADE));
        watch.saw(seen, MADE);
        assert!(!taken(seen, &watch, Order::Soon, MADE));
        assert!(taken(seen, &watch, Order::Soon, MADE + SHORTEST_TTL * 2));
        assert!(!taken(Seen::Missing, &watch, Order::Soon, MADE + DAY * 30));
        assert!(taken(Seen::Missing, &watch, Order::AtOnce, MADE));
    }

    #[test]
    fn a_gap_begins_the_wait_anew_and_the_longest_time_counts() {
        let (mut watch, now) = (Watch::default(), MADE);
        watch.saw(Seen::Next(DAY * 3), now);
        watch.saw(Seen::Next(HOUR), now + DAY);
        watch.saw(Seen::Unclear, now + DAY);
        assert_eq!(watch.ready_at(), Some(now + DAY * 6));
        watch.saw(Seen::Missing, now + DAY);
        assert_eq!(watch.ready_at(), None);
        watch.saw(Seen::Next(HOUR), now + DAY * 3);
        assert_eq!(watch.ready_at(), Some(now + DAY * 3 + SHORTEST_TTL * 2));
    }
}
