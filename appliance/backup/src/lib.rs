//! State, keys and config in one file, and back.
//!
//! A backup is a tar archive inside an age file ([`Lock`], [`Unlock`]): `age -d FILE | tar tv` lists it without Postern. The first
//! member says what it is ([`Manifest`]), the last one seals all the others ([`write()`], [`read()`]). Whatever is read is hostile until the
//! seal has been seen: names, kinds, sizes and numbers have bounds, and nothing outside a staging folder is touched before.
//!
//! - [`sources()`] finds what belongs into a backup.
//! - [`Staging`] takes what is read, beside what it will replace; [`place()`] puts it there, and [`unfinished`] says that a power cut came
//!   in between: everything after the commit can be done again.
//! - [`StateLock`] keeps Postern and a restore from each other.

mod archive;
mod error;
mod lock;
mod manifest;
mod name;
mod place;
mod seal;
mod sources;
mod staging;

pub use archive::{About, Destination, Source, read, write};
pub use error::BackupError;
pub use lock::StateLock;
pub use manifest::{Elsewhere, Manifest};
pub use name::{Name, Part};
pub use place::{Done, Plan, place, plan_of, unfinished};
pub use seal::{Lock, Unlock};
pub use sources::{files_named, sources};
pub use staging::Staging;
