//! What became of mail, on disk: entries are appended, looked for by parts of their texts, and go by age and size.
//!
//! A [`Trace`] is a folder of segments. Entries are JSON in compressed blocks, with a checksum each; beside every full segment
//! lies its index: for each three octets that follow each other in a text ([`Terms`]), which entries have them. A search
//! goes from the newest segment back, reads only blocks that may hold something, looks at each entry itself, and stops when it has
//! enough or has worked enough ([`Found::reached`] says how far it came).
//!
//! It promises no mail: nothing is fsynced per entry, and a crash costs what was appended since the last [`Trace::flush`]. What is
//! damaged is left out and told in the log, never an error for who looks.

mod block;
mod bounds;
mod error;
mod folder;
mod index;
mod seal;
mod search;
mod segment;
mod terms;
mod writer;

pub use block::check_block;
pub use bounds::Bounds;
pub use error::TraceError;
pub use index::check_index;
pub use search::{Found, Search};
pub use terms::{Field, Terms, Wanted};
pub use writer::{Place, Trace};

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What is kept.
pub trait Entry: Serialize + DeserializeOwned {
    /// When it happened, since 1970.
    fn at(&self) -> Duration;

    /// By what it can be found.
    fn describe(&self, terms: &mut Terms);
}
