//! What a report brings back of the message: its header section, or all of it.

use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::{BodyPart, MimePart};

/// Octets of the message that a report brings back. A larger message comes back as its header section, which is cut at this
/// length, too.
pub const MAX_RETURNED: usize = 64 * 1024;

/// The beginning of a message's content, as much of it as a report may bring back.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    bytes: Vec<u8>,
    cut: bool,
}

impl Excerpt {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next piece of the content; what does not fit is left away.
    pub fn push(&mut self, piece: &[u8]) {
        let room = MAX_RETURNED - self.bytes.len();
        self.cut |= piece.len() > room;
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Whether more would be left away.
    pub fn is_full(&self) -> bool {
        self.cut
    }

    /// The lines before the first empty one; all that there is, where none is empty.
    fn header_lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.bytes.split_inclusive(|&byte| byte == b'\n');
        let whole = lines.filter(|line| !self.cut || line.ends_with(b"\n"));
        let bare = whole.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        bare.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).take_while(|line| !line.is_empty())
    }

    fn header_section(&self) -> Vec<u8> {
        let mut section = Vec::new();
        for line in self.header_lines() {
            section.extend(line.iter().map(|&byte| if is_control(byte) { b'?' } else { byte }));
            section.extend_from_slice(b"\r\n");
        }
        section
    }

    /// Whether all of the message is here, and made of lines.
    fn is_whole_text(&self) -> bool {
        let ends = self.bytes.iter().filter(|&&byte| byte == b'\r' || byte == b'\n').count();
        let pairs = self.bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        !self.cut && ends == 2 * pairs && !self.bytes.contains(&0)
    }
}

/// RFC 5322 §2.1.1, with the CR.
const MAX_LINE: usize = 999;

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// The third part of a report.
pub(super) struct Returned {
    pub(super) bytes: Vec<u8>,
    /// Octets beyond ASCII go out as they are.
    pub(super) eight_bit: bool,
    content_type: &'static str,
    full: bool,
}

impl Returned {
    /// `full`: all of the message may come back. `international`: the message may have UTF-8 in its header fields; `eight_bit`:
    /// so may the report.
    pub(super) fn new(excerpt: &Excerpt, full: bool, international: bool, eight_bit: bool) -> Self {
        let full = full && excerpt.is_whole_text();
        let bytes = if full { excerpt.bytes.clone() } else { excerpt.header_section() };
        let content_type = match (full, international) {
            (true, true) => "message/global",
            (true, false) => "message/rfc822",
            (false, true) => "message/global-headers",
            (false, false) => "text/rfc822-headers",
        };
        let eight_bit = !bytes.is_ascii() && (full || eight_bit);
        Self { bytes, eight_bit, content_type, full }
    }

    /// A whole message may not be encoded again (RFC 2046 §5.2.1), header fields may (RFC 6522 §4, RFC 6533 §6.3).
    pub(super) fn part(self) -> MimePart<'static> {
        let content_type = ContentType::new(self.content_type);
        let plain = self.bytes.is_ascii() || self.eight_bit;
        if self.full || (plain && self.bytes.split(|&byte| byte == b'\n').all(|line| line.len() < MAX_LINE)) {
            let encoding = if self.eight_bit { "8bit" } else { "7bit" };
            return MimePart::new(content_type, BodyPart::Binary(self.bytes.into()))
                .transfer_encoding(encoding);
        }
        let mut encoded = Vec::new();
        mail_builder::encoders::quoted_printable::QuotedPrintableEncoder::new()
            .preserve_line_breaks()
            .encode_into(&self.bytes, &mut encoded);
        MimePart::new(content_type, BodyPart::Binary(encoded.into())).transfer_encoding("quoted-printable")
    }
}
