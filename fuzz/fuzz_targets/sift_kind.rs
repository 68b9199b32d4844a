//! What an attachment is: the first line of the input is its name, the rest are its octets, or their beginning. Octets with a
//! signature are of its kind whatever the name says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sift::content::Kind;
use sift::{Bounds, read};

fn kind(name: &str, octets: &[u8]) -> Kind {
    let header = format!("Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n");
    let content = read(&[header.as_bytes(), octets].concat(), &Bounds::default());
    content.parts.first().map(|part| part.kind).unwrap_or_default()
}

fuzz_target!(|input: &[u8]| {
    let end = memchr::memchr(b'\n', input).unwrap_or(input.len());
    let (name, octets) = input.split_at(end);
    let name = String::from_utf8_lossy(name).replace(['"', '\\', '\r'], "");
    let named = kind(&name, octets);
    assert_eq!(named == Kind::Empty, octets.is_empty());
    for signature in
        [(&b"%PDF-"[..], Kind::Pdf), (b"\x89PNG\r\n\x1a\n", Kind::Picture), (b"\x7fELF", Kind::Program)]
    {
        assert_eq!(kind(&name, &[signature.0, octets].concat()), signature.1);
    }
});
