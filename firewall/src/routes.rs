//! The policy route: packets with [`marks::DIVERT`] are for the appliance itself, whatever their destination.

use serde_json::Value;

use crate::error::FirewallError;
use crate::marks::{DIVERT, ROUTING_TABLE, RULE_PRIORITY};
use crate::sysctl;
use crate::system::System;
use crate::table::Family;

/// One of the two halves of the policy route, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    family: Family,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// In a table of its own: every address is here.
    Route,
    /// Marked packets look there.
    Rule,
}

/// The whole of it, in the order in which it is put in place.
pub(crate) fn pieces() -> Vec<Piece> {
    let families = Family::BOTH.into_iter().filter(|family| *family == Family::V4 || sysctl::has_ipv6());
    families.flat_map(|family| [What::Route, What::Rule].map(|what| Piece { family, what })).collect()
}

/// The commands, for people.
pub(crate) fn commands() -> Vec<String> {
    let pieces = Family::BOTH.into_iter().flat_map(|family| {
        [What::Route, What::Rule].map(|what| Piece { family, what }.command("add").join(" "))
    });
    pieces.collect()
}

impl Piece {
    fn version(self) -> &'static str {
        match self.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        }
    }

    fn command(self, verb: &str) -> Vec<String> {
        let table = ROUTING_TABLE.to_string();
        let words = match self.what {
            What::Route => format!("{} route {verb} local default dev lo table {table}", self.version()),
            What::Rule => format!(
                "{} rule {verb} priority {RULE_PRIORITY} fwmark {DIVERT:#x}/{DIVERT:#x} lookup {table}",
                self.version()
            ),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// For messages.
    pub(crate) fn name(self) -> String {
        format!("ip {}", self.command("add").join(" "))
    }

    pub(crate) fn add(self, system: &System) -> Result<(), FirewallError> {
        self.run("add", system)
    }

    pub(crate) fn delete(self, system: &System) -> Result<(), FirewallError> {
        self.run("del", system)
    }

    fn run(self, verb: &str, system: &System) -> Result<(), FirewallError> {
        let words = self.command(verb);
        system.ip(&words.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }

    /// Whether it is in place.
    pub(crate) fn is_there(self, system: &System) -> Result<bool, FirewallError> {
        let answer = match self.what {
            What::Rule => system.ip(&["-j", self.version(), "rule", "show"]),
            What::Route => {
                system.ip(&["-j", self.version(), "route", "show", "table", &ROUTING_TABLE.to_string()])
            }
        };
        let answer = match answer {
            // A routing table exists as long as something is in it.
            Err(FirewallError::Refused { said, .. }) if said.contains("does not exist") => return Ok(false),
            answer => answer?,
        };
        let unreadable = |error: serde_json::Error| FirewallError::Unreadable {
            program: "ip",
            said: format!("{error}: {}", answer.chars().take(200).collect::<String>()),
        };
        // Nothing to list is no text at all in some versions.
        let entries: Vec<Value> = match answer.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(unreadable)?,
        };
        Ok(entries.iter().any(|entry| self.is(entry)))
    }

    fn is(self, entry: &Value) -> bool {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        match self.what {
            What::Route => (text("type"), text("dst"), text("dev")) == ("local", "default", "lo"),
            What::Rule => {
                let mark = format!("{DIVERT:#x}");
                entry["priority"].as_u64() == Some(RULE_PRIORITY.into())
                    && text("src") == "all"
                    && (text("fwmark"), text("fwmask")) == (mark.as_str(), mark.as_str())
                    && text("table") == ROUTING_TABLE.to_string()
            }
        }
    }
}
