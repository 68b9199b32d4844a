//! A file system in memory, mounted by FUSE, that fails on cue: what a failing disk looks like through the real kernel.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

/// The kernel asks again each time.
const NO_TIME: Duration = Duration::ZERO;
const BLOCK: u64 = 4096;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Write,
    Sync,
    SyncFolder,
    Rename,
    Remove,
    Read,
}

pub(crate) const OPS: [Op; 7] =
    [Op::Create, Op::Write, Op::Sync, Op::SyncFolder, Op::Rename, Op::Remove, Op::Read];

enum Node {
    /// Octets, and how many of them were synced.
    File(Vec<u8>, usize),
    Folder(BTreeMap<String, u64>),
}

struct State {
    nodes: HashMap<u64, Node>,
    last: u64,
    /// The operation that is to fail, and how many of its kind go well before.
    fails: Option<(Op, u32)>,
    failed: bool,
    /// Octets that there is room for.
    room: u64,
    /// A read gives at most this share of what was asked for.
    short_reads: bool,
}

impl State {
    fn fails(&mut self, op: Op) -> bool {
        match &mut self.fails {
            Some((which, 0)) if *which == op => {
                self.fails = None;
                self.failed = true;
                true
            }
            Some((which, left)) if *which == op => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    fn folder(&mut self, number: u64) -> Result<&mut BTreeMap<String, u64>, Errno> {
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(names)) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn used(&self) -> u64 {
        self.nodes
            .values()
            .map(|node| if let Node::File(data, _) = node { data.len() as u64 } else { 0 })
            .sum()
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, Errno> {
        let (size, kind, perm) = match self.nodes.get(&number) {
            Some(Node::File(data, _)) => (data.len() as u64, FileType::RegularFile, 0o600),
            Some(Node::Folder(_)) => (0, FileType::Directory, 0o700),
            None => return Err(Errno::ENOENT),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn add(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let name = name.to_str().ok_or(Errno::ENOENT)?.to_owned();
        let number = self.last + 1;
        if self.folder(parent)?.contains_key(&name) {
            return Err(Errno::EEXIST);
        }
        self.folder(parent)?.insert(name, number);
        self.last = number;
        self.nodes.insert(number, node);
        self.attributes(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        if self.fails(Op::Remove) {
            return Err(Errno::EIO);
        }
        // Who has it open reads on: nodes stay.
        let name = name.to_str().ok_or(Errno::ENOENT)?;
        self.folder(parent)?.remove(name).map(drop).ok_or(Errno::ENOENT)
    }

    /// As much as there is room for; nothing of it if that is nothing.
    fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let failing = self.fails(Op::Write);
        let room = usize::try_from(self.room.saturating_sub(self.used())).unwrap_or(usize::MAX);
        let Some(Node::File(data, _)) = self.nodes.get_mut(&number) else { return Err(Errno::ENOENT) };
        let taken = if failing { bytes.len() / 2 } else { bytes.len().min(room) };
        let offset = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        if data.len() < offset + taken {
            data.resize(offset + taken, 0);
        }
        data[offset..offset + taken].copy_from_slice(&bytes[..taken]);
        match (failing, taken) {
            // Half of it is there, and the error is told.
            (true, _) => Err(Errno::EIO),
            (false, 0) if !bytes.is_empty() => Err(Errno::ENOSPC),
            _ => u32::try_from(taken).map_err(|_| Errno::EIO),
        }
    }

    /// One that fails drops what it was to make durable; the next one says that all is well, as Linux does.
    fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let failing = self.fails(Op::Sync);
        let Some(Node::File(data, durable)) = self.nodes.get_mut(&number) else { return Err(Errno::ENOENT) };
        if failing {
            let from = (*durable).min(data.len());
            data[from..].fill(0);
        }
        *durable = data.len();
        if failing { Err(Errno::EIO) } else { Ok(()) }
    }
}

#[derive(Clone)]
struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// It, mounted.
pub(crate) struct Faulty {
    memory: Memory,
    path: PathBuf,
    _session: BackgroundSession,
    _scratch: tempfile::TempDir,
}

impl Faulty {
    pub(crate) fn mount() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let nodes = HashMap::from([(1, Node::Folder(BTreeMap::new()))]);
        let state = State { nodes, last: 1, fails: None, failed: false, room: u64::MAX, short_reads: false };
        let memory = Memory(Arc::new(Mutex::new(state)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("faulty".into())];
        let session = fuser::spawn_mount(memory.clone(), scratch.path(), &config).unwrap();
        Self { memory, path: scratch.path().to_owned(), _session: session, _scratch: scratch }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The operation of this kind fails once, after so many that go well.
    pub(crate) fn fail(&self, op: Op, after: u32) {
        self.memory.state().fails = Some((op, after));
    }

    /// Whether it has.
    pub(crate) fn has_failed(&self) -> bool {
        self.memory.state().failed
    }

    pub(crate) fn has_room(&self, octets: u64) {
        self.memory.state().room = octets;
    }

    pub(crate) fn reads_short(&self) {
        self.memory.state().short_reads = true;
    }

    /// What was not synced is gone.
    pub(crate) fn lose_power(&self) {
        for node in self.memory.state().nodes.values_mut() {
            if let Node::File(data, durable) = node {
                data.truncate(*durable);
            }
        }
    }
}

impl Filesystem for Memory {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let number = state.folder(parent.0).ok().and_then(|names| names.get(name.to_str()?).copied());
        match number.ok_or(Errno::ENOENT).and_then(|number| state.attributes(number)) {
            Ok(attributes) => reply.entry(&NO_TIME, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attributes(number.0) {
            Ok(attributes) => reply.attr(&NO_TIME, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _user: Option<u32>,
        _group: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let (Some(size), Some(Node::File(data, durable))) = (size, state.nodes.get_mut(&number.0)) {
            data.resize(usize::try_from(size).unwrap_or_default(), 0);
            *durable = (*durable).min(data.len());
        }
        match state.attributes(number.0) {
            Ok(attributes) => reply.attr(&NO_TIME, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.state().add(parent.0, name, Node::Folder(BTreeMap::new())) {
            Ok(attributes) => reply.entry(&NO_TIME, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        if state.fails(Op::Rename) {
            return reply.error(Errno::EIO);
        }
        let moved = (|| {
            let (name, new_name) =
                (name.to_str().ok_or(Errno::ENOENT)?, new_name.to_str().ok_or(Errno::ENOENT)?);
            let number = state.folder(parent.0)?.remove(name).ok_or(Errno::ENOENT)?;
            state.folder(new_parent.0)?.insert(new_name.to_owned(), number);
            Ok(())
        })();
        done(moved, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache, so that every read and write comes here as it was made.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.state();
        if state.fails(Op::Create) {
            return reply.error(Errno::EIO);
        }
        match state.add(parent.0, name, Node::File(Vec::new(), 0)) {
            Ok(attributes) => {
                reply.created(
                    &NO_TIME,
                    &attributes,
                    Generation(0),
                    FileHandle(0),
                    FopenFlags::FOPEN_DIRECT_IO,
                );
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        if state.fails(Op::Read) {
            return reply.error(Errno::EIO);
        }
        let size = if state.short_reads { (size / 3).clamp(1, 700) } else { size } as usize;
        let Some(Node::File(data, _)) = state.nodes.get(&number.0) else { return reply.error(Errno::ENOENT) };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        reply.data(&data[from..(from + size).min(data.len())]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(number.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.state().sync(number.0), reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let failing = self.state().fails(Op::SyncFolder);
        done(if failing { Err(Errno::EIO) } else { Ok(()) }, reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let names: Vec<_> = match state.folder(number.0) {
            Ok(names) => names.iter().map(|(name, number)| (name.clone(), *number)).collect(),
            Err(error) => return reply.error(error),
        };
        for (at, (name, number)) in
            names.into_iter().enumerate().skip(usize::try_from(offset).unwrap_or_default())
        {
            let kind = match state.nodes.get(&number) {
                Some(Node::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.state();
        // As large as file systems are told to be, where there is no bound.
        let room = state.room.min(1 << 40) / BLOCK;
        let free = room.saturating_sub(state.used() / BLOCK);
        reply.statfs(room, free, free, 0, 0, 4096, 255, 4096);
    }
}

fn done(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
