//! Words in disguise: letters of other scripts that look alike, digits for letters, letters pulled apart.

use unicode_security::confusable_detection::skeleton;

/// From so many single letters in a row on they may be a word pulled apart.
pub(crate) const PULLED_APART: usize = 4;

/// The word that a reader sees in this one, if it is another.
pub(crate) fn plain(word: &str) -> Option<String> {
    if word.is_ascii() { without_digits(word) } else { without_foreign_letters(word) }
}

/// Latin letters among letters of other scripts: nobody writes so who does not hide something.
fn without_foreign_letters(word: &str) -> Option<String> {
    let latin = word.chars().any(|character| character.is_ascii_alphabetic());
    let foreign = word.chars().any(|character| matches!(character, '\u{370}'..='\u{58f}'));
    if !(latin && foreign) {
        return None;
    }
    let plain: String = skeleton(&word.to_lowercase()).collect();
    (plain.is_ascii() && plain != word).then_some(plain)
}

/// Digits between letters.
fn without_digits(word: &str) -> Option<String> {
    let octets = word.as_bytes();
    let [first, .., last] = octets else { return None };
    if octets.len() < 4 || !(first.is_ascii_alphabetic() && last.is_ascii_alphabetic()) {
        return None;
    }
    let mut changed = false;
    let plain = octets.iter().map(|octet| {
        let letter = match octet {
            b'0' => b'o',
            b'1' => b'i',
            b'3' => b'e',
            b'4' | b'@' => b'a',
            b'5' => b's',
            b'7' => b't',
            b'8' => b'b',
            octet => octet.to_ascii_lowercase(),
        };
        changed |= letter != octet.to_ascii_lowercase();
        char::from(letter)
    });
    let plain: String = plain.filter(|letter| letter.is_ascii_alphabetic()).collect();
    // A dot or line within a word hides it, too: v.i.a.g.r.a; but a-b and don't are words of their own.
    let inner = octets.iter().filter(|octet| !octet.is_ascii_alphanumeric()).count();
    let dotted = inner >= 3 && inner * 2 + 1 >= octets.len();
    (dotted || changed && inner == 0 || changed && octets.contains(&b'@') && inner == 1).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_seen_through_and_plain_words_left() {
        assert_eq!(plain("V1agra").as_deref(), Some("viagra"));
        assert_eq!(plain("v.i.a.g.r.a").as_deref(), Some("viagra"));
        assert_eq!(plain("pаypal").as_deref(), Some("paypal"), "a Cyrillic a");
        for word in ["viagra", "don't", "well-known", "MP3", "2002", "x", "", "привет", "größer"] {
            assert_eq!(plain(word), None, "{word}");
        }
    }
}
