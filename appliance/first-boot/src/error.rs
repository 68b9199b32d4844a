//! Why a seed cannot be read, or what was read cannot be put in place.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::document::DocumentError;

/// Why a seed cannot be read, or what was read cannot be put in place.
#[derive(Debug, thiserror::Error)]
pub enum FirstBootError {
    /// A seed volume cannot be mounted.
    #[error(
        "the seed volume {} cannot be mounted ({error}); write it anew as ISO 9660 or FAT",
        path.display()
    )]
    Volume {
        /// The device.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file of a seed cannot be read.
    #[error("{name} of the seed cannot be read: {error}")]
    SeedFile {
        /// Its name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A seed has nothing in it.
    #[error("the seed is empty: {0} is expected in it")]
    Empty(&'static str),
    /// A document is not what it should be.
    #[error("{file}: {error}")]
    Document {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// Nobody answers for the metadata service.
    #[error("the metadata service does not answer {path}: {reason}")]
    Unreachable {
        /// What was asked.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The metadata service says no, or something else.
    #[error("the metadata service answers {path} with {said}; {expected} is expected")]
    Answer {
        /// What was asked.
        path: String,
        /// What it said.
        said: String,
        /// What it should have said.
        expected: &'static str,
    },
    /// It did not answer in time, however often it was asked.
    #[error("gave up after {} s: {last}", after.as_secs())]
    GaveUp {
        /// How long it was asked.
        after: Duration,
        /// What happened last.
        last: Box<Self>,
    },
    /// What was resolved cannot be kept or put in place.
    #[error("{} cannot be written: {error}; see whether /var is mounted and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What was kept cannot be read.
    #[error("{} is damaged ({reason}); it is left out, and a seed is taken again", path.display())]
    Stored {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl FirstBootError {
    /// Whether it may go away by itself.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // Services that have just been started say so (RFC 9110 §15.6), and some answer 404 until they know the machine.
            Self::Answer { said, .. } => {
                said.starts_with('5') || said.starts_with("404") || said.starts_with("429")
            }
            _ => false,
        }
    }
}
