//! What comes back from the store, and an administrator's list of recipients: read without harm whatever it holds, and what is read
//! is what was written.
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use route::{Known, Offered, RecipientList};
use store::Change;

const NOW: Duration = Duration::from_secs(1_795_288_205);

fuzz_target!(|input: &[u8]| {
    if let Some(offered) = Offered::from_bytes(input) {
        assert_eq!(Offered::from_bytes(&offered.to_bytes()), Some(offered));
    }
    let (list, bad) = RecipientList::read(&String::from_utf8_lossy(input));
    assert!(bad.iter().all(|line| line.to_string().len() < 2000));
    assert!(list.len() <= input.len());
    restore(input);
});

/// Pairs of a byte that says how long a key is, the key, and nine octets that may be a fact.
fn restore(mut input: &[u8]) {
    // A store has each key once.
    let mut stored = BTreeMap::new();
    while let Some((&length, rest)) = input.split_first() {
        let Some((key, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        let (value, rest) = rest.split_at(rest.len().min(9));
        stored.insert(Box::from(key), Box::from(value));
        input = rest;
    }
    let pairs: store::Pairs = stored.into_iter().collect();
    let known = Known::default();
    known.restore(&pairs, NOW);
    known.restore_domains(&pairs);
    // What was no fact is removed from the store, and nothing else is.
    assert!(known.changes().iter().all(|change| matches!(change, Change::Remove(_))));
    known.store_all_again();
    for change in known.changes().iter().chain(&known.domain_changes()) {
        if let Change::Put(key, value) = change {
            assert!(pairs.iter().any(|(stored, _)| stored == key) && value.len() == 9);
        }
    }
}
