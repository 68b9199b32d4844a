//! `user-data`: whatever it is, it ends, what is taken is what the config's reader accepted, and what is said of the rest can be
//! printed.
#![no_main]

use first_boot::user_data::{Wishes, read};
use first_boot::{Accepted, Complaint, MAX_NOTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let wishes = read(input, &validate);
    assert_eq!(wishes, read(input, &validate));
    check(&wishes);
    if input.starts_with(b"#!") || input.starts_with(&[0x1f, 0x8b]) {
        assert!(
            wishes.incomplete
                && wishes == Wishes { incomplete: true, notes: wishes.notes.clone(), ..Wishes::default() }
        );
    }
});

fn check(wishes: &Wishes) {
    if let Some(settings) = &wishes.settings {
        assert!(validate(settings).is_ok(), "{settings}");
    }
    assert!(wishes.notes.len() <= MAX_NOTES + 1);
    for note in &wishes.notes {
        assert!(!note.words.contains(char::is_control), "{:?}", note.words);
    }
}

/// Any TOML with a `hostname` will do; every other key at the top is complained of if it is `wrong`.
fn validate(text: &str) -> Result<Accepted, Vec<Complaint>> {
    let complaint =
        |key: &str| vec![Complaint { line: 1, column: 1, key: key.to_owned(), words: "is wrong".to_owned() }];
    let table: toml::Table = text.parse().map_err(|_| complaint(""))?;
    if table.contains_key("wrong") {
        return Err(complaint("wrong[0].a.b"));
    }
    match table.get("hostname").and_then(|name| name.as_str()) {
        Some(name) => Ok(Accepted { hostname: name.to_owned() }),
        None => Err(complaint("hostname")),
    }
}
