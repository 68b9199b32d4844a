//! Message content between DATA or BDAT and the next hop (RFC 5321 §4.5.2, RFC 3030).
//!
//! Content is what stands between DATA and CRLF.CRLF with the stuffed dots taken out, or what the chunks of BDAT hold;
//! inside Postern it exists only in this form. Only CRLF.CRLF ends DATA. A bare CR, a bare LF or a NUL is a [`Fault`]:
//! the content is read to its true end and then refused, never repaired (law 2), so that nobody further on can take a
//! part of it for a command.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr_iter, memchr3_iter};

/// Finds the lines that begin with a dot.
static LINE_WITH_DOT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n."));

/// What content must not hold (RFC 5321 §2.3.8, §4.1.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// CR without LF.
    #[error("a bare carriage return")]
    BareCarriageReturn,
    /// LF without CR.
    #[error("a bare line feed")]
    BareLineFeed,
    /// NUL.
    #[error("a NUL")]
    Nul,
}

/// Looks for faults in content that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineCheck {
    after_carriage_return: bool,
    fault: Option<Fault>,
}

impl LineCheck {
    /// Looks at the next piece.
    pub fn check(&mut self, piece: &[u8]) {
        if self.fault.is_some() || piece.is_empty() {
            return;
        }
        self.fault = self.first_fault(piece);
        self.after_carriage_return = piece.last() == Some(&b'\r');
    }

    fn first_fault(&self, piece: &[u8]) -> Option<Fault> {
        if self.is_faultless(piece) { None } else { self.find_fault(piece) }
    }

    /// Whether every CR is followed by an LF and every LF follows a CR, and there is no NUL. A CR at the end of the piece is
    /// left open. One pass without a branch, which the compiler turns into vector instructions: several times as fast as
    /// looking for each line end.
    fn is_faultless(&self, piece: &[u8]) -> bool {
        let Some(&first) = piece.first() else { return true };
        let mut faults = u8::from(self.after_carriage_return != (first == b'\n')) | u8::from(first == 0);
        for (&before, &octet) in piece.iter().zip(&piece[1..]) {
            faults |= u8::from((before == b'\r') != (octet == b'\n')) | u8::from(octet == 0);
        }
        faults == 0
    }

    fn find_fault(&self, piece: &[u8]) -> Option<Fault> {
        if self.after_carriage_return && piece[0] != b'\n' {
            return Some(Fault::BareCarriageReturn);
        }
        // The position of a line feed that belongs to the carriage return before it.
        let mut paired = self.after_carriage_return.then_some(0);
        for at in memchr3_iter(b'\r', b'\n', 0, piece) {
            match piece[at] {
                b'\n' if paired == Some(at) => {}
                b'\n' => return Some(Fault::BareLineFeed),
                b'\r' if matches!(piece.get(at + 1), None | Some(b'\n')) => paired = Some(at + 1),
                b'\r' => return Some(Fault::BareCarriageReturn),
                _ => return Some(Fault::Nul),
            }
        }
        None
    }

    /// The first fault of all that was looked at, which was the whole content.
    pub fn finish(self) -> Option<Fault> {
        self.fault.or_else(|| self.after_carriage_return.then_some(Fault::BareCarriageReturn))
    }
}

/// Where a decoder of DATA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR in a line.
    CarriageReturn,
    /// Behind a dot at the start of a line: stuffed, or the end.
    Dot,
    /// Behind a dot and a CR at the start of a line.
    DotCarriageReturn,
}

/// Turns what follows DATA into content.
#[derive(Clone, Copy, Debug)]
pub struct DataDecoder {
    position: Position,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self { position: Position::LineStart }
    }
}

impl DataDecoder {
    /// A decoder at the start of content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` and hands their content to `content`. True: CRLF.CRLF was taken, what is
    /// left in `input` is the next command. False: `input` is used up.
    pub fn decode(&mut self, input: &mut &[u8], mut content: impl FnMut(&[u8])) -> bool {
        while let Some(&first) = input.first() {
            match (self.position, first) {
                (Position::Text, _) => self.take_text(input, &mut content),
                (Position::LineStart, b'.') => self.advance(input, Position::Dot),
                (Position::LineStart, _) => self.position = Position::Text,
                (Position::CarriageReturn, b'\n') => {
                    content(b"\n");
                    self.advance(input, Position::LineStart);
                }
                (Position::CarriageReturn, _) => self.position = Position::Text,
                (Position::Dot, b'\r') => self.advance(input, Position::DotCarriageReturn),
                // The dot was stuffed.
                (Position::Dot, _) => self.position = Position::Text,
                (Position::DotCarriageReturn, b'\n') => {
                    *input = &input[1..];
                    return true;
                }
                // Not the end, but a dot that was stuffed before a bare CR: a fault that the line check finds.
                (Position::DotCarriageReturn, _) => {
                    content(b"\r");
                    self.position = Position::Text;
                }
            }
        }
        false
    }

    fn advance(&mut self, input: &mut &[u8], position: Position) {
        *input = &input[1..];
        self.position = position;
    }

    /// Takes all up to the next line that begins with a dot, or up to where a CR or CRLF at the end of `input` leaves
    /// the next byte's meaning open.
    fn take_text(&mut self, input: &mut &[u8], content: &mut impl FnMut(&[u8])) {
        let bytes = *input;
        if let Some(at) = LINE_WITH_DOT.find(bytes) {
            content(&bytes[..at + 2]);
            *input = &bytes[at + 2..];
            self.position = Position::LineStart;
            return;
        }
        content(bytes);
        *input = &[];
        if bytes.ends_with(b"\r\n") {
            self.position = Position::LineStart;
        } else if bytes.ends_with(b"\r") {
            self.position = Position::CarriageReturn;
        }
    }
}

/// Turns content into what follows DATA: a dot more on lines that begin with one, and CRLF.CRLF at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataEncoder {
    state: Written,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Written {
    #[default]
    LineEnd,
    CarriageReturn,
    Text,
}

impl DataEncoder {
    /// An encoder at the start of content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next piece of content.
    pub fn encode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(&first) = piece.first() else { return };
        out.reserve(piece.len() + 8);
        let mut rest = piece;
        let completes = self.state == Written::CarriageReturn && first == b'\n';
        if completes {
            out.push(b'\n');
            rest = &rest[1..];
            self.state = Written::LineEnd;
        }
        if self.state == Written::LineEnd && rest.first() == Some(&b'.') {
            out.push(b'.');
        }
        while let Some(at) = LINE_WITH_DOT.find(rest) {
            out.extend_from_slice(&rest[..at + 3]);
            out.push(b'.');
            rest = &rest[at + 3..];
        }
        out.extend_from_slice(rest);
        self.state = match piece {
            [.., b'\r', b'\n'] => Written::LineEnd,
            [.., b'\r'] => Written::CarriageReturn,
            [b'\n'] if completes => Written::LineEnd,
            _ => Written::Text,
        };
    }

    /// Appends the end. Content without a CRLF at its end gains one: the only change there is (DECISIONS 12).
    pub fn finish(self, out: &mut Vec<u8>) {
        let end: &[u8] = if self.state == Written::LineEnd { b".\r\n" } else { b"\r\n.\r\n" };
        out.extend_from_slice(end);
    }
}

/// The octets of one chunk of BDAT that are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkDecoder {
    left: u64,
}

impl ChunkDecoder {
    /// A chunk of `size` octets.
    pub fn new(size: u64) -> Self {
        Self { left: size }
    }

    /// Takes the chunk's bytes from the front of `input`. True: the chunk is whole.
    pub fn decode(&mut self, input: &mut &[u8], mut content: impl FnMut(&[u8])) -> bool {
        let length = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (chunk, rest) = input.split_at(length);
        if !chunk.is_empty() {
            content(chunk);
        }
        *input = rest;
        self.left -= length as u64;
        self.left == 0
    }
}

/// Gives line feeds the carriage return that they lack, for machines of the administrator's own that cannot be taught
/// (DECISIONS 12). Never for the world: what it sends is refused as it is.
#[derive(Debug, Default)]
pub struct LineMender {
    /// The last octet seen was a CR.
    after_cr: bool,
}

impl LineMender {
    /// The next piece of content, mended.
    pub fn mend<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let mut mended = Vec::new();
        let mut copied = 0;
        for at in memchr_iter(b'\n', piece) {
            let has_cr = if at == 0 { self.after_cr } else { piece[at - 1] == b'\r' };
            if !has_cr {
                mended.extend_from_slice(&piece[copied..at]);
                mended.push(b'\r');
                copied = at;
            }
        }
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
        if mended.is_empty() {
            return Cow::Borrowed(piece);
        }
        mended.extend_from_slice(&piece[copied..]);
        Cow::Owned(mended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `wire` in pieces: content, fault, and what followed the end.
    fn decode(wire: &[u8], size: usize) -> Option<(Vec<u8>, Option<Fault>, Vec<u8>)> {
        let (mut decoder, mut check, mut content) = (DataDecoder::new(), LineCheck::default(), Vec::new());
        for (number, piece) in wire.chunks(size).enumerate() {
            let mut input = piece;
            let end = decoder.decode(&mut input, |bytes| {
                check.check(bytes);
                content.extend_from_slice(bytes);
            });
            if end {
                let rest = [input, &wire[(number * size + piece.len())..]].concat();
                return Some((content, check.finish(), rest));
            }
            assert!(input.is_empty());
        }
        None
    }

    #[test]
    fn dots_are_unstuffed_in_any_pieces() {
        let wire = b"one\r\n..two\r\n...\r\n\r\n. three\r\n.\r\nQUIT\r\n";
        for size in 1..=wire.len() {
            let (content, fault, rest) = decode(wire, size).unwrap();
            assert_eq!(content, b"one\r\n.two\r\n..\r\n\r\n three\r\n", "{size}");
            assert_eq!((fault, rest.as_slice()), (None, &b"QUIT\r\n"[..]));
        }
        assert_eq!(decode(b".\r\n", 1).unwrap(), (vec![], None, vec![]));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_content() {
        for (end, fault) in [
            (&b"\n.\n"[..], Fault::BareLineFeed),
            (b"\n.\r\n", Fault::BareLineFeed),
            (b"\r.\r", Fault::BareCarriageReturn),
            (b"\r.\r\n", Fault::BareCarriageReturn),
            (b"\r\n.\n", Fault::BareLineFeed),
            (b"\r\n.\r", Fault::BareCarriageReturn),
            (b"\r\n\0.\r\n", Fault::Nul),
            (b"\r\n.\0\r\n", Fault::Nul),
            (b"\r\n.\r\r\n", Fault::BareCarriageReturn),
            (b"\r\r\n.\r\n.", Fault::BareCarriageReturn),
        ] {
            let wire = [b"text", end, b"MAIL FROM:<smuggled@x.example>\r\n.\r\nQUIT\r\n"].concat();
            for size in 1..=wire.len() {
                let Some((_, found, rest)) = decode(&wire, size) else { panic!("{end:?}") };
                if !end.starts_with(b"\r\r\n") {
                    assert_eq!(rest, b"QUIT\r\n", "{end:?}");
                }
                assert_eq!(found, Some(fault), "{end:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_chunk_is_as_long_as_it_said() {
        let mut decoder = ChunkDecoder::new(5);
        let mut taken = Vec::new();
        let mut input = &b"abc"[..];
        assert!(!decoder.decode(&mut input, |b| taken.extend_from_slice(b)));
        let mut input = &b"deRSET"[..];
        assert!(decoder.decode(&mut input, |b| taken.extend_from_slice(b)));
        assert_eq!((taken.as_slice(), input), (&b"abcde"[..], &b"RSET"[..]));
        assert!(ChunkDecoder::new(0).decode(&mut &b""[..], |_| unreachable!()));
    }

    #[test]
    fn a_bare_line_feed_in_a_piece_of_its_own_is_not_taken_for_a_line_end() {
        for pieces in [&[&b"a\r\n"[..], b"\n"][..], &[b"a\r\n\n"]] {
            let mut out = Vec::new();
            let mut encoder = DataEncoder::new();
            pieces.iter().for_each(|piece| encoder.encode(piece, &mut out));
            encoder.finish(&mut out);
            assert!(out.ends_with(b"\r\n.\r\n"), "{out:?}");
        }
    }

    #[test]
    fn an_unfinished_last_line_gains_its_end() {
        let mut out = Vec::new();
        let mut encoder = DataEncoder::new();
        encoder.encode(b"text", &mut out);
        encoder.finish(&mut out);
        assert_eq!(out, b"text\r\n.\r\n");
        let mut out = Vec::new();
        DataEncoder::new().finish(&mut out);
        assert_eq!(out, b".\r\n");
    }

    /// Text in which line ends and dots are frequent.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![Just(&b"\r\n"[..]), Just(&b"."[..]), Just(&b"a"[..]), Just(&b"\r\n."[..])];
        proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn content_survives_encoding_and_decoding(
            mut content in lines(), out_size in 1usize..9, in_size in 1usize..9
        ) {
            let mut wire = Vec::new();
            let mut encoder = DataEncoder::new();
            content.chunks(out_size).for_each(|piece| encoder.encode(piece, &mut wire));
            encoder.finish(&mut wire);
            if !content.is_empty() && !content.ends_with(b"\r\n") {
                content.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(decode(&wire, in_size), Some((content, None, vec![])));
        }

        #[test]
        fn counting_finds_what_looking_finds(
            piece in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(0)], 1..12),
            after_carriage_return: bool,
        ) {
            let check = LineCheck { after_carriage_return, fault: None };
            prop_assert_eq!(check.is_faultless(&piece), check.find_fault(&piece).is_none());
        }

        #[test]
        fn faults_do_not_depend_on_the_pieces(
            wire in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0)], 0..24),
            size in 1usize..9,
        ) {
            prop_assert_eq!(decode(&wire, size), decode(&wire, wire.len().max(1)));
        }
    }

    #[test]
    fn bare_line_feeds_are_mended_in_every_chunking() {
        let content = b"a\nb\r\n\n\r\nc\rd\n.\n";
        for size in 1..content.len() {
            let mut mender = LineMender::default();
            let mended: Vec<u8> =
                content.chunks(size).flat_map(|piece| mender.mend(piece).into_owned()).collect();
            assert_eq!(mended, b"a\r\nb\r\n\r\n\r\nc\rd\r\n.\r\n", "in pieces of {size}");
        }
        let sound = b"a\r\nb\r\n";
        assert!(matches!(LineMender::default().mend(sound), Cow::Borrowed(_)), "nothing is copied");
    }
}
