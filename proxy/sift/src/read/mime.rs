//! The parts of a message, each looked at once for each level that it lies deep.

use mail_parser::ContentType;
use memchr::memmem;

use super::archive::{Findings, Opener};
use super::header::{self, Raw, Split};
use super::report;
use super::text::Shown;
use super::transfer::Encoding;
use super::{Bounds, charset, kind};
use crate::content::{self, Content, Kind, Part};
use crate::cut::cut;

/// A walk through one message.
pub(super) struct Walk<'c> {
    content: &'c mut Content,
    bounds: &'c Bounds,
    /// Parts that were looked at.
    parts: u32,
    /// Octets that may still be decoded, and of text.
    decoded: usize,
    text: usize,
    /// Octets of fields with encoded words that may still be decoded.
    encoded: usize,
    groups: u32,
    texts: Vec<Shown>,
    opener: Opener,
}

/// Where a part lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    depth: u8,
    /// The innermost `multipart/alternative` around it.
    group: Option<u32>,
    /// Without a type it is a message (RFC 2046 §5.1.5).
    in_digest: bool,
    /// What it lies in is an attachment.
    attached: bool,
    /// It lies in another message.
    enclosed: bool,
}

/// What a part's own header says of it.
struct Claims {
    media_type: String,
    content_type: Option<ContentType<'static>>,
    name: String,
    attached: bool,
    encoding: Encoding,
}

impl<'c> Walk<'c> {
    pub(super) fn new(content: &'c mut Content, bounds: &'c Bounds) -> Self {
        let (decoded, text) = (bounds.decoded, bounds.text);
        Self {
            content,
            bounds,
            parts: 0,
            decoded,
            text,
            encoded: header::MAX_ENCODED,
            groups: 0,
            texts: Vec::new(),
            opener: Opener::new(bounds.unpacked),
        }
    }

    pub(super) fn message(&mut self, message: &[u8]) {
        let split = header::split(message);
        header::describe(&split, self.content, &mut self.encoded);
        self.entity(&split, Place::default());
    }

    /// The texts that are shown.
    pub(super) fn finish(self) -> Vec<Shown> {
        self.texts
    }

    fn entity(&mut self, split: &Split<'_>, place: Place) {
        if self.parts >= self.bounds.parts {
            self.left_out();
            return;
        }
        self.parts += 1;
        let claims = Claims::of(&split.fields, place, &mut self.encoded);
        match claims.media_type.split_once('/') {
            Some(("multipart", subtype)) => self.multipart(split.body, &claims, subtype, place),
            Some(("message", "rfc822" | "global" | "news")) => self.enclosed(split.body, &claims, place),
            _ => self.leaf(split.body, &claims, place),
        }
    }

    fn multipart(&mut self, body: &[u8], claims: &Claims, subtype: &str, place: Place) {
        let boundary =
            claims.content_type.as_ref().and_then(|it| it.attribute("boundary")).unwrap_or_default();
        let delimiter = format!("--{}", boundary.trim_end());
        let Some(children) = Children::of(body, delimiter.as_bytes()).filter(|_| delimiter.len() > 2) else {
            // Mail programs show it as the text that it is.
            self.content.oddities.boundary = true;
            return self.leaf(body, claims, place);
        };
        self.note(Part { kind: Kind::Multipart, ..claims.part(body, place) });
        let Some(place) = self.below(place) else { return };
        let group = if subtype == "alternative" {
            self.groups += 1;
            Some(self.groups)
        } else {
            place.group
        };
        let place = Place { group, in_digest: subtype == "digest", attached: claims.attached, ..place };
        let mut children = children;
        while let Some(child) = children.next(body) {
            if self.parts >= self.bounds.parts {
                self.left_out();
                return;
            }
            self.entity(&header::split(child), place);
        }
        self.content.oddities.boundary |= !children.ended;
    }

    fn enclosed(&mut self, body: &[u8], claims: &Claims, place: Place) {
        let Some(body) = self.within_bounds(body, claims.encoding) else { return };
        let decoded = claims.encoding.decode(body);
        self.content.oddities.encoding |= decoded.broken;
        self.note(Part { kind: Kind::Message, ..claims.part(&decoded.octets, place) });
        let Some(place) = self.below(place) else { return };
        let split = header::split(&decoded.octets);
        self.entity(&split, Place { group: None, in_digest: false, enclosed: true, ..place });
    }

    fn leaf(&mut self, body: &[u8], claims: &Claims, place: Place) {
        let Some(body) = self.within_bounds(body, claims.encoding) else { return };
        let decoded = claims.encoding.decode(body);
        self.content.oddities.encoding |= decoded.broken;
        let part = claims.part(&decoded.octets, place);
        let (kind, attached) = (part.kind, part.attached);
        let Content { parts, oddities, report, .. } = &mut *self.content;
        // What is forwarded reports nothing to whom it is forwarded to.
        if report.is_none() && !place.enclosed {
            let label = report::Label { media_type: &claims.media_type, name: &claims.name };
            *report = report::of(label, &decoded.octets);
        }
        self.opener.open(&decoded.octets, part, &mut Findings { parts, oddities });
        if is_shown(kind, &claims.media_type, &decoded.octets) {
            self.show(&decoded.octets, kind, attached, claims, place);
        }
    }

    fn show(&mut self, octets: &[u8], kind: Kind, attached: bool, claims: &Claims, place: Place) {
        let Some(octets) = octets.get(..self.text.min(octets.len())).filter(|octets| !octets.is_empty())
        else {
            return;
        };
        self.text -= octets.len();
        let is_html = kind == Kind::Html;
        let label = claims.content_type.as_ref().and_then(|it| it.attribute("charset"));
        let declared = if is_html && label.is_none() { charset::declared(octets) } else { None };
        let decoded = charset::decode(octets, label.or(declared.as_deref()));
        self.content.oddities.charset |= decoded.odd;
        let group = if attached { None } else { place.group };
        self.texts.push(Shown { text: decoded.text.into_owned(), is_html, attached, group });
    }

    fn note(&mut self, part: Part) {
        if self.content.parts.len() < content::MAX_PARTS {
            self.content.parts.push(part);
        } else {
            self.left_out();
        }
    }

    /// One level deeper, if that is not too deep.
    fn below(&mut self, place: Place) -> Option<Place> {
        if place.depth >= self.bounds.depth {
            self.content.oddities.too_deep = true;
            return None;
        }
        Some(Place { depth: place.depth + 1, ..place })
    }

    /// A part's octets, if there are still as many to be decoded; else its beginning.
    fn within_bounds<'a>(&mut self, body: &'a [u8], encoding: Encoding) -> Option<&'a [u8]> {
        if encoding.is_none() {
            return Some(body);
        }
        let taken = body.get(..self.decoded.min(body.len()))?;
        if taken.len() < body.len() {
            self.left_out();
        }
        self.decoded -= taken.len();
        Some(taken)
    }

    fn left_out(&mut self) {
        self.content.oddities.left_out = self.content.oddities.left_out.saturating_add(1);
    }
}

/// Whether a reader sees it as text. What calls itself text is shown as such, be it a script or signed with OpenPGP; of
/// other types only what programs take for a page.
fn is_shown(kind: Kind, media_type: &str, octets: &[u8]) -> bool {
    let is_text = ["text/", "message/", "multipart/"].iter().any(|kind| media_type.starts_with(kind));
    match kind {
        Kind::Html => true,
        Kind::Text | Kind::Calendar => is_text,
        Kind::Script | Kind::Shortcut | Kind::Cryptographic => is_text && kind::is_text(octets),
        _ => false,
    }
}

impl Claims {
    fn of(fields: &[Raw<'_>], place: Place, encoded: &mut usize) -> Self {
        let content_type =
            header::find(fields, "content-type").and_then(|field| header::content_type(field, encoded));
        let disposition = header::find(fields, "content-disposition");
        let disposition = disposition.and_then(|field| header::content_type(field, encoded));
        let encoding = header::find(fields, "content-transfer-encoding");
        let encoding = encoding.map_or(Encoding::Identity, |field| Encoding::of(field.value));
        let media_type = match &content_type {
            Some(it) => format!("{}/{}", it.ctype(), it.subtype().unwrap_or_default()).to_ascii_lowercase(),
            None if place.in_digest => "message/rfc822".to_owned(),
            None => "text/plain".to_owned(),
        };
        let attached = place.attached || disposition.as_ref().is_some_and(ContentType::is_attachment);
        let name = disposition.as_ref().and_then(|it| it.attribute("filename"));
        let name =
            name.or_else(|| content_type.as_ref().and_then(|it| it.attribute("name"))).unwrap_or_default();
        let name = cut(name, content::MAX_NAME).to_owned();
        Self {
            media_type: cut(&media_type, content::MAX_NAME).to_owned(),
            content_type,
            name,
            attached,
            encoding,
        }
    }

    fn part(&self, octets: &[u8], place: Place) -> Part {
        Part {
            media_type: self.media_type.clone(),
            kind: kind::of(octets, &self.media_type, &self.name),
            name: self.name.clone(),
            size: octets.len() as u64,
            depth: place.depth,
            attached: self.attached,
            ..Part::default()
        }
    }
}

/// The parts between delimiters.
struct Children {
    delimiter: Vec<u8>,
    /// Whatever follows the delimiter in its line is of no matter.
    lenient: bool,
    /// Where the next part begins; behind the last delimiter that was found.
    from: usize,
    /// The last delimiter said that it is the last.
    ended: bool,
    done: bool,
}

impl Children {
    /// `None` where the delimiter is nowhere.
    fn of(body: &[u8], delimiter: &[u8]) -> Option<Self> {
        let strict = find(body, delimiter, 0, false).map(|found| (found, false));
        let (first, lenient) =
            strict.or_else(|| find(body, delimiter, 0, true).map(|found| (found, true)))?;
        let done = first.is_last;
        Some(Self { delimiter: delimiter.to_vec(), lenient, from: first.behind, ended: done, done })
    }

    fn next<'a>(&mut self, body: &'a [u8]) -> Option<&'a [u8]> {
        if self.done {
            return None;
        }
        let from = self.from;
        match find(body, &self.delimiter, from, self.lenient) {
            Some(found) => {
                (self.from, self.ended, self.done) = (found.behind, found.is_last, found.is_last);
                let child = body.get(from..found.at).unwrap_or_default();
                // The line end before a delimiter belongs to it.
                let child = child.strip_suffix(b"\n").unwrap_or(child);
                Some(child.strip_suffix(b"\r").unwrap_or(child))
            }
            None => {
                self.done = true;
                body.get(from..).filter(|rest| !rest.is_empty())
            }
        }
    }
}

struct Delimiter {
    at: usize,
    behind: usize,
    is_last: bool,
}

fn find(body: &[u8], delimiter: &[u8], from: usize, lenient: bool) -> Option<Delimiter> {
    let rest = body.get(from..)?;
    memmem::find_iter(rest, delimiter).map(|at| from + at).find_map(|at| {
        if at > 0 && body.get(at - 1) != Some(&b'\n') {
            return None;
        }
        let behind = at + delimiter.len();
        let tail = body.get(behind..)?;
        let line = memchr::memchr(b'\n', tail).map_or(tail.len(), |newline| newline + 1);
        let tail = tail.get(..line)?;
        let (is_last, tail) = tail.strip_prefix(b"--").map_or((false, tail), |tail| (true, tail));
        (lenient || tail.trim_ascii().is_empty()).then_some(Delimiter { at, behind: behind + line, is_last })
    })
}
