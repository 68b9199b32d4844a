//! The spool's bounds, its folders, what it does with damage and with callers who go away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use record::Clock;
use smtp::{Proof, RecipientSet};
use tokio::sync::oneshot;

use crate::crash_tests::{Noon, content_of, entry, read_all, words};
use crate::disk::{Disk, Fault, SimulatedDisk};
use crate::job::{Job, Store};
use crate::recovery::recover;
use crate::writer::Writer;
use crate::{
    Content, Deferral, Entry, EntryId, Folder, Order, Schedule, Settings, Settlement, Space, Spool,
    SpoolError, When,
};

fn open(disk: &SimulatedDisk, settings: Settings) -> Spool {
    Spool::open(settings, Arc::new(disk.clone()), Arc::new(Noon)).unwrap()
}

async fn store(spool: &Spool, number: u32) -> Result<crate::Spooled, SpoolError> {
    spool.store(entry(number, 2), Content::new().bytes(content_of(number))).await
}

#[tokio::test]
async fn a_stored_message_is_proved_and_due_and_read_back() {
    let spool = open(&SimulatedDisk::new(0), Settings::default());
    let spooled = store(&spool, 3).await.unwrap();
    assert_eq!((spooled.transaction().number, spooled.folder()), (3, Folder::Queue));
    assert!(spooled.words().is_none() && spooled.recipients().len() == 2);
    let [waiting] = &spool.waiting()[..] else { panic!("{:?}", spool.waiting()) };
    let (destination, next) = (&*waiting.destination, waiting.next);
    assert_eq!((destination, waiting.messages, waiting.fresh), ("backend", 1, true));
    assert!(spool.claim_next(destination, at(next - Duration::from_millis(1))).is_none());
    let claim = spool.claim_next(destination, at(next)).unwrap();
    assert_eq!(claim.id(), spooled.id());
    assert!(spool.claim_next(destination, at(next)).is_none(), "it is claimed");
    assert!(spool.claim(spooled.id()).is_none() && spool.waiting().is_empty());
    drop(claim);
    assert_eq!(spool.waiting().len(), 1);
    let (read, content) = read_all(&spool, spooled.id()).await.unwrap();
    assert_eq!((read, content), (entry(3, 2), content_of(3)));
    spool.move_to(spooled.id(), Folder::Expired, words("too old")).await.unwrap();
    assert!(spool.waiting().is_empty());
    assert_eq!(spool.entry(spooled.id()).unwrap().words, words("too old"));
    assert_eq!(spool.lying_since(Folder::Expired, Noon.now(), 9), [spooled.id()]);
}

fn at(now: Duration) -> When {
    When { now, eager: false }
}

#[tokio::test]
async fn who_is_held_back_is_not_due_and_who_is_released_begins_anew() {
    let disk = SimulatedDisk::new(0);
    let spool = open(&disk, Settings::default());
    let id = store(&spool, 1).await.unwrap().id();
    let other = store(&spool, 2).await.unwrap().id();
    let ids = [id, other, EntryId::from_bits(7)];
    assert_eq!(spool.order(&ids[..1], &Order::Hold).await.unwrap(), 1);
    assert_eq!(spool.order(&ids, &Order::Hold).await.unwrap(), 1, "one is held already, one is unknown");
    assert!(spool.waiting().is_empty());
    assert_eq!(spool.order(&ids, &Order::Hasten).await.unwrap(), 0);
    drop(spool);
    let spool = open(&disk.crash(0), Settings::default());
    assert!(spool.waiting().is_empty() && spool.entry(id).unwrap().held);
    assert_eq!(spool.order(&ids, &Order::Release(words("go"))).await.unwrap(), 2);
    assert_eq!(spool.order(&ids[..1], &Order::Hasten).await.unwrap(), 1);
    assert_eq!(spool.claim_next("backend", at(Noon.now())).unwrap().id(), id);
    let failed = Deferral { words: words("no"), own_words: Vec::new(), next: Noon.now() * 2 };
    let settlement = Settlement { deferred: Some(failed), ..Settlement::default() };
    spool.settle(other, settlement).await.unwrap();
    spool.move_to(other, Folder::Expired, words("no")).await.unwrap();
    assert_eq!(spool.order(&[other], &Order::Release(words("go"))).await.unwrap(), 1);
    let summary = spool.entry(other).unwrap();
    assert_eq!((summary.folder, summary.attempts), (Folder::Queue, 0));
}

#[tokio::test]
async fn what_was_said_of_each_recipient_is_known_after_a_restart() {
    let disk = SimulatedDisk::new(0);
    let spool = open(&disk, Settings::default());
    let id = store(&spool, 1).await.unwrap().id();
    let own_words = vec![(1, words("mailbox busy")), (0, words(&"y".repeat(5000)))];
    let deferred = Some(Deferral { words: words("later"), own_words, next: Noon.now() * 2 });
    spool.settle(id, Settlement { gone: RecipientSet::new(), deferred }).await.unwrap();
    drop(spool);
    let spool = open(&disk.crash(0), Settings::default());
    let summary = spool.entry(id).unwrap();
    assert_eq!((summary.attempts, &summary.own_words[0]), (1, &(1, words("mailbox busy"))));
    assert_eq!(summary.own_words[1].1, words(&"y".repeat(256)));
    assert_eq!(spool.peek(id).await.unwrap(), Entry { reason: words("later"), ..entry(1, 2) });
}

#[tokio::test]
async fn clients_are_refused_before_the_disk_is_full_and_reports_are_not() {
    let disk = SimulatedDisk::new(0);
    disk.has_space(Space { free: 40 << 20, total: 1 << 30 });
    let spool = open(&disk, Settings::default());
    assert!(matches!(store(&spool, 1).await, Err(SpoolError::Full)));
    let _ = spool.store_own(entry(1, 1), Content::new().bytes("x")).await.unwrap();
    disk.has_space(Space { free: 10 << 20, total: 1 << 30 });
    spool.tidy(Noon.now()).await.unwrap();
    assert!(matches!(spool.store_own(entry(2, 1), Content::new()).await, Err(SpoolError::Full)));
    disk.has_space(Space { free: 1 << 29, total: 1 << 30 });
    spool.tidy(Noon.now()).await.unwrap();
    let _ = store(&spool, 3).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_counted_by_domain_and_age() {
    let spool = open(&SimulatedDisk::new(0), Settings::default());
    let first = store(&spool, 1).await.unwrap();
    let _ = store(&spool, 2).await.unwrap();
    spool.order(&[first.id()], &Order::Hold).await.unwrap();
    let depth = spool.depth(Noon.now() + Duration::from_secs(2 * 3600));
    let (name, count) = depth.domains.iter().next().unwrap();
    assert_eq!((&*name.0, &*name.1), ("backend", "x.example"));
    assert_eq!((count.messages, count.held, count.by_age), (2, 1, [0, 0, 2, 0, 0, 0]));
    assert_eq!(depth.folders[&Folder::Queue].oldest, Some(Noon.now()));
}

#[tokio::test]
async fn a_copy_of_what_is_in_the_spool_is_a_message_of_its_own() {
    let spool = open(&SimulatedDisk::new(0), Settings::default());
    let first = store(&spool, 1).await.unwrap();
    let opened = spool.open_entry(first.id()).await.unwrap();
    let copy = spool.store_own(opened.entry, Content::new().spooled(opened.content)).await.unwrap();
    spool.remove(first.id()).await.unwrap();
    assert_eq!(read_all(&spool, copy.id()).await.unwrap().1, content_of(1));
}

#[tokio::test]
async fn what_postern_itself_writes_is_due_at_once() {
    let spool = open(&SimulatedDisk::new(1), Settings::default());
    let report = Entry { client: None, ..entry(1, 1) };
    let reported = spool.store(report, Content::new().bytes(content_of(1))).await.unwrap();
    let relayed = store(&spool, 2).await.unwrap();
    let due = |id| spool.entry(id).unwrap().next_attempt;
    assert!(due(reported.id()) < due(relayed.id()));
    assert_eq!(due(reported.id()), spool.entry(reported.id()).unwrap().received_at);
}

#[tokio::test]
async fn content_comes_from_memory_and_from_files() {
    let spool = open(&SimulatedDisk::new(0), Settings::default());
    let (mut file, bytes) = (tempfile::tempfile().unwrap(), vec![b'y'; 700_000]);
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let file = Arc::new(file);
    let content = Content::new().bytes("Received: x\r\n").file(Arc::clone(&file), 1, 699_999);
    let spooled = spool.store(entry(1, 1), content).await.unwrap();
    let (_, read) = read_all(&spool, spooled.id()).await.unwrap();
    assert_eq!(read, [b"Received: x\r\n", &bytes[1..]].concat());
    let short = Content::new().file(file, 0, 700_001);
    assert!(matches!(spool.store(entry(2, 1), short).await, Err(SpoolError::Source(_))));
    let _ = store(&spool, 3).await.unwrap();
    assert_eq!(spool.entries().len(), 2);
}

#[tokio::test]
async fn a_full_spool_refuses_and_takes_changes() {
    let settings = Settings { max_messages: 2, ..Settings::default() };
    let spool = open(&SimulatedDisk::new(0), settings);
    let first = store(&spool, 1).await.unwrap();
    let _ = store(&spool, 2).await.unwrap();
    assert!(matches!(store(&spool, 3).await, Err(SpoolError::Full)));
    spool.remove(first.id()).await.unwrap();
    let _ = store(&spool, 3).await.unwrap();
    let spool = open(&SimulatedDisk::new(0), Settings { max_bytes: 1000, ..Settings::default() });
    assert!(matches!(store(&spool, 1).await, Err(SpoolError::Full)));
}

#[tokio::test]
async fn nothing_is_kept_for_nobody() {
    let spool = open(&SimulatedDisk::new(0), Settings::default());
    for recipients in [vec![], vec![7]] {
        let mut entry = entry(1, 2);
        entry.recipients = recipients.into_iter().collect();
        assert!(matches!(spool.store(entry, Content::new()).await, Err(SpoolError::Invalid(_))));
    }
}

/// A job as `store` makes it, and where its answer comes.
fn job(number: u32) -> (Job, oneshot::Receiver<Result<crate::Spooled, SpoolError>>) {
    let (answer, answered) = oneshot::channel();
    let (fixed, state) = entry(number, 2).split(Duration::ZERO);
    let content = Content::new().bytes(content_of(number));
    let store = Store { fixed, state, first_seen: Noon.now(), content, cost: 0, answer };
    (Job::Store(Box::new(store)), answered)
}

#[test]
fn a_batch_is_synced_once_and_who_went_away_is_promised_nothing() {
    let disk = SimulatedDisk::new(0);
    let dynamic: Arc<dyn Disk> = Arc::new(disk.clone());
    let recovered = recover(&dynamic, Duration::ZERO).unwrap();
    let shared = Arc::new(Mutex::new(recovered.index));
    let next = (recovered.next_segment, recovered.next_id);
    let mut writer = Writer::new(dynamic, Arc::clone(&shared), Schedule::default(), 1 << 20, next);
    let before = disk.operations();
    let (jobs, mut answers): (Vec<_>, Vec<_>) = (1..=5).map(job).unzip();
    answers.remove(1);
    writer.commit(jobs);
    // Create, header, frames, fdatasync, and the folder's fsync.
    assert_eq!(disk.operations() - before, 5);
    assert!(answers.iter_mut().all(|answer| answer.try_recv().unwrap().is_ok()));
    writer.commit(Vec::new());
    let spool = open(&disk.crash(1), Settings::default());
    let numbers: Vec<_> = spool.entries().iter().map(|summary| summary.transaction.number).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
}

#[tokio::test]
async fn a_damaged_message_is_set_aside_and_the_rest_delivered() {
    let disk = SimulatedDisk::new(0);
    let spool = open(&disk, Settings::default());
    let first = store(&spool, 1).await.unwrap();
    let _ = store(&spool, 2).await.unwrap();
    let segment = "log/0000000000000001.log";
    disk.flip(segment, 1500, 1).unwrap();
    assert!(matches!(spool.open_entry(first.id()).await, Err(SpoolError::Damaged(_))));
    assert!(matches!(spool.open_entry(first.id()).await, Err(SpoolError::Unknown(_))));
    drop(spool);
    let spool = open(&disk, Settings::default());
    assert_eq!(spool.entries().len(), 1);
    assert_eq!(disk.list("damaged").unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_failed_sync_a_new_segment_takes_over() {
    let disk = SimulatedDisk::new(0);
    let spool = open(&disk, Settings::default());
    let first = store(&spool, 1).await.unwrap();
    // The next store appends, then syncs.
    disk.fail_at(disk.operations() + 1, Fault::Io);
    assert!(matches!(store(&spool, 2).await, Err(SpoolError::Write(_))));
    let _ = store(&spool, 3).await.unwrap();
    assert_eq!(disk.list("log").unwrap().len(), 2);
    drop(spool);
    let numbers = |spool: &Spool| -> Vec<_> {
        spool.entries().iter().map(|summary| summary.transaction.number).collect()
    };
    for seed in 0..20 {
        let spool = open(&disk.crash(seed), Settings::default());
        assert_eq!(numbers(&spool), [1, 3], "what was refused does not come back");
        assert!(spool.entry(first.id()).is_some());
    }
}

#[tokio::test]
async fn what_stays_moves_out_and_segments_go() {
    let disk = SimulatedDisk::new(0);
    let settings = Settings { segment_bytes: 2048, ..Settings::default() };
    let spool = open(&disk, settings.clone());
    let stays = store(&spool, 1).await.unwrap();
    for number in 2..30 {
        let spooled = store(&spool, number).await.unwrap();
        spool.remove(spooled.id()).await.unwrap();
    }
    let now = Duration::from_secs(1_800_001_000);
    spool.tidy(now).await.unwrap();
    assert_eq!(disk.list("own").unwrap().len(), 1);
    assert_eq!(disk.list("log").unwrap().len(), 1);
    assert_eq!(read_all(&spool, stays.id()).await.unwrap().1, content_of(1));
    drop(spool);
    let spool = open(&disk, settings);
    spool.remove(stays.id()).await.unwrap();
    spool.tidy(now).await.unwrap();
    assert!(disk.list("own").unwrap().is_empty() && spool.entries().is_empty());
}
