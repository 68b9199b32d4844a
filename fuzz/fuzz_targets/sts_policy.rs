//! What a stranger's policy host and DNS say of MTA-STS (RFC 8461 §3): what is read is written the same, and is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use route::{MAX_AGE, StsMode, StsPolicy, policy_id};
use smtp::Domain;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(id) = policy_id(text.lines()) {
        assert!((1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    }
    let Ok(policy) = text.parse::<StsPolicy>() else { return };
    assert!(policy.max_age <= MAX_AGE);
    assert!(policy.mode == StsMode::None || !policy.mx.is_empty());
    let written = policy.to_string();
    assert!(written.lines().all(|line| line.contains(": ")));
    // CRLF may make it longer than what was read.
    if written.len() <= route::MAX_POLICY {
        assert_eq!(written.parse().as_ref(), Ok(&policy));
    }
    for pattern in &policy.mx {
        let named = pattern.to_string();
        match named.strip_prefix("*.") {
            Some(parent) => {
                assert!(parent.parse::<Domain>().is_ok_and(|parent| !pattern.matches(&parent)));
                if let Ok(below) = format!("x.{parent}").parse::<Domain>() {
                    assert!(pattern.matches(&below) && policy.allows(&below));
                }
            }
            None => assert!(named.parse::<Domain>().is_ok_and(|host| pattern.matches(&host))),
        }
    }
});
