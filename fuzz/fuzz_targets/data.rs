//! What follows DATA (RFC 5321 §4.5.2), against a model that looks at all of it at once. Where Postern and a server behind it
//! disagree on where a message ends, one message becomes two: SMTP smuggling (law 2).
#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use postern_fuzz::Pieces;
use smtp::content::{DataDecoder, DataEncoder, Fault, LineCheck};

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let expected = model(pieces.bytes());
    for pieces in [pieces, Pieces::whole(pieces.bytes()), Pieces::single(pieces.bytes())] {
        assert_eq!(decode(pieces), expected);
    }
    check_encoder(pieces);
});

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    fault: Option<Fault>,
    /// Octets up to the end of CRLF.CRLF, if it came.
    end: Option<usize>,
}

fn decode(pieces: Pieces<'_>) -> Decoded {
    let (mut decoder, mut check, mut content, mut used) =
        (DataDecoder::new(), LineCheck::default(), Vec::new(), 0);
    let mut end = None;
    for piece in pieces.iter() {
        let mut input = piece;
        let ended = decoder.decode(&mut input, |bytes| {
            check.check(bytes);
            content.extend_from_slice(bytes);
        });
        used += piece.len() - input.len();
        if ended {
            end = Some(used);
            break;
        }
        assert!(input.is_empty());
    }
    Decoded { content, fault: check.finish(), end }
}

fn model(wire: &[u8]) -> Decoded {
    // The CRLF of the command line before.
    let wire = [b"\r\n", wire].concat();
    let end = memmem::find(&wire, b"\r\n.\r\n");
    let lines = end.map_or(&wire[..], |at| &wire[..at + 2]);
    let stuffed = |at: usize| lines[at] == b'.' && lines[..at].ends_with(b"\r\n");
    let mut content: Vec<u8> = (2..lines.len()).filter(|&at| !stuffed(at)).map(|at| lines[at]).collect();
    // That may yet become the end.
    if lines.ends_with(b"\r\n.\r") {
        content.pop();
    }
    Decoded { fault: first_fault(&content), content, end: end.map(|at| at + 3) }
}

fn first_fault(content: &[u8]) -> Option<Fault> {
    (0..content.len()).find_map(|at| match content[at] {
        0 => Some(Fault::Nul),
        b'\r' if content.get(at + 1) != Some(&b'\n') => Some(Fault::BareCarriageReturn),
        b'\n' if at == 0 || content[at - 1] != b'\r' => Some(Fault::BareLineFeed),
        _ => None,
    })
}

/// Content without a fault, which is all that is ever passed on, arrives as it was, but for a CRLF at its end.
fn check_encoder(pieces: Pieces<'_>) {
    let mut content = pieces.bytes().to_vec();
    if first_fault(&content).is_some() {
        return;
    }
    let (mut encoder, mut wire) = (DataEncoder::new(), Vec::new());
    pieces.iter().for_each(|piece| encoder.encode(piece, &mut wire));
    encoder.finish(&mut wire);
    if !content.is_empty() && !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    let decoded = Decoded { content, fault: None, end: Some(wire.len()) };
    assert_eq!(model(&wire), decoded);
    assert_eq!(decode(pieces.of(&wire)), decoded);
}
