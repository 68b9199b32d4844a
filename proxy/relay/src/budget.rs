//! One budget for the octets of all messages in flight (DECISIONS 33).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What may be in flight at once, and what is.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` octets.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Octets in flight.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be in flight at once, in octets.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn take(&self, octets: u64) -> bool {
        let before = self.used.fetch_add(octets, Ordering::Relaxed);
        let fits = before.checked_add(octets).is_some_and(|after| after <= self.limit);
        if !fits {
            self.used.fetch_sub(octets, Ordering::Relaxed);
        }
        fits
    }
}

/// One message's share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

/// Shares grow in steps of this many octets, so that the counter is not touched for every read.
const STEP: u64 = 64 * 1024;

impl Share {
    pub(crate) fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), taken: 0 }
    }

    /// Makes the share at least `octets`; false if the budget does not have them.
    pub(crate) fn grow_to(&mut self, octets: u64) -> bool {
        if octets <= self.taken {
            return true;
        }
        let wanted = octets.next_multiple_of(STEP) - self.taken;
        let taken = self.budget.take(wanted);
        if taken {
            self.taken += wanted;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Budget::new(200_000);
        let mut one = Share::none(&budget);
        assert!(one.grow_to(1) && one.grow_to(STEP) && budget.used() == STEP);
        let mut two = Share::none(&budget);
        assert!(!two.grow_to(200_000) && budget.used() == STEP);
        assert!(two.grow_to(100_000));
        drop(two);
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}
