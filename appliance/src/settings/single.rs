//! One key of a config's text: set, changed or taken out where it stands, with everything around it left as it is, comments included.
//! What comes out must say exactly that and nothing else, or it is refused: then the text itself has to be edited.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::config::manual;

/// Octets of a value.
const MAX_VALUE: usize = 64 << 10;

/// A key, as the page and the API name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// As `outbound.senders`; empty for the keys at the head.
    pub(crate) section: &'a str,
    /// Which of several, from 1; 0 where there is only one.
    pub(crate) number: usize,
    pub(crate) key: &'a str,
}

/// The text with another value for a key; without one, without the key.
///
/// # Errors
///
/// In words: there is no such key, the value is none, or the text is written so that it has to be edited itself.
pub(crate) fn set(text: &str, named: &Named<'_>, value: &str) -> Result<String, String> {
    let known = manual::settings(text)?;
    let section = known.iter().find(|one| one.name == named.section && one.number == named.number);
    let section = section
        .ok_or_else(|| format!("there is no section `{}` with the number {}", named.section, named.number))?;
    if !section.settings.iter().any(|setting| setting.key == named.key) {
        return Err(format!("`{}` is no key of this section", named.key));
    }
    let value = value.trim();
    let value = if value.is_empty() { None } else { Some(literal(value)?) };
    let changed = match place(text, named)? {
        Place::Key { key, value: old } => match &value {
            Some((words, _)) => spliced(text, old, words),
            None => without_line(text, key.start, old.end),
        },
        // It is out already.
        _ if value.is_none() => return Ok(text.to_owned()),
        Place::Section(at) => {
            let line =
                value.as_ref().map(|(words, _)| format!("{} = {words}\n", named.key)).unwrap_or_default();
            let gap = if at > 0 && !text.get(..at).is_some_and(|before| before.ends_with('\n')) {
                "\n"
            } else {
                ""
            };
            spliced(text, at..at, &format!("{gap}{line}"))
        }
        Place::Nowhere => {
            let words = value.as_ref().map(|(words, _)| words.as_str()).unwrap_or_default();
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{gap}\n[{}]\n{} = {words}\n", named.section, named.key)
        }
    };
    if says(&changed) == Some(wanted(text, named, value.map(|(_, value)| value))?) {
        Ok(changed)
    } else {
        Err("this key stands where it cannot be changed by itself; edit the text".to_owned())
    }
}

/// As TOML writes it. What is none by itself is taken for a string: people write `10MiB`.
fn literal(text: &str) -> Result<(String, Value), String> {
    if text.len() > MAX_VALUE {
        return Err("the value is too long; edit the text".to_owned());
    }
    let read = |text: &str| {
        format!("x = {text}").parse::<Table>().ok().filter(|table| table.len() == 1)?.remove("x")
    };
    if let Some(value) = read(text) {
        return Ok((text.to_owned(), value));
    }
    if text.contains(['"', '\'', '[', ']', '{', '}', '\n', '=']) {
        return Err("this is no value; write text in quotes, lists as [\"a\", \"b\"]".to_owned());
    }
    let value = Value::String(text.to_owned());
    Ok((value.to_string(), value))
}

enum Place {
    Key {
        key: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
    },
    /// Where a new key of the section is put in.
    Section(usize),
    Nowhere,
}

fn place(text: &str, named: &Named<'_>) -> Result<Place, String> {
    let tree = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut here = tree.get_ref();
    let mut header = None;
    for part in named.section.split('.').filter(|part| !part.is_empty()) {
        let Some(value) = here.get(part) else { return Ok(Place::Nowhere) };
        let value: &Spanned<DeValue<'_>> = match value.get_ref() {
            DeValue::Array(entries) => match entries.get(named.number.saturating_sub(1)) {
                Some(entry) => entry,
                None => return Ok(Place::Nowhere),
            },
            _ => value,
        };
        let DeValue::Table(table) = value.get_ref() else { return Ok(Place::Nowhere) };
        (here, header) = (table, Some(value.span()));
    }
    if let Some((key, value)) = here.get_key_value(named.key) {
        return Ok(Place::Key { key: key.span(), value: value.span() });
    }
    let after_line =
        |at: usize| text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end + 1);
    Ok(Place::Section(match header {
        Some(header) => after_line(header.start),
        // Before the first section.
        None => line_starts(text)
            .find(|at| text.get(*at..).is_some_and(|rest| rest.trim_start().starts_with('[')))
            .unwrap_or(text.len()),
    }))
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1))
}

fn spliced(text: &str, place: std::ops::Range<usize>, words: &str) -> String {
    let (before, after) =
        (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
    format!("{before}{words}{after}")
}

/// Without the lines from the one that has the key to the one in which its value ends.
fn without_line(text: &str, key: usize, end: usize) -> String {
    let start = text.get(..key).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = text.get(end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| end + at + 1);
    spliced(text, start..end, "")
}

fn says(text: &str) -> Option<Table> {
    text.parse().ok()
}

/// What the config must say afterwards.
fn wanted(text: &str, named: &Named<'_>, value: Option<Value>) -> Result<Table, String> {
    let mut table: Table = says(text).ok_or("the config is no TOML")?;
    let mut here = &mut table;
    for part in named.section.split('.').filter(|part| !part.is_empty()) {
        let next = here.entry(part).or_insert_with(|| Value::Table(Table::new()));
        let next = match next {
            Value::Array(entries) => entries.get_mut(named.number.saturating_sub(1)),
            other => Some(other),
        };
        here = next.and_then(Value::as_table_mut).ok_or("there is no such section")?;
    }
    match value {
        Some(value) => drop(here.insert(named.key.to_owned(), value)),
        None => drop(here.remove(named.key)),
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# ours\nhostname = \"mx.test\" # the name\n\n[[backend]]\ndomains = [\"a.test\"]\nservers = [\"10.0.0.1\"]\n\
        [[backend]] # second\ndomains = [\n  \"b.test\", # one\n]\n[limits] # of clients\nsessions = 10\n";

    fn key<'a>(section: &'a str, number: usize, key: &'a str) -> Named<'a> {
        Named { section, number, key }
    }

    #[test]
    fn a_value_is_changed_where_it_stands_and_everything_else_stays() {
        let changed = |named: &Named<'_>, value: &str| set(TEXT, named, value).unwrap();
        assert_eq!(
            changed(&key("limits", 0, "sessions"), "20"),
            TEXT.replace("sessions = 10", "sessions = 20")
        );
        assert_eq!(
            changed(&key("", 0, "hostname"), "\"mx2.test\""),
            TEXT.replace("\"mx.test\"", "\"mx2.test\"")
        );
        assert_eq!(
            changed(&key("limits", 0, "message_size"), "10MiB"),
            TEXT.replace("# of clients\n", "# of clients\nmessage_size = \"10MiB\"\n")
        );
        assert_eq!(
            changed(&key("backend", 2, "servers"), "[\"10.0.0.2\"]"),
            TEXT.replace("# second\n", "# second\nservers = [\"10.0.0.2\"]\n")
        );
        assert_eq!(
            changed(&key("", 0, "postmaster"), "p@a.test"),
            TEXT.replace(
                "\n\n[[backend]]\ndomains = [\"a",
                "\npostmaster = \"p@a.test\"\n\n[[backend]]\ndomains = [\"a"
            )
        );
        assert_eq!(
            changed(&key("queue", 0, "lifetime"), "3d"),
            format!("{TEXT}\n[queue]\nlifetime = \"3d\"\n")
        );
        assert_eq!(changed(&key("limits", 0, "sessions"), " "), TEXT.replace("sessions = 10\n", ""));
    }

    #[test]
    fn what_is_no_key_or_value_is_refused() {
        for (named, value) in [
            (key("limits", 0, "nonsense"), "1"),
            (key("nonsense", 0, "sessions"), "1"),
            (key("backend", 3, "domains"), "[]"),
            (key("limits", 0, "sessions"), "1\nmessage_size = \"1MiB\""),
            (key("limits", 0, "sessions"), "[1"),
        ] {
            assert!(set(TEXT, &named, value).is_err(), "{named:?} {value}");
        }
    }

    #[test]
    fn what_is_not_set_is_out_already() {
        assert_eq!(set(TEXT, &key("limits", 0, "message_size"), "").as_deref(), Ok(TEXT));
    }

    proptest! {
        /// Any key of the config with any value: what comes out says that and nothing else, or nothing comes out.
        #[test]
        fn no_value_gets_out_of_its_key(value in "[ -~\n]{0,24}", which in any::<prop::sample::Index>()) {
            let text = include_str!("../config/everything.toml");
            let sections = manual::settings(text).map_err(TestCaseError::fail)?;
            let keys: Vec<_> = sections.iter().flat_map(|section| section.settings.iter().map(move |one| (section, one))).collect();
            let (section, setting) = which.get(&keys);
            let named = key(&section.name, section.number, &setting.key);
            if let Ok(changed) = set(text, &named, &value) {
                let mut expected = says(text).unwrap_or_default();
                let mut found = says(&changed).ok_or_else(|| TestCaseError::fail("no TOML any more"))?;
                for table in [&mut expected, &mut found] {
                    let mut here = table;
                    for part in named.section.split('.').filter(|part| !part.is_empty()) {
                        here = match here.entry(part).or_insert(Value::Table(Table::new())) {
                            Value::Array(entries) => entries[named.number - 1].as_table_mut().unwrap(),
                            other => other.as_table_mut().unwrap(),
                        };
                    }
                    here.remove(named.key);
                }
                prop_assert_eq!(expected, found);
            }
        }
    }
}
