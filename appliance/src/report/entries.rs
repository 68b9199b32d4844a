//! What domains decide for themselves, beside the config: whom they block and let pass, their traps and aliases.

use std::future::Future;
use std::pin::Pin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an entry of a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A sender, an address or a domain, from whom the domain wants nothing.
    Block,
    /// A sender, an address or a domain, whose mail the domain wants whatever it looks like, if it is proven to be theirs.
    Allow,
    /// An address of the domain that exists only to be spammed.
    Trap,
    /// An address of the domain whose mail goes to another one.
    Alias,
}

impl EntryKind {
    /// All of them, in the order they are shown in.
    pub const ALL: [Self; 4] = [Self::Block, Self::Allow, Self::Trap, Self::Alias];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
            Self::Trap => "trap",
            Self::Alias => "alias",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A domain behind Postern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainState {
    /// Its name, in A-labels.
    pub domain: String,
    /// The backend that it is of.
    pub backend: String,
    /// Addresses for which its server took mail within the last 60 days, counted anew each minute.
    pub mailboxes: usize,
    /// Entries of each kind.
    pub blocked: usize,
    /// The same.
    pub allowed: usize,
    /// The same.
    pub traps: usize,
    /// The same.
    pub aliases: usize,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainEntry {
    /// What it is.
    pub kind: EntryKind,
    /// An address or a domain, in lower case.
    pub entry: String,
    /// Where an alias leads.
    #[serde(default)]
    pub target: Option<String>,
    /// Who added it.
    pub by: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// An entry to be added or removed, by whoever may do that for the domain.
#[derive(Clone, Debug)]
pub struct EntryOrder {
    /// Whose it is.
    pub domain: smtp::Domain,
    /// Whether it is added.
    pub adds: bool,
    /// What it is.
    pub kind: EntryKind,
    /// As it was written.
    pub entry: String,
    /// Where an alias leads, as it was written; empty for the others.
    pub target: String,
    /// Who says so.
    pub by: String,
}

/// Why an entry cannot be had, in words that say what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No backend has this domain.
    #[error("no domain of this name is behind Postern")]
    NoDomain,
    /// It makes no sense.
    #[error("{0}")]
    Wrong(&'static str),
    /// It contradicts something else.
    #[error("{0}")]
    Conflict(&'static str),
    /// There are too many.
    #[error("{0}")]
    Full(&'static str),
    /// The store does not take it.
    #[error("it is not stored; the log says why")]
    NotStored,
}

/// What [`Live::decide`](super::Live::decide) returns: whether something is other than before.
pub type Deciding = Pin<Box<dyn Future<Output = Result<bool, EntryError>> + Send>>;
