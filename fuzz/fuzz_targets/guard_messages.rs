//! What guard and gate say to each other: every verb and order has one spelling, and nothing else is one.
#![no_main]

use libfuzzer_sys::fuzz_target;

use self::message::{ORDER, Order, VERB, Verb};

/// The file itself: the whole program behind it would have to be built for the fuzzer otherwise.
#[allow(unreachable_pub, reason = "public where it is at home")]
#[path = "../../appliance/src/roles/message.rs"]
mod message;

fuzz_target!(|input: &[u8]| {
    if let Ok(verb) = Verb::read(input) {
        assert_eq!(verb.to_bytes(), *input, "{verb:?}");
    }
    if let Ok(order) = Order::read(input) {
        assert_eq!(order.to_bytes(), *input, "{order:?}");
    }
    assert!(input.len() == VERB || Verb::read(input).is_err());
    assert!(input.len() == ORDER || Order::read(input).is_err());
});
