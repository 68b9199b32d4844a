//! Where a backup is unpacked: a folder of the restorer's own inside the state folder, so that what is in it goes to its place by
//! renaming, and nobody else can reach into it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::archive::{About, Destination};
use crate::error::BackupError;
use crate::manifest::Manifest;
use crate::name::{Name, Part};
use crate::place::{NEW, Outside, PLAN, Plan, READY, check_no_mounts, sync};

/// Left free beside what is restored, so that the machine can log and deliver.
const RESERVE: u64 = 64 << 20;
/// A config, a key, a list of a million recipients: what goes outside the state folder is no larger.
pub(crate) const MAX_OUTSIDE: u64 = 64 << 20;

/// An unpacked backup that has replaced nothing yet. Dropped without [`Staging::commit`] it is removed.
#[derive(Debug)]
pub struct Staging {
    state_dir: PathBuf,
    /// Open, so that whoever owns the state folder cannot put another one in its place.
    folder: File,
    outside: Vec<Outside>,
    elsewhere: Vec<PathBuf>,
    committed: bool,
}

impl Staging {
    /// Makes the folder; one that an earlier try left is removed. The caller has the [`crate::StateLock`].
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn begin(state_dir: &Path) -> Result<Self, BackupError> {
        let path = state_dir.join(NEW);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::file(&path)(error));
            }
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(BackupError::file(&path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, &path, flags, Mode::empty());
        let folder = File::from(folder.map_err(|error| BackupError::file(&path)(error.into()))?);
        let mine =
            folder.metadata().map_err(BackupError::file(&path))?.uid() == rustix::process::geteuid().as_raw();
        if !mine {
            return Err(BackupError::file(&path)(io::Error::other("somebody else's folder is in its place")));
        }
        Ok(Self {
            state_dir: state_dir.into(),
            folder,
            outside: Vec::new(),
            elsewhere: Vec::new(),
            committed: false,
        })
    }

    /// What is in it, by a path that holds whatever becomes of its name.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    /// The unpacked state folder; it is there even if the backup has none.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn state(&self) -> Result<PathBuf, BackupError> {
        let path = self.path().join(Part::State.folder());
        make(&path)?;
        Ok(path)
    }

    /// What is to be done outside the state folder. `config` is where the config goes, or `None` to leave the present one; files
    /// elsewhere go to their places only if `elsewhere` says so.
    pub fn plan(&self, stamp: u64, config: Option<&Path>, elsewhere: bool) -> Plan {
        let Some(config) = config else {
            return Plan { stamp, outside: Vec::new(), left: Vec::new() };
        };
        let folder = config.parent().unwrap_or_else(|| Path::new("."));
        let (mut outside, mut left) = (Vec::new(), Vec::new());
        for one in &self.outside {
            let steps = |part: Part| one.from.strip_prefix(part.folder()).ok();
            let to = if steps(Part::Config).is_some() {
                config.to_owned()
            } else if let Some(below) = steps(Part::Beside) {
                folder.join(below)
            } else {
                let number = steps(Part::Elsewhere).and_then(|name| name.to_str()?.parse::<usize>().ok());
                let Some(path) = number.and_then(|number| self.elsewhere.get(number)) else { continue };
                if !elsewhere {
                    left.push(path.clone());
                    continue;
                }
                path.clone()
            };
            outside.push(Outside { to, ..one.clone() });
        }
        Plan { stamp, outside, left }
    }

    /// From here on the restore takes place, if need be after a restart: everything is durable, and [`crate::place()`] does the rest.
    ///
    /// # Errors
    ///
    /// Nothing was changed then.
    pub fn commit(mut self, plan: &Plan) -> Result<(), BackupError> {
        check_no_mounts(&self.state_dir)?;
        let path = self.path();
        let state = self.state()?;
        if rustix::process::geteuid().is_root() {
            let owner = fs::metadata(&self.state_dir).map_err(BackupError::file(&self.state_dir))?;
            give(&state, owner.uid(), owner.gid()).map_err(BackupError::file(&state))?;
        }
        let text = serde_json::to_vec(plan).map_err(|error| BackupError::file(&path)(error.into()))?;
        fs::write(path.join(PLAN), text).map_err(BackupError::file(&path))?;
        rustix::fs::syncfs(&self.folder).map_err(|error| BackupError::file(&path)(error.into()))?;
        fs::rename(self.state_dir.join(NEW), self.state_dir.join(READY)).map_err(BackupError::file(&path))?;
        self.committed = true;
        sync(&self.state_dir)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(self.state_dir.join(NEW));
        }
    }
}

/// All of it, links themselves rather than what they lead to. Nobody else can be inside yet.
fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    lchown(path, Some(user), Some(group))
}

fn make(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(BackupError::file(path))
}

impl Destination for Staging {
    fn begin(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let room = rustix::fs::fstatvfs(&self.folder)
            .map_err(|error| BackupError::file(&self.state_dir)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if manifest.octets.saturating_add(RESERVE) > free {
            return Err(BackupError::NoRoom {
                folder: self.state_dir.clone(),
                needed: manifest.octets,
                free,
            });
        }
        self.elsewhere = manifest.elsewhere.iter().map(|one| one.path.clone()).collect();
        Ok(())
    }

    fn file(&mut self, name: &Name, about: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError> {
        let path = self.path().join(name.whole());
        path.parent().map_or(Ok(()), make)?;
        let unsound = |why: &str| BackupError::NotSound(format!("{name}: {why}"));
        let opened =
            OpenOptions::new().write(true).create_new(true).mode(about.mode & 0o700 | 0o600).open(&path);
        let mut file = match opened {
            Ok(file) => file,
            // A name twice, or a file where a folder is to be.
            Err(error)
                if [io::ErrorKind::AlreadyExists, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Err(unsound("it is there twice"));
            }
            Err(error) => return Err(BackupError::file(&path)(error)),
        };
        let most = if name.part == Part::State { u64::MAX } else { MAX_OUTSIDE };
        let copied = io::copy(&mut content.take(most), &mut file).map_err(BackupError::file(&path))?;
        if copied == MAX_OUTSIDE && name.part != Part::State {
            return Err(unsound("it is too large for a file of a config's"));
        }
        if name.part != Part::State {
            let (user, group) = (about.user.to_owned(), about.group.to_owned());
            self.outside.push(Outside {
                from: name.whole(),
                to: PathBuf::new(),
                mode: about.mode,
                user,
                group,
            });
        }
        Ok(())
    }
}
