//! Replies of a server (RFC 5321 §4.2): the same in any pieces, and the same when they are written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::Pieces;
use smtp::Reply;
use smtp::line::LineError;
use smtp::reply::{MAX_REPLY_LINE, MAX_REPLY_LINES, ReplyError, ReplyReader};

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let (replies, end) = read(pieces);
    for other in [Pieces::whole(pieces.bytes()), Pieces::single(pieces.bytes())] {
        let (other_replies, other_end) = read(other);
        assert_eq!(replies, other_replies);
        assert_eq!(refusal(end), refusal(other_end));
    }
    for reply in &replies {
        check_written(pieces, reply);
    }
    if let [code, enhanced, text @ ..] = pieces.bytes() {
        check_own(u16::from(*code) * 2 + 90, *enhanced, text);
    }
});

/// The replies up to the first error; without one, whether another has begun.
fn read(pieces: Pieces<'_>) -> (Vec<Reply>, Result<bool, ReplyError>) {
    let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
    for piece in pieces.iter() {
        let mut input = piece;
        loop {
            match reader.read(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Err(error)),
            }
        }
        assert!(input.is_empty());
    }
    let within = reader.is_within_a_reply();
    (replies, Ok(within))
}

/// A line that is too long and has a fault behind the bound is refused for whichever is seen first.
fn refusal(end: Result<bool, ReplyError>) -> Result<bool, ReplyError> {
    end.map_err(|error| match error {
        ReplyError::Line(_) => ReplyError::Line(LineError::TooLong),
        other => other,
    })
}

fn check_written(pieces: Pieces<'_>, reply: &Reply) {
    let mut wire = Vec::new();
    reply.write(&mut wire);
    // The enhanced code of one line is written on all of them: a line at the bound goes over it.
    if wire.split(|&b| b == b'\n').all(|line| line.len() <= MAX_REPLY_LINE) {
        assert_eq!(read(pieces.of(&wire)), (vec![reply.clone()], Ok(false)));
    }
}

/// A reply of Postern's own is one reply, whatever its text.
fn check_own(code: u16, class: u8, text: &[u8]) {
    let Some(code) = smtp::ReplyCode::new(code) else { return };
    let enhanced = (class > 9).then_some(smtp::EnhancedCode(class % 10, 7, 999));
    let reply = Reply::new(code, enhanced, text).with_note("0123456789ABC");
    let mut wire = Vec::new();
    reply.write(&mut wire);
    let short = wire.split(|&b| b == b'\n').all(|line| line.len() <= MAX_REPLY_LINE);
    if short && reply.lines().count() <= MAX_REPLY_LINES {
        let (replies, end) = read(Pieces::whole(&wire));
        assert_eq!((replies.len(), end), (1, Ok(false)));
        assert_eq!(replies[0].code(), code);
        assert_eq!(replies[0].lines().count(), reply.lines().count());
    }
}
