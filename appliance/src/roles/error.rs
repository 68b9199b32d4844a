//! Why a role cannot be played.

use std::io;
use std::path::PathBuf;

use crate::command::Exit;
use crate::engine::EngineError;

/// Why a role cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// No user to run the gate as.
    #[error(
        "there is no user to run the gate as\nAdd a system user `postern`: useradd --system --home-dir / --shell /usr/sbin/nologin postern"
    )]
    Account,
    /// A role could not be locked in.
    #[error("the rights of this process cannot be taken away ({what}): {error}")]
    Confine {
        /// Which of them.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A listening socket cannot be had.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The guard and this process do not understand each other.
    #[error("the guard cannot be understood: {0}")]
    Guard(String),
    /// A role was started by hand.
    #[error("this command is started by `postern run`, not by hand")]
    NotStartedByGuard,
    /// `--rules` is for a user without rights.
    #[error(
        "`postern run --rules` is root\nStart it as the user that its processes are to have, or without `--rules`."
    )]
    OwnUserIsRoot,
    /// No worker reads a message.
    #[error(transparent)]
    Reader(#[from] sift::SiftError),
    /// The runtime, signals or a process cannot be had.
    #[error("cannot start {what}: {error}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The state folder cannot be given to the gate's user.
    #[error("{path} cannot be given to the gate's user: {error}\nSet state_dir to a folder of Postern's own.", path = .path.display())]
    StateFolder {
        /// The folder, or what is in it.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl RoleError {
    /// The exit status: wrong use, or something out of reach.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotStartedByGuard | Self::OwnUserIsRoot => Exit::Wrong,
            Self::Engine(error) => error.exit(),
            _ => Exit::Unreachable,
        }
    }
}
