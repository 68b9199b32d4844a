//! What the judge reads back: features kept for reports, lessons, a snapshot; and the index of a corpus. Read without harm whatever
//! it holds, and what is read is what was written.
#![no_main]

use judge::{Features, evaluation, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(features) = Features::from_bytes(input) {
        assert_eq!(features.to_bytes(), input);
        let again = Features::from_bytes(&features.to_bytes()).expect("its own form");
        assert_eq!((again.digest(), again.body_hash()), (features.digest(), features.body_hash()));
    }
    for labelled in evaluation::index(input).flatten() {
        assert!(!labelled.path.is_empty() && labelled.path.len() <= input.len());
    }
    fuzzing::lessons(input);
    // With a checksum that fits, what is behind it is reached.
    if let Ok(length) = u32::try_from(input.len()) {
        let framed = [&length.to_le_bytes()[..], &crc32fast::hash(input).to_le_bytes(), input].concat();
        fuzzing::lessons(&framed);
    }
    fuzzing::snapshot(&[b"PSTNMOD1", input].concat());
});
