//! Puts what was unpacked in place of what is there. Every step is a renaming that can be done again; how far it got is told by the
//! staging folder's name:
//!
//! ```text
//! restore.new      being unpacked; nothing was changed, the next restore removes it
//! restore.ready    verified and durable: the config's files go to their places, then the old state goes aside
//! restore.placing  the old state is aside: the new one moves in
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::lock;
use crate::name::Part;

pub(crate) const NEW: &str = "restore.new";
pub(crate) const READY: &str = "restore.ready";
const PLACING: &str = "restore.placing";
const ASIDE: &str = "before-restore-";
/// The plan's name in the staging folder.
pub(crate) const PLAN: &str = "plan.json";
/// Of a plan: some thousand files.
const MAX_PLAN: u64 = 4 << 20;

/// What is to be done beside the state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// When, in seconds since 1970; what is put aside is named after it.
    pub(crate) stamp: u64,
    pub(crate) outside: Vec<Outside>,
    /// Files elsewhere that stay in the backup.
    pub(crate) left: Vec<PathBuf>,
}

/// A file that goes outside the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outside {
    /// In the staging folder.
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) mode: u32,
    pub(crate) user: String,
    pub(crate) group: String,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Where the old state is; `None`: there was none.
    pub aside: Option<PathBuf>,
    /// Files outside the state folder that are in place now.
    pub placed: Vec<PathBuf>,
    /// Files that were in such a place, and are called so now.
    pub replaced: Vec<PathBuf>,
    /// Files that the config names elsewhere and that stay in the backup.
    pub left: Vec<PathBuf>,
}

/// Whether the name is one of a restore's own in the state folder.
pub(crate) fn is_ours(name: &str) -> bool {
    [NEW, READY, PLACING].contains(&name) || name.starts_with(ASIDE)
}

/// Whether a restore was committed and not ended: Postern must not start on what is there.
pub fn unfinished(state_dir: &Path) -> bool {
    staged(state_dir).is_some()
}

fn staged(state_dir: &Path) -> Option<PathBuf> {
    [PLACING, READY].map(|name| state_dir.join(name)).into_iter().find(|path| path.is_dir())
}

/// The plan of a restore that was committed.
///
/// # Errors
///
/// There is none, or it is somebody else's, who might want a file of theirs written anywhere.
pub fn plan_of(state_dir: &Path) -> Result<Plan, BackupError> {
    let folder = staged(state_dir).unwrap_or_else(|| state_dir.join(READY));
    let facts = fs::symlink_metadata(&folder).map_err(BackupError::file(&folder))?;
    if !facts.is_dir() || facts.uid() != rustix::process::geteuid().as_raw() {
        return Err(BackupError::file(&folder)(io::Error::other(
            "it belongs to another user, not to who restores",
        )));
    }
    let path = folder.join(PLAN);
    let mut text = Vec::new();
    let file = File::open(&path).map_err(BackupError::file(&path))?;
    file.take(MAX_PLAN).read_to_end(&mut text).map_err(BackupError::file(&path))?;
    serde_json::from_slice(&text).map_err(|error| BackupError::file(&path)(error.into()))
}

/// Does all of the plan, from wherever it was interrupted. The caller has the [`crate::StateLock`].
///
/// # Errors
///
/// A file or folder cannot be put in place; after the cause is gone it can be called again.
pub fn place(state_dir: &Path, plan: &Plan) -> Result<Done, BackupError> {
    let mut done = Done { left: plan.left.clone(), ..Done::default() };
    let (ready, placing) = (state_dir.join(READY), state_dir.join(PLACING));
    let aside = state_dir.join(format!("{ASIDE}{}", plan.stamp));
    if ready.is_dir() {
        for file in &plan.outside {
            put(&ready.join(&file.from), file, plan.stamp, &mut done)?;
        }
        put_aside(state_dir, &aside)?;
        fs::rename(&ready, &placing).map_err(BackupError::file(&ready))?;
        sync(state_dir)?;
    }
    let new = placing.join(Part::State.folder());
    for name in names(&new)? {
        fs::rename(new.join(&name), state_dir.join(&name)).map_err(BackupError::file(&new.join(&name)))?;
    }
    sync(state_dir)?;
    fs::remove_dir_all(&placing).map_err(BackupError::file(&placing))?;
    sync(state_dir)?;
    done.aside = aside.is_dir().then_some(aside);
    Ok(done)
}

/// Whether everything in the state folder can go aside by renaming.
///
/// # Errors
///
/// [`BackupError::Mounted`] where it cannot.
pub(crate) fn check_no_mounts(state_dir: &Path) -> Result<(), BackupError> {
    let device =
        |path: &Path| fs::symlink_metadata(path).map(|facts| facts.dev()).map_err(BackupError::file(path));
    let own = device(state_dir)?;
    for name in stays_not(state_dir)? {
        let path = state_dir.join(name);
        if device(&path)? != own {
            return Err(BackupError::Mounted(path));
        }
    }
    Ok(())
}

fn put_aside(state_dir: &Path, aside: &Path) -> Result<(), BackupError> {
    let old = stays_not(state_dir)?;
    if old.is_empty() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).create(aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(BackupError::file(aside)(error));
        }
        _ => {}
    }
    for name in old {
        let path = state_dir.join(&name);
        fs::rename(&path, aside.join(&name)).map_err(BackupError::file(&path))?;
    }
    sync(aside)?;
    sync(state_dir)
}

/// What is state, and no tool of a restore or of the file system.
fn stays_not(state_dir: &Path) -> Result<Vec<OsString>, BackupError> {
    let stays = |name: &OsString| {
        name.to_str().is_some_and(|name| is_ours(name) || [lock::NAME, "lost+found"].contains(&name))
    };
    Ok(names(state_dir)?.into_iter().filter(|name| !stays(name)).collect())
}

fn names(folder: &Path) -> Result<Vec<OsString>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BackupError::file(folder))?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()
        .map_err(BackupError::file(folder))
}

/// Copies a file to its place: it may be on another file system.
fn put(from: &Path, file: &Outside, stamp: u64, done: &mut Done) -> Result<(), BackupError> {
    let to = &file.to;
    let failed = || BackupError::file(to);
    let (Some(folder), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str())) else {
        return Err(failed()(io::ErrorKind::InvalidInput.into()));
    };
    let content = fs::read(from).map_err(BackupError::file(from))?;
    if fs::read(to).is_ok_and(|present| present == content) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed())?;
    let unfinished = folder.join(format!(".{name}.restoring"));
    let _ = fs::remove_file(&unfinished);
    write_new(&unfinished, &content, file).map_err(BackupError::file(&unfinished))?;
    if fs::symlink_metadata(to).is_ok() {
        let old = folder.join(format!("{name}.{ASIDE}{stamp}"));
        // After an interruption the first one put aside is the old one.
        if fs::symlink_metadata(&old).is_err() {
            fs::rename(to, &old).map_err(failed())?;
        }
        done.replaced.push(old);
    }
    fs::rename(&unfinished, to).map_err(failed())?;
    sync(folder)?;
    done.placed.push(to.clone());
    Ok(())
}

fn write_new(path: &Path, content: &[u8], about: &Outside) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if rustix::process::geteuid().is_root() {
        let user = User::from_name(&about.user).ok().flatten().map(|user| user.uid.as_raw());
        let group = Group::from_name(&about.group).ok().flatten().map(|group| group.gid.as_raw());
        fchown(&file, user, group)?;
    }
    file.set_permissions(fs::Permissions::from_mode(about.mode & 0o755))?;
    file.sync_all()
}

pub(crate) fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BackupError::file(folder))
}

#[cfg(test)]
mod tests;
