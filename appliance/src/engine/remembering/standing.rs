//! Which networks are in good standing, as the store has it: all of them anew with every change, packed, since they are addresses
//! alone.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use relay::InGoodStanding;
use store::{Change, Pairs, Table};

/// Where they are stored.
pub(super) const STANDING: Table = Table("standing");

/// When the newer half was begun, in seconds since 1970.
const TURNED: &[u8] = b"turned";
const NEWER: &[u8] = b"newer";
const OLDER: &[u8] = b"older";
/// Addresses of one record.
const EACH: usize = 4000;
/// Records of one half, at most.
const RECORDS: u8 = 16;

/// What makes the store hold these and no others; `now` is since 1970.
pub(super) fn changes(all: &InGoodStanding, now: Duration) -> Vec<Change> {
    let turned = now.saturating_sub(all.age).as_secs().to_be_bytes();
    let mut changes = vec![Change::Put(TURNED.into(), turned.into())];
    for (half, networks) in [(NEWER, &all.newer), (OLDER, &all.older)] {
        let mut records = networks.chunks(EACH);
        for number in 0..RECORDS {
            let key = key(half, number);
            changes.push(match records.next() {
                Some(networks) => Change::Put(key, networks.iter().flat_map(|one| packed(*one)).collect()),
                None => Change::Remove(key),
            });
        }
    }
    changes
}

/// The inverse of [`changes`]; `None` where nothing was stored.
pub(super) fn read(pairs: &Pairs, now: Duration) -> Option<InGoodStanding> {
    let value = |wanted: &[u8]| pairs.iter().find(|(key, _)| **key == *wanted).map(|(_, value)| &**value);
    let turned = Duration::from_secs(u64::from_be_bytes(value(TURNED)?.try_into().ok()?));
    let half = |half| {
        let records = (0..RECORDS).filter_map(|number| value(&key(half, number)));
        records.flat_map(|record| record.as_chunks().0.iter().map(|octets| unpacked(*octets))).collect()
    };
    Some(InGoodStanding { newer: half(NEWER), older: half(OLDER), age: now.saturating_sub(turned) })
}

fn key(half: &[u8], number: u8) -> Box<[u8]> {
    [half, &[number]].concat().into()
}

fn packed(network: IpAddr) -> [u8; 16] {
    match network {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn unpacked(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(numbers: std::ops::Range<u32>) -> Vec<IpAddr> {
        numbers.map(|number| std::net::Ipv4Addr::from(number).into()).collect()
    }

    #[tokio::test]
    async fn all_that_is_stored_comes_back_and_what_is_not_stored_any_more_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().into());
        let store = store::Store::start(settings, std::sync::Arc::new(record::SystemClock)).unwrap();
        let now = Duration::from_secs(1_800_000_000);
        assert_eq!(read(&store.scan(STANDING, None).await.unwrap(), now), None);
        let many = InGoodStanding {
            newer: networks(0..50_000),
            older: [networks(60_000..60_003), vec!["2001:db8:1::".parse().unwrap()]].concat(),
            age: Duration::from_secs(86_400),
        };
        let few = InGoodStanding { newer: networks(7..9), ..InGoodStanding::default() };
        for all in [many, few] {
            store.apply(STANDING, changes(&all, now)).await.unwrap();
            let mut pairs = Pairs::new();
            while let page = store.scan(STANDING, pairs.last().map(|(key, _)| &**key)).await.unwrap()
                && !page.is_empty()
            {
                pairs.extend(page);
            }
            assert_eq!(read(&pairs, now), Some(all.clone()));
            let later = Duration::from_secs(60);
            assert_eq!(read(&pairs, now + later).map(|all| all.age), Some(all.age + later));
        }
    }
}
