//! YAML and JSON as one tree of text, with the place of every value. What a value means (a number, an address, a word) is
//! decided by whoever asks for it, so that `1e3` as a host name stays `1e3`.
//!
//! Bounded: octets, nodes (aliases counted as what they stand for), depth. No tags, no merge keys, no second document.

mod json;
mod reading;
mod yaml;

use std::fmt;

pub use json::read as read_json;
pub use reading::{At, Fields, Problem, Reading};
pub use yaml::read as read_yaml;

/// Octets of a document. GCP's limit for one metadata value is 256 KiB, and the largest of the platforms'.
pub const MAX_DOCUMENT: usize = 256 << 10;
/// Levels of lists and maps; a config of ours has five.
pub const MAX_DEPTH: usize = 32;
/// What a tree may weigh, aliases counted as often as they are used: for each node 64 octets and its text.
pub const MAX_WEIGHT: usize = 2 << 20;
/// What a node weighs beside its text, in octets.
const NODE_WEIGHT: usize = 64;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// In characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it stands; JSON has no places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub place: Option<Place>,
    /// What.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: `~`, `null`, or nothing at all.
    Null,
    /// A word, number or switch.
    Scalar {
        /// As it was written, without quotes.
        text: String,
        /// Whether it stood without quotes, so that it may be a number or a switch.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it was written. No key twice.
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Option<Place>,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// How deep the tree is, and what it weighs.
    pub fn measure(&self) -> (usize, usize) {
        let inside: Vec<(usize, usize)> = match &self.value {
            Value::Null | Value::Scalar { .. } => Vec::new(),
            Value::List(nodes) => nodes.iter().map(Self::measure).collect(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.measure()).collect(),
        };
        let depth = inside.iter().map(|(depth, _)| depth + 1).max().unwrap_or(0);
        let weight: usize = inside.iter().map(|(_, weight)| weight).sum();
        (depth, weight + NODE_WEIGHT + self.text().map_or(0, str::len))
    }
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{wrong}", place.map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct DocumentError {
    /// Where.
    pub place: Option<Place>,
    /// What is wrong, and what is expected.
    pub wrong: String,
}

impl DocumentError {
    fn new(place: Option<Place>, wrong: impl Into<String>) -> Self {
        Self { place, wrong: wrong.into() }
    }
}

/// What may still be added to a tree.
struct Budget(usize);

impl Budget {
    fn take(&mut self, weight: usize, place: Option<Place>) -> Result<(), DocumentError> {
        let rest = self.0.checked_sub(weight);
        self.0 =
            rest.ok_or_else(|| DocumentError::new(place, "it is too large once its aliases are followed"))?;
        Ok(())
    }
}

/// The text of a document, if it is short enough and text at all.
fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > MAX_DOCUMENT {
        let wrong = format!("it has {} octets; at most {MAX_DOCUMENT} are read", bytes.len());
        return Err(DocumentError::new(None, wrong));
    }
    let text = std::str::from_utf8(bytes);
    let text =
        text.map_err(|error| DocumentError::new(place_in(bytes, error.valid_up_to()), "it is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn place_in(bytes: &[u8], at: usize) -> Option<Place> {
    let before = std::str::from_utf8(bytes.get(..at)?).ok()?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Some(Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 })
}
