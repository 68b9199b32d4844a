//! An engine that forgets: for simulations, and the yardstick of the one on disk.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Change, Engine, Pairs, Table, Telling, added, check, page};
use crate::error::StoreError;

/// Tables in memory.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<Table, Ordered>);

type Ordered = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Engine for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.0.get(&table).and_then(|pairs| pairs.get(key)).cloned())
    }

    fn apply(&mut self, table: Table, changes: &[Change]) -> Result<(), StoreError> {
        check(changes)?;
        let before = self.0.entry(table).or_default();
        let mut after = before.clone();
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    after.insert(key.clone(), value.clone());
                }
                Change::Add(key, delta) => {
                    let sum = added(after.get(key).map(|value| &**value), *delta)?;
                    after.insert(key.clone(), sum);
                }
                Change::Remove(key) => {
                    after.remove(key);
                }
            }
        }
        *before = after;
        Ok(())
    }

    fn scan(&self, table: Table, from: Bound<&[u8]>) -> Result<Pairs, StoreError> {
        let Some(pairs) = self.0.get(&table) else { return Ok(Vec::new()) };
        let range = pairs.range::<[u8], _>((from, Bound::Unbounded));
        page(range.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn each(&self, tell: &mut Telling<'_>) -> Result<(), StoreError> {
        for (table, pairs) in &self.0 {
            for (key, value) in pairs {
                tell(table.0, key, value).map_err(StoreError::Export)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
