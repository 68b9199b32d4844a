//! What `postern config` is told.

use std::path::PathBuf;

use clap::Subcommand;

/// `postern config`
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigAction {
    /// Show the config that serves, without its secrets.
    Show,
    /// Set one key, check the config and put it in force.
    Set {
        /// As `limits.sessions`, `hostname`, or `backend[1].domains` for the second backend.
        #[arg(value_name = "KEY")]
        key: String,
        /// As TOML; empty takes the key out.
        #[arg(value_name = "VALUE")]
        value: String,
    },
    /// Check a text, and put it in force in the place of the config.
    Change {
        /// The text, as `show` has it or whole; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only show the difference.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the last changes, the latest first.
    History,
    /// Show what a change changed.
    Difference {
        /// As `history` names it.
        number: u64,
    },
    /// Put the config back to what it was before a change.
    Undo {
        /// As `history` names it.
        number: u64,
    },
}
