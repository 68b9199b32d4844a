//! What only a fuzzer calls: what is read back from the model's folder, behind its checksums.

use std::sync::OnceLock;

use crate::journal;
use crate::members::Members;
use crate::snapshot;

/// A segment of lessons: how many octets of it were sound.
pub fn lessons(octets: &[u8]) -> usize {
    let sound = journal::read_all(octets, |entry, _| {
        let frame = journal::frame(&entry).unwrap_or_default();
        assert!(journal::unframe(&frame).is_some(), "and read again");
    });
    assert!(sound <= octets.len());
    sound
}

/// A snapshot behind its checksum; whether it was one.
pub fn snapshot(octets: &[u8]) -> bool {
    static MEMBERS: OnceLock<Members> = OnceLock::new();
    snapshot::take_sound(octets, MEMBERS.get_or_init(Members::new)).is_some()
}
