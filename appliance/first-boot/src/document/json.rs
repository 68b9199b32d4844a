//! JSON as the same tree. The platforms' own documents are JSON; they are written by machines, so places are not kept.

use serde_json::Value as Json;

use super::{Budget, DocumentError, Entry, MAX_DEPTH, MAX_WEIGHT, NODE_WEIGHT, Node, Place, Value, text};

/// Reads one document.
///
/// # Errors
///
/// It is too large, too deep or not JSON.
pub fn read(bytes: &[u8]) -> Result<Node, DocumentError> {
    let json: Json = serde_json::from_str(text(bytes)?).map_err(|error| {
        let place = Place { line: error.line(), column: error.column() };
        DocumentError::new(Some(place), format!("it is not JSON: {error}"))
    })?;
    node(json, 0, &mut Budget(MAX_WEIGHT))
}

/// Recurses at most [`MAX_DEPTH`] deep; serde_json itself stops at 128.
fn node(json: Json, depth: usize, budget: &mut Budget) -> Result<Node, DocumentError> {
    if depth > MAX_DEPTH {
        let wrong = format!("lists and maps are nested more than {MAX_DEPTH} levels deep");
        return Err(DocumentError::new(None, wrong));
    }
    budget.take(NODE_WEIGHT, None)?;
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Scalar { text: is.to_string(), plain: true },
        Json::Number(number) => Value::Scalar { text: number.to_string(), plain: true },
        Json::String(text) => Value::Scalar { text, plain: false },
        Json::Array(values) => {
            let nodes = values.into_iter().map(|json| node(json, depth + 1, budget));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        Json::Object(map) => {
            let entry = |(key, json)| Ok(Entry { key, place: None, node: node(json, depth + 1, budget)? });
            Value::Map(map.into_iter().map(entry).collect::<Result<_, DocumentError>>()?)
        }
    };
    let node = Node { place: None, value };
    budget.take(node.text().map_or(0, str::len), None)?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_switches_and_words_become_text() {
        let node = read(br#"{"a": 1500, "b": true, "c": null, "d": "x\u00e9", "e": [1]}"#).unwrap();
        assert_eq!(node.get("a").unwrap().value, Value::Scalar { text: "1500".into(), plain: true });
        assert_eq!(node.get("b").unwrap().text(), Some("true"));
        assert_eq!(node.get("c").unwrap().value, Value::Null);
        assert_eq!(node.get("d").unwrap().value, Value::Scalar { text: "xé".into(), plain: false });
    }

    #[test]
    fn bounds_hold_and_errors_have_a_place() {
        assert!(read(b"{\n\"a\": }").unwrap_err().to_string().starts_with("2:6: it is not JSON"));
        let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
        assert!(read(deep.as_bytes()).unwrap_err().to_string().contains("levels deep"));
        assert!(read("[".repeat(100_000).as_bytes()).unwrap_err().to_string().contains("not JSON"));
        let many = format!("[{}1]", "1,".repeat(60_000));
        assert!(read(many.as_bytes()).unwrap_err().to_string().contains("too large"));
    }
}
