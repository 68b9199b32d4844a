//! An archive or document as an attachment: members lie below it, and there are no more of them than octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::content::read_twice;

fuzz_target!(|input: &[u8]| {
    let header = b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment\r\n\r\n";
    let content = read_twice(&[header, input].concat());
    let Some((archive, members)) = content.parts.split_first() else { return };
    assert!(!archive.in_archive && archive.size == input.len() as u64);
    assert!(members.iter().all(|member| member.in_archive && member.depth > archive.depth));
});
