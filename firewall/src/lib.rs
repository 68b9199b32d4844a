//! The nftables rule set of the appliance as a value: rendered, applied, read back, removed; and bans.
//!
//! - [`RuleSet`] is built from [`Settings`], which it checks. [`RuleSet::render`] is the text that `nft -f -` loads: one
//!   transaction, the same text for the same settings. It needs no rights.
//! - [`RuleSet::apply`] puts it in place with the policy routes and kernel settings that it needs, reads all of it back and
//!   undoes everything if something is not as it should be. Applied again, it changes the rules between two packets: bans
//!   stay, connections live on. [`remove`] takes it away without a trace.
//! - [`ban`], [`unban`] and [`bans`] work on the loaded rule set; [`RuleSet::may_ban`] says whom one should not ban.
//! - [`marks`] are the bits that tie rules, routes and sockets together.
//!
//! Nothing here listens, decides or waits for long: `nft` and `ip` are run without a shell and with a time limit. Where the rules
//! send a connection to Postern and Postern is not there, it is dropped, never passed on unread.

mod apply;
mod bans;
mod error;
mod listing;
pub mod marks;
mod program;
mod routes;
mod ruleset;
mod settings;
mod state;
mod sysctl;
mod system;
mod table;

pub use apply::{Applied, open, remove};
pub use bans::{Ban, MAX_BANS, ban, bans, unban};
pub use error::FirewallError;
pub use ruleset::{RuleSet, WhyNot};
pub use settings::{Gateway, Invalid, MAIL_PORTS, Mode, Port, Redirect, Service, Settings, Transport};
pub use system::System;

/// The nftables table, of the family `inet`, in which everything is.
pub const TABLE: &str = "postern";

/// The table that lets nothing in until the rule set is in place, where whoever starts the machine has loaded one (the appliance's
/// image has).
pub const CLOSED: &str = "postern_closed";
