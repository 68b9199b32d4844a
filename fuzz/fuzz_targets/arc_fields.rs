//! What `evidence` itself reads of fields of ARC: what a sealer found, and lists of tags. Whatever they hold, they are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = evidence::chain::dmarc_passed(input);
    if let Some(tags) = evidence::chain::tags(input) {
        let mut names: Vec<_> = tags.into_iter().map(|(name, _)| name).collect();
        let number = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), number);
    }
});
