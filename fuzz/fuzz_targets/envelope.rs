//! An envelope as the spool stores it: what can be read can be written, and then reads the same, a line each for MAIL and every
//! recipient.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::Envelope;

fuzz_target!(|stored: &[u8]| {
    let Ok(envelope) = Envelope::read(stored) else { return };
    let mut out = Vec::new();
    envelope.write(&mut out);
    assert_eq!(Envelope::read(&out), Ok(envelope.clone()));
    let lines = out.split_inclusive(|&b| b == b'\n').map(postern_fuzz::only_line);
    assert_eq!(lines.count(), 1 + envelope.recipients.len());
});
