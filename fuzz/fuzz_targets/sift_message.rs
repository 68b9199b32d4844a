//! A whole message: whatever it is, there is a content, and it is within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::content::read_twice;

fuzz_target!(|input: &[u8]| {
    let content = read_twice(input);
    assert!(content.text.start.len() as u64 <= content.text.octets);
});
