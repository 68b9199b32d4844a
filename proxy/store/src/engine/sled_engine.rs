//! sled 0.34, and what it lacks: its flush ends in `sync_file_range`, which makes neither the length of the file nor the map of
//! its blocks durable, so that the file `db` is synchronised once more.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use super::{Change, Engine, Pairs, Table, added, check, page};
use crate::error::StoreError;

/// Tables on disk, in a folder of their own.
#[derive(Debug)]
pub struct SledEngine {
    database: sled::Db,
    trees: HashMap<Table, sled::Tree>,
    /// The file that everything is in.
    file: File,
    max_octets: u64,
}

impl SledEngine {
    /// Opens or makes the tables in a folder. `cache` is the memory in octets that pages take, `max_octets` what the file may grow
    /// to.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, another process has it open, or what is in it is damaged. sled itself may panic on a
    /// damaged file: [`Store`](crate::Store) reckons with that.
    pub fn open(folder: &Path, cache: u64, max_octets: u64) -> Result<Self, StoreError> {
        // It is flushed from outside: by a thread of its own it would be without the second synchronisation.
        let database = sled::Config::new().path(folder).cache_capacity(cache).flush_every_ms(None).open()?;
        let file = File::open(folder.join("db")).map_err(StoreError::Unavailable)?;
        Ok(Self { database, trees: HashMap::new(), file, max_octets })
    }

    fn tree(&self, table: Table) -> Result<sled::Tree, StoreError> {
        match self.trees.get(&table) {
            Some(tree) => Ok(tree.clone()),
            None => Ok(self.database.open_tree(table.0)?),
        }
    }

    fn is_full(&self) -> Result<bool, StoreError> {
        Ok(self.file.metadata().map_err(StoreError::Unavailable)?.len() > self.max_octets)
    }
}

impl Engine for SledEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.tree(table)?.get(key)?.map(|value| (&*value).into()))
    }

    fn apply(&mut self, table: Table, changes: &[Change]) -> Result<(), StoreError> {
        check(changes)?;
        let removes_only = changes.iter().all(|change| matches!(change, Change::Remove(_)));
        if !removes_only && self.is_full()? {
            return Err(StoreError::Full(self.max_octets));
        }
        let tree = self.tree(table)?;
        self.trees.insert(table, tree.clone());
        let mut batch = sled::Batch::default();
        // Counters of this batch so far: sled's batch can put and remove only.
        let mut pending: BTreeMap<&[u8], Option<Box<[u8]>>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    batch.insert(&**key, &**value);
                    pending.insert(key, Some(value.clone()));
                }
                Change::Add(key, delta) => {
                    let sum = match pending.get(&**key) {
                        Some(before) => added(before.as_deref(), *delta)?,
                        None => added(tree.get(key)?.as_deref(), *delta)?,
                    };
                    batch.insert(&**key, &*sum);
                    pending.insert(key, Some(sum));
                }
                Change::Remove(key) => {
                    batch.remove(&**key);
                    pending.insert(key, None);
                }
            }
        }
        Ok(tree.apply_batch(batch)?)
    }

    fn scan(&self, table: Table, from: Bound<&[u8]>) -> Result<Pairs, StoreError> {
        let range = self.tree(table)?.range::<&[u8], _>((from, Bound::Unbounded));
        Ok(page(range.map(|pair| pair.map(|(key, value)| ((&*key).into(), (&*value).into()))))?)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.database.flush()?;
        self.file.sync_all().map_err(StoreError::Unavailable)
    }
}
