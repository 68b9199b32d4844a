//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 3463): one type for what servers say and for what Postern
//! says, and the reader of what servers say.

use std::fmt;

use crate::line::{LineError, LineReader};

/// A server that talks longer than this in one reply is not answering a command; it is filling memory.
pub const MAX_REPLY_LINES: usize = 256;
/// RFC 5321 §4.5.3.1.5 allows 512 octets; EHLO lines and chatty servers go beyond, this bounds what is kept of them.
pub const MAX_REPLY_LINE: usize = 2048;

/// Text of a line that Postern makes longer: with the codes and CRLF it stays within those 512 octets.
const MAX_OWN_TEXT: usize = 490;

/// The three digits of a reply, 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// `None` outside 200 to 599.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 200 && code <= 599 { Some(Self(code)) } else { None }
    }

    /// 250: done.
    pub const COMPLETED: Self = Self(250);

    /// 334: the next step of AUTH (RFC 4954 §6).
    pub const CHALLENGE: Self = Self(334);

    /// For codes that stand in the source.
    pub(crate) const fn fixed(code: u16) -> Self {
        assert!(code >= 200 && code <= 599);
        Self(code)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// 2yz: done.
    pub fn is_positive(self) -> bool {
        self.0 / 100 == 2
    }

    /// 3yz: go on.
    pub fn is_intermediate(self) -> bool {
        self.0 / 100 == 3
    }

    /// 4yz: try again later.
    pub fn is_transient(self) -> bool {
        self.0 / 100 == 4
    }

    /// 5yz: do not try again.
    pub fn is_permanent(self) -> bool {
        self.0 / 100 == 5
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl EnhancedCode {
    /// Reads the code at the head of a reply's text; the rest of the text is returned beside it.
    fn split(text: &[u8]) -> Option<(Self, &[u8])> {
        let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
        let mut numbers = text[..end].split(|&b| b == b'.').map(|digits| {
            let short = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
            short.then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
        });
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if numbers.next().is_some() || ![2, 4, 5].contains(&class) {
            return None;
        }
        let class = u8::try_from(class).ok()?;
        Some((Self(class, subject, detail), text.get(end + 1..).unwrap_or_default()))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A whole reply: code, enhanced code if there is one, and the lines of text without either.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reply {
    code: ReplyCode,
    enhanced: Option<EnhancedCode>,
    /// Lines, separated by LF; never CR, never NUL.
    text: Box<[u8]>,
}

impl Reply {
    /// A reply of Postern's own; line breaks in `text` make it a multi-line reply. Bytes that would break a reply line
    /// (CR, NUL) become spaces.
    pub fn new(code: ReplyCode, enhanced: Option<EnhancedCode>, text: impl Into<Vec<u8>>) -> Self {
        let mut text = text.into();
        for byte in &mut text {
            if matches!(byte, b'\r' | 0) {
                *byte = b' ';
            }
        }
        Self { code, enhanced, text: text.into_boxed_slice() }
    }

    /// The three digits.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// The enhanced code, if the reply has one.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The lines of text, without code and enhanced code; at least one, which may be empty.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|&b| b == b'\n')
    }

    /// All text in one line, for logs and pages; what is not UTF-8 is replaced, control characters too.
    pub fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// The same reply with ` (note)` at the end of its last line, or on a line of its own where it does not fit.
    #[must_use]
    pub fn with_note(&self, note: &str) -> Self {
        let mut text = self.text.to_vec();
        let last = text.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
        if last > 0 {
            let fits = last + note.len() + " ()".len() <= MAX_OWN_TEXT;
            text.push(if fits { b' ' } else { b'\n' });
        }
        text.extend_from_slice(format!("({note})").as_bytes());
        Self::new(self.code, self.enhanced, text)
    }

    /// Appends the reply as it goes over the wire (RFC 5321 §4.2.1), the enhanced code on each line (RFC 2034 §4).
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { b'-' } else { b' ' };
            push_number(out, self.code.0);
            out.push(separator);
            if let Some(EnhancedCode(class, subject, detail)) = self.enhanced {
                push_number(out, u16::from(class));
                out.push(b'.');
                push_number(out, subject);
                out.push(b'.');
                push_number(out, detail);
                out.push(b' ');
            }
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Decimal digits without going through `format!`: replies are written for every command.
fn push_number(out: &mut Vec<u8>, number: u16) {
    let mut digits = [0; 5];
    let mut rest = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten fits.
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.words())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// A reply that says no: 4yz or 5yz by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Reply);

impl Refusal {
    /// `None` if the reply is no refusal.
    pub fn new(reply: Reply) -> Option<Self> {
        (reply.code.is_transient() || reply.code.is_permanent()).then_some(Self(reply))
    }

    /// The reply.
    pub fn reply(&self) -> &Reply {
        &self.0
    }

    /// The reply, owned.
    pub fn into_reply(self) -> Reply {
        self.0
    }

    /// 4yz.
    pub fn is_transient(&self) -> bool {
        self.0.code.is_transient()
    }
}

/// Why what a server said is no reply; the connection is out of step and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not begin with three digits and a space, a hyphen or its end.
    #[error("a line that is no reply")]
    NotAReply,
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    #[error("a reply whose lines have different codes")]
    CodesDiffer,
    /// More than [`MAX_REPLY_LINES`].
    #[error("a reply of more than {MAX_REPLY_LINES} lines")]
    TooManyLines,
    /// A line over [`MAX_REPLY_LINE`], or with a bare CR, bare LF or NUL.
    #[error("in a reply: {0}")]
    Line(#[from] LineError),
}

/// Reads replies from the bytes of a connection, in whatever pieces they come.
#[derive(Debug)]
pub struct ReplyReader {
    lines: LineReader,
    code: Option<ReplyCode>,
    enhanced: Option<EnhancedCode>,
    text: Vec<u8>,
    count: usize,
}

impl Default for ReplyReader {
    fn default() -> Self {
        Self {
            lines: LineReader::new(MAX_REPLY_LINE),
            code: None,
            enhanced: None,
            text: Vec::new(),
            count: 0,
        }
    }
}

impl ReplyReader {
    /// A reader at the start of a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` up to the end of the first whole reply. `None` means that `input` is used
    /// up and the reply goes on.
    ///
    /// # Errors
    ///
    /// What was read is no reply; the reader must not be used again.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(line) = self.lines.read(input)? else { return Ok(None) };
            if self.count == MAX_REPLY_LINES {
                return Err(ReplyError::TooManyLines);
            }
            self.count += 1;
            let line = parse_line(line)?;
            if self.code.is_some_and(|code| code != line.code) {
                return Err(ReplyError::CodesDiffer);
            }
            let text = match EnhancedCode::split(line.text) {
                Some((enhanced, rest)) if u16::from(enhanced.0) == line.code.get() / 100 => {
                    self.enhanced.get_or_insert(enhanced);
                    rest
                }
                _ => line.text,
            };
            if self.code.is_some() {
                self.text.push(b'\n');
            }
            self.code = Some(line.code);
            self.text.extend_from_slice(text);
            if line.last {
                let (code, enhanced) = (line.code, self.enhanced.take());
                self.code = None;
                self.count = 0;
                return Ok(Some(Reply::new(code, enhanced, std::mem::take(&mut self.text))));
            }
        }
    }

    /// Whether part of a reply has been read.
    pub fn is_within_a_reply(&self) -> bool {
        self.code.is_some() || !self.lines.is_empty()
    }
}

struct ReplyLine<'a> {
    code: ReplyCode,
    last: bool,
    text: &'a [u8],
}

fn parse_line(line: &[u8]) -> Result<ReplyLine<'_>, ReplyError> {
    let digits = line.get(..3).filter(|d| d.iter().all(u8::is_ascii_digit)).ok_or(ReplyError::NotAReply)?;
    let number = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    let code = ReplyCode::new(number).ok_or(ReplyError::NotAReply)?;
    let (last, text) = match line.get(3) {
        None => (true, &line[3..]),
        Some(b' ') => (true, &line[4..]),
        Some(b'-') => (false, &line[4..]),
        Some(_) => return Err(ReplyError::NotAReply),
    };
    Ok(ReplyLine { code, last, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = ReplyReader::new();
        let mut replies = Vec::new();
        for piece in bytes.chunks(size) {
            let mut input = piece;
            while let Some(reply) = reader.read(&mut input)? {
                replies.push(reply);
            }
            assert!(input.is_empty());
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_in_any_pieces_and_written_back_the_same() {
        let wire = b"250-mx.example greets you\r\n250-SIZE 1000\r\n250 HELP\r\n550 5.1.1 no such user\r\n\
            250-2.1.5 one\r\n250 2.1.5 two\r\n354 \r\n";
        for size in 1..wire.len() {
            let replies = read_in_pieces(wire, size).unwrap();
            assert_eq!(replies.len(), 4);
            let mut out = Vec::new();
            replies.iter().for_each(|reply| reply.write(&mut out));
            assert_eq!(out, wire);
        }
    }

    #[test]
    fn notes_that_add_up_do_not_make_a_line_too_long() {
        let mut reply = Reply::new(ReplyCode::fixed(550), Some(EnhancedCode(5, 1, 1)), "no such user");
        for _ in 0..100 {
            reply = reply.with_note("0000000000000.1");
        }
        let mut out = Vec::new();
        reply.write(&mut out);
        assert!(out.starts_with(b"550-5.1.1 no such user (0000000000000.1) ("));
        assert!(out.split_inclusive(|&byte| byte == b'\n').all(|line| line.len() <= 512));
        assert_eq!(read_in_pieces(&out, 99).unwrap(), [reply]);
    }

    #[test]
    fn the_enhanced_code_must_agree_with_the_code() {
        let replies = read_in_pieces(b"250 5.1.1 odd\r\n450 4.2.0\r\n250 2.0 x\r\n", 99).unwrap();
        assert_eq!(replies[0].enhanced(), None);
        assert_eq!(replies[0].words(), "5.1.1 odd");
        assert_eq!(replies[1].enhanced(), Some(EnhancedCode(4, 2, 0)));
        assert_eq!(replies[2].enhanced(), None);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for (wire, error) in [
            (&b"hello\r\n"[..], ReplyError::NotAReply),
            (b"99 x\r\n", ReplyError::NotAReply),
            (b"199 x\r\n", ReplyError::NotAReply),
            (b"250_x\r\n", ReplyError::NotAReply),
            (b"250-a\r\n550 b\r\n", ReplyError::CodesDiffer),
            (b"250 a\n", ReplyError::Line(LineError::BareLineFeed)),
            (b"250 a\rb\r\n", ReplyError::Line(LineError::BareCarriageReturn)),
        ] {
            assert_eq!(read_in_pieces(wire, 3).unwrap_err(), error, "{wire:?}");
        }
    }

    #[test]
    fn an_endless_reply_is_an_error() {
        let wire = b"250-x\r\n".repeat(MAX_REPLY_LINES + 1);
        assert_eq!(read_in_pieces(&wire, 64), Err(ReplyError::TooManyLines));
        let wire = [b"250 ".as_slice(), &[b'x'; MAX_REPLY_LINE]].concat();
        assert_eq!(read_in_pieces(&wire, 64), Err(ReplyError::Line(LineError::TooLong)));
    }

    #[test]
    fn text_cannot_break_out_of_its_line() {
        let mut out = Vec::new();
        Reply::new(ReplyCode::fixed(550), None, "a\r250 b\0").write(&mut out);
        assert_eq!(out, b"550 a 250 b \r\n");
    }

    #[test]
    fn a_refusal_is_never_positive() {
        assert!(Refusal::new(Reply::new(ReplyCode::fixed(250), None, "ok")).is_none());
        assert!(Refusal::new(Reply::new(ReplyCode::fixed(354), None, "go on")).is_none());
        assert!(Refusal::new(Reply::new(ReplyCode::fixed(451), None, "later")).is_some());
    }
}
