//! From a message's octets to its [`Content`]: the header (RFC 5322, RFC 2047), the parts of MIME (RFC 2045, RFC 2046), their
//! text in Unicode, what HTML shows and hides, links, and what attachments are by their own octets.
//!
//! Whatever the octets are, there is an answer, and the work for it is bounded: by [`Bounds`], and by one look at each octet
//! for each level of nesting. Malformed mail is read the way mail programs read it, and `content.oddities` says so.
//!
//! Known, and not opened: rar, 7z and the other archives of `Kind::Archive`, images of disks, TNEF (`winmail.dat`), what is
//! signed or encrypted as CMS or OpenPGP, and uuencoded files within plain text.

mod archive;
mod charset;
mod color;
mod document;
mod element;
mod header;
mod html;
mod kind;
mod links;
mod mime;
mod report;
mod sheet;
mod style;
mod text;
mod transfer;

use crate::content::Content;

/// How far a message is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Levels of MIME below the message itself. Real mail has up to five, forwarded mail ten.
    pub depth: u8,
    /// Parts that are looked at; more than are kept, so that a picture gallery does not hide what comes behind it.
    pub parts: u32,
    /// Octets that are taken out of their transfer encoding, in all; encodings within each other are in memory together.
    pub decoded: usize,
    /// Octets that are unpacked from archives, in all.
    pub unpacked: usize,
    /// Octets of text and of HTML that are read, in all. A reader sees much less; what stands behind is filling.
    pub text: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 16, parts: 1000, decoded: 64 << 20, unpacked: 32 << 20, text: 1 << 20 }
    }
}

/// Reads a message: all of its octets, as they came over the wire or lie on disk, with CRLF or LF.
pub fn read(message: &[u8], bounds: &Bounds) -> Content {
    let mut content = Content::default();
    let mut walk = mime::Walk::new(&mut content, bounds);
    walk.message(message);
    let texts = walk.finish();
    text::compose(texts, &mut content);
    content
}
