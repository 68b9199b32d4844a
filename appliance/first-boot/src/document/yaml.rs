//! YAML 1.2, from the events of saphyr-parser. Nothing here recurses.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Budget, DocumentError, Entry, MAX_DEPTH, MAX_WEIGHT, NODE_WEIGHT, Node, Place, Value, text};

/// Reads one document; an empty one is [`Value::Null`].
///
/// # Errors
///
/// It is too large, too deep, not YAML, or uses what a config has no need for: tags, merge keys, several documents.
pub fn read(bytes: &[u8]) -> Result<Node, DocumentError> {
    let text = text(bytes)?;
    let mut tree = Tree { budget: Budget(MAX_WEIGHT), open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
            DocumentError::new(Some(place), format!("it is not YAML: {}", error.info()))
        })?;
        let place = place(span);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents > 1 {
            return Err(DocumentError::new(place, "a second document begins here; one is read"));
        }
        tree.take(event, place)?;
    }
    Ok(tree.root.unwrap_or(Node { place: None, value: Value::Null }))
}

fn place(span: Span) -> Option<Place> {
    Some(Place { line: span.start.line(), column: span.start.col() + 1 })
}

/// A list or map that has not ended yet.
struct Open {
    node: Node,
    anchor: usize,
    /// In a map, the key that waits for its value.
    key: Option<(String, Option<Place>)>,
}

struct Tree {
    budget: Budget,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, place: Option<Place>) -> Result<(), DocumentError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = is_text(tag.as_deref(), place)? || style != ScalarStyle::Plain;
                let value = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
                    text => Value::Scalar { text: text.to_owned(), plain: !quoted },
                };
                self.add(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                is_text(tag.as_deref(), place)?;
                self.begin(Node { place, value: Value::List(Vec::new()) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                is_text(tag.as_deref(), place)?;
                self.begin(Node { place, value: Value::Map(Vec::new()) }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, key: None }) => self.put(node, anchor),
                _ => Err(DocumentError::new(place, "a value is missing here")),
            },
            Event::Alias(anchor) => {
                let wrong = "this alias stands for nothing that ended before it";
                let known = self.anchors.get(&anchor);
                let (node, weight) = known.cloned().ok_or_else(|| DocumentError::new(place, wrong))?;
                self.budget.take(weight, place)?;
                // The depth of what is inserted counts, too.
                if self.open.len() + depth(&node) > MAX_DEPTH {
                    return Err(too_deep(place));
                }
                self.put(node, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), DocumentError> {
        self.budget.take(NODE_WEIGHT, node.place)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(node.place));
        }
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), DocumentError> {
        self.budget.take(NODE_WEIGHT + node.text().map_or(0, str::len), node.place)?;
        self.put(node, anchor)
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), DocumentError> {
        if anchor != 0 {
            // Kept beside the tree until the document ends: counted twice.
            let weight = weight(&node);
            self.budget.take(weight, node.place)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(nodes) => nodes.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((key, place)) => entries.push(Entry { key, place, node }),
                None => open.key = Some(key(node, entries)?),
            },
            Value::Null | Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn key(node: Node, before: &[Entry]) -> Result<(String, Option<Place>), DocumentError> {
    let wrong = |words: String| Err(DocumentError::new(node.place, words));
    let Value::Scalar { text, plain } = &node.value else {
        return wrong("a key must be a word".to_owned());
    };
    if *plain && text == "<<" {
        return wrong("merge keys (`<<`) are not read; write the keys out".to_owned());
    }
    if before.iter().any(|entry| entry.key == *text) {
        return wrong(format!("`{}` is there twice", crate::note::shown(text)));
    }
    Ok((text.clone(), node.place))
}

/// Whether a tag says that a scalar is text; any but the plainest tags are refused.
fn is_text(tag: Option<&Tag>, place: Option<Place>) -> Result<bool, DocumentError> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) if tag.is_yaml_core_schema() && ["map", "seq"].contains(&tag.suffix.as_str()) => Ok(false),
        Some(_) => Err(DocumentError::new(place, "tags (`!...`) are not read; write the value without one")),
    }
}

fn too_deep(place: Option<Place>) -> DocumentError {
    DocumentError::new(place, format!("lists and maps are nested more than {MAX_DEPTH} levels deep"))
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 0,
        Value::List(nodes) => 1 + nodes.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
    }
}

fn weight(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.value {
            Value::Null => 0,
            Value::Scalar { text, .. } => text.len(),
            Value::List(nodes) => nodes.iter().map(weight).sum(),
            Value::Map(entries) => {
                entries.iter().map(|entry| NODE_WEIGHT + entry.key.len() + weight(&entry.node)).sum()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn values_keep_their_text_and_their_place() {
        let node = read(b"a: 010\nb:\n  - 'yes'\n  - ~\n  - |\n    x\n    y\n").unwrap();
        assert_eq!(node.get("a").unwrap().text(), Some("010"));
        let b = node.get("b").unwrap();
        let Value::List(list) = &b.value else { panic!("{b:?}") };
        assert_eq!(list[0].value, Value::Scalar { text: "yes".into(), plain: false });
        assert_eq!(list[0].place, Some(Place { line: 3, column: 5 }));
        assert_eq!(list[1].value, Value::Null);
        assert_eq!(list[2].text(), Some("x\ny\n"));
        assert_eq!(read(b"").unwrap().value, Value::Null);
        assert_eq!(read(b"\xef\xbb\xbfa: 1").unwrap().get("a").unwrap().text(), Some("1"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert!(said("a: [1, 2\nb: 3").starts_with("2:"), "{}", said("a: [1, 2\nb: 3"));
        assert_eq!(said("a: 1\na: 2"), "2:1: `a` is there twice");
        assert!(said("a: !!binary aGk=").starts_with("1:4: tags"));
        assert!(said("a: !ruby/object:X {}").contains("tags"));
        assert!(said("a: 1\n---\nb: 2").starts_with("2:1: a second document"));
        assert!(said("x: &x {a: 1}\n<<: *x").contains("merge keys"));
        assert!(said("? [a]\n: 1").contains("a key must be a word"));
        assert_eq!(read(b"a: \xff").unwrap_err().to_string(), "1:4: it is not UTF-8");
        assert!(said(&"#".repeat(300 << 10)).contains("at most"));
    }

    #[test]
    fn aliases_are_followed_but_no_bomb_goes_off() {
        let node = read(b"a: &a [1, 2]\nb: *a").unwrap();
        assert_eq!(node.get("a").unwrap().value, node.get("b").unwrap().value);
        // Nine levels of nine: the classic "billion laughs".
        let mut bomb = "a0: &a0 [lol]\n".to_owned();
        for level in 1..20 {
            let of = format!("*a{}, ", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{of}]\n"));
        }
        assert!(said(&bomb).contains("too large"), "{}", said(&bomb));
        let large = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a, ".repeat(1000));
        assert!(said(&large).contains("too large"));
        assert!(said("a: &a [*a]").contains("stands for nothing") || said("a: &a [*a]").contains("YAML"));
        let deep = format!("a: {}", "[".repeat(40));
        assert!(said(&deep).contains("levels deep"), "{}", said(&deep));
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(said(&chain).contains("levels deep"), "{}", said(&chain));
    }
}
