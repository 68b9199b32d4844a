//! What is wrong with a config, each with its place.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::KeyIndex;

/// More problems than a person reads at once.
const MAX_PROBLEMS: usize = 50;
/// Below this likeness a suggestion confuses more than it helps.
const LEAST_LIKENESS: f64 = 0.4;

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "{}: cannot read the config: {source}; expected a TOML file, `--config FILE` names another one",
        file.display()
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
}

impl ConfigError {
    /// The problems by place; none if the file could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Wrong(problems) => problems,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Such as `backend[0].tls`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub expected: String,
    /// The valid key or word that looks most like what was written.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; expected {}", self.wrong, self.expected)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        Ok(())
    }
}

/// Collects problems while a config is read.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    keys: KeyIndex,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path, keys: KeyIndex) -> Self {
        Self { file, text, keys, found: Vec::new() }
    }

    /// The folder that relative paths start at.
    pub(super) fn folder(&self) -> &'a Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// The key whose value or name is at this place.
    pub(super) fn key_at(&self, place: &Range<usize>) -> String {
        self.keys.key_at(place)
    }

    /// What stands at `place` is wrong.
    pub(super) fn add(
        &mut self,
        place: &Range<usize>,
        wrong: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.push(place, self.key_at(place), wrong.into(), expected.into(), None);
    }

    /// A key or word at `place` is none of those that are valid.
    pub(super) fn add_unknown(&mut self, place: &Range<usize>, wrong: String, written: &str, valid: &[&str]) {
        let expected = match valid {
            [] => "nothing".to_owned(),
            [one] => format!("`{one}`"),
            many => format!("one of `{}`", many.join("`, `")),
        };
        let nearest = nearest(written, valid).map(str::to_owned);
        self.push(place, self.key_at(place), wrong, expected, nearest);
    }

    /// Something is missing under `key`; `place` is where one would look for it.
    /// Whether something is wrong with this key already.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.found.iter().any(|problem| problem.key == key)
    }

    pub(super) fn add_missing(&mut self, place: &Range<usize>, key: &str, expected: impl Into<String>) {
        self.push(place, key.to_owned(), "is missing".to_owned(), expected.into(), None);
    }

    fn push(
        &mut self,
        place: &Range<usize>,
        key: String,
        wrong: String,
        expected: String,
        nearest: Option<String>,
    ) {
        if self.found.len() == MAX_PROBLEMS {
            return;
        }
        let (line, column) = line_and_column(self.text, place.start);
        let file = self.file.to_owned();
        self.found.push(Problem { file, line, column, key, wrong, expected, nearest });
    }

    /// The value if nothing was wrong, else all problems in the file's order.
    pub(super) fn into_result<T>(mut self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found.sort_by_key(|problem| (problem.line, problem.column));
                Err(ConfigError::Wrong(self.found))
            }
        }
    }
}

fn nearest<'a>(written: &str, valid: &[&'a str]) -> Option<&'a str> {
    let likeness = |word: &str| strsim::normalized_damerau_levenshtein(written, word);
    valid
        .iter()
        .filter(|word| !word.is_empty() && likeness(word) >= LEAST_LIKENESS)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .copied()
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
