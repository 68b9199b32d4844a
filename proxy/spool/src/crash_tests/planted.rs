//! The harness proves itself: of a disk that does one thing wrong, each of them ends in a complaint. And it reaches everything: each
//! operation of the disk, on each kind of file, is one at which the power is cut.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::entry::State;
use crate::fields::{Decoder, Encoder};
use crate::frame::{
    FRAME_HEADER, FrameHeader, Kind, SEGMENT_HEADER, Seal, SegmentKey, TRAILER, read_segment_header,
};

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It does not sync content.
    NoDataSync,
    /// It does not sync folders.
    NoFolderSync,
    /// It syncs first and writes then.
    WrongOrder,
    /// What it writes of a message that waits lacks a recipient.
    LostRecipient,
    /// It does not write that a message is gone, which is then released a second time.
    DoubleRelease,
}

const FAULTS: [Fault; 5] =
    [Fault::NoDataSync, Fault::NoFolderSync, Fault::WrongOrder, Fault::LostRecipient, Fault::DoubleRelease];

#[derive(Clone)]
struct Planted {
    disk: SimulatedDisk,
    fault: Option<Fault>,
    /// Operations that were asked for, with the folder.
    seen: Arc<Mutex<BTreeSet<(&'static str, String)>>>,
}

impl Planted {
    fn new(disk: SimulatedDisk, fault: Option<Fault>) -> Self {
        Self { disk, fault, seen: Arc::default() }
    }

    fn saw(&self, operation: &'static str, path: &str) {
        let folder = path.split('/').next().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().insert((operation, folder));
    }

    fn file(&self, path: &str, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let (disk, path) = (self.clone(), path.to_owned());
        Box::new(PlantedFile {
            disk,
            path,
            file: Mutex::new(file),
            key: None,
            at: 0,
            late: Mutex::new(Vec::new()),
        })
    }
}

impl Disk for Planted {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.saw("create", path);
        Ok(self.file(path, self.disk.create(path)?))
    }
    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.saw("open", path);
        Ok(self.file(path, self.disk.open(path)?))
    }
    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.saw("create_folder", path);
        self.disk.create_folder(path)
    }
    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.saw("sync_folder", path);
        if self.fault == Some(Fault::NoFolderSync) { Ok(()) } else { self.disk.sync_folder(path) }
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.saw("rename", from);
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.saw("remove", path);
        self.disk.remove(path)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.saw("list", folder);
        self.disk.list(folder)
    }
    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

struct PlantedFile {
    disk: Planted,
    path: String,
    file: Mutex<Box<dyn DiskFile>>,
    key: Option<SegmentKey>,
    at: u64,
    late: Mutex<Vec<u8>>,
}

impl PlantedFile {
    fn write_late(&self) -> io::Result<()> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        if late.is_empty() { Ok(()) } else { self.file.lock().unwrap().append(&late) }
    }

    /// The frames of a segment as the fault would have them. The spool writes whole ones.
    fn changed(&mut self, bytes: &[u8], fault: Fault) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let start = self.at;
        self.at += bytes.len() as u64;
        if start == 0 {
            self.key = read_segment_header(bytes.get(..SEGMENT_HEADER).unwrap_or_default());
            return out;
        }
        let Some(key) = self.key.clone() else { return out };
        let mut from = 0;
        while let Some(header) =
            FrameHeader::read(bytes.get(from..).unwrap_or_default(), &key, start + from as u64)
        {
            let end = from + usize::try_from(header.total()).unwrap();
            let Some(frame) = out.get_mut(from..end) else { break };
            match (fault, header.kind) {
                (Fault::DoubleRelease, Kind::Removed) => frame.fill(0),
                (Fault::LostRecipient, Kind::State) => lose_recipient(frame, &key),
                _ => {}
            }
            from = end;
        }
        out
    }
}

fn lose_recipient(frame: &mut [u8], key: &SegmentKey) {
    let end = frame.len() - TRAILER;
    let mut from = Decoder(&frame[FRAME_HEADER..end]);
    let (id, mut state) = (from.u64().unwrap(), State::decode(&mut from).unwrap());
    let Some(last) = state.remaining.iter().last().filter(|_| state.remaining.len() > 1) else { return };
    state.remaining.remove(last);
    let mut meta = Encoder::default();
    meta.u64(id);
    state.encode(&mut meta);
    // As long as before, in these tests: a few recipients are one octet.
    assert_eq!(meta.0.len(), end - FRAME_HEADER - from.0.len());
    frame[FRAME_HEADER..FRAME_HEADER + meta.0.len()].copy_from_slice(&meta.0);
    let mut seal = Seal::new(key, &frame[..FRAME_HEADER]);
    seal.update(&frame[FRAME_HEADER..end]);
    let tag = seal.tag();
    frame[end..].copy_from_slice(&tag);
}

impl DiskFile for PlantedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.saw("append", &self.path);
        let in_log = self.path.starts_with("log/");
        match self.disk.fault {
            Some(Fault::WrongOrder) if in_log => {
                self.late.lock().unwrap().extend_from_slice(bytes);
                Ok(())
            }
            Some(fault @ (Fault::LostRecipient | Fault::DoubleRelease)) if in_log => {
                let changed = self.changed(bytes, fault);
                self.file.lock().unwrap().append(&changed)
            }
            _ => self.file.lock().unwrap().append(bytes),
        }
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.saw("read_at", &self.path);
        self.write_late()?;
        self.file.lock().unwrap().read_at(buffer, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.saw("sync", &self.path);
        if self.disk.fault != Some(Fault::NoDataSync) {
            self.file.lock().unwrap().sync()?;
        }
        self.write_late()
    }
    fn length(&self) -> io::Result<u64> {
        self.disk.saw("length", &self.path);
        self.file.lock().unwrap().length()
    }
}

/// Whether the harness complains of a disk with this fault, wherever the power goes.
async fn complains_of(fault: Option<Fault>) -> bool {
    // Beyond the last operation: a fault that needs no power cut.
    let operations = operations_of_a_life().await + 1000;
    let mut complaints = 0;
    for operation in (0..operations).step_by(7) {
        let disk = SimulatedDisk::new(operation);
        complaints += usize::from(die(Planted::new(disk.clone(), fault), &disk, operation, 4).await.is_err());
    }
    complaints > 0
}

#[tokio::test]
async fn each_planted_fault_is_found() {
    for fault in FAULTS {
        assert!(complains_of(Some(fault)).await, "{fault:?} was not found");
    }
}

#[tokio::test]
async fn a_disk_without_a_fault_is_not_complained_of() {
    assert!(!complains_of(None).await);
}

/// What the spool asks of a disk, on which kind of file. Each is an operation of the simulated disk, so that the power is cut
/// at it: the numbers from 0 are all tried.
#[tokio::test]
async fn every_operation_on_every_kind_of_file_is_reached() {
    let disk = Planted::new(SimulatedDisk::new(0), None);
    let mut promises = Promises::default();
    let spool = open(disk.clone()).unwrap();
    live(&spool, &mut promises).await;
    drop(spool);
    // Something damaged, as the next start finds it.
    let segment = disk.list("log").unwrap().into_iter().min().unwrap();
    disk.disk.flip(&format!("log/{segment}"), SEGMENT_HEADER + 200, 1).unwrap();
    disk.disk.plant("own/0000000000000001.tmp", b"unfinished".to_vec());
    drop(open(disk.clone()).unwrap());
    let seen = disk.seen.lock().unwrap().clone();
    for (folder, operations) in [
        (
            "log",
            &[
                "create",
                "open",
                "create_folder",
                "sync_folder",
                "remove",
                "list",
                "append",
                "read_at",
                "sync",
                "length",
            ][..],
        ),
        (
            "own",
            &[
                "create",
                "open",
                "create_folder",
                "sync_folder",
                "rename",
                "remove",
                "list",
                "append",
                "read_at",
                "sync",
                "length",
            ],
        ),
        ("damaged", &["create", "create_folder", "sync_folder", "rename", "list", "append", "sync"]),
        ("", &["sync_folder"]),
    ] {
        for operation in operations {
            assert!(
                seen.contains(&(*operation, folder.to_owned())),
                "{operation} in {folder:?} was not reached"
            );
        }
    }
}

/// A start reads, sets aside, removes and syncs; it is interrupted at each of these, and the next one finds the same.
#[tokio::test]
async fn a_power_cut_while_it_starts_or_tidies_loses_and_revives_nothing() {
    let disk = SimulatedDisk::new(0);
    let mut promises = Promises::default();
    let spool = open(disk.clone()).unwrap();
    live(&spool, &mut promises).await;
    drop(spool);
    promises.receipts.clear();
    let start = |disk: SimulatedDisk| async move {
        if let Ok(spool) = open(disk) {
            let _ = spool.tidy(LATER).await;
        }
    };
    let whole = disk.crash(1);
    start(whole.clone()).await;
    for operation in 0..whole.operations() {
        let cut = disk.crash(1);
        cut.cut_power_at(operation);
        start(cut.clone()).await;
        for seed in 0..4 {
            let spool = open(cut.crash(seed)).unwrap();
            let checked = promises.check(&spool).await;
            checked.map_err(|error| format!("operation {operation}, seed {seed}: {error}")).unwrap();
        }
    }
}
