//! A page of HTML: what it shows and hides are parts of it, and no word is made up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::content::read_twice;

fuzz_target!(|input: &[u8]| {
    let message = [b"Content-Type: text/html; charset=utf-8\r\n\r\n", input].concat();
    let content = read_twice(&message);
    assert!(
        content.markup.passwords <= content.markup.elements
            && content.markup.forms <= content.markup.elements
    );
    assert!(content.markup.beacons <= content.markup.pictures);
});
