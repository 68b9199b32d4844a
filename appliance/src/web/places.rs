//! Places for connections: so many in all, and so many for one client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All places.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    most_of_client: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    client: IpAddr,
}

impl Places {
    pub(crate) fn new(most: usize, most_of_client: usize) -> Self {
        Self { taken: Arc::default(), most, most_of_client }
    }

    /// `None`: there is none left, or not for this client.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut taken = lock(&self.taken);
        let own = taken.by_client.get(&client).copied().unwrap_or_default();
        if taken.all >= self.most || own >= self.most_of_client {
            return None;
        }
        taken.all += 1;
        taken.by_client.insert(client, own + 1);
        Some(Place { taken: Arc::clone(&self.taken), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_client.remove(&self.client)),
        }
    }
}

/// A client of IPv6 has a /64.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_all_together_have_an_end() {
        let places = Places::new(3, 2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.take(address("2001:db8::1")).unwrap();
        let _second = places.take(address("2001:db8::2")).unwrap();
        assert!(places.take(address("2001:db8::3")).is_none(), "the same /64");
        let _third = places.take(address("192.0.2.1")).unwrap();
        assert!(places.take(address("192.0.2.2")).is_none(), "all are taken");
        drop(first);
        assert!(places.take(address("::ffff:192.0.2.1")).is_some());
        assert_eq!(lock(&places.taken).by_client.len(), 2);
    }
}
