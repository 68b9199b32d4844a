//! BDAT (RFC 3030): commands and chunks in one stream, against a naive model. A chunk that takes one octet more or less than it
//! said puts the connection out of step, and content becomes commands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use postern_fuzz::Pieces;
use smtp::Command;
use smtp::command::MAX_COMMAND_LINE;
use smtp::content::ChunkDecoder;
use smtp::line::LineReader;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let expected = model(pieces.bytes());
    for pieces in [pieces, Pieces::whole(pieces.bytes()), Pieces::single(pieces.bytes())] {
        assert_eq!(read(pieces), expected);
    }
    if let Some((size, bytes)) = pieces.bytes().split_first_chunk() {
        check_chunk(u64::from_le_bytes(*size), pieces.of(bytes));
    }
});

#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    size: u64,
    last: bool,
    content: Vec<u8>,
}

/// The chunks up to the first line that is no BDAT.
fn read(pieces: Pieces<'_>) -> Vec<Chunk> {
    let (mut lines, mut decoder) = (LineReader::new(MAX_COMMAND_LINE), None::<ChunkDecoder>);
    let mut chunks: Vec<Chunk> = Vec::new();
    for piece in pieces.iter() {
        let mut input = piece;
        while !input.is_empty() {
            if let (Some(chunk), Some(into)) = (&mut decoder, chunks.last_mut()) {
                if chunk.decode(&mut input, |bytes| into.content.extend_from_slice(bytes)) {
                    decoder = None;
                }
                continue;
            }
            let Ok(line) = lines.read(&mut input) else { return chunks };
            let Some(line) = line else { continue };
            let Ok(Command::Bdat { size, last }) = Command::parse(line) else { return chunks };
            chunks.push(Chunk { size, last, content: Vec::new() });
            decoder = Some(ChunkDecoder::new(size)).filter(|_| size > 0);
        }
    }
    chunks
}

fn model(mut wire: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while let Some(end) = memmem::find(wire, b"\r\n") {
        let line = &wire[..end];
        if line.len() > MAX_COMMAND_LINE || line.iter().any(|b| b"\r\n\0".contains(b)) {
            break;
        }
        let Some((size, last)) = model_command(line) else { break };
        wire = &wire[end + 2..];
        let length = usize::try_from(size).map_or(wire.len(), |size| size.min(wire.len()));
        chunks.push(Chunk { size, last, content: wire[..length].to_vec() });
        wire = &wire[length..];
    }
    chunks
}

/// Any blanks before LAST are read, only spaces before the size.
fn model_command(line: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(' ');
    let (verb, argument) = text.split_once(' ')?;
    let argument = argument.trim_start_matches(' ');
    let digits = argument.bytes().take_while(u8::is_ascii_digit).count();
    let (size, rest) = argument.split_at(digits);
    let last = match rest.strip_prefix(' ') {
        None if rest.is_empty() => false,
        Some(word) if word.trim().eq_ignore_ascii_case("LAST") => true,
        _ => return None,
    };
    let number = |sum: u64, digit: u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let size = size.bytes().try_fold(0, number).filter(|_| digits > 0)?;
    verb.eq_ignore_ascii_case("BDAT").then_some((size, last))
}

/// A size in binary: the edges of 64 bits are nearer there than in digits.
fn check_chunk(size: u64, pieces: Pieces<'_>) {
    let line = format!("BDAT {size} LAST");
    assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Bdat { size, last: true }));
    let (mut decoder, mut taken) = (ChunkDecoder::new(size), Vec::new());
    for piece in pieces.iter() {
        let mut input = piece;
        let whole = decoder.decode(&mut input, |bytes| taken.extend_from_slice(bytes));
        assert_eq!(whole, taken.len() as u64 == size);
        assert!(whole || input.is_empty());
    }
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(pieces.bytes().len());
    assert_eq!(taken, pieces.bytes()[..length]);
}
