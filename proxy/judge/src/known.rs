//! Which messages were learned within the last thirty days, as what, and where the lesson lies.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::features::Digest;
use crate::journal::Place;

/// Days that a lesson can be undone, and the same message counts once.
const DAYS: u32 = 30;
/// Lessons that are remembered at most: some 30 MiB. The oldest go first.
const MOST: usize = 400_000;

/// A lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) spam: bool,
    /// The model's own opinion: whoever knows better overrules it.
    pub(crate) own: bool,
    /// Since 1970.
    pub(crate) day: u32,
    pub(crate) place: Place,
}

/// The lessons.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    known: HashMap<Digest, Known>,
    number: u64,
}

impl Lessons {
    pub(crate) fn of(known: impl Iterator<Item = (Digest, Known)>, number: u64) -> Self {
        Self { known: known.take(MOST).collect(), number }
    }

    /// How many there were in all.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Digest, &Known)> {
        self.known.iter()
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Known> {
        self.known.get(digest).copied()
    }

    pub(crate) fn add(&mut self, digest: Digest, known: Known) {
        if self.known.len() >= MOST {
            self.age(known.day);
        }
        self.known.insert(digest, known);
        self.number += 1;
    }

    pub(crate) fn remove(&mut self, digest: &Digest) {
        self.known.remove(digest);
    }

    /// Forgets what is too old to be undone, and if they are still too many, more.
    pub(crate) fn age(&mut self, today: u32) {
        let mut days = DAYS;
        self.known.retain(|_, known| today.saturating_sub(known.day) <= days);
        while self.known.len() >= MOST && days > 0 {
            days /= 2;
            self.known.retain(|_, known| today.saturating_sub(known.day) < days);
        }
    }

    /// Whether a lesson of this segment is remembered.
    pub(crate) fn needs(&self, segment: u32) -> bool {
        self.known.values().any(|known| known.place.segment == segment)
    }
}
