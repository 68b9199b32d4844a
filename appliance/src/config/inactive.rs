//! What a config may say although this version does not do it: accepted, checked, and named, so that nobody relies on
//! it unknowingly.

use serde::Serialize;

use super::raw::Raw;
use super::resolved::Config;
use super::{Arm, Mode};

/// A section or key that has no effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inactive {
    /// The section or key.
    pub key: String,
    /// What does not happen.
    pub meaning: &'static str,
}

/// Single keys that have no effect in this version.
pub(super) fn keys(raw: &Raw, config: &Config) -> Vec<Inactive> {
    let note = |key: &str, meaning| Inactive { key: key.to_owned(), meaning };
    let mut found = Vec::new();
    if config.network.mode == Mode::Bridge {
        found.push(note("network.mode", "bridge is refused at start; front and gateway work"));
    }
    if raw.network.manage_firewall.is_some() && config.network.mode == Mode::Front {
        let meaning =
            "in front `run` as root puts bans into a rule set that `firewall apply` put up, no more";
        found.push(note("network.manage_firewall", meaning));
    }
    for (at, backend) in config.backends.iter().enumerate() {
        if backend.arm != Arm::Auto && config.network.mode == Mode::Front {
            found.push(note(&format!("backend[{at}].arm"), "front mode needs no arming"));
        }
    }
    found
}
