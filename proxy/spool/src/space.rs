//! How much room there is, and who may still have it.

use std::time::Duration;

use tokio::time::Instant;

/// What a file system has, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// For those who are not root.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The most that is left free for the log, for what becomes of messages that are there, and for reports on them.
const MOST_RESERVED: u64 = 2 << 30;
/// Of a small disk this share.
const SHARE_RESERVED: u64 = 20;
/// Others write there, too.
const LOOK_AFTER: Duration = Duration::from_secs(1);
const LOOK_AFTER_WRITING: u64 = 16 << 20;

/// What is known of the disk's room, and how much was written since it was looked at.
#[derive(Debug, Default)]
pub(crate) struct KnownSpace {
    known: Option<(Space, Instant)>,
    pub(crate) taken: u64,
}

impl KnownSpace {
    pub(crate) fn found(&mut self, space: Space) {
        *self = Self { known: Some((space, Instant::now())), taken: 0 };
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.taken > LOOK_AFTER_WRITING || self.known.is_none_or(|(_, at)| at.elapsed() > LOOK_AFTER)
    }

    /// What is free, as far as is known; everything, if the disk does not tell.
    pub(crate) fn free(&self) -> u64 {
        self.known.map_or(u64::MAX, |(space, _)| space.free.saturating_sub(self.taken))
    }

    /// What clients do not get.
    pub(crate) fn reserve(&self) -> u64 {
        self.known.map_or(0, |(space, _)| (space.total / SHARE_RESERVED).min(MOST_RESERVED))
    }
}

/// How full a spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Octets on disk and on their way there.
    pub used: u64,
    /// Octets that it may have.
    pub most: u64,
    /// Messages.
    pub messages: usize,
    /// Messages that it may have.
    pub most_messages: usize,
    /// Octets that the file system has left.
    pub free: u64,
    /// Octets that are left to the log and to what is in the spool already.
    pub reserve: u64,
}

impl Room {
    /// Whether a message with so many octets of content may come in.
    pub fn takes(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.most
            && self.messages < self.most_messages
            && self.free.saturating_sub(bytes) >= self.reserve
    }

    /// How much of it is taken, in percent: of its own bounds or of the disk, whichever is nearer to its end.
    pub fn percent(&self) -> u64 {
        let share = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(100);
        let messages = share(self.messages as u64, self.most_messages as u64);
        // Of what the spool could still take before it reaches the reserve.
        let left = self.free.saturating_sub(self.reserve);
        share(self.used, self.most)
            .max(messages)
            .max(share(self.used, self.used.saturating_add(left)))
            .min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_counts_before_the_disk_is_asked_again() {
        let mut space = KnownSpace::default();
        assert_eq!((space.free(), space.reserve()), (u64::MAX, 0));
        space.found(Space { free: 100 << 20, total: 1 << 30 });
        assert_eq!(space.reserve(), (1 << 30) / 20);
        space.taken += 50 << 20;
        assert_eq!(space.free(), 50 << 20);
        assert!(space.is_stale());
    }

    #[test]
    fn the_reserve_is_not_for_clients() {
        let room = Room { used: 0, most: 1000, messages: 0, most_messages: 9, free: 100, reserve: 50 };
        assert!(room.takes(50) && !room.takes(51));
        assert!(!Room { free: 10_000, used: 990, ..room }.takes(11));
        assert!(!Room { messages: 9, ..room }.takes(1));
        assert_eq!(Room { used: 150, free: 100, ..room }.percent(), 75);
    }
}
