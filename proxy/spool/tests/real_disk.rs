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
#[derive(Clone, Default)]
struct Said {
    stored: BTreeSet<u32>,
    removing: BTreeSet<u32>,
    removed: BTreeSet<u32>,
}

impl Said {
    /// Takes a line; `false` at the end.
    fn hear(&mut self, output: &mut impl BufRead) -> bool {
        let mut line = String::new();
        if output.read_line(&mut line).unwrap_or_default() == 0 {
            return false;
        }
        self.take(line.trim_end());
        true
    }

    fn take(&mut self, line: &str) {
        let Some((verb, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse() else { return };
        match verb {
            "stored" => self.stored.insert(number),
            "removing" => self.removing.insert(number),
            "removed" => self.removed.insert(number),
            _ => false,
        };
    }
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
        said.take(&line);
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

/// An image with a file system, mounted for a test that is root.
struct Image {
    _scratch: tempfile::TempDir,
    file: std::path::PathBuf,
    mounted: std::path::PathBuf,
}

impl Image {
    fn mount(file: Option<&std::path::Path>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let own = scratch.path().join("image");
        match file {
            Some(file) => drop(std::fs::copy(file, &own).unwrap()),
            None => {
                std::fs::File::create(&own).unwrap().set_len(96 << 20).unwrap();
                command("mkfs.ext4", &["-q", "-F", own.to_str().unwrap()]);
            }
        }
        let mounted = scratch.path().join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        command("mount", &["-o", "loop", own.to_str().unwrap(), mounted.to_str().unwrap()]);
        Self { _scratch: scratch, file: own, mounted }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mounted).status();
    }
}

fn command(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

/// Only root mounts. Says so where it cannot, in the list that `tests/run` counts too; where nothing may be skipped that is a
/// failure.
fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    let tools =
        ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"].iter().any(|tool| std::path::Path::new(tool).exists());
    if root && tools {
        return true;
    }
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "not root, or no mkfs.ext4");
    let line = "SKIP: power_loss_on_a_real_file_system: not root, or no mkfs.ext4\n";
    eprint!("{line}");
    if let Some(list) = std::env::var_os("POSTERN_SKIPS") {
        let list = std::fs::OpenOptions::new().create(true).append(true).open(list);
        let _ = list.map(|mut list| std::io::Write::write_all(&mut list, line.as_bytes()));
    }
    false
}

/// The disk as it is when the power goes: the writer is stopped in the middle, the image is copied (what the disk was given, and not
/// what the kernel still has in memory), the copy is mounted, its journal replayed, and the spool opened.
#[tokio::test]
async fn power_loss_on_a_real_file_system_loses_and_revives_nothing() {
    if !can_mount() {
        return;
    }
    let image = Image::mount(None);
    let folder = image.mounted.join("spool");
    let mut all = Said::default();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env(FOLDER, &folder)
            .env(START, (1 + round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..60 + round * 83 {
            all.hear(&mut output);
        }
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let copy = Image::mount(Some(&image.file));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it was stopped was durable before; what is read now may have been said before, too.
        let before = all.clone();
        while all.hear(&mut output) {}
        let found: BTreeSet<u32> = open(&copy.mounted.join("spool"))
            .entries()
            .iter()
            .map(|summary| summary.transaction.number)
            .collect();
        for number in &before.stored {
            assert!(
                found.contains(number) || all.removing.contains(number),
                "round {round}: {number} is lost"
            );
        }
        for number in &before.removed {
            assert!(!found.contains(number), "round {round}: {number} came back");
        }
    }
    assert!(all.stored.len() > 200, "{}", all.stored.len());
}

/// What is copied while four tasks store and remove, and files move, is a spool that has all that was promised before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_working_spool_has_all_that_was_promised_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("spool");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, &folder)
        .env(START, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Arc::new(std::sync::Mutex::new(Said::default()));
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn({
        let said = Arc::clone(&said);
        move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock().unwrap().take(&line);
            }
        }
    });
    for copies in 1..=5 {
        let more = || said.lock().unwrap().stored.len() > copies * 300;
        while !more() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (stored, removed) = {
            let said = said.lock().unwrap();
            (said.stored.clone(), said.removed.clone())
        };
        let copying = loop {
            match spool::Copying::begin(&folder).unwrap() {
                Some(copying) => break copying,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let copy = tempfile::tempdir().unwrap();
        for (path, length) in copying.files() {
            let mut octets = std::fs::read(folder.join(path)).unwrap();
            assert!(octets.len() as u64 >= *length, "{path:?} became shorter");
            octets.truncate(usize::try_from(*length).unwrap());
            std::fs::create_dir_all(copy.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(copy.path().join(path), octets).unwrap();
        }
        drop(copying);
        let removing = said.lock().unwrap().removing.clone();
        let found: BTreeSet<u32> =
            open(copy.path()).entries().iter().map(|summary| summary.transaction.number).collect();
        for number in &stored {
            assert!(found.contains(number) || removing.contains(number), "copy {copies}: {number} is lost");
        }
        for number in &removed {
            assert!(!found.contains(number), "copy {copies}: {number} came back");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
}

#[tokio::test]
async fn nothing_moves_while_somebody_copies() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    for number in 0..200 {
        let content = Content::new().bytes(content_of(199 + number * 200));
        let _ = spool.store(entry(number), content).await.unwrap();
    }
    let segments = || std::fs::read_dir(folder.path().join("log")).unwrap().count();
    let before = segments();
    let copying = spool::Copying::begin(folder.path()).unwrap().unwrap();
    spool.tidy(SystemClock.now()).await.unwrap();
    assert_eq!(segments(), before);
    drop(copying);
    spool.tidy(SystemClock.now()).await.unwrap();
    assert!(segments() < before, "{} of {before}", segments());
}
