//! In which language a message is written, as far as its script and its smallest words tell.

/// A language, or a script where that is all one sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Language {
    /// Too little text, or none of those below.
    #[default]
    Unknown = 0,
    English,
    German,
    French,
    Italian,
    Spanish,
    Portuguese,
    Dutch,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Indic,
    Thai,
    Han,
    Japanese,
    Korean,
}

/// How many there are.
pub(crate) const LANGUAGES: usize = 17;

/// Words that are frequent in one of the languages and in no other.
const SMALL_WORDS: &[(&str, Language)] = &[
    ("alle", Language::Italian),
    ("als", Language::German),
    ("and", Language::English),
    ("are", Language::English),
    ("auf", Language::German),
    ("aux", Language::French),
    ("avec", Language::French),
    ("bei", Language::German),
    ("che", Language::Italian),
    ("com", Language::Portuguese),
    ("con", Language::Spanish),
    ("dans", Language::French),
    ("das", Language::German),
    ("dei", Language::Italian),
    ("del", Language::Spanish),
    ("della", Language::Italian),
    ("der", Language::German),
    ("des", Language::French),
    ("deze", Language::Dutch),
    ("di", Language::Italian),
    ("dit", Language::Dutch),
    ("dos", Language::Portuguese),
    ("du", Language::French),
    ("ein", Language::German),
    ("el", Language::Spanish),
    ("em", Language::Portuguese),
    ("en", Language::Dutch),
    ("est", Language::French),
    ("et", Language::French),
    ("for", Language::English),
    ("from", Language::English),
    ("gli", Language::Italian),
    ("het", Language::Dutch),
    ("i", Language::English),
    ("ich", Language::German),
    ("il", Language::Italian),
    ("is", Language::English),
    ("ist", Language::German),
    ("je", Language::Dutch),
    ("le", Language::French),
    ("les", Language::French),
    ("los", Language::Spanish),
    ("mit", Language::German),
    ("my", Language::English),
    ("naar", Language::Dutch),
    ("nicht", Language::German),
    ("niet", Language::Dutch),
    ("nos", Language::Portuguese),
    ("of", Language::English),
    ("on", Language::English),
    ("para", Language::Spanish),
    ("per", Language::Italian),
    ("por", Language::Spanish),
    ("pour", Language::French),
    ("que", Language::Spanish),
    ("sie", Language::German),
    ("sono", Language::Italian),
    ("sua", Language::Portuguese),
    ("su", Language::Spanish),
    ("that", Language::English),
    ("the", Language::English),
    ("this", Language::English),
    ("to", Language::English),
    ("um", Language::Portuguese),
    ("una", Language::Spanish),
    ("und", Language::German),
    ("une", Language::French),
    ("uw", Language::Dutch),
    ("van", Language::Dutch),
    ("voor", Language::Dutch),
    ("vos", Language::French),
    ("vous", Language::French),
    ("with", Language::English),
    ("you", Language::English),
    ("your", Language::English),
    ("zijn", Language::Dutch),
    ("zu", Language::German),
    ("às", Language::Portuguese),
    ("é", Language::Portuguese),
    ("não", Language::Portuguese),
];
/// Octets of the longest of them.
const LONGEST: usize = 5;

/// Counts what tells a language.
#[derive(Debug, Default)]
pub(crate) struct Guess {
    votes: [u32; LANGUAGES],
}

impl Guess {
    /// A word of the text.
    pub(crate) fn word(&mut self, word: &str) {
        let voted = match word.chars().next() {
            Some(first) if first as u32 >= 0x370 => script(first),
            _ if word.len() <= LONGEST => small_word(word),
            _ => None,
        };
        if let Some(language) = voted {
            self.votes[language as usize] += 1;
        }
    }

    /// The language that most words speak for.
    pub(crate) fn language(&self) -> Language {
        // Japanese is written with Han characters mostly; what it has beside them decides.
        if self.votes[Language::Japanese as usize] * 4 > self.votes[Language::Han as usize].max(1) {
            return Language::Japanese;
        }
        let best = (0..LANGUAGES).rev().max_by_key(|place| self.votes[*place]).unwrap_or_default();
        if self.votes[best] == 0 { Language::Unknown } else { LANGUAGE_OF[best] }
    }
}

/// What they are called, in their order.
pub const LANGUAGE_NAMES: [&str; LANGUAGES] = [
    "not recognised",
    "English",
    "German",
    "French",
    "Italian",
    "Spanish",
    "Portuguese",
    "Dutch",
    "Cyrillic script",
    "Greek",
    "Arabic script",
    "Hebrew",
    "Indic scripts",
    "Thai",
    "Chinese",
    "Japanese",
    "Korean",
];

impl Language {
    /// One of [`LANGUAGE_NAMES`].
    pub(crate) fn name(self) -> &'static str {
        LANGUAGE_NAMES[self as usize]
    }
}

const LANGUAGE_OF: [Language; LANGUAGES] = [
    Language::Unknown,
    Language::English,
    Language::German,
    Language::French,
    Language::Italian,
    Language::Spanish,
    Language::Portuguese,
    Language::Dutch,
    Language::Cyrillic,
    Language::Greek,
    Language::Arabic,
    Language::Hebrew,
    Language::Indic,
    Language::Thai,
    Language::Han,
    Language::Japanese,
    Language::Korean,
];

fn small_word(word: &str) -> Option<Language> {
    let lower = word.to_lowercase();
    SMALL_WORDS.iter().find(|(small, _)| *small == lower).map(|(_, language)| *language)
}

fn script(character: char) -> Option<Language> {
    match character {
        '\u{370}'..='\u{3ff}' => Some(Language::Greek),
        '\u{400}'..='\u{52f}' => Some(Language::Cyrillic),
        '\u{590}'..='\u{5ff}' => Some(Language::Hebrew),
        '\u{600}'..='\u{6ff}' => Some(Language::Arabic),
        '\u{900}'..='\u{dff}' => Some(Language::Indic),
        '\u{e00}'..='\u{e7f}' => Some(Language::Thai),
        '\u{3040}'..='\u{30ff}' => Some(Language::Japanese),
        '\u{3400}'..='\u{9fff}' => Some(Language::Han),
        '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => Some(Language::Korean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(text: &str) -> Language {
        let mut guess = Guess::default();
        crate::words::split(text, |word| guess.word(word));
        guess.language()
    }

    #[test]
    fn languages_are_told_apart() {
        assert_eq!(language("This is the offer for you"), Language::English);
        assert_eq!(language("Das ist nicht der Preis, den Sie zahlen"), Language::German);
        assert_eq!(language("La réponse est dans les documents pour vous"), Language::French);
        assert_eq!(language("Привет, как дела"), Language::Cyrillic);
        assert_eq!(language("これは日本語の文章です"), Language::Japanese);
        assert_eq!(language("这是中文"), Language::Han);
        assert_eq!(language("xyzzy"), Language::Unknown);
        assert_eq!([Language::German.name(), Language::Korean.name()], ["German", "Korean"]);
    }
}
