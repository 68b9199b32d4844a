//! The authority's two files: whole or not there, and nobody else's to read or write.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::AuthorityError;

/// Permission bits of the key.
pub(super) const OWNER_ONLY: u32 = 0o600;
/// Permission bits of the certificate.
pub(super) const EVERYBODY_READS: u32 = 0o644;
/// The bits that count.
const PERMISSIONS: u32 = 0o777;
/// What the owner may do to the own file is the owner's affair.
const OWNER: u32 = 0o700;
/// Octets of a file; a pair made here has less than 1 KiB in each.
const MAX_FILE: u64 = 64 * 1024;

/// `None`: it is not there. An error, if anybody but the owner may do more with it than `allowed` says.
pub(super) fn read(path: &Path, allowed: u32) -> Result<Option<Zeroizing<Vec<u8>>>, AuthorityError> {
    let failed = |error| AuthorityError::Io { path: path.into(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Of the open file, not of the name.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & PERMISSIONS;
    if mode & !(allowed | OWNER) != 0 {
        return Err(AuthorityError::TooOpen { path: path.into(), mode, allowed });
    }
    // With room for all of it: a vector that grows leaves copies of a key behind.
    let room = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or_default() + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Writes two files that were not there into the folder: path, content, permission bits. Both are complete and on disk under other names
/// before either gets its own; a crash between the two renames leaves the first, whole.
pub(super) fn write_both(
    folder: &Path,
    first: (&Path, &[u8], u32),
    second: (&Path, &[u8], u32),
) -> Result<(), AuthorityError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| AuthorityError::Io { path, error }
    };
    let mut ready = Vec::with_capacity(2);
    for (path, content, mode) in [first, second] {
        ready.push((write_aside(path, content, mode).map_err(at(path))?, path));
    }
    for (aside, path) in ready {
        std::fs::rename(aside, path).map_err(at(path))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn write_aside(path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut aside = OsString::from(path);
    aside.push(".new");
    let aside = PathBuf::from(aside);
    // What a crash left there has whoever knows which permissions.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&aside)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(aside)
}
