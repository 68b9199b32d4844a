//! What a message says, as bounded values: what the parsers found, and all that the judge gets to see of it.
//!
//! Every list and every text has a bound, named here; what was beyond it is counted, so that "cut" is a fact, too.

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// Header fields that are kept; mail of honest origin has some thirty.
pub const MAX_FIELDS: usize = 256;
/// Octets of a field's value that are kept.
pub const MAX_FIELD: usize = 2 << 10;
/// Octets of visible text that are kept from its beginning: what a person reads before they decide.
pub const MAX_START: usize = 16 << 10;
/// Octets of visible text that are kept from its end, where the beginning did not hold it all.
pub const MAX_END: usize = 2 << 10;
/// Octets of hidden text that are kept.
pub const MAX_HIDDEN: usize = 4 << 10;
/// Links that are kept.
pub const MAX_LINKS: usize = 200;
/// Octets of a link's target, and of its text, that are kept.
pub const MAX_LINK: usize = 512;
/// Addresses that are kept of each field that names some.
pub const MAX_ADDRESSES: usize = 100;
/// Parts that are kept, those within archives included.
pub const MAX_PARTS: usize = 200;
/// Octets of a part's name that are kept.
pub const MAX_NAME: usize = 256;

/// A message's content. Texts are UTF-8, whatever they were; names of fields, hosts and media types are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Header fields in their order, first is topmost.
    pub fields: Vec<Field>,
    /// Addresses of `From`.
    pub from: Vec<Address>,
    /// Addresses of `Reply-To`.
    pub reply_to: Vec<Address>,
    /// Addresses of `To` and `Cc`.
    pub to: Vec<Address>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Message-ID` without its brackets.
    pub message_id: String,
    /// Text that a reader sees, of all parts that are shown: the HTML of an alternative where there is one, else plain.
    pub text: Text,
    /// Plain text of an alternative whose HTML is in `text`, where the two differ: seen by few readers.
    pub alternative: String,
    /// Text that HTML carries and does not show: no size, no contrast, off the page, comments excepted.
    pub hidden: String,
    /// Links of HTML and of plain text, in their order.
    pub links: Vec<Link>,
    /// The parts of MIME, depth first, and what archives hold.
    pub parts: Vec<Part>,
    /// What HTML does beside showing text.
    pub markup: Markup,
    /// What is malformed, or was beyond a bound.
    pub oddities: Oddities,
    /// What it reports about a domain, if it does.
    pub report: Option<Report>,
}

/// A header field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name in lower case.
    pub name: String,
    /// Its value, unfolded, encoded words decoded (RFC 2047).
    pub value: String,
}

/// A mailbox of a header field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The display name, decoded.
    pub name: String,
    /// local-part@domain, the domain in lower case; empty if there is none.
    pub mailbox: String,
}

/// Visible text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Its beginning.
    pub start: String,
    /// Its end, where the beginning does not hold all.
    pub end: String,
    /// Octets in all.
    pub octets: u64,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it leads: an absolute URI, entities decoded.
    pub target: String,
    /// The host of an http, https or ftp target, in lower case, A-label; empty for others.
    pub host: String,
    /// What is shown for it; empty where the target stood in plain text.
    pub text: String,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a link does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// It is followed when somebody chooses to.
    #[default]
    Follow,
    /// It is loaded as a picture.
    Picture,
    /// A form sends to it.
    Form,
    /// A script, frame, style sheet or object is loaded from it.
    Load,
}

/// A part of MIME, or a member of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The media type that it claims, `type/subtype`.
    pub media_type: String,
    /// What it is by its own octets.
    pub kind: Kind,
    /// Its file name, decoded; empty if there is none.
    pub name: String,
    /// Octets, transfer encoding undone.
    pub size: u64,
    /// How deep it lies: 0 is the message itself.
    pub depth: u8,
    /// It is an attachment, by its disposition or as a member of an archive.
    pub attached: bool,
    /// It lies in an archive.
    pub in_archive: bool,
    /// It cannot be read without a password.
    pub encrypted: bool,
    /// It has macros, or other content that acts when opened.
    pub active: bool,
}

/// What a part is by its own octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// None of those below.
    #[default]
    Other,
    /// Empty.
    Empty,
    /// A container of MIME.
    Multipart,
    /// An attached message.
    Message,
    /// Plain text.
    Text,
    /// HTML.
    Html,
    /// A calendar object (RFC 5545).
    Calendar,
    /// A picture.
    Picture,
    /// Sound or film.
    Media,
    /// PDF.
    Pdf,
    /// An Office document of OOXML.
    Office,
    /// An Office document of the older compound file format.
    CompoundDocument,
    /// RTF.
    Rtf,
    /// OpenDocument.
    OpenDocument,
    /// zip.
    Zip,
    /// gzip.
    Gzip,
    /// tar.
    Tar,
    /// An archive that is not opened: rar, 7z, cab, xz, bzip2, zstd, arj, lzh, ace.
    Archive,
    /// An image of a disk: ISO 9660, UDF, VHD.
    DiskImage,
    /// A program for Windows, Unix or macOS.
    Program,
    /// A script by its name or first line.
    Script,
    /// A shortcut that starts something: .lnk, .url, .desktop.
    Shortcut,
    /// OpenPGP or CMS.
    Cryptographic,
    /// A font.
    Font,
}

/// What HTML does beside showing text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Markup {
    /// Elements in all.
    pub elements: u32,
    /// Forms.
    pub forms: u32,
    /// Fields of forms that ask for a password.
    pub passwords: u32,
    /// Scripts, and attributes that run some.
    pub scripts: u32,
    /// Frames, objects and embedded documents.
    pub frames: u32,
    /// Pictures.
    pub pictures: u32,
    /// Pictures of at most two pixels.
    pub beacons: u32,
    /// Octets of text that is not shown.
    pub hidden_octets: u64,
    /// Characters without width, of HTML and of plain text, that were left out of `text`.
    pub zero_width: u32,
}

/// What is malformed, or was beyond a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oddities {
    /// Fields beyond [`MAX_FIELDS`], links, parts, addresses beyond theirs.
    pub left_out: u32,
    /// Parts nested deeper than is followed.
    pub too_deep: bool,
    /// An archive was larger, deeper or denser than is opened.
    pub archive_bound: bool,
    /// An archive could not be read.
    pub archive_broken: bool,
    /// A charset is unknown, or the octets are none of it.
    pub charset: bool,
    /// A transfer encoding is unknown or broken.
    pub encoding: bool,
    /// A multipart whose boundary is missing or never ends.
    pub boundary: bool,
    /// Fields that must stand once stand twice.
    pub doubled_fields: bool,
    /// A field that every message has (`From`, `Date`) is missing.
    pub missing_fields: bool,
    /// A header line that is no field.
    pub broken_header: bool,
    /// GTUBE is in the text.
    pub gtube: bool,
}
