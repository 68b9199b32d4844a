//! How much is kept.

use std::time::Duration;

/// How much is kept, and for how long; whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of all files together. The segment that is written to may go over it by its own size.
    pub octets: u64,
    /// The oldest entry. It goes with its segment, a sixteenth of this later at most.
    pub age: Duration,
}

impl Bounds {
    /// The largest entry, in octets of JSON: a hundred recipients with the longest replies.
    pub const ENTRY: usize = 512 << 10;

    /// How long one segment takes entries in, so that those of a quiet site go by age too.
    pub(crate) fn span(&self) -> Duration {
        self.age / 16
    }
}
