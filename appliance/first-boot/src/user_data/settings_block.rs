//! The `postern:` block of a cloud-config as the TOML that it stands for.

use toml::Value as Toml;

use crate::document::{Node, Place, Value};

/// A block that cannot be written as TOML.
pub(super) struct NotToml {
    pub(super) place: Option<Place>,
    pub(super) wrong: &'static str,
}

/// The block as text; `hostname` is added where the block has none.
pub(super) fn text(block: &Node, hostname: Option<&str>) -> Result<String, NotToml> {
    let not = |wrong| NotToml { place: block.place, wrong };
    let Toml::Table(mut table) = toml(block)? else {
        return Err(not("a map of the keys of postern.toml, or its text (`postern: |`), is expected"));
    };
    if let Some(hostname) = hostname
        && !table.contains_key("hostname")
    {
        table.insert("hostname".to_owned(), Toml::String(hostname.to_owned()));
    }
    toml::to_string(&table).map_err(|_| not("it cannot be written as TOML"))
}

/// Recurses no deeper than the tree, which is bounded.
fn toml(node: &Node) -> Result<Toml, NotToml> {
    Ok(match &node.value {
        Value::Null => {
            let wrong = "nothing stands there; give a value or leave the key out";
            return Err(NotToml { place: node.place, wrong });
        }
        Value::Scalar { text, plain } => scalar(text, *plain),
        Value::List(nodes) => Toml::Array(nodes.iter().map(toml).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            let pair = |entry: &crate::document::Entry| Ok((entry.key.clone(), toml(&entry.node)?));
            Toml::Table(entries.iter().map(pair).collect::<Result<_, NotToml>>()?)
        }
    })
}

/// As YAML 1.2's core schema has it: `yes` is a word, `0x10` and `1_000` are, too.
fn scalar(text: &str, plain: bool) -> Toml {
    let word = || Toml::String(text.to_owned());
    let is_number = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    match text {
        _ if !plain => word(),
        "true" | "True" | "TRUE" => Toml::Boolean(true),
        "false" | "False" | "FALSE" => Toml::Boolean(false),
        _ if is_number => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Toml::Integer(number),
            (_, Ok(number)) if number.is_finite() => Toml::Float(number),
            _ => word(),
        },
        _ => word(),
    }
}

/// Where the key that the config's reader names stands in the block.
pub(super) fn place_of(block: &Node, key: &str) -> Option<Place> {
    let mut node = block;
    for part in key.split('.') {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, Some(index.parse::<usize>().ok()?)),
            None => (part, None),
        };
        let Some(inner) = node.get(name) else { break };
        node = match (&inner.value, index) {
            (Value::List(nodes), Some(index)) => nodes.get(index)?,
            _ => inner,
        };
    }
    node.place
}
