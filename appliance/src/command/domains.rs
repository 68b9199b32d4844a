//! What `postern domains` is told.

use clap::{Subcommand, ValueEnum};

use crate::report::EntryKind;

/// `postern domains`
#[derive(Clone, Debug, Subcommand)]
pub enum DomainsAction {
    /// List the domains behind, with the numbers of their mailboxes and entries.
    List,
    /// List what a domain decided for itself.
    Show {
        /// The domain.
        domain: String,
    },
    /// Add an entry of a domain; it counts from the next message on.
    Add {
        /// The domain.
        domain: String,
        /// What it is.
        #[arg(value_enum)]
        kind: Kind,
        /// Of `block` and `allow` a sender, an address or a domain; of `trap` and `alias` an address of the domain.
        #[arg(value_name = "ADDRESS|DOMAIN")]
        entry: String,
        /// Where the mail of an alias goes.
        #[arg(long = "to", value_name = "ADDRESS", required_if_eq("kind", "alias"))]
        target: Option<String>,
    },
    /// Remove an entry of a domain.
    Remove {
        /// The domain.
        domain: String,
        /// What it is.
        #[arg(value_enum)]
        kind: Kind,
        /// As `show` names it.
        #[arg(value_name = "ADDRESS|DOMAIN")]
        entry: String,
    },
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A sender from whom the domain wants nothing.
    Block,
    /// A sender whose mail passes, if it is proven to be theirs.
    Allow,
    /// An address that exists only to be spammed.
    Trap,
    /// An address whose mail goes to another one.
    Alias,
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Block => Self::Block,
            Kind::Allow => Self::Allow,
            Kind::Trap => Self::Trap,
            Kind::Alias => Self::Alias,
        }
    }
}
