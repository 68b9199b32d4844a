//! What texts of the pages are called in other languages: tables of four columns, English first. `{}` stands for anything, and
//! comes back in the same order, or by its number (`{2}`); what it stands for is looked up by itself.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Language;

/// Of the pages, of what is so, and of what is published and reported.
const TABLES: [&str; 3] = [
    include_str!("../assets/words/pages.tsv"),
    include_str!("../assets/words/state.tsv"),
    include_str!("../assets/words/records.tsv"),
];
/// What `{}` stands for has patterns in it itself so often.
const MAX_DEPTH: u8 = 3;
/// Characters of a text that is looked up; longer ones are nobody's sentence.
const MAX_TEXT: usize = 2000;
/// Stands for anything.
const ANYTHING: &str = "{}";

/// One text in all languages.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) english: &'static str,
    german: &'static str,
    french: &'static str,
    italian: &'static str,
}

impl Entry {
    pub(super) fn in_language(&self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::German => self.german,
            Language::French => self.french,
            Language::Italian => self.italian,
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Catalogue {
    whole: HashMap<&'static str, Entry>,
    /// With `{}` in them, the one with most letters of its own first.
    patterns: Vec<(Vec<&'static str>, Entry)>,
}

/// What comes with the program.
pub(super) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::read(entries()));

/// The lines of the tables that have four columns; a test sees to it that all have.
fn entries() -> impl Iterator<Item = Entry> {
    let lines = TABLES.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next();
        let (english, german, french, italian) = (next()?, next()?, next()?, next()?);
        Some(Entry { english, german, french, italian })
    })
}

impl Catalogue {
    fn read(entries: impl Iterator<Item = Entry>) -> Self {
        let (mut whole, mut patterns) = (HashMap::new(), Vec::new());
        for entry in entries {
            if entry.english.contains(ANYTHING) {
                patterns.push((entry.english.split(ANYTHING).collect::<Vec<_>>(), entry));
            } else {
                whole.insert(entry.english, entry);
            }
        }
        patterns
            .sort_by_key(|(parts, _)| std::cmp::Reverse(parts.iter().map(|part| part.len()).sum::<usize>()));
        Self { whole, patterns }
    }

    /// A text in another language, if that is known. White space around it is not its own.
    pub(super) fn find(&self, text: &str, language: Language) -> Option<String> {
        self.find_in(text, language, 0).or_else(|| {
            // What went wrong is a sentence of its own on some pages, and part of one elsewhere.
            let words = text.strip_suffix('.')?;
            self.find_in(words, language, 0).map(|found| found + ".")
        })
    }

    fn find_in(&self, text: &str, language: Language, depth: u8) -> Option<String> {
        if text.len() > MAX_TEXT || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        if let Some(entry) = self.whole.get(text) {
            return Some(entry.in_language(language).to_owned());
        }
        if depth >= MAX_DEPTH {
            return None;
        }
        // A sentence in a title has lost its full stop.
        if depth > 0 && !text.ends_with('.') {
            let sentence = self.sentence(&format!("{text}."), language, depth);
            if let Some(sentence) = sentence {
                return Some(sentence.strip_suffix('.').unwrap_or(&sentence).to_owned());
            }
        }
        self.sentence(text, language, depth)
    }

    /// By the patterns, or whole.
    fn sentence(&self, text: &str, language: Language, depth: u8) -> Option<String> {
        if let Some(entry) = self.whole.get(text) {
            return Some(entry.in_language(language).to_owned());
        }
        self.patterns.iter().find_map(|(parts, entry)| {
            let found = captures(text, parts)?;
            let found = found.into_iter().map(|one| self.inner(one, language, depth + 1)).collect::<Vec<_>>();
            Some(filled(entry.in_language(language), &found))
        })
    }

    /// What `{}` stands for, in the language if it is known.
    fn inner(&self, text: &str, language: Language, depth: u8) -> String {
        self.find_in(text, language, depth).unwrap_or_else(|| text.to_owned())
    }
}

/// What stands in the gaps between the parts; `None` where they do not fit.
fn captures<'a>(text: &'a str, parts: &[&str]) -> Option<Vec<&'a str>> {
    let (first, rest) = parts.split_first()?;
    let (last, middle) = rest.split_last()?;
    let mut text = text.strip_prefix(first)?;
    let mut found = Vec::with_capacity(parts.len() - 1);
    for part in middle {
        let (before, after) = text.split_once(part)?;
        found.push(before);
        text = after;
    }
    found.push(text.strip_suffix(last)?);
    found.iter().all(|one| !one.is_empty()).then_some(found)
}

/// A translation with what the gaps had.
fn filled(pattern: &str, found: &[String]) -> String {
    let mut out = String::with_capacity(pattern.len() + found.iter().map(String::len).sum::<usize>());
    let (mut rest, mut next) = (pattern, 0);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((number, after)) = after.split_once('}') else { break };
        let at = number.parse::<usize>().map_or(next, |number| number.saturating_sub(1));
        out.push_str(found.get(at).map_or("", String::as_str));
        next += 1;
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_four_columns_once_and_the_same_gaps_in_all() {
        let mut seen = std::collections::HashSet::new();
        for line in
            TABLES.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let columns: Vec<_> = line.split('\t').collect();
            assert_eq!(columns.len(), 4, "{line}");
            assert!(seen.insert(columns[0]), "twice: {line}");
            let gaps = |column: &str| column.matches('{').count();
            for column in &columns {
                assert!(!column.is_empty() && column.trim() == *column, "{line}");
                assert_eq!(gaps(column), gaps(columns[0]), "{line}");
            }
        }
    }

    fn catalogue() -> Catalogue {
        let entry = |english, german| Entry { english, german, french: "-", italian: "-" };
        Catalogue::read(
            [
                entry("open sessions", "offene Sitzungen"),
                entry("Little is left ({}).", "Es bleibt wenig ({})."),
                entry("{} is not reached: {}.", "{} wird nicht erreicht: {}."),
                entry("{} of {} sessions", "{2} Sitzungen, davon {1}"),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn what_stands_in_a_gap_comes_back_and_is_put_into_the_language_too() {
        let german = |text: &str| catalogue().find(text, Language::German);
        assert_eq!(german("open sessions").as_deref(), Some("offene Sitzungen"));
        assert_eq!(
            german("Little is left (open sessions).").as_deref(),
            Some("Es bleibt wenig (offene Sitzungen).")
        );
        assert_eq!(
            german("mx.example.net is not reached: connection refused.").as_deref(),
            Some("mx.example.net wird nicht erreicht: connection refused.")
        );
        assert_eq!(german("5 of 25 sessions").as_deref(), Some("25 Sitzungen, davon 5"));
        assert_eq!(german("of sessions"), None, "a gap has something in it");
        assert_eq!(german("12.5"), None, "no word, nothing to say otherwise");
        assert_eq!(german("something else"), None);
    }
}
