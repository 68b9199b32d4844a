//! What the administrator is told of a seed: on the console, in the journal, and in `/run/postern/first-boot.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Notes about one seed; what comes after them is only counted.
pub const MAX_NOTES: usize = 60;
/// Characters of a value or word of the seed that a note shows.
const MAX_SHOWN: usize = 60;

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// What was done.
    Done,
    /// Something was passed over; what was asked for works without it.
    Ignored,
    /// Something that was asked for is not done.
    Refused,
}

/// Something that was done, passed over or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How much it matters.
    pub weight: Weight,
    /// What, and what to do about it.
    pub words: String,
}

impl Note {
    /// What was done.
    pub fn done(words: impl Into<String>) -> Self {
        Self { weight: Weight::Done, words: words.into() }
    }

    /// What was passed over.
    pub fn ignored(words: impl Into<String>) -> Self {
        Self { weight: Weight::Ignored, words: words.into() }
    }

    /// What is not done.
    pub fn refused(words: impl Into<String>) -> Self {
        Self { weight: Weight::Refused, words: words.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Done => "",
            Weight::Ignored => "ignored: ",
            Weight::Refused => "refused: ",
        };
        write!(f, "{weight}{}", self.words)
    }
}

/// A word of the seed as a note may quote it: short, on one line, and nothing that a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// The text on one line, without what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Adds `more` as long as there is room; says once that there is none.
pub(crate) fn extend(notes: &mut Vec<Note>, more: impl IntoIterator<Item = Note>) {
    for note in more {
        match notes.len() {
            len if len < MAX_NOTES => notes.push(note),
            MAX_NOTES => notes.push(Note::ignored("and more of this kind, which are not listed")),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_seed_says_is_shown_short_and_without_control_characters() {
        assert_eq!(shown("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(shown(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
    }

    #[test]
    fn a_flood_of_notes_ends() {
        let mut notes = Vec::new();
        extend(&mut notes, (0..10_000).map(|n| Note::ignored(n.to_string())));
        assert_eq!(notes.len(), MAX_NOTES + 1);
        assert!(notes[MAX_NOTES].words.contains("not listed"));
    }
}
