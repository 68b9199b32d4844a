//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no backup, or why it was not restored. Until a restore is committed, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A passphrase, recipient or identity that cannot be one.
    #[error("{0}")]
    Key(String),
    /// None of the keys opens it, or it was changed, or it is no backup.
    #[error("the backup cannot be opened: {0}")]
    Sealed(String),
    /// It was opened, and what is in it is not what Postern wrote.
    #[error("the backup does not verify: {0}\nNothing was changed.")]
    NotSound(String),
    /// Of a later version.
    #[error(
        "the backup has format {0}, this version knows format 1: restore it with the version that made it\nNothing was changed."
    )]
    Version(u32),
    /// Postern, or another restore, has the state folder.
    #[error("{} is in use: stop Postern (`systemctl stop postern`) and try again", .0.display())]
    InUse(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Less room than it takes.
    #[error("{} octets are needed beside {}, {free} are free\nNothing was changed.", .needed, .folder.display())]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// Octets that the backup says it has.
        needed: u64,
        /// Octets that there are.
        free: u64,
    },
    /// Something is mounted inside the state folder: it cannot be put aside by renaming.
    #[error("{} is mounted by itself: unmount it, or restore into another state_dir\nNothing was changed.", .0.display())]
    Mounted(PathBuf),
}

impl BackupError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}
