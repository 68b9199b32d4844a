//! What a virus scanner answers: a name that it tells fits one line of a trace, and the number of a session changes nothing.
#![no_main]

use evidence::clamd::Answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let answer = Answer::read(octets);
    if let Answer::Found(text) | Answer::Trouble(text) = &answer {
        assert!(text.len() <= 4 * 120 && !text.chars().any(char::is_control), "{text:?}");
    }
    if let Answer::Found(name) = &answer {
        let again = format!("12: stream: {name} FOUND");
        assert!(
            name.trim().is_empty() || matches!(Answer::read(again.as_bytes()), Answer::Found(_)),
            "{again:?}"
        );
    }
});
