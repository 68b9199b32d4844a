//! Where a config keeps things, read from its text alone: of a config that is not in force yet, whose files may not be there.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::resolve::DEFAULT_STATE_DIR;

/// Keys whose value is the name of a file, absolute or not.
const FILES: [&str; 6] = ["ca_file", "chain", "dnssec_trust_anchor", "file", "key", "syslog_ca_file"];

/// Where a config keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The name of the appliance; empty where there is none.
    pub hostname: String,
    /// The state folder as written; relative to the config's folder.
    pub state_dir: PathBuf,
    /// Every string that may name a file, as written: absolute paths, and whatever stands behind a key for files.
    pub files: Vec<PathBuf>,
}

impl Places {
    /// From a config's text.
    ///
    /// # Errors
    ///
    /// It is no TOML; the reason.
    pub fn of(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let text = |key: &str| table.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let mut files = Vec::new();
        table.iter().for_each(|(key, value)| collect(key, value, &mut files));
        files.sort();
        files.dedup();
        Ok(Self {
            hostname: text("hostname").unwrap_or_default().to_owned(),
            state_dir: text("state_dir").unwrap_or(DEFAULT_STATE_DIR).into(),
            files,
        })
    }

    /// Those of `files` that are regular files, for a config in `folder`.
    pub fn present(&self, folder: &Path) -> Vec<PathBuf> {
        self.files.iter().map(|file| folder.join(file)).filter(|file| file.is_file()).collect()
    }
}

fn collect(key: &str, value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::String(text) if text.starts_with('/') || (FILES.contains(&key) && !text.is_empty()) => {
            files.push(text.into());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(key, value, files)),
        Value::Table(table) => table.iter().for_each(|(key, value)| collect(key, value, files)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_wherever_a_config_names_them() {
        let places = Places::of(
            "hostname = \"mx.example\"\nstate_dir = \"state\"\n\
             [tls]\ncertificates = [{ chain = \"tls/c.pem\", key = \"/srv/k.pem\" }]\n\
             [outbound.relay]\npassword = { file = \"/etc/p\" }\n\
             [[backend]]\ndomains = [\"example\"]\nrecipients = { file = \"list\" }\nca_file = \"\"\n",
        )
        .unwrap();
        assert_eq!((places.hostname.as_str(), places.state_dir.to_str()), ("mx.example", Some("state")));
        let files: Vec<_> = places.files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(files, ["/etc/p", "/srv/k.pem", "list", "tls/c.pem"]);
        assert_eq!(Places::of("").unwrap().state_dir, Path::new(DEFAULT_STATE_DIR));
        assert!(Places::of("hostname = ").is_err());
    }
}
