//! A header as the signer reads it: what stands below Postern's own uppermost field changes nothing.
#![no_main]

use evidence::signing::{Authorship, came_from_outside};
use libfuzzer_sys::fuzz_target;

const OUTSIDE: &str =
    "Received: from x ([192.0.2.1])\r\n\tby mx.test (Postern) with ESMTPS id 0000000000001.1;\r\n\tdate\r\n";
const USER: &str =
    "Received: from x ([192.0.2.1])\r\n\tby mx.test (Postern) with ESMTPSA id 0000000000001.1;\r\n\tdate\r\n";

fuzz_target!(|input: &[u8]| {
    let below = |top: &str| [top.as_bytes(), input].concat();
    assert!(came_from_outside(&below(OUTSIDE), "mx.test"));
    assert!(!came_from_outside(&below(USER), "mx.test"));
    came_from_outside(input, "mx.test");
    let authorship = Authorship::of(input);
    assert!(authorship.domain.is_none_or(|domain| !domain.contains('@')));
});
