//! What an engine does: tables of ordered keys and counters, changed a batch at a time.

use std::ops::Bound;

use crate::error::StoreError;

mod memory;
mod sled_engine;

pub use memory::Memory;
pub use sled_engine::SledEngine;

/// Octets of a key.
pub const MAX_KEY: usize = 1024;
/// Octets of a value.
pub const MAX_VALUE: usize = 64 * 1024;
/// Changes of one batch.
pub const MAX_CHANGES: usize = 10_000;
/// Pairs in one answer to a scan.
pub const PAGE: usize = 1000;
/// Octets of keys and values in one answer, beyond which it ends early.
const PAGE_OCTETS: usize = 1 << 20;

/// A table, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stores a value, in place of what was there.
    Put(Box<[u8]>, Box<[u8]>),
    /// Adds to a counter, which is 0 where there is none; beyond the ends of an `i64` it stays at the end. Adding commutes, so that
    /// tallies of several writers merge.
    Add(Box<[u8]>, i64),
    /// Removes whatever is there.
    Remove(Box<[u8]>),
}

impl Change {
    fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Add(key, _) | Self::Remove(key) => key,
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.key().len() > MAX_KEY {
            return Err(StoreError::TooLarge("a key"));
        }
        match self {
            Self::Put(_, value) if value.len() > MAX_VALUE => Err(StoreError::TooLarge("a value")),
            _ => Ok(()),
        }
    }
}

/// Keys with their values, in the keys' order.
pub type Pairs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Is told a table, a key and a value.
pub type Telling<'a> = dyn FnMut(&str, &[u8], &[u8]) -> std::io::Result<()> + 'a;

/// Keeps tables. It may block, and is asked by one thread.
pub trait Engine: Send {
    /// What is stored under a key.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError>;

    /// Makes all changes of a batch, or none.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says; nothing was changed.
    fn apply(&mut self, table: Table, changes: &[Change]) -> Result<(), StoreError>;

    /// The pairs behind `from` in the order of their keys, as many as fit a page ([`PAGE`]); none: there are no more.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    fn scan(&self, table: Table, from: Bound<&[u8]>) -> Result<Pairs, StoreError>;

    /// Tells all pairs of all tables.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says; [`StoreError::Export`] for what `tell` says.
    fn each(&self, tell: &mut Telling<'_>) -> Result<(), StoreError>;

    /// Makes durable whatever was applied.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says; what was applied since the last flush may be gone after a loss of power.
    fn flush(&mut self) -> Result<(), StoreError>;
}

/// Reads a counter.
///
/// # Errors
///
/// It is something else.
pub fn counter(value: &[u8]) -> Result<i64, StoreError> {
    value.try_into().map(i64::from_be_bytes).map_err(|_| StoreError::NoCounter)
}

/// The value of a counter after an addition.
fn added(before: Option<&[u8]>, delta: i64) -> Result<Box<[u8]>, StoreError> {
    let before = before.map_or(Ok(0), counter)?;
    Ok(before.saturating_add(delta).to_be_bytes().into())
}

fn check(changes: &[Change]) -> Result<(), StoreError> {
    if changes.len() > MAX_CHANGES {
        return Err(StoreError::TooLarge("a batch"));
    }
    changes.iter().try_for_each(Change::check)
}

/// As many pairs as fit one answer.
fn page<E>(pairs: impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), E>>) -> Result<Pairs, E> {
    let mut octets = 0;
    let mut page = Vec::new();
    for pair in pairs.take(PAGE) {
        let (key, value) = pair?;
        octets += key.len() + value.len();
        page.push((key, value));
        if octets > PAGE_OCTETS {
            break;
        }
    }
    Ok(page)
}
