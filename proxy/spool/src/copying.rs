//! A copy of a spool while it works: files that only ever grow, up to the lengths that they had at one moment.
//!
//! The log is one sequence, of which every promise covers a beginning: with the segments' lengths taken after their names, and while
//! nothing is moved or removed ([`Disk::leave_to_move`]), what is copied is such a beginning. Every message that was promised before is
//! in it; one that was delivered since is in it too.
//!
//! [`Disk::leave_to_move`]: crate::Disk::leave_to_move

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// The file whose lock says that somebody copies, or that files are being moved. Kept by the kernel: who is killed holds
/// nothing back.
const LOCK: &str = "copying";

/// A spool at one moment. While this lives, its files stay where they are.
#[derive(Debug)]
pub struct Copying {
    _held: File,
    files: Vec<(PathBuf, u64)>,
}

impl Copying {
    /// Takes the moment. `None`: files are being moved just now; that takes seconds.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or its lock not be opened. `NotFound`: there is no spool.
    pub fn begin(spool: &Path) -> io::Result<Option<Self>> {
        let held = open_lock(spool)?;
        match held.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut files = Vec::new();
        for (folder, suffix) in [("log", ".log"), ("own", ".msg"), ("damaged", "")] {
            let mut names = names(&spool.join(folder))?;
            // The oldest segment first: once a later one was seen, the earlier ones had ended.
            names.sort();
            for name in names.into_iter().filter(|name| name.ends_with(suffix) && !name.ends_with(".tmp")) {
                let path = Path::new(folder).join(name);
                match fs::symlink_metadata(spool.join(&path)) {
                    Ok(facts) => files.push((path, facts.len())),
                    // One that was begun and could not be written, or was set aside by a start.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some(Self { _held: held, files }))
    }

    /// Its files, by their path in the spool's folder, each with as many octets as count.
    pub fn files(&self) -> &[(PathBuf, u64)] {
        &self.files
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// Of the folder's owner, whoever is first: the spool's own process must be able to open it too.
fn open_lock(spool: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
    let file = options.open(spool.join(LOCK))?;
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(spool)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

/// Leave to move and remove files, while it lives.
#[derive(Debug, Default)]
pub struct Leave {
    _held: Option<File>,
}

impl Leave {
    /// `None`: somebody copies the folder.
    pub(crate) fn of(spool: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(spool)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _held: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
