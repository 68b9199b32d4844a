//! The store against a model of itself, and against what disks do.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use record::SystemClock;
use store::{
    Change, Engine, Memory, Settings, SledEngine, Store, StoreError, Table, Telling, counter, import,
    read_export,
};

const PEOPLE: Table = Table("people");
const TALLIES: Table = Table("tallies");

fn put(key: &str, value: &str) -> Change {
    Change::Put(key.as_bytes().into(), value.as_bytes().into())
}

fn start(folder: &Path) -> Store {
    Store::start(Settings::in_folder(folder.to_owned()), Arc::new(SystemClock)).unwrap()
}

async fn value(store: &Store, key: &str) -> Option<String> {
    let value = store.get(PEOPLE, key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(value.into()).unwrap())
}

fn damaged_beside(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-"))
        .count()
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_restart_in_the_order_of_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(&folder.path().join("store"));
    store.apply(PEOPLE, vec![put("b", "2"), put("a", "1"), put("c", "3")]).await.unwrap();
    store.apply(PEOPLE, vec![Change::Remove(b"c".as_slice().into())]).await.unwrap();
    store.flush().await.unwrap();
    drop(store);
    // The thread closes its file behind the last handle.
    let reopened = loop {
        let store = start(&folder.path().join("store"));
        if store.scan(PEOPLE, None).await.is_ok() {
            break store;
        }
        tokio::task::yield_now().await;
    };
    let all = reopened.scan(PEOPLE, None).await.unwrap();
    let keys: Vec<&[u8]> = all.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, [b"a", b"b"]);
    assert_eq!(reopened.scan(PEOPLE, Some(b"a")).await.unwrap().len(), 1);
    assert!(reopened.scan(PEOPLE, Some(b"b")).await.unwrap().is_empty());
    assert_eq!(reopened.epoch(), 0);
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_an_empty_one_takes_its_place() {
    for damage in [b"\0".repeat(4096), b"no database at all".repeat(400)] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("store");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("conf"), &damage).unwrap();
        std::fs::write(place.join("db"), &damage).unwrap();
        let store = start(&place);
        store.apply(PEOPLE, vec![put("a", "1")]).await.unwrap();
        assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
        assert_eq!((store.epoch(), damaged_beside(&place)), (1, 1));
    }
}

#[tokio::test]
async fn a_store_that_was_overwritten_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let mut engine = SledEngine::open(&place, 1 << 20, 1 << 30).unwrap();
    engine.apply(PEOPLE, &[put("a", "1")]).unwrap();
    engine.flush().unwrap();
    drop(engine);
    for file in ["db", "conf"] {
        std::fs::write(place.join(file), vec![0xA5; 1 << 20]).unwrap();
    }
    let store = start(&place);
    assert_eq!(value(&store, "a").await, None);
    assert_eq!((store.epoch(), damaged_beside(&place)), (1, 1));
}

#[tokio::test]
async fn a_store_that_another_process_has_open_is_neither_used_nor_moved() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let _open = SledEngine::open(&place, 1 << 20, 1 << 30).unwrap();
    let second = start(&place);
    let refused = second.apply(PEOPLE, vec![put("a", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!((second.epoch(), damaged_beside(&place)), (0, 0));
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let too_large = [put(&"k".repeat(store::MAX_KEY + 1), "v"), put("k", &"v".repeat(store::MAX_VALUE + 1))];
    for change in too_large {
        let refused = store.apply(PEOPLE, vec![put("a", "1"), change]).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))));
    }
    let many = vec![put("a", "1"); store::MAX_CHANGES + 1];
    assert!(matches!(store.apply(PEOPLE, many).await, Err(StoreError::TooLarge(_))));
    assert_eq!(value(&store, "a").await, None);
}

#[tokio::test]
async fn what_is_asked_together_is_answered_in_order_and_what_is_told_together_is_kept_by_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let one = |table, change| (table, vec![change]);
    let add = |key: &str| Change::Add(key.as_bytes().into(), 1);
    store
        .apply_all(vec![one(PEOPLE, put("a", "1")), (TALLIES, Vec::new()), one(TALLIES, add("a"))])
        .await
        .unwrap();
    let key = |table, key: &str| (table, key.as_bytes().into());
    let asked = vec![key(TALLIES, "a"), key(PEOPLE, "b"), key(PEOPLE, "a")];
    let answers = store.get_all(asked).await.unwrap();
    assert_eq!(answers, [Some(1_i64.to_be_bytes().into()), None, Some(b"1".as_slice().into())]);
    // What is no counter ends it: what is before it is kept, what is behind it is not tried.
    let told = vec![one(TALLIES, add("a")), one(PEOPLE, add("a")), one(TALLIES, add("a"))];
    assert!(matches!(store.apply_all(told).await, Err(StoreError::NoCounter)));
    let tally = store.get(TALLIES, b"a").await.unwrap().unwrap();
    assert_eq!(counter(&tally).unwrap(), 2);
    let many = vec![key(PEOPLE, "a"); store::PAGE + 1];
    assert!(matches!(store.get_all(many).await, Err(StoreError::TooLarge(_))));
}

#[tokio::test]
async fn a_full_store_still_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_octets: 1, ..Settings::in_folder(folder.path().to_owned()) };
    let store = Store::start(settings, Arc::new(SystemClock)).unwrap();
    assert!(matches!(store.apply(PEOPLE, vec![put("a", "1")]).await, Err(StoreError::Full(1))));
    store.apply(PEOPLE, vec![Change::Remove(b"a".as_slice().into())]).await.unwrap();
    assert_eq!(value(&store, "a").await, None);
}

/// Does once what it is told, then works.
struct Moody {
    memory: Memory,
    mood: Option<fn() -> StoreError>,
}

impl Engine for Moody {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        self.memory.get(table, key)
    }

    fn apply(&mut self, table: Table, changes: &[Change]) -> Result<(), StoreError> {
        match self.mood.take() {
            Some(mood) => Err(mood()),
            None => self.memory.apply(table, changes),
        }
    }

    fn scan(&self, table: Table, from: Bound<&[u8]>) -> Result<store::Pairs, StoreError> {
        self.memory.scan(table, from)
    }

    fn each(&self, tell: &mut Telling<'_>) -> Result<(), StoreError> {
        self.memory.each(tell)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn moody(folder: &Path, mood: fn() -> StoreError) -> (Store, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let open = move |folder: &Path| {
        std::fs::create_dir_all(folder).unwrap();
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        let engine = Moody { memory: Memory::default(), mood: first.then_some(mood) };
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    (Store::with_engine(folder.to_owned(), Arc::new(SystemClock), open).unwrap(), opened)
}

#[tokio::test]
async fn an_engine_that_panics_is_taken_for_damaged_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let (store, _) = moody(&place, || panic!("tried to serialize Uninitialized"));
    let refused = store.apply(PEOPLE, vec![put("a", "1")]).await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged(words)) if words.contains("Uninitialized")),
        "{refused:?}"
    );
    store.apply(PEOPLE, vec![put("a", "1")]).await.unwrap();
    assert_eq!((store.epoch(), damaged_beside(&place)), (1, 1));
}

#[tokio::test]
async fn an_engine_whose_disk_fails_is_opened_again_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let (store, opened) = moody(&place, || StoreError::Unavailable(io::ErrorKind::StorageFull.into()));
    assert!(store.apply(PEOPLE, vec![put("a", "1")]).await.is_err());
    store.apply(PEOPLE, vec![put("a", "1")]).await.unwrap();
    assert_eq!((opened.load(Ordering::Relaxed), store.epoch(), damaged_beside(&place)), (2, 0, 0));
}

#[tokio::test]
async fn only_the_last_damaged_stores_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    for seconds in 1..=5 {
        std::fs::create_dir(folder.path().join(format!("store.damaged-{seconds}"))).unwrap();
    }
    let (store, _) = moody(&place, || panic!("again"));
    assert!(store.apply(PEOPLE, vec![put("a", "1")]).await.is_err());
    store.flush().await.unwrap();
    assert_eq!(damaged_beside(&place), 3);
    assert!(folder.path().join("store.damaged-5").exists());
}

fn changes() -> impl Strategy<Value = Vec<(bool, Change)>> {
    let key = || prop::collection::vec(0_u8..4, 0..3).prop_map(Vec::into_boxed_slice);
    let change = prop_oneof![
        (key(), prop::collection::vec(any::<u8>(), 0..10)).prop_map(|(k, v)| Change::Put(k, v.into())),
        (key(), prop_oneof![any::<i64>(), -3_i64..4]).prop_map(|(k, delta)| Change::Add(k, delta)),
        key().prop_map(Change::Remove),
    ];
    prop::collection::vec((any::<bool>(), change), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sled_and_the_model_agree(batches in prop::collection::vec(changes(), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let mut sled = SledEngine::open(folder.path(), 1 << 20, 1 << 30).unwrap();
        let mut model = Memory::default();
        for batch in batches {
            for table in [PEOPLE, TALLIES] {
                let batch: Vec<Change> = batch
                    .iter()
                    .filter(|(people, _)| *people == (table == PEOPLE))
                    .map(|(_, change)| change.clone())
                    .collect();
                prop_assert_eq!(sled.apply(table, &batch).is_ok(), model.apply(table, &batch).is_ok());
            }
        }
        sled.flush().unwrap();
        for table in [PEOPLE, TALLIES] {
            let all = sled.scan(table, Bound::Unbounded).unwrap();
            prop_assert_eq!(&all, &model.scan(table, Bound::Unbounded).unwrap());
            for (key, value) in &all {
                let got = sled.get(table, key).unwrap();
                prop_assert_eq!(got.as_ref(), Some(value));
                prop_assert_eq!(
                    sled.scan(table, Bound::Excluded(key)).unwrap(),
                    model.scan(table, Bound::Excluded(key)).unwrap()
                );
            }
        }
    }
}

#[test]
fn counters_add_up_and_stay_within_their_ends() {
    let mut memory = Memory::default();
    let add = |delta| Change::Add(b"n".as_slice().into(), delta);
    memory.apply(TALLIES, &[add(5), add(-7)]).unwrap();
    let read = |memory: &Memory| counter(&memory.get(TALLIES, b"n").unwrap().unwrap()).unwrap();
    assert_eq!(read(&memory), -2);
    memory.apply(TALLIES, &[add(i64::MIN), add(-1)]).unwrap();
    assert_eq!(read(&memory), i64::MIN);
    memory.apply(TALLIES, &[put("n", "words")]).unwrap();
    assert!(matches!(memory.apply(TALLIES, &[add(1)]), Err(StoreError::NoCounter)));
}

#[tokio::test]
async fn an_export_is_all_of_it_and_becomes_a_store_again_or_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(&folder.path().join("store"));
    let many: Vec<Change> = (0..2500).map(|number| put(&format!("{number:05}"), &"x".repeat(500))).collect();
    store.apply(PEOPLE, many).await.unwrap();
    store.apply(TALLIES, vec![Change::Add(b"a".as_slice().into(), 7)]).await.unwrap();
    let file = folder.path().join("store.export");
    assert_eq!(store.export(file.clone()).await.unwrap(), 2501);
    // It goes on, and another export takes the place of the first.
    store.apply(PEOPLE, vec![put("late", "1")]).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(store.export(file.clone()).await.unwrap(), 2502);
    assert!(store.export(folder.path().join("no/such/folder")).await.is_err());
    assert_eq!(value(&store, "late").await.as_deref(), Some("1"), "that was not the store's fault");

    let other = folder.path().join("other");
    assert_eq!(import(&whole[..], &other, 1 << 20, 1 << 30).unwrap(), 2501);
    let engine = SledEngine::open(&other, 1 << 20, 1 << 30).unwrap();
    assert_eq!(engine.get(PEOPLE, b"02499").unwrap().unwrap().len(), 500);
    assert_eq!(counter(&engine.get(TALLIES, b"a").unwrap().unwrap()).unwrap(), 7);
    assert_eq!(engine.get(PEOPLE, b"late").unwrap(), None);

    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let longer = [&whole[..], b"x"].concat();
    for octets in [&whole[..whole.len() - 1], &whole[..100], &changed, &longer, b"", b"postern store 2\n"] {
        let read = read_export(octets, &mut |_, _, _| Ok(()));
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    }
}
