//! From text to words. Scripts that write without spaces give pairs of characters; marks that spam lives on are words, too.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc_quick};

use crate::features::{Kind, Piece, cut};

/// Octets of a word; of longer ones the beginning is taken, with a sign that there was more.
const MAX_WORD: usize = 32;
/// Characters of a run of marks that are told apart: `!!!` is `!!!!!!`.
const MAX_MARKS: usize = 3;
/// Words that are taken of one field, and of one link's path.
const MAX_FIELD_WORDS: usize = 24;
const MAX_PATH_WORDS: usize = 5;

/// Where a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// In a header field, the subject included.
    Field,
    /// In the subject or in visible text, as one stream.
    Body,
    /// In hidden text.
    Hidden,
    /// In a link.
    Link,
    /// It is a fact.
    Fact,
}

/// Who is told the words of a message, in order.
pub(crate) trait Hearer {
    /// A word; `tag` is the field's name or the like. Case as it stands.
    fn word(&mut self, space: Space, tag: &str, text: &str);
    /// What follows does not belong to what was before.
    fn pause(&mut self);
}

/// Tells all words of a message.
pub(crate) fn tell(pieces: &[Piece], hearer: &mut impl Hearer) {
    for Piece { kind, text } in pieces {
        hearer.pause();
        match kind {
            Kind::Field => field(text, hearer),
            Kind::Subject => {
                split(text, |word| hearer.word(Space::Field, "subject", word));
                hearer.pause();
                split(text, |word| hearer.word(Space::Body, "", word));
            }
            Kind::Start | Kind::End => split(text, |word| hearer.word(Space::Body, "", word)),
            Kind::Hidden => split(text, |word| hearer.word(Space::Hidden, "hidden", word)),
            Kind::Link => link(text, hearer),
            Kind::Fact => hearer.word(Space::Fact, "", text),
        }
    }
}

fn field(text: &str, hearer: &mut impl Hearer) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    hearer.word(Space::Field, name, "");
    let mut left = MAX_FIELD_WORDS;
    split(value, |word| {
        if left > 0 {
            left -= 1;
            hearer.word(Space::Field, name, word);
        }
    });
}

fn link(text: &str, hearer: &mut impl Hearer) {
    let mut parts = text.split(' ');
    let (Some(purpose), Some(host)) = (parts.next(), parts.next()) else {
        return;
    };
    if !host.is_empty() {
        let registered = crate::features::registered(host);
        hearer.word(Space::Link, "domain", registered);
        hearer.word(Space::Link, purpose, host);
        let below = host.strip_suffix(registered).unwrap_or_default();
        for label in below.split('.').filter(|label| !label.is_empty()).take(MAX_PATH_WORDS) {
            hearer.word(Space::Link, "label", label);
        }
        if host.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.' || octet == b':') {
            hearer.word(Space::Link, "host", "address");
        }
    }
    let path = parts.next().unwrap_or_default();
    let words = path.split(|character: char| !character.is_alphanumeric()).filter(|word| word.len() > 1);
    for word in words.take(MAX_PATH_WORDS) {
        hearer.word(Space::Link, "path", cut(word, MAX_WORD));
    }
    if parts.next().is_some() {
        hearer.word(Space::Link, "shows", "another host");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Letter,
    /// Belongs to a word if it stands within one.
    Inner,
    Mark,
    /// Of a script without spaces.
    Dense,
    Gap,
}

fn sort(character: char) -> Sort {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Sort::Letter,
        '\'' | '-' | '.' | '_' | '@' | ',' | '\u{2019}' => Sort::Inner,
        '!' | '?' | '$' | '%' | '*' | '#' | '=' | '+' | '\u{a3}' | '\u{20ac}' => Sort::Mark,
        character if character.is_ascii() => Sort::Gap,
        '\u{e00}'..='\u{eff}'
        | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' => Sort::Dense,
        '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{20000}'..='\u{3ffff}' => Sort::Dense,
        // Signs that join characters are within words: they would otherwise cut Indic ones.
        '\u{300}'..='\u{36f}' | '\u{900}'..='\u{dff}' => Sort::Letter,
        // Emoji are words of their own kind.
        '\u{1f300}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}' => Sort::Mark,
        character if character.is_alphanumeric() => Sort::Letter,
        _ => Sort::Gap,
    }
}

/// Tells the words of a text.
pub(crate) fn split(text: &str, mut each: impl FnMut(&str)) {
    let text = normal(text);
    let mut rest: &str = &text;
    while let Some(first) = rest.chars().next() {
        let length = match sort(first) {
            Sort::Letter => letters(rest, &mut each),
            Sort::Mark => marks(rest, &mut each),
            Sort::Dense => dense(rest, &mut each),
            Sort::Inner | Sort::Gap => first.len_utf8(),
        };
        rest = &rest[length..];
    }
}

fn letters(text: &str, each: &mut impl FnMut(&str)) -> usize {
    let mut characters = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, character)) = characters.next() {
        let inner = match sort(character) {
            Sort::Letter => continue,
            Sort::Inner => characters.peek().is_some_and(|(_, next)| sort(*next) == Sort::Letter),
            Sort::Mark | Sort::Dense | Sort::Gap => false,
        };
        if !inner {
            end = at;
            break;
        }
    }
    let word = &text[..end];
    if word.len() > MAX_WORD {
        each(&format!("{}~", cut(word, MAX_WORD / 2)));
    } else {
        each(word);
    }
    end
}

fn marks(text: &str, each: &mut impl FnMut(&str)) -> usize {
    let first = text.chars().next().unwrap_or_default();
    let run = text.chars().take_while(|character| *character == first).count();
    let width = first.len_utf8();
    each(&text[..width * run.min(MAX_MARKS)]);
    width * run
}

fn dense(text: &str, each: &mut impl FnMut(&str)) -> usize {
    let end = text
        .char_indices()
        .find(|(_, character)| sort(*character) != Sort::Dense)
        .map_or(text.len(), |(at, _)| at);
    let run = &text[..end];
    let mut former = None;
    for (at, character) in run.char_indices() {
        match former.replace(at) {
            Some(before) => each(&run[before..at + character.len_utf8()]),
            None if character.len_utf8() == run.len() => each(run),
            None => {}
        }
    }
    end
}

fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfkc_quick(text.chars()) == unicode_normalization::IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    // Characters without width are put into words to hide them.
    Cow::Owned(text.nfkc().filter(|character| !invisible(*character)).collect())
}

fn invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        split(text, |word| found.push(word.to_owned()));
        found
    }

    #[test]
    fn words_marks_and_dense_scripts() {
        assert_eq!(words("Don't pay $1,000.00 now!!!!!"), ["Don't", "pay", "$", "1,000.00", "now", "!!!"]);
        assert_eq!(words("me@example.org, a-b. "), ["me@example.org", "a-b"]);
        assert_eq!(words("日本語 x"), ["日本", "本語", "x"]);
        assert_eq!(words("好"), ["好"]);
        assert_eq!(words("ｆｕｌｌ"), ["full"]);
        assert_eq!(words(&"a".repeat(40)), [format!("{}~", "a".repeat(16))]);
        assert_eq!(words(""), Vec::<String>::new());
    }
}
