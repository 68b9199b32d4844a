//! What commands about judged mail and its senders are told.

use clap::{Args, Subcommand};

/// `postern quarantine`
#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineAction {
    /// List messages, the oldest first, and why each is held.
    List(QuarantineList),
    /// Tell all that is known of one message.
    Show {
        /// As `list` names it.
        id: String,
    },
    /// Deliver, and learn as wanted mail.
    Release {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Throw away.
    Remove {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Learn as spam, and throw away.
    Report {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// The same, and take nothing more from their senders.
    Block {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// `postern block`
#[derive(Clone, Debug, Subcommand)]
pub enum BlockAction {
    /// List from whom a person wants nothing more; what the config blocks is not among them.
    List,
    /// Take nothing more from these.
    Add {
        /// Addresses and domains.
        #[arg(required = true, value_name = "ADDRESS|DOMAIN")]
        entries: Vec<String>,
    },
    /// Let these write again.
    Remove {
        /// As `list` names them.
        #[arg(required = true, value_name = "ADDRESS|DOMAIN")]
        entries: Vec<String>,
    },
}

/// `postern quarantine list`
#[derive(Clone, Debug, Default, Args)]
pub struct QuarantineList {
    /// Only for recipients in this domain, or for this backend.
    #[arg(long, value_name = "D")]
    pub domain: Option<String>,
    /// At most so many [default: 100, at most 1000].
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// `postern reports`
#[derive(Clone, Debug, Subcommand)]
pub enum ReportsAction {
    /// List reports that contradict many others, or come from who is seldom right.
    List,
    /// Believe: it is learnt, and who said otherwise counts less from now on.
    Accept {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Throw away: its reporter counts less from now on.
    Discard {
        /// As `list` names them.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// What others report about the domains here: how TLS with them goes, and who sends in their name.
    Received {
        /// Of these domains [default: all].
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
    },
}

/// `postern senders`
#[derive(Clone, Debug, Subcommand)]
pub enum SendersAction {
    /// List those that look taken over, then those with most recipients within a day.
    List {
        /// At most so many [default: 50, at most 1000].
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
    /// Let a sender send again that looked taken over; what was counted of it is forgotten.
    Release {
        /// The user's name or the address, as `list` names it.
        #[arg(value_name = "ADDRESS")]
        sender: String,
        /// Deliver what is held of it, too.
        #[arg(long)]
        with_mail: bool,
    },
    /// Hold all mail of a sender until it is released, whatever it looks like.
    Stop {
        /// The user's name or the address.
        #[arg(value_name = "ADDRESS")]
        sender: String,
    },
}
