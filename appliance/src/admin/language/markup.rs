//! The texts of a page, found in its markup as maud writes it: attribute values between double quotes, and no `<` or `>` that is not a
//! tag's.

use std::borrow::Cow;

use super::Language;
use super::catalogue::CATALOGUE;

/// Elements whose text is no prose.
const NOT_PROSE: [&str; 7] = ["script", "style", "code", "pre", "samp", "kbd", "textarea"];
/// Attributes that people read or hear.
const READ: [&str; 4] = ["aria-label", "title", "placeholder", "alt"];
/// What says that something stays as it is (HTML, §3.2.6.3).
const KEEP: &str = " translate=\"no\"";
/// The class of what others have written: addresses, subjects, replies.
const FOREIGN: &str = "words";
/// How the page says that it is English.
const LANGUAGE: &str = "<html lang=\"en\"";
/// Elements that have no end.
const VOID: [&str; 6] = ["input", "br", "meta", "link", "img", "hr"];

/// A piece of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// What stays as it is.
    Markup(&'a str),
    /// What people read, as the markup has it.
    Text(&'a str),
}

/// A page in another language.
pub(super) fn translated(page: &str, language: Language) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 4);
    pieces(page, |piece| match piece {
        Piece::Markup(markup) => out.push_str(markup),
        Piece::Text(text) => push_text(&mut out, text, language),
    });
    match out.find(LANGUAGE) {
        Some(at) => {
            let tag = at + LANGUAGE.len() - "en\"".len();
            out.replace_range(tag..tag + "en".len(), language.tag());
            out
        }
        None => out,
    }
}

/// Hands a page over piece by piece, in its order; put together again they are the page.
pub(super) fn pieces<'a>(page: &'a str, mut hand: impl FnMut(Piece<'a>)) {
    let mut rest = page;
    // The element that stays as it is, and how many of its name are open within.
    let mut kept: Option<(&str, u32)> = None;
    while let Some(at) = rest.find('<') {
        let (text, tag_on) = rest.split_at(at);
        let end = tag_on.find('>').map_or(tag_on.len(), |end| end + 1);
        let (tag, after) = tag_on.split_at(end);
        rest = after;
        if let Some((name, depth)) = kept {
            hand(Piece::Markup(text));
            hand(Piece::Markup(tag));
            kept = match (opens(tag, name), closes(tag, name)) {
                (true, _) => Some((name, depth + 1)),
                (_, true) if depth == 0 => None,
                (_, true) => Some((name, depth - 1)),
                _ => kept,
            };
            continue;
        }
        hand(Piece::Text(text));
        let (name, stays) = (name(tag), stays(tag));
        match stays {
            true => hand(Piece::Markup(tag)),
            false => attributes(tag, &mut hand),
        }
        let has_content = !tag.starts_with("</") && !tag.ends_with("/>") && !VOID.contains(&name);
        if has_content && (stays || NOT_PROSE.contains(&name)) {
            kept = Some((name, 0));
        }
    }
    match kept {
        Some(_) => hand(Piece::Markup(rest)),
        None => hand(Piece::Text(rest)),
    }
}

/// A tag; what its attributes say that are read is text.
fn attributes<'a>(tag: &'a str, hand: &mut impl FnMut(Piece<'a>)) {
    let mut rest = tag;
    while let Some((at, attribute)) = next_read(rest) {
        let begin = at + attribute.len() + "=\"".len() + 1;
        let (before, value_on) = rest.split_at(begin);
        let end = value_on.find('"').unwrap_or(value_on.len());
        let (value, after) = value_on.split_at(end);
        hand(Piece::Markup(before));
        hand(Piece::Text(value));
        rest = after;
    }
    hand(Piece::Markup(rest));
}

/// The name of an element, of a tag that begins it.
fn name(tag: &str) -> &str {
    let tag = tag.strip_prefix('<').unwrap_or(tag);
    let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
    tag.get(..end).unwrap_or_default()
}

/// Whether what an element has stays as it is.
fn stays(tag: &str) -> bool {
    let classes =
        tag.split_once(" class=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    tag.contains(KEEP) || classes.split(' ').any(|class| class == FOREIGN)
}

fn opens(tag: &str, element: &str) -> bool {
    !tag.starts_with("</") && name(tag) == element
}

fn closes(tag: &str, element: &str) -> bool {
    tag.strip_prefix("</").and_then(|tag| tag.strip_suffix('>')) == Some(element)
}

/// A text without the white space around it, which is the markup's.
fn push_text(out: &mut String, text: &str, language: Language) {
    let trimmed = text.trim();
    let found = CATALOGUE.find(&unescaped(trimmed), language);
    let Some(found) = found else { return out.push_str(text) };
    let before = text.len() - text.trim_start().len();
    out.push_str(text.get(..before).unwrap_or_default());
    push_escaped(out, &found);
    out.push_str(text.get(before + trimmed.len()..).unwrap_or_default());
}

/// Where the next attribute that is read stands, with the space before it.
fn next_read(tag: &str) -> Option<(usize, &'static str)> {
    let found = READ.into_iter().filter_map(|attribute| {
        let at = tag.match_indices(attribute).find(|(at, _)| {
            let before = at.checked_sub(1).and_then(|before| tag.as_bytes().get(before));
            before == Some(&b' ')
                && tag.get(at + attribute.len()..).is_some_and(|after| after.starts_with("=\""))
        });
        at.map(|(at, _)| (at - 1, attribute))
    });
    found.min_by_key(|(at, _)| *at)
}

pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    // The ampersand last: what it makes is no reference.
    Cow::Owned(text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_what_is_read_out_are_put_into_the_language_and_code_and_mail_are_not() {
        let page = "<html lang=\"en\"><h2> Queue </h2><code>Queue</code><td translate=\"no\">Queue <b>Queue</b></td>\
                    <td class=\"note words\">Queue</td><td>Queue</td><input placeholder=\"Queue\" value=\"Queue\"><svg aria-label=\"Queue\"></svg>";
        let german = translated(page, Language::German);
        assert_eq!(
            german,
            "<html lang=\"de\"><h2> Warteschlange </h2><code>Queue</code><td translate=\"no\">Queue <b>Queue</b></td>\
             <td class=\"note words\">Queue</td><td>Warteschlange</td><input placeholder=\"Warteschlange\" value=\"Queue\"><svg aria-label=\"Warteschlange\"></svg>"
        );
    }

    #[test]
    fn what_was_escaped_stays_escaped() {
        let hostile = "<p>The code for &lt;script&gt;&quot;&amp;lt; is</p>";
        for language in Language::ALL {
            let page = translated(hostile, language);
            assert!(!page.contains("<script>") && page.contains("&lt;script&gt;&quot;&amp;lt;"), "{page}");
        }
    }

    #[test]
    fn elements_within_one_that_stays_do_not_end_it() {
        let page = "<div translate=\"no\"><div>Queue</div>Queue</div><p>Queue</p>";
        let german = translated(page, Language::German);
        assert_eq!(german, "<div translate=\"no\"><div>Queue</div>Queue</div><p>Warteschlange</p>");
    }

    #[test]
    fn markup_that_is_broken_off_is_given_back() {
        for page in ["", "<", "a < b", "<p title=\"x", "<p", "</", "<code>Queue", "<p>Queue"] {
            let _ = translated(page, Language::German);
        }
    }
}
