//! How much waits where, and since when: for charts and alarms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::Folder;
use crate::spool::Spool;

/// The bounds between the classes of age: five minutes, an hour, four hours (when senders are told), a day, two days.
pub const AGES: [Duration; 5] = [
    Duration::from_secs(5 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(86_400),
    Duration::from_secs(2 * 86_400),
];

/// Some messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub messages: usize,
    /// Their content, in octets.
    pub bytes: u64,
    /// Of these, those that a person holds back.
    pub held: usize,
    /// When the oldest came, since 1970.
    pub oldest: Option<Duration>,
    /// By age: younger than each of [`AGES`], and older than the last.
    pub by_age: [usize; AGES.len() + 1],
}

/// All messages, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// By folder; folders without messages are not named.
    pub folders: BTreeMap<Folder, Count>,
    /// What is in the queue, by destination and domain of the first recipient.
    pub domains: BTreeMap<(Arc<str>, Arc<str>), Count>,
}

impl Spool {
    /// How many messages wait for their server; less work than [`Self::depth`].
    pub fn count_waiting(&self) -> usize {
        self.index().iter().filter(|(_, held)| held.state.folder == Folder::Queue).count()
    }

    /// Counts all messages as they are at `now`, since 1970.
    pub fn depth(&self, now: Duration) -> Depth {
        let mut depth = Depth::default();
        let index = self.index();
        for (_, held) in index.iter() {
            let age = now.saturating_sub(held.received_at);
            let class = AGES.iter().position(|bound| age < *bound).unwrap_or(AGES.len());
            let count = |count: &mut Count| {
                count.messages += 1;
                count.bytes += held.size;
                count.held += usize::from(held.state.held);
                count.oldest =
                    Some(count.oldest.map_or(held.received_at, |known| known.min(held.received_at)));
                count.by_age[class] += 1;
            };
            count(depth.folders.entry(held.state.folder).or_default());
            if held.state.folder == Folder::Queue {
                let domain = Arc::clone(held.domains.first().unwrap_or(&held.backend));
                count(depth.domains.entry((Arc::clone(&held.backend), domain)).or_default());
            }
        }
        depth
    }
}
