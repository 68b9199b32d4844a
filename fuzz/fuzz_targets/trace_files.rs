//! The trace's files, given arbitrary octets: a block and an index are read or refused, within bounds. Checksums are made to fit, so that
//! what is behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trace::{check_block, check_index};

/// Of a block's head: two lengths, the number of entries, the checksum.
const HEAD: usize = 16;
/// Entries of a segment, which has no more blocks than that.
const ENTRIES: usize = 1 << 14;

fuzz_target!(|input: &[u8]| {
    check_block(input);
    check_index(input);
    if let Some(count) = check_block(&with_fitting_head(input)) {
        assert!((1..=64).contains(&count));
    }
    if let Some(blocks) = check_index(&with_fitting_sum(input)) {
        assert!((1..=ENTRIES).contains(&blocks));
    }
});

/// The input as a block's compressed part; its first octets say what the head claims.
fn with_fitting_head(input: &[u8]) -> Vec<u8> {
    let (claims, packed) = input.split_at(input.len().min(4));
    let claim = |at: usize| u32::from(claims.get(at).copied().unwrap_or_default());
    let unpacked = claim(0) | claim(1) << 8 | claim(2) << 16;
    let mut block = Vec::with_capacity(HEAD + packed.len());
    for number in
        [u32::try_from(packed.len()).unwrap_or(u32::MAX), unpacked, claim(3), crc32fast::hash(packed)]
    {
        block.extend_from_slice(&number.to_le_bytes());
    }
    block.extend_from_slice(packed);
    block
}

/// The input as an index's head, with the sum where the numbers in it say that it is.
fn with_fitting_sum(input: &[u8]) -> Vec<u8> {
    let mut head = b"postern index 1\n".to_vec();
    head.extend_from_slice(input);
    let number = |at: usize| {
        head.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    };
    let length =
        44 + (number(20) as usize).min(ENTRIES) * 8 + (number(24) as usize).min(1 << 20).div_ceil(128) * 4;
    head.resize(length, 0);
    let sum = crc32fast::hash(&head);
    head.extend_from_slice(&sum.to_le_bytes());
    head
}
