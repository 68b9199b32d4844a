//! `user-data`: a `postern.toml`, or a `#cloud-config` of which a few keys are read. Nothing in it is ever executed; what asks to
//! be is refused by name.

mod cloud_config;
mod settings_block;

use crate::document::{Place, Value, read_yaml};
use crate::names::{HostName, TimeServer};
use crate::network::Network;
use crate::note::{Note, extend};

/// What it is called in messages.
const FILE: &str = "user-data";

/// What is wrong with a config, as the appliance's own reader says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Such as `backend[0].tls`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong, and what is expected.
    pub words: String,
}

/// A config that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The name in it, which the machine gets where nothing else names it.
    pub hostname: String,
}

/// The appliance's own reader of `postern.toml`.
pub type Validate<'a> = dyn Fn(&str) -> Result<Accepted, Vec<Complaint>> + Send + Sync + 'a;

/// What user-data asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// A whole `postern.toml`, which the appliance's reader accepted.
    pub settings: Option<String>,
    /// The name in these settings.
    pub settings_hostname: Option<HostName>,
    /// The machine's name.
    pub hostname: Option<HostName>,
    /// Time servers; `None` leaves what is there.
    pub time_servers: Option<Vec<TimeServer>>,
    /// The network, instead of the platform's.
    pub network: Option<Network>,
    /// Something could not be read or was not accepted: the seed is read again at the next boot.
    pub incomplete: bool,
    /// What was done, passed over and refused.
    pub notes: Vec<Note>,
}

impl Wishes {
    fn refuse(&mut self, words: impl Into<String>) {
        self.incomplete = true;
        extend(&mut self.notes, [Note::refused(words)]);
    }
}

/// Reads user-data, whatever it is.
pub fn read(bytes: &[u8], validate: &Validate<'_>) -> Wishes {
    let mut wishes = Wishes::default();
    let text = match text(bytes) {
        Ok(text) => text,
        Err(why) => {
            wishes.refuse(why);
            return wishes;
        }
    };
    let first = text.lines().next().unwrap_or_default().trim_end();
    if text.trim().is_empty() {
        extend(&mut wishes.notes, [Note::done(format!("{FILE} is empty"))]);
    } else if first == "#cloud-config" {
        cloud_config::read(bytes, validate, &mut wishes);
    } else if let Some(why) = not_read(first) {
        wishes.refuse(format!("{FILE}: {why}"));
    } else {
        settings(text, validate, &mut wishes);
    }
    wishes
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        // A few kilobytes of text need no compression, and a reader for it would be one more parser of foreign bytes.
        return Err(format!("{FILE}: it is compressed (gzip); give it as plain text"));
    }
    if bytes.len() > crate::document::MAX_DOCUMENT {
        let most = crate::document::MAX_DOCUMENT;
        return Err(format!("{FILE}: it has {} octets; at most {most} are read", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{FILE}: it is not text (UTF-8)"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Why what begins with this line is not read; `None` if it may be a config.
fn not_read(first: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 11] = [
        (
            "#!",
            "it is a script; the appliance runs none and has no shell. Give a postern.toml or a #cloud-config",
        ),
        ("#cloud-config-archive", "archives of several parts are not read; give the one #cloud-config alone"),
        ("#cloud-boothook", "it is a boot hook; nothing from a seed is executed"),
        ("#part-handler", "it is a part handler; nothing from a seed is executed"),
        ("#upstart-job", "it is a job; nothing from a seed is executed"),
        ("#include", "it names other documents to fetch; the whole config must be in user-data itself"),
        ("## template:", "it is a template (jinja); give the text that it would become"),
        (
            "#cloud-config",
            "behind #cloud-config on the first line something else stands; nothing is expected there",
        ),
        (
            "Content-Type:",
            "it is a MIME message of several parts; give the one #cloud-config or postern.toml alone",
        ),
        (
            "MIME-Version:",
            "it is a MIME message of several parts; give the one #cloud-config or postern.toml alone",
        ),
        ("{\"ignition\"", "it is for Ignition; give a postern.toml or a #cloud-config"),
    ];
    let lower = first.to_ascii_lowercase();
    KINDS.iter().find(|(start, _)| lower.starts_with(&start.to_ascii_lowercase())).map(|(_, why)| *why)
}

fn settings(text: &str, validate: &Validate<'_>, wishes: &mut Wishes) {
    match validate(text) {
        Ok(accepted) => accept(text.to_owned(), &accepted, wishes),
        Err(complaints) => {
            for complaint in complaints {
                let place = Place { line: complaint.line, column: complaint.column };
                wishes.refuse(worded(Some(place), &complaint.key, &complaint.words));
            }
            if looks_like_yaml(text) {
                let hint = "it looks like YAML: a cloud-config begins with the line `#cloud-config`";
                wishes.refuse(format!("{FILE}: {hint}"));
            }
        }
    }
}

fn accept(text: String, accepted: &Accepted, wishes: &mut Wishes) {
    wishes.settings_hostname = HostName::new(&accepted.hostname);
    wishes.settings = Some(text);
}

fn worded(place: Option<Place>, key: &str, words: &str) -> String {
    let place = place.map(|place| format!(":{place}")).unwrap_or_default();
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    format!("{FILE}{place}: {key}{words}")
}

fn looks_like_yaml(text: &str) -> bool {
    let node = read_yaml(text.as_bytes());
    node.is_ok_and(|node| matches!(&node.value, Value::Map(entries) if !entries.is_empty()))
}

#[cfg(test)]
mod tests;
