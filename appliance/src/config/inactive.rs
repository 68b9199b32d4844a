//! What a config may say although this version does not do it: accepted, checked, and named, so that nobody relies on
//! it unknowingly.

use serde::Serialize;

use super::raw::Raw;
use super::resolved::Config;
use super::{Arm, Mode, Recipients};

/// A section or key that has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inactive {
    /// The section or key.
    pub key: String,
    /// What does not happen.
    pub meaning: &'static str,
}

/// A section, whether the file has it, and what does not happen.
type Section = (&'static str, fn(&Raw) -> bool, &'static str);

const SECTIONS: [Section; 9] = [
    (
        "outbound",
        |raw| raw.outbound.is_some(),
        "mail is not sent to the world; only `networks` has an effect",
    ),
    ("acme", |raw| raw.acme.is_some(), "no certificates are ordered; own ones or a self-signed one serve"),
    ("dns_update", |raw| raw.dns_update.is_some(), "no DNS records are changed"),
    ("resolver", |raw| raw.resolver.is_some(), "the system's resolver is asked"),
    ("judge", |raw| raw.judge.is_some(), "mail is not judged; every message passes to its server"),
    (
        "queue",
        |raw| raw.queue.is_some(),
        "only what one server of several did not take is queued; with none up, senders are told to try later",
    ),
    ("http", |raw| raw.http.is_some(), "no public HTTP listener is opened"),
    ("log", |raw| raw.log.is_some(), "the log goes to standard error only"),
    ("store", |raw| raw.store.is_some(), "nothing is kept in a store; the trace lives in memory"),
];

/// Sections of the file that have no effect in this version.
pub(super) fn sections(raw: &Raw) -> Vec<Inactive> {
    SECTIONS
        .iter()
        .filter(|(_, is_written, _)| is_written(raw))
        .map(|(key, _, meaning)| Inactive { key: (*key).to_owned(), meaning })
        .collect()
}

/// Single keys that have no effect in this version.
pub(super) fn keys(raw: &Raw, config: &Config) -> Vec<Inactive> {
    let note = |key: &str, meaning| Inactive { key: key.to_owned(), meaning };
    let mut found = Vec::new();
    if config.network.mode != Mode::Front {
        found.push(note("network.mode", "only front mode works; gateway and bridge are refused at start"));
    }
    if raw.network.manage_firewall.is_some() {
        found.push(note("network.manage_firewall", "the rule set is left alone"));
    }
    for (at, backend) in config.backends.iter().enumerate() {
        if backend.arm != Arm::Auto {
            found.push(note(&format!("backend[{at}].arm"), "front mode needs no arming"));
        }
        if backend.recipients != Recipients::Ask {
            found.push(note(&format!("backend[{at}].recipients"), "the server is asked live"));
        }
    }
    found
}
