//! Counters by hash: a table of fixed size that is read without a lock while one teacher writes.
//!
//! A slot is one 64-bit atomic: 20 bits that recognise the hash, 6 that date it, and 19 for each class, in eighths. Eight slots, a
//! cache line, are searched for a hash; where they are full the one that counts least goes. A count that is full is halved with
//! its neighbour: what tells classes apart is their ratio. Counts age by halves: a slot that is read in a later epoch counts half
//! for each epoch since.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::lesson::Class;

/// Slots that are searched: a cache line.
const LINE: usize = 8;
const COUNT_BITS: u32 = 19;
const FULL: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_BITS: u32 = 6;
const CHECK_BITS: u32 = 20;
/// A weight of 1 in the counters' unit.
pub(crate) const UNIT: u32 = 8;

/// A count of time in half-lives, modulo 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoch(u8);

impl Epoch {
    const MASK: u64 = (1 << EPOCH_BITS) - 1;

    /// Of a number of half-lives.
    pub(crate) fn of(half_lives: u64) -> Self {
        Self(u8::try_from(half_lives & Self::MASK).unwrap_or_default())
    }

    /// Half-lives since `earlier`. A clock that stepped back counts as none.
    pub(crate) fn since(self, earlier: Self) -> u32 {
        let passed = u32::from(self.0.wrapping_sub(earlier.0)) & (Self::MASK as u32);
        if passed >= 1 << (EPOCH_BITS - 1) { 0 } else { passed }
    }
}

/// What a slot says: weights of the two classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) spam: f32,
    pub(crate) ham: f32,
}

impl Counts {
    pub(crate) fn of(self, class: Class) -> f32 {
        match class {
            Class::Spam => self.spam,
            Class::Ham => self.ham,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Box<[AtomicU64]>,
    /// Number of lines less one.
    mask: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    check: u64,
    epoch: Epoch,
    spam: u64,
    ham: u64,
}

impl Slot {
    fn unpack(bits: u64) -> Self {
        Self {
            check: bits >> (EPOCH_BITS + 2 * COUNT_BITS),
            epoch: Epoch::of(bits >> (2 * COUNT_BITS)),
            spam: (bits >> COUNT_BITS) & FULL,
            ham: bits & FULL,
        }
    }

    fn pack(self) -> u64 {
        if self.spam == 0 && self.ham == 0 {
            return 0;
        }
        (((self.check << EPOCH_BITS) | u64::from(self.epoch.0)) << (2 * COUNT_BITS))
            | (self.spam << COUNT_BITS)
            | self.ham
    }

    /// As it counts in an epoch.
    fn aged(mut self, now: Epoch) -> Self {
        let halvings = now.since(self.epoch);
        self.spam >>= halvings;
        self.ham >>= halvings;
        self.epoch = now;
        self
    }
}

impl Slots {
    /// A table of `2^bits` slots; its memory is taken as it fills.
    pub(crate) fn new(bits: u32) -> Self {
        let count = 1_usize << bits.max(3);
        let mask = u64::try_from(count / LINE - 1).unwrap_or_default();
        Self { slots: bytemuck::zeroed_slice_box(count), mask }
    }

    /// What a hash counts.
    pub(crate) fn get(&self, hash: u64, now: Epoch) -> Counts {
        let check = check(hash);
        for slot in self.line(hash) {
            let bits = slot.load(Relaxed);
            if bits >> (EPOCH_BITS + 2 * COUNT_BITS) == check && bits != 0 {
                let slot = Slot::unpack(bits).aged(now);
                // 19 bits are exact.
                return Counts { spam: slot.spam as f32 / UNIT as f32, ham: slot.ham as f32 / UNIT as f32 };
            }
        }
        Counts::default()
    }

    /// Adds so many units, or takes them away. To be called by one thread at a time.
    pub(crate) fn add(&self, hash: u64, class: Class, units: i32, now: Epoch) {
        let line = self.line(hash);
        let check = check(hash);
        let known = line.iter().find(|slot| {
            let bits = slot.load(Relaxed);
            bits != 0 && bits >> (EPOCH_BITS + 2 * COUNT_BITS) == check
        });
        let empty = Slot { check, epoch: now, spam: 0, ham: 0 };
        let (place, slot) = match known {
            Some(place) => (place, Slot::unpack(place.load(Relaxed)).aged(now)),
            None if units <= 0 => return,
            None => (self.least(line, now), empty),
        };
        place.store(changed(slot, class, units).pack(), Relaxed);
    }

    /// Every slot in use, for a snapshot.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, u64)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(place, slot)| (place, slot.load(Relaxed)))
            .filter(|(_, bits)| *bits != 0)
    }

    /// Puts a slot back; `false` if there is no such place.
    pub(crate) fn put(&self, place: usize, bits: u64) -> bool {
        self.slots.get(place).map(|slot| slot.store(bits, Relaxed)).is_some()
    }

    /// Octets that it takes when it is full.
    pub(crate) fn octets(&self) -> u64 {
        u64::try_from(self.slots.len() * size_of::<AtomicU64>()).unwrap_or(u64::MAX)
    }

    fn line(&self, hash: u64) -> &[AtomicU64] {
        let line = usize::try_from((hash >> CHECK_BITS) & self.mask).unwrap_or_default();
        &self.slots[line * LINE..(line + 1) * LINE]
    }

    /// The slot that is free, or counts least.
    fn least<'a>(&self, line: &'a [AtomicU64], now: Epoch) -> &'a AtomicU64 {
        let worth = |slot: &&AtomicU64| {
            let slot = Slot::unpack(slot.load(Relaxed)).aged(now);
            slot.spam + slot.ham
        };
        line.iter().min_by_key(worth).unwrap_or(&line[0])
    }
}

fn check(hash: u64) -> u64 {
    hash & ((1 << CHECK_BITS) - 1)
}

fn changed(mut slot: Slot, class: Class, units: i32) -> Slot {
    let by = u64::from(units.unsigned_abs());
    let add = |count: u64| if units < 0 { count.saturating_sub(by) } else { count + by };
    match class {
        Class::Spam => slot.spam = add(slot.spam),
        Class::Ham => slot.ham = add(slot.ham),
    }
    while slot.spam > FULL || slot.ham > FULL {
        slot.spam /= 2;
        slot.ham /= 2;
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Epoch = Epoch(7);

    #[test]
    fn counts_are_added_and_taken_away_exactly() {
        let slots = Slots::new(6);
        slots.add(99, Class::Spam, 8, NOW);
        slots.add(99, Class::Ham, 3, NOW);
        assert_eq!(slots.get(99, NOW), Counts { spam: 1.0, ham: 0.375 });
        slots.add(99, Class::Spam, -8, NOW);
        slots.add(99, Class::Ham, -3, NOW);
        assert_eq!(slots.used().count(), 0, "what counts nothing takes no place");
    }

    #[test]
    fn counts_age_by_halves() {
        let slots = Slots::new(6);
        slots.add(5, Class::Ham, 32, NOW);
        assert_eq!(slots.get(5, Epoch(9)).ham, 1.0);
        assert_eq!(slots.get(5, Epoch(6)).ham, 4.0, "a clock that steps back ages nothing");
        slots.add(5, Class::Ham, 8, Epoch(8));
        assert_eq!(slots.get(5, Epoch(8)).ham, 3.0);
    }

    #[test]
    fn a_full_line_drops_what_counts_least_and_a_full_count_keeps_the_ratio() {
        let slots = Slots::new(3);
        for hash in 1..=9 {
            slots.add(hash, Class::Spam, i32::try_from(hash).unwrap() * 8, NOW);
        }
        assert_eq!(slots.get(1, NOW).spam, 0.0);
        assert_eq!(slots.get(9, NOW).spam, 9.0);
        slots.add(9, Class::Ham, 36, NOW);
        slots.add(9, Class::Spam, i32::try_from(FULL).unwrap() * 2, NOW);
        let Counts { spam, ham } = slots.get(9, NOW);
        assert!(ham > 0.0 && spam > 10_000.0, "{spam} {ham}");
    }
}
