//! The spool on disks that fail, through the real kernel: a FUSE file system of the test's own, and a small one that fills up.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

mod file_system;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use file_system::{Faulty, OPS};
use record::{Clock, SystemClock};
use smtp::{Envelope, Reply, ReplyCode, TraceId, TransactionId};
use spool::{
    ClientFacts, Content, Entry, EntryId, Folder, RealDisk, SenderProof, Settings, Spool, SpoolError,
};

fn open(folder: &Path) -> Result<Spool, SpoolError> {
    let settings = Settings { segment_bytes: 4 << 10, own_file_after: Duration::ZERO, ..Settings::default() };
    let disk = RealDisk::new(folder.join("spool")).map_err(|error| SpoolError::Open(Arc::new(error)))?;
    Spool::open(settings, Arc::new(disk), Arc::new(SystemClock))
}

fn entry(number: u32) -> Entry {
    Entry {
        transaction: TransactionId { session: TraceId::from_bits(1), number },
        envelope: Envelope::read(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n").unwrap(),
        recipients: [0].into_iter().collect(),
        client: Some(ClientFacts {
            address: "[2001:db8::1]:2525".parse().unwrap(),
            helo: "client.example".into(),
            protocol: "ESMTPS".into(),
            tls: None,
            authenticated: false,
        }),
        sender: SenderProof::Unknown,
        folder: Folder::Queue,
        backend: "backend".into(),
        reason: Reply::new(ReplyCode::new(451).unwrap(), None, "the server is down"),
        received_at: SystemClock.now(),
    }
}

fn content_of(number: u32) -> Vec<u8> {
    format!("{number} and more\r\n").repeat(20 + number as usize % 40).into_bytes()
}

/// What was acknowledged: stored messages, `true` while they are to be there; those of unknown fate are not in it.
type Promised = BTreeMap<u32, bool>;

async fn store(spool: &Spool, number: u32, promised: &mut Promised) -> Option<EntryId> {
    let spooled = spool.store(entry(number), Content::new().bytes(content_of(number))).await.ok()?;
    promised.insert(number, true);
    Some(spooled.id())
}

async fn remove(spool: &Spool, number: u32, id: EntryId, promised: &mut Promised) {
    // Until it is answered it may be gone or not.
    promised.remove(&number);
    if spool.remove(id).await.is_ok() {
        promised.insert(number, false);
    }
}

async fn live(spool: &Spool, promised: &mut Promised) {
    let mut ids = Vec::new();
    for number in 0..14 {
        if let Some(id) = store(spool, number, promised).await {
            ids.push((number, id));
        }
        if number % 5 == 4 {
            let (number, id) = ids.remove(0);
            remove(spool, number, id, promised).await;
            let _ = spool.tidy(SystemClock.now()).await;
        }
    }
    let _ = spool.tidy(SystemClock.now()).await;
    // What the failure left undone is done now, or at the next start.
    let _ = store(spool, 99, promised).await;
}

async fn check(folder: &Path, promised: &Promised) -> Result<(), String> {
    let spool = open(folder).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for summary in spool.entries() {
        let number = summary.transaction.number;
        if found.insert(number, ()).is_some() {
            return Err(format!("{number} is there twice"));
        }
        let mut opened = spool.open_entry(summary.id).await.map_err(|error| error.to_string())?;
        let mut content = Vec::new();
        while let Some(piece) = opened.content.next().await.map_err(|error| error.to_string())? {
            content.extend(piece);
        }
        if content != content_of(number) {
            return Err(format!("{number} is not what was stored"));
        }
    }
    for (number, there) in promised {
        match (there, found.contains_key(number)) {
            (true, false) => return Err(format!("{number} is lost")),
            (false, true) => return Err(format!("{number} came back")),
            _ => {}
        }
    }
    Ok(())
}

/// Leaves the test, in the list that `tests/run` counts, where it is not root or has no FUSE; where nothing may be skipped that is a
/// failure.
fn can_mount(test: &str) -> bool {
    if rustix::process::geteuid().is_root() && std::fs::File::open("/dev/fuse").is_ok() {
        return true;
    }
    let line = format!("SKIP: {test}: not root, or no /dev/fuse\n");
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "{line}");
    eprint!("{line}");
    if let Some(list) = std::env::var_os("POSTERN_SKIPS") {
        let list = std::fs::OpenOptions::new().create(true).append(true).open(list);
        let _ = list.map(|mut list| std::io::Write::write_all(&mut list, line.as_bytes()));
    }
    false
}

/// Each kind of operation fails once, at each of its turns in the life; then the power goes.
#[tokio::test]
async fn an_operation_that_fails_in_the_kernel_loses_and_revives_nothing() {
    if !can_mount("an_operation_that_fails_in_the_kernel_loses_and_revives_nothing") {
        return;
    }
    let mut failures = 0;
    for op in OPS {
        for after in 0.. {
            let disk = Faulty::mount();
            disk.fail(op, after);
            let mut promised = Promised::default();
            if let Ok(spool) = open(disk.path()) {
                live(&spool, &mut promised).await;
            }
            if !disk.has_failed() {
                // It was not done that often.
                assert!(after > 0, "{op:?} was never done");
                break;
            }
            failures += 1;
            disk.lose_power();
            for start in 1..=2 {
                let checked = check(disk.path(), &promised).await;
                checked.map_err(|error| format!("{op:?} after {after}, start {start}: {error}")).unwrap();
            }
        }
    }
    println!("{failures} failures");
    assert!(failures > 40, "{failures}");
}

#[tokio::test]
async fn reads_that_give_less_than_asked_are_read_on() {
    if !can_mount("reads_that_give_less_than_asked_are_read_on") {
        return;
    }
    let disk = Faulty::mount();
    disk.reads_short();
    let mut promised = Promised::default();
    live(&open(disk.path()).unwrap(), &mut promised).await;
    assert_eq!(promised.len(), 15);
    check(disk.path(), &promised).await.unwrap();
}

/// Full in the middle of a message, then not full any more: what was refused is not there, what was promised is, and it goes on.
async fn fill_and_empty(folder: &Path, full: impl Fn(bool)) {
    let mut promised = Promised::default();
    let spool = open(folder).unwrap();
    let mut refused = 0;
    let mut ids = Vec::new();
    full(true);
    for number in 0..600 {
        match store(&spool, number, &mut promised).await {
            Some(id) => ids.push((number, id)),
            None => refused += 1,
        }
        if refused > 20 {
            break;
        }
    }
    assert!(refused > 20 && !ids.is_empty(), "{refused} refused, {} taken", ids.len());
    // Room is made by what is delivered: the ends of messages are small, and wait for the disk if need be.
    full(false);
    for (number, id) in ids.drain(..ids.len() / 2) {
        remove(&spool, number, id, &mut promised).await;
    }
    for _ in 0..3 {
        spool.tidy(SystemClock.now()).await.unwrap();
    }
    assert!(store(&spool, 1000, &mut promised).await.is_some(), "it does not go on");
    drop(spool);
    check(folder, &promised).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_while_loses_nothing() {
    if !can_mount("a_disk_that_is_full_for_a_while_loses_nothing") {
        return;
    }
    let disk = Faulty::mount();
    fill_and_empty(disk.path(), |full| disk.has_room(if full { 100_000 } else { u64::MAX })).await;
}

/// The same on a real small file system.
#[tokio::test]
async fn a_small_tmpfs_that_is_full_loses_nothing() {
    if !can_mount("a_small_tmpfs_that_is_full_loses_nothing") {
        return;
    }
    struct Mounted(tempfile::TempDir);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }
    let mounted = Mounted(tempfile::tempdir().unwrap());
    let path = mounted.0.path().to_owned();
    let mount = |options: &str| {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).status();
        assert!(status.unwrap().success(), "{options}");
    };
    mount("size=400k");
    fill_and_empty(&path, |full| {
        if !full {
            mount("remount,size=4m");
        }
    })
    .await;
}
