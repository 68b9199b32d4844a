//! Gives the state folder to the gate's user. Root walks through a folder that somebody else may have filled: nothing is
//! followed, and what has another name elsewhere is left alone.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat};

use super::account::Account;
use super::error::RoleError;

/// Deeper than the spool and all that is planned; a bound for the walk.
const MAX_DEPTH: usize = 16;

/// Makes the folder where it is missing.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn make(folder: &Path) -> Result<(), RoleError> {
    let failed = |error| RoleError::StateFolder { path: folder.into(), error };
    if !folder.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.map_err(failed)?;
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o750))
            .map_err(failed)?;
    }
    Ok(())
}

/// Makes the folder where it is missing, and the user the owner of all that is in it.
///
/// # Errors
///
/// The folder cannot be made, or is one of the system's own.
pub(super) fn hand_over(folder: &Path, account: &Account) -> Result<(), RoleError> {
    make(folder)?;
    let failed = |error| RoleError::StateFolder { path: folder.into(), error };
    let real = folder.canonicalize().map_err(failed)?;
    // `/`, `/var`, `/home`: what is in there is not ours.
    if real.components().count() < 3 {
        return Err(failed(io::Error::other("it is a folder of the system's")));
    }
    let top = openat(CWD, &real, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let top = top.map_err(|error| failed(error.into()))?;
    let facts = fstat(&top).map_err(|error| failed(error.into()))?;
    let walk = Walk { user: account.user, group: account.group, device: facts.st_dev };
    walk.take_over(&top, &facts).and_then(|()| walk.enter(&top, 0)).map_err(failed)
}

struct Walk {
    user: u32,
    group: u32,
    /// What is mounted inside is somebody else's.
    device: u64,
}

impl Walk {
    fn enter(&self, folder: &OwnedFd, depth: usize) -> io::Result<()> {
        if depth >= MAX_DEPTH {
            return Err(io::Error::other("its folders are nested too deeply"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let names: Vec<CString> = Dir::new(openat(folder, c".", flags, Mode::empty())?)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().to_owned()).ok())
            .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
            .collect();
        names.iter().try_for_each(|name| self.visit(folder, name, depth))
    }

    fn visit(&self, folder: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match openat(folder, name, flags, Mode::empty()) {
            // It went away meanwhile.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            found => found?,
        };
        let facts = fstat(&found)?;
        if facts.st_dev != self.device {
            return Ok(());
        }
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Directory => {
                self.take_over(&found, &facts)?;
                self.enter(&found, depth + 1)
            }
            // A second name may be in a folder that is nobody's business but root's.
            FileType::RegularFile if facts.st_nlink == 1 => self.take_over(&found, &facts),
            _ => Ok(()),
        }
    }

    fn take_over(&self, file: &OwnedFd, facts: &Stat) -> io::Result<()> {
        if facts.st_uid == self.user {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        Ok(chownat(file, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Needs no root: the user is the one that the files belong to already, so that only the walk is tried.
    fn own() -> Account {
        let facts = std::fs::metadata("/proc/self").unwrap();
        Account { user: facts.uid(), group: facts.gid(), groups: Vec::new(), name: String::new() }
    }

    #[test]
    fn a_folder_of_the_systems_is_not_given_away() {
        for folder in ["/", "/var", "/var/../etc"] {
            assert!(
                matches!(hand_over(Path::new(folder), &own()), Err(RoleError::StateFolder { .. })),
                "{folder}"
            );
        }
    }

    #[test]
    fn a_missing_folder_is_made_and_a_full_one_walked() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("a/state");
        hand_over(&state, &own()).unwrap();
        std::fs::create_dir_all(state.join("spool/log")).unwrap();
        std::fs::write(state.join("spool/log/1.log"), b"x").unwrap();
        std::os::unix::fs::symlink("/", state.join("spool/out")).unwrap();
        hand_over(&state, &own()).unwrap();
        let deep = (0..20).fold(state, |path, _| path.join("d"));
        std::fs::create_dir_all(&deep).unwrap();
        assert!(hand_over(&scratch.path().join("a/state"), &own()).is_err());
    }
}
