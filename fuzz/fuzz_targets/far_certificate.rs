//! What a far side shows as its certificate, given arbitrary octets: names are read within bounds, an inner server gets a leaf
//! whatever it is, that leaf carries exactly those names, and is signed by the authority only if it was asked for.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use record::Clock;
use tls::{Authority, Chain, Interception, MAX_NAME_OCTETS, MAX_NAMES, Settings, SubjectName};

const NOON: Duration = Duration::from_secs(1_800_000_000);

/// The clock stands still.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Duration {
        NOON
    }
}

static INTERCEPTION: LazyLock<Interception> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("postern-far-certificate-{}", std::process::id()));
    let made = std::fs::create_dir(&folder).map_err(|error| error.to_string());
    let made = made.and_then(|()| {
        Authority::load_or_create(&folder, "mx1.example.net", NOON).map_err(|error| error.to_string())
    });
    let _ = std::fs::remove_dir_all(&folder);
    match made {
        Ok(authority) => Interception::new(authority, &Settings::default(), Arc::new(Noon)),
        Err(error) => panic!("no authority: {error}"),
    }
});

fuzz_target!(|input: &[u8]| {
    let chain = Chain::new(&[input]);
    let names = chain.names();
    assert!(names.len() <= MAX_NAMES);
    assert!(names.iter().map(host_octets).sum::<usize>() <= MAX_NAME_OCTETS);
    for genuine in [false, true] {
        let acceptor = match INTERCEPTION.acceptor(&chain, genuine) {
            Ok(acceptor) => acceptor,
            Err(error) => panic!("no leaf: {error}"),
        };
        let served = acceptor.identities().served();
        let leaf = match served.first() {
            Some(identity) => Chain::new(identity.chain()),
            None => panic!("nothing is served"),
        };
        assert_eq!(leaf.names(), names);
        let signed = leaf.certificates().get(1) == Some(INTERCEPTION.authority().certificate());
        assert_eq!(signed, genuine && !names.is_empty());
    }
});

/// A host name is one that could be looked up, with or without a wildcard before it.
fn host_octets(name: &SubjectName) -> usize {
    let SubjectName::Host(name) = name else { return 0 };
    let octet = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_.".contains(&octet);
    assert!(name.strip_prefix('*').unwrap_or(name).bytes().all(octet), "{name:?}");
    assert!(!name.starts_with('.') && !name.ends_with('.') && name.len() <= 255, "{name:?}");
    name.len()
}
