//! What hidden servers call themselves. A far side is met before the server that was on its way to it has said EHLO; where the
//! server's own address is shown, its own name belongs to it, and that is known from the time before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Servers whose names are remembered; a network with more of them has any of these forgotten.
const REMEMBERED: usize = 4096;

/// Names of hidden servers by their addresses. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct CalledBefore {
    names: Arc<Mutex<HashMap<IpAddr, Box<str>>>>,
}

impl CalledBefore {
    /// A server said this in EHLO.
    pub fn note(&self, server: IpAddr, name: &str) {
        let mut names = self.names();
        if names.get(&server).is_some_and(|known| **known == *name) {
            return;
        }
        if names.len() >= REMEMBERED
            && !names.contains_key(&server)
            && let Some(any) = names.keys().next().copied()
        {
            names.remove(&any);
        }
        names.insert(server, name.into());
    }

    /// What it said last.
    pub fn name_of(&self, server: IpAddr) -> Option<Box<str>> {
        self.names().get(&server).cloned()
    }

    /// Nothing panics while it holds the lock; if it did, every entry is still whole.
    fn names(&self) -> MutexGuard<'_, HashMap<IpAddr, Box<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_counts_and_what_is_remembered_is_bounded() {
        let called = CalledBefore::default();
        let server = |number: u32| IpAddr::from(number.to_be_bytes());
        for name in ["old.test", "new.test"] {
            called.note(server(1), name);
        }
        assert_eq!(called.name_of(server(1)).as_deref(), Some("new.test"));
        assert_eq!(called.name_of(server(2)), None);
        let all = u32::try_from(REMEMBERED).unwrap() + 10;
        (0..all).for_each(|number| called.note(server(number), "x.test"));
        assert!(called.names().len() <= REMEMBERED);
        assert_eq!(called.name_of(server(all - 1)).as_deref(), Some("x.test"));
    }
}
