//! What the gate writes and root reads: which servers are armed. Nothing but what Postern writes says anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The file itself: the whole program behind it would have to be built for the fuzzer otherwise.
#[path = "../../appliance/src/armed/format.rs"]
mod format;

fuzz_target!(|input: &[u8]| {
    let Some(armed) = format::parse(input) else { return };
    assert_eq!(format::text(&armed).as_bytes(), input, "{armed:?}");
    // A line each, so that what is read bounds how much is armed.
    assert!(armed.len() < input.len() / 10, "{armed:?}");
});
