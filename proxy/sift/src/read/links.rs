//! Where links lead, as a browser would see it (WHATWG URL), and those that stand in plain text.

use memchr::memmem;
use url::{ParseError, Url};

use crate::content::{self, Content, Link, Purpose};
use crate::cut::cut;

/// Octets of a target that are parsed: what is before the host can be longer than what is kept.
const MAX_PARSED: usize = 8 << 10;
/// Octets that are kept of a target that is no address, but the thing itself.
const MAX_DATA: usize = 64;
/// Octets of a target in plain text.
const MAX_PLAIN: usize = 2 << 10;
/// Blanks that are put into an address so that it is not known as one.
const MAX_BLANKS: usize = 3;
/// Letters of the longest scheme below, with room for a blank before it.
const LONGEST_SCHEME: usize = 6;
/// Schemes of addresses in plain text, with those that are written so as not to be followed.
const SCHEMES: &[(&str, &str)] =
    &[("https", "https"), ("http", "http"), ("hxxps", "https"), ("hxxp", "http"), ("ftp", "ftp")];

/// Adds a link to what is known of the message; `None` where it leads nowhere or there are enough.
pub(super) fn add(
    written: &str,
    base: Option<&Url>,
    purpose: Purpose,
    content: &mut Content,
) -> Option<usize> {
    if content.links.len() >= content::MAX_LINKS {
        content.oddities.left_out = content.oddities.left_out.saturating_add(1);
        return None;
    }
    let (target, host) = resolve(written, base)?;
    content.links.push(Link { target, host, text: String::new(), purpose });
    Some(content.links.len() - 1)
}

/// Adds the links of plain text.
pub(super) fn scan(text: &str, content: &mut Content) {
    let octets = text.as_bytes();
    let mut from = 0;
    for colon in memchr::memchr_iter(b':', octets) {
        if colon < from {
            continue;
        }
        if let Some((scheme, rest)) = with_scheme(text, colon) {
            let address = address(rest);
            from = text.len() - rest.len() + address.len();
            if !address.is_empty() {
                add(&format!("{scheme}://{address}"), None, Purpose::Follow, content);
            }
        }
    }
    for mark in ["www.", "WWW.", "Www."] {
        let mut from = 0;
        for at in memmem::find_iter(octets, mark) {
            if at < from {
                continue;
            }
            let before = at.checked_sub(1).and_then(|before| octets.get(before));
            if before.is_none_or(|octet| !octet.is_ascii_alphanumeric() && !b"/.-@=".contains(octet)) {
                let address = address(text.get(at..).unwrap_or_default());
                from = at + address.len();
                if address.len() > mark.len() {
                    add(&format!("http://{address}"), None, Purpose::Follow, content);
                }
            }
        }
    }
}

/// Where a link leads, and its host.
pub(super) fn resolve(written: &str, base: Option<&Url>) -> Option<(String, String)> {
    let written = written.trim_matches(|c: char| c.is_ascii_control() || c == ' ');
    if written.is_empty() || written.starts_with('#') {
        return None;
    }
    if written.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Some((cut(written, MAX_DATA).to_owned(), String::new()));
    }
    let written = cut(written, MAX_PARSED);
    match parse(written, base) {
        Ok(url) => {
            let host = match url.scheme() {
                "http" | "https" | "ftp" => url.host_str().unwrap_or_default(),
                _ => "",
            };
            Some((cut(url.as_str(), content::MAX_LINK).to_owned(), cut(host, content::MAX_NAME).to_owned()))
        }
        Err(ParseError::RelativeUrlWithoutBase) => None,
        // Mail programs may make something of it.
        Err(_) => Some((cut(written, content::MAX_LINK).to_owned(), String::new())),
    }
}

fn parse(written: &str, base: Option<&Url>) -> Result<Url, ParseError> {
    match Url::options().base_url(base).parse(written) {
        Err(ParseError::RelativeUrlWithoutBase) if written.starts_with("//") => {
            Url::parse(&format!("http:{written}"))
        }
        Err(ParseError::RelativeUrlWithoutBase)
            if written.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) =>
        {
            Url::parse(&format!("http://{written}"))
        }
        parsed => parsed,
    }
}

/// The scheme before a colon, and what follows its slashes.
fn with_scheme(text: &str, colon: usize) -> Option<(&'static str, &str)> {
    let behind = skip_blanks(text.get(colon + 1..)?).strip_prefix('/')?;
    let behind = skip_blanks(skip_blanks(behind).strip_prefix('/')?);
    let before = letters_before(text.as_bytes().get(..colon)?);
    let named = SCHEMES.iter().find(|(name, _)| before.ends_with(name));
    named.map(|(_, scheme)| (*scheme, behind))
}

/// The last letters before a colon, without the blanks that are put between them: `h t t p s :`.
fn letters_before(before: &[u8]) -> String {
    let mut letters = Vec::new();
    let mut blanks = 0;
    for octet in before.iter().rev().take(LONGEST_SCHEME * 2) {
        match octet {
            b' ' if blanks < 1 || letters.is_empty() && blanks < MAX_BLANKS => blanks += 1,
            letter if letter.is_ascii_alphabetic() => {
                letters.push(letter.to_ascii_lowercase());
                blanks = 0;
            }
            _ => break,
        }
    }
    letters.reverse();
    String::from_utf8(letters).unwrap_or_default()
}

fn skip_blanks(text: &str) -> &str {
    let blanks = text.bytes().take(MAX_BLANKS).take_while(|octet| *octet == b' ').count();
    text.get(blanks..).unwrap_or_default()
}

/// An address up to what cannot be part of it, without the punctuation of the sentence that it stands in.
fn address(rest: &str) -> &str {
    let rest = cut(rest, MAX_PLAIN);
    let ends = |c: char| c.is_whitespace() || c.is_control() || "<>\"\u{201c}\u{201d}\u{bb}|`".contains(c);
    let whole = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
    whole.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '*', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let mut content = Content::default();
        scan(text, &mut content);
        content.links.into_iter().map(|link| (link.target, link.host)).collect()
    }

    #[test]
    fn addresses_in_text_are_found_however_they_are_written() {
        for (text, target, host) in [
            ("see http://Example.com/a?b=1.", "http://example.com/a?b=1", "example.com"),
            ("(https://b.example/x)", "https://b.example/x", "b.example"),
            ("hxxp://c.example/", "http://c.example/", "c.example"),
            ("at h t t p s : / / spaced.example/p now", "https://spaced.example/p", "spaced.example"),
            ("http : // d.example/p", "http://d.example/p", "d.example"),
            ("go to www.e.example now", "http://www.e.example/", "www.e.example"),
            ("http://user@0x7f.1/", "http://user@127.0.0.1/", "127.0.0.1"),
            ("http://bücher.example", "http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ] {
            assert_eq!(found(text), [(target.to_owned(), host.to_owned())], "{text}");
        }
        for text in ["no: // link", "http://", "a:b", "wwwx.com", "note: //x", ""] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn targets_are_resolved_as_browsers_do() {
        let base = Url::parse("http://base.example/dir/").unwrap();
        for (written, target, host) in [
            ("x.html", "http://base.example/dir/x.html", "base.example"),
            (" ht\ntps://a.example\\@b.example/ ", "https://a.example/@b.example/", "a.example"),
            ("mailto:a@b", "mailto:a@b", ""),
            ("cid:1", "cid:1", ""),
            ("data:text/html,x", "data:text/html,x", ""),
        ] {
            assert_eq!(
                resolve(written, Some(&base)),
                Some((target.to_owned(), host.to_owned())),
                "{written}"
            );
        }
        assert_eq!(resolve("x.html", None), None);
        assert_eq!(resolve("#top", Some(&base)), None);
        assert_eq!(resolve("//c.example", None).map(|(_, host)| host), Some("c.example".to_owned()));
    }

    #[test]
    fn there_are_no_more_than_are_kept() {
        let mut content = Content::default();
        scan(&"http://a.example/ ".repeat(1000), &mut content);
        assert_eq!((content.links.len(), content.oddities.left_out), (content::MAX_LINKS, 800));
    }
}
