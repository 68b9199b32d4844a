//! How a sender's mail was judged so far, where what is long ago counts less.

use std::time::Duration;

/// Counts lose half their weight in this time.
const HALF_LIFE: f64 = 14.0 * 86_400.0;
/// Who was first seen less than this ago is new.
const NEW: Duration = Duration::from_secs(7 * 86_400);
/// Fewer messages than this say nothing.
const ENOUGH: f64 = 5.0;
/// What a standing weighs at most: it is made of Postern's own verdicts, and must not carry them on for ever.
const MOST: f64 = 1.0;

/// A sender's record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine::judging) struct Standing {
    /// When it was last changed, and when it began, in seconds since 1970.
    last: u64,
    first: u64,
    /// Messages at that time, aged.
    ham: f32,
    spam: f32,
}

impl Standing {
    /// Of somebody who was never seen.
    pub(in crate::engine::judging) fn new(now: Duration) -> Self {
        Self { last: now.as_secs(), first: now.as_secs(), ham: 0.0, spam: 0.0 }
    }

    /// With one message more.
    pub(super) fn with(self, was_spam: bool, now: Duration) -> Self {
        let kept = self.kept(now);
        let count = |count: f32, more: bool| count * kept + f32::from(u8::from(more));
        let (ham, spam) = (count(self.ham, !was_spam), count(self.spam, was_spam));
        Self { last: self.last.max(now.as_secs()), ham, spam, ..self }
    }

    /// With a message that had counted as the other sort.
    pub(super) fn turned(self, to_spam: bool, now: Duration) -> Self {
        let added = self.with(to_spam, now);
        let less = |count: f32| (count - 1.0).max(0.0);
        if to_spam {
            Self { ham: less(added.ham), ..added }
        } else {
            Self { spam: less(added.spam), ..added }
        }
    }

    /// Whether mail of it was wanted, and not too long ago.
    pub(super) fn was_taken(&self, now: Duration) -> bool {
        let (ham, spam) = self.counts(now);
        ham >= 0.1 && ham > spam
    }

    pub(super) fn is_new(&self, now: Duration) -> bool {
        now.as_secs().saturating_sub(self.first) < NEW.as_secs()
    }

    /// In log-odds, spam positive.
    pub(super) fn weight(&self, now: Duration) -> f64 {
        let (ham, spam) = self.counts(now);
        if ham + spam < ENOUGH {
            return 0.0;
        }
        (0.4 * ((spam + 1.0) / (ham + 1.0)).ln()).clamp(-MOST, MOST)
    }

    pub(super) fn words(&self, now: Duration) -> String {
        let (ham, spam) = self.counts(now);
        format!("{ham:.0} wanted and {spam:.0} unwanted of late")
    }

    fn counts(&self, now: Duration) -> (f64, f64) {
        let kept = f64::from(self.kept(now));
        (f64::from(self.ham) * kept, f64::from(self.spam) * kept)
    }

    /// What is left of a count.
    #[expect(clippy::cast_possible_truncation, reason = "a share from 0 to 1")]
    fn kept(&self, now: Duration) -> f32 {
        let age = now.saturating_sub(Duration::from_secs(self.last)).as_secs_f64();
        (-age / HALF_LIFE).exp2() as f32
    }

    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.last.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.ham.to_be_bytes());
        bytes[20..].copy_from_slice(&self.spam.to_be_bytes());
        bytes
    }

    /// `None` where that is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        let (last, rest) = bytes.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (ham, rest) = rest.split_first_chunk()?;
        let (spam, _) = rest.split_first_chunk()?;
        let (ham, spam) = (f32::from_be_bytes(*ham), f32::from_be_bytes(*spam));
        let sound = [ham, spam].iter().all(|count| count.is_finite() && *count >= 0.0);
        let (last, first) = (u64::from_be_bytes(*last), u64::from_be_bytes(*first));
        sound.then_some(Self { last, first, ham, spam })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_record_weighs_within_its_bound_and_fades() {
        let mut standing = Standing::new(NOW);
        assert!(standing.is_new(NOW + 6 * DAY) && !standing.is_new(NOW + 7 * DAY));
        for count in 0..100 {
            assert_eq!(standing.weight(NOW) != 0.0, count >= 5, "{count}");
            standing = standing.with(true, NOW);
        }
        assert!((standing.weight(NOW) - MOST).abs() < 1e-9);
        assert!(!standing.was_taken(NOW));
        let taken = Standing::new(NOW).with(false, NOW);
        assert!(taken.was_taken(NOW + 40 * DAY) && !taken.was_taken(NOW + 50 * DAY));
        assert_eq!(standing.words(NOW + 14 * DAY), "0 wanted and 50 unwanted of late");
        assert_eq!(standing.weight(NOW + 90 * DAY), 0.0, "what is long ago says nothing");
        let better = (0..300).fold(standing, |standing, _| standing.with(false, NOW + 14 * DAY));
        assert!(better.weight(NOW + 14 * DAY) < 0.0);
        assert_eq!(Standing::from_bytes(&better.to_bytes()), Some(better));
    }

    #[test]
    fn what_is_no_record_is_read_as_none() {
        assert_eq!(Standing::from_bytes(&[0; 23]), None);
        assert_eq!(Standing::from_bytes(&[0xff; 24]), None);
    }
}
