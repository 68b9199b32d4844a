//! A disk in memory, stricter than any real one: what was not synced survives a power cut only by a seeded chance, names
//! apart from contents, each by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};
use crate::space::Space;

/// How an operation fails on cue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC. A write may have had part of its effect.
    NoSpace,
    /// EIO. A write may have had part of its effect; a failed sync drops what it was to make durable, and later syncs say
    /// that all is well.
    Io,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk; `seed` decides how much of a failing write is done.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State { chance: Chance(seed), ..State::default() })) }
    }

    /// Operations so far, reads too.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How much room it says that there is. It does not hold writes to it.
    pub fn has_space(&self, space: Space) {
        self.state().space = Some(space);
    }

    /// Operation number `operation` (from 0) fails.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// The power goes in the middle of operation number `operation` (from 0): it and all later ones fail. See
    /// [`SimulatedDisk::crash`].
    pub fn cut_power_at(&self, operation: u64) {
        self.state().power_until = Some(operation);
    }

    /// Damages a file as it lies: turns the bits of `mask` in one octet.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is shorter.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file(path)?;
        *file.data.get_mut(offset).ok_or(io::ErrorKind::UnexpectedEof)? ^= mask;
        Ok(())
    }

    /// Puts a file there as it is, durably.
    pub fn plant(&self, path: &str, data: Vec<u8>) {
        let mut state = self.state();
        let number = state.next_file();
        let durable = data.len();
        state.files.insert(number, Content { data, durable, ..Content::default() });
        state.names.insert(path.to_owned(), number);
        state.durable_names.insert(path.to_owned(), number);
    }

    /// What is found after a power cut: what was synced, and of the rest what the seed says. This disk stays as it is, so
    /// that many seeds can be tried.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut chance = Chance(seed);
        let mut names = state.durable_names.clone();
        for change in &state.name_changes {
            if chance.half() {
                change.apply(&mut names);
            }
        }
        let folders: BTreeSet<_> = state
            .folders
            .iter()
            .filter(|(_, durable)| **durable || chance.half())
            .map(|(name, _)| name.clone())
            .collect();
        names.retain(|name, _| folder_of(name).is_empty() || folders.contains(folder_of(name)));
        let numbers: BTreeSet<_> = names.values().copied().collect();
        let files =
            numbers.iter().filter_map(|n| Some((*n, state.files.get(n)?.survive(&mut chance)))).collect();
        let found = State {
            files,
            durable_names: names.clone(),
            names,
            folders: folders.into_iter().map(|folder| (folder, true)).collect(),
            last_file: state.last_file,
            chance,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(found)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Since their folder was last synced.
    name_changes: Vec<NameChange>,
    /// Each with whether its own name is durable.
    folders: BTreeMap<String, bool>,
    last_file: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    /// Boundless, unless a test says otherwise.
    space: Option<Space>,
    power_until: Option<u64>,
    chance: Chance,
}

/// How an operation that was begun goes on.
enum Course {
    Succeeds,
    /// Has its effect, or part of it, and reports the error.
    Fails(Fault),
    /// Likewise, and nothing works afterwards.
    PowerCut,
}

impl Course {
    fn result(&self) -> io::Result<()> {
        match self {
            Self::Succeeds => Ok(()),
            // The numbers of ENOSPC and EIO on Linux.
            Self::Fails(Fault::NoSpace) => Err(io::Error::from_raw_os_error(28)),
            Self::Fails(Fault::Io) => Err(io::Error::from_raw_os_error(5)),
            Self::PowerCut => Err(no_power()),
        }
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn begin(&mut self) -> io::Result<Course> {
        let number = self.operations;
        self.operations += 1;
        match self.power_until {
            Some(last) if number > last => return Err(no_power()),
            Some(last) if number == last => return Ok(Course::PowerCut),
            _ => {}
        }
        Ok(self.faults.remove(&number).map_or(Course::Succeeds, Course::Fails))
    }

    /// For operations on names: one that fails on cue has no effect, one in a power cut has, undurably.
    fn begin_naming(&mut self) -> io::Result<Course> {
        let course = self.begin()?;
        if matches!(course, Course::Fails(_)) { course.result().map(|()| course) } else { Ok(course) }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn file(&mut self, path: &str) -> io::Result<&mut Content> {
        let number = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn next_file(&mut self) -> u64 {
        self.last_file += 1;
        self.last_file
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        match self {
            Self::Create(name, _) | Self::Remove(name) | Self::Rename(_, name) => folder_of(name) == folder,
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[derive(Clone, Debug, Default)]
struct Content {
    data: Vec<u8>,
    /// Octets from the start that a sync vouched for.
    durable: usize,
    /// Where each write since then ends.
    writes: Vec<usize>,
    /// What a sync failed to make durable and later ones vouch for all the same.
    dropped: Vec<Range<usize>>,
}

impl Content {
    fn append(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.writes.push(self.data.len());
    }

    fn sync(&mut self) {
        self.durable = self.data.len();
        self.writes.clear();
    }

    /// Nothing of the unsynced part, all of it, a torn beginning, or holes where writes were.
    fn survive(&self, chance: &mut Chance) -> Self {
        let mut data = self.data.clone();
        match chance.below(4) {
            0 => data.truncate(self.durable),
            1 => {}
            2 => data.truncate(self.durable + chance.below(data.len() - self.durable + 1)),
            _ => {
                let mut start = self.durable;
                for &end in &self.writes {
                    if chance.half() {
                        data[start..end].fill(0);
                    }
                    start = end;
                }
            }
        }
        for range in &self.dropped {
            if chance.half() {
                let end = range.end.min(data.len());
                data[range.start.min(end)..end].fill(0);
            }
        }
        Self { durable: data.len(), data, ..Self::default() }
    }
}

/// SplitMix64: the same seed, the same choices, on every machine and in every version.
#[derive(Debug, Default)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or_default()
    }

    fn half(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let course = state.begin_naming()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.next_file();
        state.files.insert(number, Content::default());
        state.change_name(NameChange::Create(path.to_owned(), number));
        course.result()?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.begin()?.result()?;
        let number = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        let course = state.begin_naming()?;
        state.folders.entry(path.to_owned()).or_insert(false);
        course.result()
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?.result()?;
        let State { name_changes, durable_names, folders, .. } = &mut *state;
        name_changes.retain(|change| {
            let here = change.is_in(path);
            if here {
                change.apply(durable_names);
            }
            !here
        });
        for (folder, durable) in folders {
            *durable |= folder_of(folder) == path;
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let course = state.begin_naming()?;
        state.file(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        course.result()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        let course = state.begin_naming()?;
        state.file(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        course.result()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.begin()?.result()?;
        let here = state.names.keys().filter(|name| folder_of(name) == folder);
        Ok(here.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    /// Asks nothing of the disk that could fail, and is no operation.
    fn space(&self) -> io::Result<Space> {
        Ok(self.state().space.unwrap_or(Space { free: u64::MAX, total: u64::MAX }))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    number: u64,
}

impl SimulatedFile {
    fn with<T>(&self, then: impl FnOnce(&mut Content, &Course, usize) -> T) -> io::Result<T> {
        let mut state = self.disk.state();
        let course = state.begin()?;
        let part = state.chance.below(usize::MAX);
        let file = state.files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let value = then(file, &course, part);
        course.result().map(|()| value)
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file, course, part| match course {
            Course::Fails(_) => file.append(&bytes[..part % (bytes.len() + 1)]),
            Course::Succeeds | Course::PowerCut => file.append(bytes),
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|file, _, _| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(file.data.len());
            let length = buffer.len().min(file.data.len() - offset);
            buffer[..length].copy_from_slice(&file.data[offset..offset + length]);
            length
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file, course, _| match course {
            Course::Succeeds => file.sync(),
            Course::Fails(_) => {
                file.dropped.push(file.durable..file.data.len());
                file.sync();
            }
            Course::PowerCut => {}
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|file, _, _| file.data.len() as u64)
    }
}

#[cfg(test)]
mod tests;
