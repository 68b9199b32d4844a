//! The export of a store out of a backup: whatever it says, nothing larger than a record may be is asked for, and what is believed has
//! its checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{MAX_KEY, MAX_VALUE, read_export};

/// A checksum that is right, so that the fuzzer reaches what is behind it.
fn mended(input: &[u8]) -> Vec<u8> {
    let (content, _) = input.split_at(input.len().saturating_sub(4));
    [content, &crc32fast::hash(content).to_be_bytes()].concat()
}

fuzz_target!(|input: &[u8]| {
    for octets in [input.to_vec(), mended(input)] {
        let mut told = 0_u64;
        let read = read_export(&octets[..], &mut |table, key, value| {
            assert!(table.len() <= 64 && key.len() <= MAX_KEY && value.len() <= MAX_VALUE);
            told += 1;
            Ok(())
        });
        if let Ok(records) = read {
            assert_eq!(records, told);
        }
    }
});
