//! The session's coordinator against a client of arbitrary bytes, servers that refuse, fall silent and go, and any order of
//! events: what the servers took is what the client sent, and nobody was promised what nobody keeps (laws 1, 2, 3, 6).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/relay/tests/step/choices.rs"]
#[allow(dead_code, reason = "the tests of relay use the rest")]
mod choices;
#[path = "../../proxy/relay/tests/step/differential.rs"]
mod differential;
#[path = "../../proxy/relay/tests/step/harness.rs"]
#[allow(dead_code, reason = "the tests of relay use the rest")]
mod harness;
#[path = "../../proxy/relay/tests/step/server.rs"]
#[allow(dead_code, reason = "the tests of relay use the rest")]
mod server;

/// Octets at the head of an input that choose pieces, order and the servers' moods; what follows from them is chosen when
/// they are used up.
const CHOICES: usize = 32;

fuzz_target!(|input: &[u8]| {
    let Some((head, wire)) = input.split_at_checked(CHOICES) else { return };
    differential::play(choices::Choices::of_octets(head), &[b"EHLO client.example\r\n", wire].concat());
});
