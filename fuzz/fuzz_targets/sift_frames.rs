//! What gate and sift worker say to each other, and the facts themselves: a frame has one spelling, the facts of a body are the
//! same in any pieces, and those of every body are possible.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::Pieces;
use sift::facts::Reading;
use sift::frame::{Answer, Request};

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = Request::read(input) {
        assert_eq!(request.to_bytes(), *input, "{request:?}");
    }
    if let Ok(answer) = Answer::read(input) {
        assert_eq!(answer.to_bytes(), *input, "{answer:?}");
    }
    let Some(pieces) = Pieces::new(input) else { return };
    let mut reading = Reading::default();
    pieces.iter().for_each(|piece| reading.feed(piece));
    let mut whole = Reading::default();
    whole.feed(pieces.bytes());
    let facts = whole.finish();
    assert_eq!(reading.finish(), facts);
    assert_eq!(facts.octets, pieces.bytes().len() as u64);
    let answer = Answer { id: 1, facts: Some(facts), content: 1, last: false };
    assert_eq!(Answer::read(&answer.to_bytes()), Ok(answer));
});
