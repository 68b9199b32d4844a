//! An mbox file: what is read of it is no more than is in it, and comes out the same when it is put together again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sift::mailbox::Messages;

fuzz_target!(|input: &[u8]| {
    let messages: Vec<Vec<u8>> = Messages::new(input).map(|message| message.expect("memory")).collect();
    assert!(messages.iter().map(Vec::len).sum::<usize>() <= input.len());
    let mut whole = Vec::new();
    for message in &messages {
        whole.extend_from_slice(b"From x Thu Jan  1 00:00:00 1970\n");
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            let rest = line.iter().position(|octet| *octet != b'>').map_or(&line[..0], |at| &line[at..]);
            if rest.starts_with(b"From ") {
                whole.push(b'>');
            }
            whole.extend_from_slice(line);
        }
        whole.extend_from_slice(b"\n\n");
    }
    let again: Vec<Vec<u8>> = Messages::new(&whole[..]).map(|message| message.expect("memory")).collect();
    assert_eq!(again.len(), messages.len());
    for (again, message) in again.iter().zip(&messages) {
        assert!(again.starts_with(message) && again.len() == message.len() + 2);
    }
});
