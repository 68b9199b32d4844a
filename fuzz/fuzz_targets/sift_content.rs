//! A worker's content as the gate decodes it: what is believed is within its bounds, and can be sent on as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sift::encoded::{decode, encode};

fuzz_target!(|input: &[u8]| {
    if let Ok(content) = decode(input) {
        let octets = encode(&content).expect("what was believed is within the bounds");
        assert_eq!(decode(&octets), Ok(content));
    }
});
