//! Entries of domains, as people write them and as the store has them: nothing comes out but one way to write an address or a domain, which
//! breaks out of no line and no brackets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::{Domain, Mailbox};

/// The file itself: the whole program behind it would have to be built for the fuzzer otherwise.
#[path = "../../appliance/src/engine/entries/format.rs"]
mod format;

fuzz_target!(|stored: &[u8]| {
    let text = std::str::from_utf8(stored).unwrap_or_default();
    for entry in format::sender(text).into_iter().chain(format::recipient(text).map(|(address, _)| address)) {
        check_line(&entry);
        assert_eq!(format::sender(&entry).as_deref(), Some(&*entry), "it stays as it is");
        assert!(
            format::names_of(&format::folded_text(text.trim())).any(|name| name == entry)
                || !text.contains('@')
        );
        let key = format::key("a.test", b'b', &entry);
        assert_eq!(format::read_key(&key), Some(("a.test", b'b', &*entry)));
    }
    if let Some(target) = format::target(text) {
        check_line(target.as_str());
        assert!(target.as_str().is_ascii() && !target.has_routing_local_part());
        let fact = format::Fact { since: 7, by: "x".to_owned(), target: Some(target) };
        assert_eq!(format::Fact::from_bytes(&fact.to_bytes()), Some(fact));
    }
    if let Some(fact) = format::Fact::from_bytes(stored) {
        assert!(fact.by.len() <= format::MAX_NAME);
        fact.target.iter().for_each(|target| check_line(target.as_str()));
    }
    if let Some((domain, _, entry)) = format::read_key(stored) {
        assert_eq!(domain.parse::<Domain>().map(|domain| domain.to_string()), Ok(domain.to_owned()));
        check_line(entry);
    }
    let _ = text.parse::<Mailbox>().map(|mailbox| format::folded(&mailbox));
});

fn check_line(entry: &str) {
    assert!(!entry.is_empty() && entry.len() <= 2 * format::MAX_ENTRY, "{entry}");
    assert!(!entry.contains(|c: char| c.is_control() || "<>\"() ".contains(c)), "{entry:?}");
}
