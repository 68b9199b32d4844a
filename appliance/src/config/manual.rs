//! What each key means, out of the one place where that is written: `docs/config.toml`, which a test holds against the keys that
//! there are; and what a config says of each.

use schemars::JsonSchema;
use serde::Serialize;
use toml::{Table, Value};

const MANUAL: &str = include_str!("../../../docs/config.toml");
/// Keys whose value nobody is shown.
pub(crate) const SECRETS: [&str; 4] = ["alerts_key", "hmac", "password", "secret"];

/// A section of the config: one entry of it, where there may be several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Section {
    /// As in the file, such as `outbound.senders`; empty for the keys at its head.
    pub(crate) name: String,
    /// Which of several, from 1; 0 where there is only one.
    pub(crate) number: usize,
    /// What it is about; may be empty.
    pub(crate) meaning: String,
    /// Its keys.
    pub(crate) settings: Vec<Setting>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Setting {
    /// Its name.
    pub(crate) key: String,
    /// As the file has it; `null` where it does not have it. Secrets are not shown.
    pub(crate) value: Option<String>,
    /// The default, or an example, in the manual's words.
    pub(crate) default: String,
    /// What it means; empty where the name says it.
    pub(crate) meaning: String,
}

/// A key of the manual.
#[derive(Debug)]
struct Key<'a> {
    name: &'a str,
    default: &'a str,
    meaning: &'a str,
}

/// A section of the manual.
#[derive(Debug, Default)]
struct Chapter<'a> {
    name: &'a str,
    meaning: &'a str,
    keys: Vec<Key<'a>>,
}

/// All of a config, with what each key means.
///
/// # Errors
///
/// The text is no TOML; the reason.
pub(crate) fn settings(text: &str) -> Result<Vec<Section>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut sections = Vec::new();
    for chapter in chapters() {
        match at(&table, chapter.name) {
            Written::Several(entries) => {
                let entries = entries.iter().enumerate();
                sections.extend(entries.map(|(at, entry)| section(&chapter, at + 1, entry.as_table())));
            }
            Written::One(entry) => sections.push(section(&chapter, 0, Some(entry))),
            Written::None => sections.push(section(&chapter, 0, None)),
        }
    }
    Ok(sections)
}

enum Written<'a> {
    None,
    One(&'a Table),
    Several(&'a [Value]),
}

/// What a config has of a section.
fn at<'a>(table: &'a Table, name: &str) -> Written<'a> {
    let mut here = table;
    let mut parts = name.split('.').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        match here.get(part) {
            Some(Value::Table(table)) => here = table,
            Some(Value::Array(entries)) if parts.peek().is_none() => return Written::Several(entries),
            _ => return Written::None,
        }
    }
    Written::One(here)
}

fn section(chapter: &Chapter<'_>, number: usize, entry: Option<&Table>) -> Section {
    let setting = |key: &Key<'_>| Setting {
        key: key.name.to_owned(),
        value: entry.and_then(|entry| entry.get(key.name)).map(|value| shown(key.name, value)),
        default: key.default.to_owned(),
        meaning: key.meaning.to_owned(),
    };
    Section {
        name: chapter.name.to_owned(),
        number,
        meaning: chapter.meaning.to_owned(),
        settings: chapter.keys.iter().map(setting).collect(),
    }
}

/// A value as TOML writes it, without secrets.
fn shown(key: &str, value: &Value) -> String {
    hidden(key, value).to_string()
}

fn hidden(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if SECRETS.contains(&key) && !text.is_empty() => "(not shown)".into(),
        Value::Array(values) => Value::Array(values.iter().map(|value| hidden(key, value)).collect()),
        Value::Table(table) => {
            // `{ file = "..." }` and `{ env = "..." }` say where a secret is.
            Value::Table(table.iter().map(|(name, value)| (name.clone(), hidden(name, value))).collect())
        }
        value => value.clone(),
    }
}

/// The manual, section by section. A key or section that stands there as an example, behind `#`, counts like the others.
fn chapters() -> Vec<Chapter<'static>> {
    let mut chapters = vec![Chapter::default()];
    for line in MANUAL.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let (written, meaning) = apart(line);
        if let Some(name) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = name.trim_matches(['[', ']']);
            // Where several are shown, the first one has everything.
            chapters.push(Chapter { name, meaning, keys: Vec::new() });
            continue;
        }
        let Some((name, default)) = written.split_once('=') else { continue };
        let name = name.trim_end();
        let is_key =
            !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        let Some(chapter) = chapters.last_mut().filter(|_| is_key) else { continue };
        if !chapter.keys.iter().any(|key| key.name == name) {
            chapter.keys.push(Key { name, default: default.trim(), meaning });
        }
    }
    let mut once: Vec<Chapter<'static>> = Vec::new();
    for chapter in chapters {
        if !once.iter().any(|known| known.name == chapter.name) {
            once.push(chapter);
        }
    }
    once
}

/// What stands before a `#` outside of quotes, and what behind it.
fn apart(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, octet) in line.bytes().enumerate() {
        match octet {
            b'"' => quoted = !quoted,
            b'#' if !quoted => return (line[..at].trim(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line.trim(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"a.test\"]\nservers = [\"10.0.0.1\"]\n\
        [[backend]]\ndomains = [\"b.test\"]\nrecipients = { ldap = { url = \"ldap://x\", password = \"hunter2\" } }\n\
        [outbound]\npassword = \"hunter2\"\n[log]\nalerts_key = { file = \"/etc/key\" }\n";

    fn value<'a>(sections: &'a [Section], name: &str, number: usize, key: &str) -> &'a Setting {
        let section = sections.iter().find(|one| one.name == name && one.number == number).unwrap();
        section.settings.iter().find(|one| one.key == key).unwrap()
    }

    #[test]
    fn each_key_is_told_with_its_value_its_default_and_its_meaning() {
        let sections = settings(CONFIG).unwrap();
        assert_eq!(value(&sections, "", 0, "hostname").value.as_deref(), Some("\"mx.test\""));
        assert!(value(&sections, "", 0, "hostname").meaning.starts_with("name in the greeting"));
        assert_eq!(value(&sections, "backend", 2, "domains").value.as_deref(), Some("[\"b.test\"]"));
        let queue = value(&sections, "queue", 0, "lifetime");
        assert_eq!((queue.value.as_deref(), queue.default.as_str()), (None, "\"5d\""));
        assert!(!value(&sections, "log", 0, "syslog").meaning.is_empty(), "an example counts, too");
        assert!(!value(&sections, "dns_update", 0, "server").meaning.is_empty());
        assert!(settings("hostname = ").is_err());
    }

    #[test]
    fn secrets_are_not_shown_and_where_they_are_is() {
        let sections = settings(CONFIG).unwrap();
        let all = serde_json::to_string(&sections).unwrap();
        assert!(!all.contains("hunter2"), "{all}");
        assert_eq!(value(&sections, "outbound", 0, "password").value.as_deref(), Some("\"(not shown)\""));
        assert!(value(&sections, "log", 0, "alerts_key").value.as_deref().unwrap().contains("/etc/key"));
        assert!(value(&sections, "backend", 2, "recipients").value.as_deref().unwrap().contains("ldap://x"));
    }
}
