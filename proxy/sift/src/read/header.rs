//! The header: fields as they stand, and their values as a reader sees them.

use std::borrow::Cow;

use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, ContentType, HeaderValue};

use super::charset;
use crate::content::{self, Address, Content, Field};
use crate::cut::{cut, cut_owned};

/// Octets of a field that are parsed. Longer ones are addresses of a few hundred people, of whom fewer are kept.
const MAX_RAW: usize = 16 << 10;
/// Octets of all fields of a message that have encoded words to be decoded: looking for the end of one costs the length of
/// its field, and there may be many of them in each.
pub(super) const MAX_ENCODED: usize = 128 << 10;
/// Octets of such a field.
const MAX_ENCODED_FIELD: usize = 4 << 10;

/// What an encoded word begins with.
const ENCODED: &[u8] = b"=?";

/// A field as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    /// Its name as written.
    pub(super) name: &'a [u8],
    /// All behind the colon, line ends included.
    pub(super) value: &'a [u8],
}

/// A header and what stands behind it.
#[derive(Debug, Default)]
pub(super) struct Split<'a> {
    pub(super) fields: Vec<Raw<'a>>,
    pub(super) body: &'a [u8],
    /// Fields beyond the bound.
    pub(super) left_out: u32,
    /// A line is no field.
    pub(super) broken: bool,
}

/// Splits an entity into its fields and its body.
pub(super) fn split(entity: &[u8]) -> Split<'_> {
    let mut found = Split::default();
    let mut rest = entity;
    loop {
        let line = first_field(rest);
        let (field, behind) = rest.split_at_checked(line).unwrap_or((rest, &[]));
        match field.trim_ascii_end() {
            [] if !field.is_empty() && field.first().is_some_and(|first| !matches!(first, b' ' | b'\t')) => {
                found.body = behind;
                return found;
            }
            [] if field.is_empty() => return found,
            [] => {}
            _ => match field_of(field) {
                Some(_) if found.fields.len() >= content::MAX_FIELDS => found.left_out += 1,
                Some(field) => found.fields.push(field),
                // The line that mbox files begin a message with.
                None if found.fields.is_empty() && field.starts_with(b"From ") => {}
                None if found.fields.is_empty() && !found.broken => {
                    // No header at all: mail programs show it as the text that it is.
                    return Split { body: entity, broken: true, ..Split::default() };
                }
                None => found.broken = true,
            },
        }
        rest = behind;
    }
}

/// Octets of the first line and of those that continue it.
fn first_field(rest: &[u8]) -> usize {
    let mut end = 0;
    for newline in memchr::memchr_iter(b'\n', rest) {
        end = newline + 1;
        let empty = matches!(rest.get(..end), Some(b"\n" | b"\r\n"));
        if empty || !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    if end < rest.len() { rest.len() } else { end }
}

fn field_of(line: &[u8]) -> Option<Raw<'_>> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic());
    is_name.then_some(Raw { name, value: value.get(1..).unwrap_or_default() })
}

/// The first field of this name (lower case).
pub(super) fn find<'a>(fields: &[Raw<'a>], name: &str) -> Option<Raw<'a>> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).copied()
}

/// `Content-Type` and `Content-Disposition`; `None` where it has no value.
/// Encoded words are decoded while there is work `left` for that.
pub(super) fn content_type(field: Raw<'_>, left: &mut usize) -> Option<ContentType<'static>> {
    let raw = cut_raw(field.value, MAX_ENCODED_FIELD);
    let raw = match memchr::memmem::find(raw, ENCODED) {
        Some(at) if *left == 0 => cut_raw(raw, at),
        Some(_) => {
            *left = left.saturating_sub(raw.len());
            raw
        }
        None => raw,
    };
    let value = line(raw);
    MessageStream::new(&value).parse_content_type().into_owned().into_content_type()
}

/// Fills in what the message's header says.
pub(super) fn describe(split: &Split<'_>, content: &mut Content, left: &mut usize) {
    content.oddities.broken_header |= split.broken;
    content.oddities.left_out = content.oddities.left_out.saturating_add(split.left_out);
    let mut once = Once::default();
    for field in &split.fields {
        let name = String::from_utf8_lossy(cut_raw(field.name, content::MAX_NAME)).to_ascii_lowercase();
        let value = text(*field, left);
        match name.as_str() {
            "from" => addresses(*field, &mut content.from, &mut content.oddities.left_out, left),
            "reply-to" => addresses(*field, &mut content.reply_to, &mut content.oddities.left_out, left),
            "to" | "cc" => addresses(*field, &mut content.to, &mut content.oddities.left_out, left),
            "subject" if !once.subject => content.subject = cut(&value, content::MAX_FIELD).to_owned(),
            "message-id" if !once.message_id => {
                let id = value.trim().trim_start_matches('<').trim_end_matches('>');
                content.message_id = cut(id, content::MAX_FIELD).to_owned();
            }
            _ => {}
        }
        content.oddities.doubled_fields |= once.again(&name);
        let name = cut_owned(name, content::MAX_NAME);
        content.fields.push(Field { name, value: cut_owned(value.into_owned(), content::MAX_FIELD) });
    }
    content.oddities.missing_fields = !(once.from && once.date);
}

/// Fields that must not stand twice (RFC 5322 §3.6, RFC 2045).
#[derive(Default)]
struct Once {
    from: bool,
    date: bool,
    subject: bool,
    message_id: bool,
    sender: bool,
    reply_to: bool,
    to: bool,
    cc: bool,
    content_type: bool,
}

impl Once {
    /// Notes one; whether it was there already.
    fn again(&mut self, name: &str) -> bool {
        let seen = match name {
            "from" => &mut self.from,
            "date" => &mut self.date,
            "subject" => &mut self.subject,
            "message-id" => &mut self.message_id,
            "sender" => &mut self.sender,
            "reply-to" => &mut self.reply_to,
            "to" => &mut self.to,
            "cc" => &mut self.cc,
            "content-type" => &mut self.content_type,
            _ => return false,
        };
        std::mem::replace(seen, true)
    }
}

/// The value, unfolded, encoded words decoded while there is work `left` for that.
fn text<'a>(field: Raw<'a>, left: &mut usize) -> Cow<'a, str> {
    let encoded = memchr::memmem::find(field.value, ENCODED).is_some();
    if encoded && *left > 0 {
        let raw = cut_raw(field.value, MAX_ENCODED_FIELD);
        *left = left.saturating_sub(raw.len());
        if let HeaderValue::Text(decoded) = MessageStream::new(&line(raw)).parse_unstructured() {
            return Cow::Owned(decoded.trim().to_owned());
        }
    }
    // Twice what is kept is enough to fill it once the folds are gone, for any field that is not made of folds.
    unfolded(charset::unlabelled(cut_raw(field.value, content::MAX_FIELD * 2)))
}

fn unfolded(value: Cow<'_, str>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(value) => {
            let value = value.trim();
            match value.contains(['\r', '\n']) {
                true => Cow::Owned(value.replace(['\r', '\n'], "")),
                false => Cow::Borrowed(value),
            }
        }
        Cow::Owned(value) => Cow::Owned(value.trim().replace(['\r', '\n'], "")),
    }
}

fn addresses(field: Raw<'_>, list: &mut Vec<Address>, left_out: &mut u32, left: &mut usize) {
    let raw = cut_raw(field.value, MAX_RAW);
    let encoded = memchr::memmem::find(raw, ENCODED);
    let raw = if *left == 0 { encoded.map_or(raw, |at| cut_raw(raw, at)) } else { raw };
    if encoded.is_some() {
        *left = left.saturating_sub(raw.len());
    }
    if raw.len() < field.value.len() {
        *left_out = left_out.saturating_add(1);
    }
    // As UTF-8, so that names in raw octets of older charsets are not lost.
    let value = charset::unlabelled(raw);
    let value = line(value.as_bytes());
    let HeaderValue::Address(parsed) = MessageStream::new(&value).parse_address() else {
        return;
    };
    for one in parsed.iter() {
        if list.len() < content::MAX_ADDRESSES {
            list.push(address(one));
        } else {
            *left_out = left_out.saturating_add(1);
        }
    }
}

fn address(parsed: &Addr<'_>) -> Address {
    let name = parsed.name.as_deref().unwrap_or_default();
    let written = parsed.address.as_deref().unwrap_or_default().trim();
    let (name, mailbox) = match written.rsplit_once('@') {
        Some((local, domain)) => (name, format!("{local}@{}", domain.to_lowercase())),
        None if name.is_empty() => (written, String::new()),
        None => (name, String::new()),
    };
    Address {
        name: cut(name.trim(), content::MAX_NAME).to_owned(),
        mailbox: cut_owned(mailbox, content::MAX_LINK),
    }
}

/// The parser wants a line end.
fn line(value: &[u8]) -> Cow<'_, [u8]> {
    match value.ends_with(b"\n") {
        true => Cow::Borrowed(value),
        false => Cow::Owned([value, b"\r\n"].concat()),
    }
}

fn cut_raw(value: &[u8], most: usize) -> &[u8] {
    value.get(..most).unwrap_or(value)
}
