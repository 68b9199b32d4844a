//! What belongs into a backup.

use std::ffi::{OsStr, OsString};
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};

use crate::archive::Source;
use crate::error::BackupError;
use crate::lock;
use crate::name::{MAX_DEPTH, Name, Part};
use crate::place::is_ours;
use crate::staging::MAX_OUTSIDE;

/// How names of files end that are being written.
const UNFINISHED: &[u8] = b".new";
/// In the state folder, and not part of the state: the command line's socket, content on its way, the lock, the trace, which is large
/// and nothing hangs on, and what has ways of its own into a backup.
const NOT_COPIED: [&str; 10] = [
    "door",
    "spill",
    "spool",
    "store",
    "store.export",
    "store.partial",
    "model",
    "trace",
    lock::NAME,
    "lost+found",
];

/// The files of the state folder, besides the spool, the store and the model, whose lengths and consistency are their own affair.
/// Links are not followed, and neither they nor sockets are kept.
///
/// # Errors
///
/// A folder cannot be read, or a file has a name that the archive has no place for.
pub fn sources(state_dir: &Path) -> Result<Vec<Source>, BackupError> {
    let mut found = Vec::new();
    walk(state_dir, Path::new(""), 0, &mut found)?;
    Ok(found)
}

fn walk(state_dir: &Path, below: &Path, depth: usize, found: &mut Vec<Source>) -> Result<(), BackupError> {
    let folder = state_dir.join(below);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(BackupError::file(&folder))?
        .into_iter()
        .map(|entry| finished(entry.file_name()))
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        let skipped = depth == 0
            && name.to_str().is_some_and(|name| {
                NOT_COPIED.contains(&name) || is_ours(name) || name.contains(".damaged-")
            });
        if skipped {
            continue;
        }
        let relative = below.join(&name);
        let path = state_dir.join(&relative);
        match std::fs::symlink_metadata(&path) {
            Ok(facts) if facts.is_dir() && depth + 1 < MAX_DEPTH => {
                walk(state_dir, &relative, depth + 1, found)?
            }
            Ok(facts) if facts.is_file() => found.extend(state_file(&relative, path, &facts)?),
            Ok(_) => tracing::warn!(path = %path.display(), "neither file nor folder, not in the backup"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::file(&path)(error)),
        }
    }
    Ok(())
}

/// What it is now: opened, so that it is copied whatever becomes of its name meanwhile. With more of them than a process may have files
/// open, the last ones are opened when their turn comes.
fn state_file(relative: &Path, path: PathBuf, facts: &Metadata) -> Result<Option<Source>, BackupError> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    match opened.and_then(|file| Ok((file.metadata()?, file))) {
        Ok((facts, file)) => {
            let source = source(Part::State, relative, path, &facts)?;
            Ok(Some(Source { opened: Some(Arc::new(file)), ..source }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => source(Part::State, relative, path, facts).map(Some),
    }
}

/// What is written beside a file, to be given its name in a moment, may be gone when it is to be copied: the file itself is looked for instead,
/// which may not have been there a moment ago.
fn finished(name: OsString) -> OsString {
    match name.as_bytes().strip_suffix(UNFINISHED) {
        Some(finished) => OsStr::from_bytes(finished).to_owned(),
        None => name,
    }
}

/// The files that a config names, as sources: `config` itself, those below its folder, and those elsewhere in their order. What lies
/// in the state folder is there already.
///
/// # Errors
///
/// One cannot be looked at.
pub fn files_named(
    config: &Path,
    state_dir: &Path,
    named: &[PathBuf],
) -> Result<(Vec<Source>, Vec<PathBuf>), BackupError> {
    let folder = config.parent().unwrap_or_else(|| Path::new("."));
    let own = config.file_name().map_or_else(|| Path::new("postern.toml"), Path::new);
    let mut found = vec![looked_at(Part::Config, own, config)?];
    let mut elsewhere = Vec::new();
    for path in named.iter().filter(|path| !path.starts_with(state_dir)) {
        match path.strip_prefix(folder) {
            Ok(below) if Name::new(Part::Beside, below).is_some() => {
                found.push(looked_at(Part::Beside, below, path)?);
            }
            _ => {
                found.push(looked_at(Part::Elsewhere, Path::new(&elsewhere.len().to_string()), path)?);
                elsewhere.push(path.clone());
            }
        }
    }
    Ok((found, elsewhere))
}

fn looked_at(part: Part, name: &Path, path: &Path) -> Result<Source, BackupError> {
    // Through links: what `live/` leads to is what is served.
    let facts = std::fs::metadata(path).map_err(BackupError::file(path))?;
    if facts.len() >= MAX_OUTSIDE {
        let error = io::Error::other("it is too large for a backup of the config");
        return Err(BackupError::File { path: path.into(), error });
    }
    source(part, name, path.to_owned(), &facts)
}

fn source(part: Part, name: &Path, path: PathBuf, facts: &Metadata) -> Result<Source, BackupError> {
    let Some(name) = Name::new(part, name) else {
        let error = io::Error::other("its name is too long or too odd for a backup; give it another one");
        return Err(BackupError::File { path, error });
    };
    let user = User::from_uid(Uid::from_raw(facts.uid())).ok().flatten().map(|user| user.name);
    let group = Group::from_gid(Gid::from_raw(facts.gid())).ok().flatten().map(|group| group.name);
    // Longer names than tar has room for are as good as none.
    let short = |name: Option<String>| name.filter(|name| name.len() < 32).unwrap_or_default();
    let owner = (short(user), short(group));
    Ok(Source { name, path, opened: None, length: facts.len(), mode: facts.mode() & 0o777, owner })
}

impl Source {
    /// A file of the state folder of which exactly `length` octets count.
    ///
    /// # Errors
    ///
    /// Its name has no place in the archive.
    pub fn in_state(state_dir: &Path, relative: &Path, length: u64) -> Result<Self, BackupError> {
        let path = state_dir.join(relative);
        let Some(name) = Name::new(Part::State, relative) else {
            return Err(BackupError::File {
                path,
                error: io::Error::other("its name is no file's of Postern's"),
            });
        };
        Ok(Self { name, path, opened: None, length, mode: 0o600, owner: Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn what_is_copied_is_the_state_and_not_what_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        for path in [
            "loop.key",
            "acme/account.pem",
            "spool/log/1.log",
            "spill/x",
            "lock",
            "restore.new/state/x",
            "before-restore-1/loop.key",
            "store.damaged-1/db",
        ] {
            std::fs::create_dir_all(state.join(path).parent().unwrap()).unwrap();
            std::fs::write(state.join(path), path).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", state.join("link")).unwrap();
        let names: Vec<_> = sources(state).unwrap().iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["state/acme/account.pem", "state/loop.key"]);
    }

    #[test]
    fn a_file_that_is_being_written_is_copied_under_its_own_name_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("dkim");
        std::fs::create_dir(&keys).unwrap();
        for name in ["a.key", "a.key.new", "b.key.new"] {
            std::fs::write(keys.join(name), name).unwrap();
        }
        let names: Vec<_> = sources(folder.path()).unwrap().iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["state/dkim/a.key"]);
    }

    #[test]
    fn what_is_replaced_or_removed_between_the_look_and_the_copy_is_copied_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        for name in ["a", "b", "c"] {
            std::fs::write(state.join(name), name.repeat(9)).unwrap();
        }
        let found = sources(state).unwrap();
        std::fs::remove_file(state.join("a")).unwrap();
        std::fs::write(state.join("new"), "shorter").unwrap();
        std::fs::rename(state.join("new"), state.join("b")).unwrap();
        let manifest = Manifest {
            format: 1,
            version: String::new(),
            hostname: String::new(),
            made: 0,
            state_dir: PathBuf::new(),
            elsewhere: Vec::new(),
            octets: 0,
        };
        let whole = crate::archive::write(manifest, &found, Vec::new(), &mut |_| {}).unwrap();
        let whole = String::from_utf8_lossy(&whole);
        assert!(["a", "b", "c"].iter().all(|name| whole.contains(&name.repeat(9))), "{whole}");
    }

    #[test]
    fn files_of_the_config_are_beside_it_elsewhere_or_in_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let (etc, state, other) =
            (folder.path().join("etc"), folder.path().join("state"), folder.path().join("o.pem"));
        std::fs::create_dir_all(etc.join("tls")).unwrap();
        std::fs::create_dir_all(&state).unwrap();
        let named = [etc.join("tls/key.pem"), other.clone(), state.join("own.pem")];
        for path in named.iter().chain([&etc.join("postern.toml")]) {
            std::fs::write(path, "x").unwrap();
        }
        let (found, elsewhere) = files_named(&etc.join("postern.toml"), &state, &named).unwrap();
        let names: Vec<_> = found.iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["config/postern.toml", "beside/tls/key.pem", "elsewhere/0"]);
        assert_eq!(elsewhere, [other]);
    }
}
