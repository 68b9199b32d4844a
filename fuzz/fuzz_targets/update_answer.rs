//! What a primary server answers (RFC 2136): whatever its octets are, the zone that changes go to is one that the name lies in, and
//! an answer to another message counts for nothing.
#![no_main]

use std::sync::LazyLock;

use dns::update::zone_in;
use libfuzzer_sys::fuzz_target;
use smtp::Domain;

static NAME: LazyLock<Domain> = LazyLock::new(|| match "_25._tcp.mx.example.net".parse() {
    Ok(name) => name,
    Err(_) => panic!("no name"),
});

fuzz_target!(|input: &[u8]| {
    let Some((id, _)) = input.split_first_chunk::<2>() else { return };
    let id = u16::from_be_bytes(*id);
    if let Some(zone) = zone_in(input, id, &NAME) {
        let zone = zone.trim_end_matches('.').to_ascii_lowercase();
        let whole =
            zone.is_empty() || *NAME.as_str() == *zone || NAME.as_str().ends_with(&format!(".{zone}"));
        assert!(whole, "{zone}");
    }
    assert!(zone_in(input, id.wrapping_add(1), &NAME).is_none());
});
