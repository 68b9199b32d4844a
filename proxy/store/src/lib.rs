//! Small facts that outlive a restart, and that mail can do without: who was seen, what servers offer, tallies.
//!
//! An [`Engine`] keeps tables of ordered keys, with counters that are added to; [`SledEngine`] is the one on disk, behind the only
//! code that touches sled. A [`Store`] gives it a thread of its own: no async thread ever waits for a disk. What it promises:
//!
//! - what [`Store::flush`] has returned for survives the loss of power: sled's own flush does not make the length of its file
//!   durable, so the file is synchronised once more;
//! - a store that is damaged is moved aside, by a name that says when, and an empty one takes its place: mail goes on;
//! - keys, values, batches, answers and the file have bounds;
//! - [`Store::export`] writes all of it, as it is at one moment, to a file of its own, of which [`import`] makes a store again.

mod aside;
mod engine;
mod error;
mod export;
mod store;

pub use engine::{
    Change, Engine, MAX_CHANGES, MAX_KEY, MAX_VALUE, Memory, PAGE, Pairs, SledEngine, Table, Telling, counter,
};
pub use error::StoreError;
pub use export::{Taking, import, read_export};
pub use store::{Settings, Store};
