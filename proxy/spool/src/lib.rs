//! Messages on disk: what stands behind a 250 when no server has the message yet (laws 1 and 7).
//!
//! A message, its envelope and the facts of its client go to a checksummed log. One writer takes all that arrived while the disk
//! was busy, syncs once and answers everybody with a [`Spooled`], the only proof of it. What happens to a message later is
//! written behind it: after a power cut at any instant it is there once, with the recipients that remain, or durably gone.
//! What stays for some minutes moves to a file of its own ([`Spool::tidy`]), then its segment goes.
//!
//! - [`Spool`] stores, lists, opens and changes; [`Schedule`] says when a message is due, as a function of now.
//! - Who takes a message out of the queue to deliver it has a [`Claim`]: nobody else does meanwhile.
//! - [`Disk`] is all that is asked of a file system; [`SimulatedDisk`] is one whose power fails on cue.
//! - [`Copying`] is how a backup reads the spool while it works.
//! - [`Receipts`] remember messages that a server took but whose client could not be told.
//!
//! What is damaged is copied to `damaged/`, named in the log, never delivered, and never stops the rest. Memory is bounded by
//! [`Settings`]; before the disk is full, messages are refused ([`Room`]).

mod backlog;
mod content;
mod copying;
#[cfg(test)]
mod crash_tests;
mod depth;
mod disaster;
mod disk;
mod entry;
mod error;
mod fields;
mod frame;
mod index;
mod job;
mod receipts;
mod recovery;
mod schedule;
mod space;
mod spool;
#[cfg(test)]
mod spool_tests;
mod spooled;
mod tidy;
mod waiting;
mod writer;

pub use backlog::{Waiting, When};
pub use content::{Content, ContentReader, PIECE};
pub use copying::{Copying, Leave};
pub use depth::{AGES, Count, Depth};
pub use disk::{Disk, DiskFile, Fault, RealDisk, SimulatedDisk};
pub use entry::{ClientFacts, Entry, EntryId, Folder, SenderProof, TlsWords};
pub use error::SpoolError;
pub use index::Summary;
pub use job::{Deferral, Settlement};
pub use receipts::{MAX_RECEIPTS, RECEIPT_LIFE, Recalled, ReceiptKey, Receipts};
pub use schedule::Schedule;
pub use space::{Room, Space};
pub use spool::{Opened, Settings, Spool};
pub use spooled::Spooled;
pub use waiting::{Claim, Order};
