//! The spool on the real file system: killed with -9 while it works, started with many messages, and under load.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, SystemClock};
use smtp::{Envelope, Reply, ReplyCode, TraceId, TransactionId};
use spool::{ClientFacts, Content, Entry, Folder, RealDisk, SenderProof, Settings, Spool};

const ROUNDS: u32 = 20;
const FOLDER: &str = "SPOOL_TEST_FOLDER";
const START: &str = "SPOOL_TEST_START";

fn open(folder: &std::path::Path) -> Spool {
    // Small segments, so that they roll and go while the child is killed.
    let settings =
        Settings { segment_bytes: 64 << 10, own_file_after: Duration::ZERO, ..Settings::default() };
    Spool::open(settings, Arc::new(RealDisk::new(folder).unwrap()), Arc::new(SystemClock)).unwrap()
}

fn entry(number: u32) -> Entry {
    let reply = Reply::new(ReplyCode::new(451).unwrap(), None, "the server is down");
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
        reason: reply,
        received_at: SystemClock.now(),
    }
}

fn content_of(number: u32) -> Vec<u8> {
    format!("{number} and more\r\n").repeat(1 + number as usize % 200).into_bytes()
}

/// The child: four tasks store and remove, and say so on stdout, until it is killed. Without its variables it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let (Ok(folder), Ok(start)) = (std::env::var(FOLDER), std::env::var(START)) else { return };
    let start: u32 = start.parse().unwrap();
    let spool = open(std::path::Path::new(&folder));
    let mut tasks = Vec::new();
    for lane in 0..4 {
        let spool = spool.clone();
        tasks.push(tokio::spawn(async move {
            for number in (start + lane..).step_by(4).take(20_000) {
                let content = Content::new().bytes(content_of(number));
                let spooled = spool.store(entry(number), content).await.unwrap();
                println!("\nstored {number}");
                if number % 3 != 0 {
                    println!("\nremoving {number}");
                    spool.remove(spooled.id()).await.unwrap();
                    println!("\nremoved {number}");
                }
                if lane == 0 && number % 64 == 0 {
                    spool.tidy(SystemClock.now()).await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// What a child said before it was killed.
#[derive(Default)]
struct Said {
    stored: BTreeSet<u32>,
    removing: BTreeSet<u32>,
    removed: BTreeSet<u32>,
}

fn run_and_kill(folder: &std::path::Path, start: u32, lines: usize) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(START, start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    let output = BufReader::new(child.stdout.take().unwrap());
    for (count, line) in output.lines().map_while(Result::ok).enumerate() {
        if count == lines {
            child.kill().unwrap();
        }
        let Some((verb, number)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        match verb {
            "stored" => said.stored.insert(number),
            "removing" => said.removing.insert(number),
            "removed" => said.removed.insert(number),
            _ => false,
        };
    }
    child.wait().unwrap();
    said
}

#[tokio::test]
async fn a_kill_at_any_time_loses_and_revives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("spool");
    let mut all = Said::default();
    for round in 0..ROUNDS {
        let said = run_and_kill(&folder, 1 + round * 1_000_000, 40 + round as usize * 97);
        all.stored.extend(said.stored);
        all.removing.extend(said.removing);
        all.removed.extend(said.removed);
        let spool = open(&folder);
        let mut found = BTreeMap::new();
        for summary in spool.entries() {
            let number = summary.transaction.number;
            assert!(found.insert(number, summary.id).is_none(), "{number} is there twice");
            let mut opened = spool.open_entry(summary.id).await.unwrap();
            let mut content = Vec::new();
            while let Some(piece) = opened.content.next().await.unwrap() {
                content.extend(piece);
            }
            assert_eq!(content, content_of(number));
        }
        for number in &all.stored {
            assert!(found.contains_key(number) || all.removing.contains(number), "{number} is lost");
        }
        for number in &all.removed {
            assert!(!found.contains_key(number), "{number} came back");
        }
    }
    assert!(all.stored.len() > 500);
}

/// Prints what this machine does; nothing depends on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_writers_share_their_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let spool = Spool::open(Settings::default(), disk.clone(), Arc::new(SystemClock)).unwrap();
    let body: Arc<[u8]> = vec![b'x'; 10_000].into();
    let started = tokio::time::Instant::now();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let (spool, body) = (spool.clone(), Arc::clone(&body));
            tokio::spawn(async move {
                for number in 0..100 {
                    let content = Content::new().bytes(Arc::clone(&body));
                    let _ = spool.store(entry(writer * 1000 + number), content).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    println!("2000 messages of 10 kB by 20 writers: {:.0}/s", 2000.0 / started.elapsed().as_secs_f64());
    drop(spool);
    let started = tokio::time::Instant::now();
    let spool = Spool::open(Settings::default(), disk.clone(), Arc::new(SystemClock)).unwrap();
    println!("2000 messages read at the start in {:?}", started.elapsed());
    assert_eq!(spool.entries().len(), 2000);
    // Into a new segment, so that those of the old one move out.
    let _ = spool.store(entry(1), Content::new()).await.unwrap();
    let started = tokio::time::Instant::now();
    spool.tidy(SystemClock.now() + Duration::from_secs(3600)).await.unwrap();
    println!("2000 messages moved to files of their own in {:?}", started.elapsed());
    drop(spool);
    let started = tokio::time::Instant::now();
    let spool = Spool::open(Settings::default(), disk, Arc::new(SystemClock)).unwrap();
    println!("2001 messages, most in files of their own, read at the start in {:?}", started.elapsed());
    assert_eq!(spool.entries().len(), 2001);
}
