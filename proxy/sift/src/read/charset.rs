//! Octets of any charset to Unicode.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Octets at the beginning of HTML in which it may name its charset, as browsers have it.
const DECLARATION: usize = 1024;

/// Text that was decoded.
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    /// The charset is unknown, or the octets are none of it.
    pub(super) odd: bool,
}

/// Decodes what is labelled as `charset`; without a label, what the octets look like.
pub(super) fn decode<'a>(octets: &'a [u8], charset: Option<&str>) -> Decoded<'a> {
    let label = charset.map(str::trim).unwrap_or_default();
    if let Some(text) = marked(octets) {
        return text;
    }
    if octets.is_ascii() && !is_stateful(label) {
        return Decoded { text: unlabelled(octets), odd: false };
    }
    if is_ascii(label) {
        // A lie, and a harmless one: what it is then can be seen.
        return Decoded { text: unlabelled(octets), odd: !label.is_empty() };
    }
    if label.eq_ignore_ascii_case("utf-8") || label.eq_ignore_ascii_case("utf8") {
        let text = String::from_utf8_lossy(octets);
        let odd = matches!(text, Cow::Owned(_));
        return Decoded { text, odd };
    }
    match charset_decoder(label.as_bytes()) {
        Some(decoder) => {
            let text = decoder(octets);
            let odd = text.contains(char::REPLACEMENT_CHARACTER);
            Decoded { text: Cow::Owned(text), odd }
        }
        None => Decoded { text: unlabelled(octets), odd: true },
    }
}

/// What these octets are: UTF-8 if they can be, else the most common of the charsets with one octet a character.
pub(super) fn unlabelled(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => Cow::Owned(decoder(octets)),
            None => String::from_utf8_lossy(octets),
        },
    }
}

/// The charset that HTML names in itself.
pub(super) fn declared(html: &[u8]) -> Option<String> {
    let start = html.get(..DECLARATION).unwrap_or(html).to_ascii_lowercase();
    let at = memchr::memmem::find(&start, b"charset=")? + b"charset=".len();
    let label = start.get(at..)?.trim_ascii_start();
    let label = label.strip_prefix(b"\"").or_else(|| label.strip_prefix(b"'")).unwrap_or(label);
    let end = label.iter().position(|octet| !octet.is_ascii_alphanumeric() && !b"-_:.".contains(octet))?;
    String::from_utf8(label.get(..end)?.to_vec()).ok().filter(|label| !label.is_empty())
}

/// Text that begins with a byte order mark is what that says.
fn marked(octets: &[u8]) -> Option<Decoded<'_>> {
    let (label, rest): (&[u8], _) = match octets {
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            let text = String::from_utf8_lossy(rest);
            let odd = matches!(text, Cow::Owned(_));
            return Some(Decoded { text, odd });
        }
        [0xff, 0xfe, rest @ ..] => (b"utf-16le", rest),
        [0xfe, 0xff, rest @ ..] => (b"utf-16be", rest),
        _ => return None,
    };
    let text = charset_decoder(label)?(rest);
    let odd = text.contains(char::REPLACEMENT_CHARACTER);
    Some(Decoded { text: Cow::Owned(text), odd })
}

fn is_ascii(label: &str) -> bool {
    label.is_empty()
        || ["us-ascii", "ascii", "ansi_x3.4-1968"].iter().any(|one| label.eq_ignore_ascii_case(one))
}

/// Charsets that write other characters with octets of ASCII.
fn is_stateful(label: &str) -> bool {
    let label = label.as_bytes();
    [
        "utf-7",
        "utf7",
        "csutf7",
        "unicode-1-1-utf-7",
        "utf-16",
        "utf16",
        "csutf16",
        "csunicode",
        "iso-2022",
        "iso2022",
        "csiso2022",
        "hz",
    ]
    .iter()
    .any(|one| label.get(..one.len()).is_some_and(|start| start.eq_ignore_ascii_case(one.as_bytes())))
}
