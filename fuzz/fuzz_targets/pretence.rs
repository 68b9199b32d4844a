//! What a message pretends: of any content there is one check of a kind at most, each finite and in words; a name looks like itself,
//! whichever way it is written, and is no likeness of itself.
#![no_main]

use judge::looks::{Likeness, deception, face, likeness};
use judge::pretence::{Known, checks};
use libfuzzer_sys::fuzz_target;

const OWN: &str = "example-bank.test";

fuzz_target!(|input: &[u8]| {
    let content = sift::read(input, &sift::Bounds::default());
    let own = [OWN.to_owned(), "example.org".to_owned()];
    for is_authentic in [false, true] {
        let found = checks(&content, &Known { own: &own, is_authentic });
        assert!(
            found
                .iter()
                .all(|check| check.weight.is_finite() && check.weight > 0.0 && !check.result.is_empty())
        );
        let mut names: Vec<_> = found.iter().map(|check| check.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), found.len());
    }
    let text = String::from_utf8_lossy(input).to_lowercase();
    for domain in text.split_ascii_whitespace().take(20) {
        assert_eq!(likeness(domain, domain), None);
        let _ = deception(domain);
        if face(domain) == face(OWN) && domain != OWN {
            assert_eq!(likeness(domain, OWN), Some(Likeness::Same));
        }
    }
});
