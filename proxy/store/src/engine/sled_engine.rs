//! sled 0.34, and what it lacks: its flush ends in `sync_file_range`, which makes neither the length of the file nor the map of
//! its blocks durable, so that the file `db` is synchronised once more.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use super::{Change, Engine, Pairs, Table, Telling, added, check, page};
use crate::error::StoreError;

/// What every store has from its beginning, beside the tables.
const MARK: &[u8] = b"postern store";

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
        let was_there = std::fs::metadata(folder.join("db")).is_ok_and(|facts| facts.len() > 0);
        // It is flushed from outside: by a thread of its own it would be without the second synchronisation.
        let database = sled::Config::new().path(folder).cache_capacity(cache).flush_every_ms(None).open()?;
        let file = File::open(folder.join("db")).map_err(StoreError::Unavailable)?;
        let mut engine = Self { database, trees: HashMap::new(), file, max_octets };
        engine.look_for_mark(was_there)?;
        Ok(engine)
    }

    /// sled takes a file of garbage for an empty one without a word: whoever had a store and finds none is told.
    fn look_for_mark(&mut self, was_there: bool) -> Result<(), StoreError> {
        if self.database.contains_key(MARK)? {
            return Ok(());
        }
        if was_there {
            return Err(StoreError::Damaged("nothing in it can be read".into()));
        }
        self.database.insert(MARK, &b"1"[..])?;
        self.flush()
    }

    fn tree(&self, table: Table) -> Result<sled::Tree, StoreError> {
        match self.trees.get(&table) {
            Some(tree) => Ok(tree.clone()),
            None => Ok(self.database.open_tree(table.0)?),
        }
    }

    /// Stores pairs in a table of this name, in place of what was there.
    pub(crate) fn put_all(&mut self, table: &str, pairs: Pairs) -> Result<(), StoreError> {
        if self.is_full()? {
            return Err(StoreError::Full(self.max_octets));
        }
        let mut batch = sled::Batch::default();
        pairs.into_iter().for_each(|(key, value)| batch.insert(&*key, &*value));
        Ok(self.database.open_tree(table)?.apply_batch(batch)?)
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

    fn each(&self, tell: &mut Telling<'_>) -> Result<(), StoreError> {
        for name in self.database.tree_names() {
            // The one that every database has holds the mark alone.
            let Some(table) = std::str::from_utf8(&name).ok().filter(|_| *name != *self.database.name())
            else {
                continue;
            };
            for pair in self.database.open_tree(&name)?.iter() {
                let (key, value) = pair?;
                tell(table, &key, &value).map_err(StoreError::Export)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.database.flush()?;
        self.file.sync_all().map_err(StoreError::Unavailable)
    }
}
