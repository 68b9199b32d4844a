//! What the classifier sees of a message: its content cut and filtered, and what the transport knows. Bounded; its byte form is
//! what is kept for 30 days, so that a report about a trace id teaches the message itself and not the copy that a mail program
//! made of it.

mod bytes;
mod facts;

pub(crate) use facts::registered;

use sift::Content;
use sift::content::{Address, Field, Link};

use crate::error::JudgeError;
use crate::prepared::Prepared;

/// Octets of header fields that are looked at.
pub const MAX_HEADER: usize = 4 << 10;
/// Octets of visible text from its beginning: what persuades stands there, and every octet costs time in five models.
pub const MAX_START: usize = 8 << 10;
/// Octets of visible text from its end: the small print and the random words.
pub const MAX_END: usize = 1 << 10;
/// Octets of hidden text.
pub const MAX_HIDDEN: usize = 2 << 10;
/// Octets of links.
pub const MAX_LINKS: usize = 3 << 10;
/// Octets of facts: structure, transport.
pub const MAX_FACTS: usize = 4 << 10;
/// The byte form is never longer.
pub const MAX_BYTES: usize =
    MAX_HEADER + MAX_START + MAX_END + MAX_HIDDEN + MAX_LINKS + MAX_FACTS + (4 << 10);
/// Octets of one field's value.
const MAX_VALUE: usize = 256;

/// What the transport knows of a message before its content is read. Empty where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport<'a> {
    /// The name the client gave in HELO or EHLO.
    pub helo: &'a str,
    /// The client's name by DNS, if it leads back to the address.
    pub client_name: &'a str,
    /// What the client's address is like.
    pub client: Client,
    /// The reverse-path without its brackets; empty for the null one, too.
    pub reverse_path: &'a str,
    /// Whether an envelope is known at all: without it an empty reverse-path tells nothing.
    pub envelope: bool,
    /// Findings of other checks that may help to tell classes apart, as `spf=pass`: lower case, no spaces, at most
    /// [`MAX_FINDINGS`].
    pub findings: &'a [String],
}

/// Findings that are looked at.
pub const MAX_FINDINGS: usize = 32;

/// What a client's address is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Nothing is known.
    #[default]
    Unknown,
    /// One of the site's own machines, or somebody who has logged in.
    Inside,
    /// Its name by DNS leads back to it.
    Named,
    /// The same, but the name looks like one of many given to customers.
    Dynamic,
    /// It has no name, or one that leads elsewhere.
    Nameless,
}

/// Which kind of thing a piece is. The numbers are part of the byte form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A header field, `name:value`.
    Field = 1,
    /// The decoded subject.
    Subject = 2,
    /// The beginning of the visible text.
    Start = 3,
    /// Its end.
    End = 4,
    /// Hidden text, and the plain alternative that differs from what is shown.
    Hidden = 5,
    /// A link: host, path and text.
    Link = 6,
    /// A fact as it is counted: structure, transport.
    Fact = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// What the classifier sees of a message.
#[derive(Clone, Debug)]
pub struct Features {
    pieces: Vec<Piece>,
    prepared: Prepared,
}

/// Names a message, whoever handed it in: the same features have the same digest.
pub type Digest = [u8; 16];

impl Features {
    /// Takes from a message's content what the classifier looks at.
    pub fn of(content: &Content, transport: &Transport<'_>) -> Self {
        let mut pieces = Vec::new();
        fields(content, &mut pieces);
        add(&mut pieces, Kind::Subject, &content.subject, MAX_VALUE * 2);
        add(&mut pieces, Kind::Start, &content.text.start, MAX_START);
        ending(content, &mut pieces);
        add(&mut pieces, Kind::Hidden, &content.hidden, MAX_HIDDEN);
        links(&content.links, &mut pieces);
        facts::collect(content, transport, &mut pieces);
        Self::new(pieces)
    }

    /// Reads the byte form.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Features`] if it is none, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JudgeError> {
        bytes::read(bytes).map(Self::new)
    }

    /// The byte form: at most [`MAX_BYTES`], mostly what the message's own text takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::write(&self.pieces)
    }

    /// What names the message: a hash of the byte form.
    pub fn digest(&self) -> Digest {
        self.prepared.digest
    }

    /// A hash of the body that stays the same when a few words of it change: siblings of one run of spam share it.
    pub fn body_hash(&self) -> u64 {
        self.prepared.body_hash
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    fn new(pieces: Vec<Piece>) -> Self {
        let prepared = Prepared::of(&pieces);
        Self { pieces, prepared }
    }
}

/// Fields that the reader's own site adds, and those that other members look at already. All other fields are evidence, those of the
/// way a message took, too: at the gate nothing of the own site is among them yet.
const IGNORED: &[&str] = &[
    "return-path",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "x-envelope-from",
    "delivery-date",
    "subject",
    "status",
    "x-status",
    "x-keywords",
    "x-uid",
    "x-uidl",
    "content-length",
    "lines",
    "authentication-results",
    "arc-authentication-results",
    "arc-seal",
    "arc-message-signature",
    "received-spf",
    "dkim-signature",
    "domainkey-signature",
    "dkim-filter",
    "autocrypt",
    "x-loop",
];
/// Beginnings of names that filters and mail boxes use.
const IGNORED_BEGINNINGS: &[&str] = &[
    "x-spam",
    "x-virus",
    "x-bogosity",
    "x-postern",
    "x-rspamd",
    "x-mailscanner",
    "x-amavis",
    "x-barracuda",
    "x-ironport",
    "x-proofpoint",
    "x-mimecast",
    "x-gm-",
    "x-google-",
    "x-received",
    "x-forefront",
    "x-microsoft-antispam",
    "x-ms-exchange",
    "x-pyzor",
    "x-razor",
    "x-dspam",
    "x-crm114",
    "x-assp",
    "x-antispam",
    "x-mozilla",
    "x-evolution",
    "x-scanned",
];

fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name) || IGNORED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

fn fields(content: &Content, pieces: &mut Vec<Piece>) {
    let mut left = MAX_HEADER;
    for Field { name, value } in content.fields.iter().filter(|field| !is_ignored(&field.name)) {
        let text = format!("{}:{}", cut(name, 64), cut(value, MAX_VALUE));
        if text.len() > left {
            break;
        }
        left -= text.len();
        pieces.push(Piece { kind: Kind::Field, text });
    }
}

fn ending(content: &Content, pieces: &mut Vec<Piece>) {
    let start = &content.text.start;
    let all_seen = cut(start, MAX_START).len() == start.len();
    let end = if content.text.end.is_empty() && !all_seen { start } else { &content.text.end };
    let end = tail(end, MAX_END);
    if !end.is_empty() {
        pieces.push(Piece { kind: Kind::End, text: end.to_owned() });
    }
}

fn links(links: &[Link], pieces: &mut Vec<Piece>) {
    let mut left = MAX_LINKS;
    let mut seen = std::collections::HashSet::new();
    for link in links.iter().filter(|link| seen.insert(link.target.as_str())) {
        let text = facts::link(link);
        if text.len() > left {
            break;
        }
        left -= text.len();
        pieces.push(Piece { kind: Kind::Link, text });
    }
}

fn add(pieces: &mut Vec<Piece>, kind: Kind, text: &str, bound: usize) {
    let text = cut(text, bound);
    if !text.is_empty() {
        pieces.push(Piece { kind, text: text.to_owned() });
    }
}

/// The beginning of a text, at most so many octets.
pub(crate) fn cut(text: &str, bound: usize) -> &str {
    &text[..text.floor_char_boundary(bound)]
}

/// The end of a text, at most so many octets.
fn tail(text: &str, bound: usize) -> &str {
    let begin = text.len().saturating_sub(bound);
    &text[text.ceil_char_boundary(begin)..]
}

/// The domain of a mailbox; empty if there is none.
fn domain(address: &Address) -> &str {
    address.mailbox.rsplit_once('@').map_or("", |(_, domain)| domain)
}
