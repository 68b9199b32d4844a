//! From text to [`Raw`], with every mistake in it rather than the first: what serde refuses is noted, taken out of the
//! tree, and the rest is read again.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::problem::Problems;
use super::raw::Raw;

/// Each round takes one mistake out of the tree; more than this are not looked for.
const MAX_ROUNDS: usize = 50;

/// Reads as much as can be read; `None` if that is nothing. Whatever could not be read is among the problems.
pub(super) fn read<'a>(text: &'a str, file: &'a Path) -> (Option<Raw>, Problems<'a>) {
    let (mut tree, syntax_errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(text, file, KeyIndex::new(tree.get_ref()));
    for error in &syntax_errors {
        problems.add(&error.span().unwrap_or_default(), error.message(), "valid TOML");
    }
    if !syntax_errors.is_empty() {
        return (None, problems);
    }
    for _ in 0..MAX_ROUNDS {
        match Raw::deserialize(Deserializer::from(tree.clone())) {
            Ok(raw) => return (Some(raw), problems),
            Err(error) => {
                let place = error.span().unwrap_or_default();
                explain(&mut problems, &place, error.message());
                if !remove(tree.get_mut(), &place) {
                    break;
                }
            }
        }
    }
    (None, problems)
}

/// Says in the config's terms what serde said in its own.
pub(super) fn explain(problems: &mut Problems<'_>, place: &Range<usize>, message: &str) {
    let (wrong, expected) = message.split_once(", expected ").unwrap_or((message, "a valid value"));
    let unknown_key = wrong.strip_prefix("unknown field ");
    let unknown_word = wrong.strip_prefix("unknown variant ");
    match (unknown_key, unknown_word) {
        (Some(key), _) => unknown(problems, place, "is no key here".to_owned(), key, expected),
        (_, Some(word)) => unknown(problems, place, format!("cannot be {word}"), word, expected),
        _ => problems.add(place, wrong, expected),
    }
}

fn unknown(problems: &mut Problems<'_>, place: &Range<usize>, wrong: String, written: &str, expected: &str) {
    let valid: Vec<&str> = expected.split('`').skip(1).step_by(2).filter(|word| !word.is_empty()).collect();
    problems.add_unknown(place, wrong, written.trim_matches('`'), &valid);
}

/// Takes out the innermost entry at `place`; `false` if there is none.
fn remove(table: &mut DeTable<'_>, place: &Range<usize>) -> bool {
    if table.iter_mut().any(|(_, value)| remove_inside(value.get_mut(), place)) {
        return true;
    }
    let found = table.iter().find(|(key, value)| holds(&key.span(), place) || holds(&value.span(), place));
    let Some(key) = found.map(|(key, _)| key.clone()) else { return false };
    table.remove(&key).is_some()
}

fn remove_inside(value: &mut DeValue<'_>, place: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove(table, place),
        DeValue::Array(array) => array.iter_mut().any(|item| remove_inside(item.get_mut(), place)),
        _ => false,
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Where each key and its value stand.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    entries: Vec<(Range<usize>, String)>,
}

impl KeyIndex {
    fn new(tree: &DeTable<'_>) -> Self {
        let mut index = Self::default();
        index.add_table(tree, "");
        index
    }

    fn add_table(&mut self, table: &DeTable<'_>, path: &str) {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            self.entries.push((key.span(), path.clone()));
            self.add_value(value, path);
        }
    }

    fn add_value(&mut self, value: &Spanned<DeValue<'_>>, path: String) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(table, &path),
            DeValue::Array(array) => {
                for (at, item) in array.iter().enumerate() {
                    self.add_value(item, format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
        self.entries.push((value.span(), path));
    }

    /// The key with the narrowest span around `place`; empty if there is none.
    pub(super) fn key_at(&self, place: &Range<usize>) -> String {
        let around = self.entries.iter().filter(|(span, _)| holds(span, place));
        around.min_by_key(|(span, _)| span.len()).map(|(_, path)| path.clone()).unwrap_or_default()
    }
}
