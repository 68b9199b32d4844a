//! `meta-data` of a seed, and the YAML below all of a seed: bounded whatever aliases it is made of, and no name in it that could
//! break out of a line.
#![no_main]

use first_boot::document::{MAX_DEPTH, MAX_DOCUMENT, MAX_WEIGHT, Node, Value, read_json, read_yaml};
use first_boot::names::HostName;
use first_boot::seed::nocloud::meta_data;
use libfuzzer_sys::fuzz_target;

/// What stands for an instance's name where the input has none.
const CONTENT: &str = "content";

fuzz_target!(|input: &[u8]| {
    for node in [read_yaml(input), read_json(input)].into_iter().flatten() {
        assert!(input.len() <= MAX_DOCUMENT);
        let (depth, weight) = node.measure();
        assert!(depth <= MAX_DEPTH && weight <= MAX_WEIGHT, "{depth} deep, {weight} octets");
        check_keys(&node);
    }
    let read = meta_data(input, CONTENT.to_owned());
    assert_eq!(read.is_ok(), read_yaml(input).is_ok());
    let Ok(seed) = read else { return };
    assert!((1..=128).contains(&seed.instance_id.len()) && !seed.instance_id.contains(char::is_control));
    if let Some(name) = seed.hostname {
        assert!(
            name.as_str().len() <= 64
                && name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        );
        assert_eq!(HostName::new(name.as_str()), Some(name));
    }
    assert!(seed.notes.iter().all(|note| !note.words.contains(char::is_control)));
});

/// No key is there twice.
fn check_keys(node: &Node) {
    match &node.value {
        Value::Map(entries) => {
            for (at, entry) in entries.iter().enumerate() {
                assert!(!entries[..at].iter().any(|before| before.key == entry.key), "{}", entry.key);
                check_keys(&entry.node);
            }
        }
        Value::List(nodes) => nodes.iter().for_each(check_keys),
        Value::Null | Value::Scalar { .. } => {}
    }
}
