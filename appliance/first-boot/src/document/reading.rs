//! Taking values out of a tree by name and kind, with every mistake noted under its key's path, and every key that nobody
//! asked for reported.

use std::fmt;
use std::ops::RangeInclusive;

use super::{DocumentError, Entry, Node, Place, Value};
use crate::note::{Note, shown};

/// More mistakes than a person reads at once.
const MAX_PROBLEMS: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Such as `network-config`.
    pub file: &'static str,
    /// Where; JSON has no places.
    pub place: Option<Place>,
    /// Such as `ethernets.eth0.mtu`; empty for the document itself.
    pub path: String,
    /// What is wrong, and what is expected.
    pub wrong: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{place}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.wrong)
    }
}

/// A value in the tree, and its path.
#[derive(Clone, Debug)]
pub struct At<'n> {
    /// The value.
    pub node: &'n Node,
    /// The keys that lead to it.
    pub path: String,
}

impl At<'_> {
    fn path_of(&self, key: &str) -> String {
        let key = shown(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// Collects what is wrong with a document, and what was passed over.
#[derive(Debug)]
pub struct Reading {
    file: &'static str,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl Reading {
    /// `file` is what the document is called in messages.
    pub fn new(file: &'static str) -> Self {
        Self { file, problems: Vec::new(), notes: Vec::new() }
    }

    /// The document as a whole cannot be read.
    pub fn unreadable(file: &'static str, error: DocumentError) -> Vec<Problem> {
        vec![Problem { file, place: error.place, path: String::new(), wrong: error.wrong }]
    }

    /// The top of the tree.
    pub fn top<'n>(&self, node: &'n Node) -> At<'n> {
        At { node, path: String::new() }
    }

    /// Something is wrong with a value.
    pub fn wrong(&mut self, at: &At<'_>, wrong: impl Into<String>) {
        self.problem(at.node.place, at.path.clone(), wrong.into());
    }

    /// Something is wrong that belongs to no single value.
    pub fn problem(&mut self, place: Option<Place>, path: String, wrong: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { file: self.file, place, path, wrong });
        }
    }

    /// A key or value is passed over.
    pub fn ignored(&mut self, at: &At<'_>, why: &str) {
        let note = Note::ignored(self.named(at.node.place, &at.path, why));
        crate::note::extend(&mut self.notes, [note]);
    }

    /// A key is refused, without harm to the rest.
    pub fn refused(&mut self, place: Option<Place>, path: &str, why: &str) {
        let note = Note::refused(self.named(place, path, why));
        crate::note::extend(&mut self.notes, [note]);
    }

    fn named(&self, place: Option<Place>, path: &str, why: &str) -> String {
        let wrong = why.to_owned();
        Problem { file: self.file, place, path: path.to_owned(), wrong }.to_string()
    }

    /// What was read if nothing was wrong, and what was passed over; else all that is wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<(T, Vec<Note>), Vec<Problem>> {
        match read {
            Some(read) if self.problems.is_empty() => Ok((read, self.notes)),
            _ if self.problems.is_empty() => {
                let wrong = "nothing could be read from it".to_owned();
                Err(vec![Problem { file: self.file, place: None, path: String::new(), wrong }])
            }
            _ => Err(self.problems),
        }
    }

    /// The keys of a map.
    pub fn fields<'n>(&mut self, at: &At<'n>) -> Option<Fields<'n>> {
        match &at.node.value {
            Value::Map(entries) => Some(Fields { at: at.clone(), entries: entries.iter().collect() }),
            _ => {
                self.wrong(at, format!("{} is no map of keys and values", described(at.node)));
                None
            }
        }
    }

    /// The entries of a list; with `or_one` a single value counts as a list of one.
    pub fn list<'n>(&mut self, at: &At<'n>, or_one: bool) -> Vec<At<'n>> {
        let entry = |(index, node)| At { node, path: format!("{}[{index}]", at.path) };
        match &at.node.value {
            Value::List(nodes) => nodes.iter().enumerate().map(entry).collect(),
            Value::Null => Vec::new(),
            Value::Scalar { .. } if or_one => vec![at.clone()],
            _ => {
                self.wrong(at, format!("{} is no list", described(at.node)));
                Vec::new()
            }
        }
    }

    /// A word.
    pub fn text<'n>(&mut self, at: &At<'n>) -> Option<&'n str> {
        let text = at.node.text();
        if text.is_none() {
            self.wrong(at, format!("{} is no word", described(at.node)));
        }
        text
    }

    /// A word that `parse` understands.
    pub fn parsed<T>(
        &mut self,
        at: &At<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(at)?;
        let value = parse(text);
        if value.is_none() {
            self.wrong(at, format!("`{}` is not {expected}", shown(text)));
        }
        value
    }

    /// A switch. YAML 1.1, which cloud-init reads, has `yes` and `on`, too.
    pub fn switch(&mut self, at: &At<'_>) -> Option<bool> {
        self.parsed(at, "`true` or `false`", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// A whole number.
    pub fn number(&mut self, at: &At<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(at, &expected, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// Reports every key that nobody took.
    pub fn rest(&mut self, fields: Fields<'_>) {
        for entry in fields.entries {
            let path = fields.at.path_of(&entry.key);
            let note = Note::ignored(self.named(entry.place, &path, "no key that Postern knows here"));
            crate::note::extend(&mut self.notes, [note]);
        }
    }
}

/// The keys of a map that nobody has taken yet.
#[derive(Debug)]
pub struct Fields<'n> {
    /// The map.
    pub at: At<'n>,
    entries: Vec<&'n Entry>,
}

impl<'n> Fields<'n> {
    /// Takes a key; `None` if it is not there or has no value.
    pub fn take(&mut self, key: &str) -> Option<At<'n>> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(index);
        let at = At { node: &entry.node, path: self.at.path_of(key) };
        (at.node.value != Value::Null).then_some(at)
    }

    /// Takes all keys that are left, with their names.
    pub fn take_all(&mut self) -> Vec<(&'n Entry, At<'n>)> {
        let entries = std::mem::take(&mut self.entries);
        let at = |entry: &'n Entry| At { node: &entry.node, path: self.at.path_of(&entry.key) };
        entries.into_iter().map(|entry| (entry, at(entry))).collect()
    }
}

fn described(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Scalar { text, .. } => format!("`{}`", shown(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}
