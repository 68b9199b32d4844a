//! A map of bounded size that forgets what was used longest ago.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `capacity` values. Looking one up counts as use.
pub(crate) struct Recent<K, V> {
    capacity: usize,
    /// Counts uses; would take longer than the world to overflow.
    uses: u64,
    values: HashMap<K, (u64, V)>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, uses: 0, values: HashMap::new() }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let (last, value) = self.values.get_mut(key)?;
        self.uses += 1;
        *last = self.uses;
        Some(value)
    }

    /// Replaces what was there for this key. Where there is no more room it looks through all values for the oldest one: for
    /// a thousand that is some microseconds, and only what was costlier to make is put here.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.values.len() >= self.capacity && !self.values.contains_key(&key) {
            let oldest = self.values.iter().min_by_key(|(_, (last, _))| *last).map(|(&key, _)| key);
            oldest.and_then(|key| self.values.remove(&key));
        }
        self.uses += 1;
        self.values.insert(key, (self.uses, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('b', 2);
        assert_eq!(recent.get(&'a'), Some(&1));
        recent.insert('c', 3);
        assert_eq!(recent.get(&'b'), None);
        assert_eq!((recent.get(&'a').copied(), recent.get(&'c').copied()), (Some(1), Some(3)));
    }

    #[test]
    fn replacing_one_costs_no_other() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('b', 2);
        recent.insert('a', 3);
        assert_eq!((recent.get(&'a').copied(), recent.get(&'b').copied()), (Some(3), Some(2)));
    }
}
