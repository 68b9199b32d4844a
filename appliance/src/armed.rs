//! Which servers are armed by what Postern has found out (DECISIONS 20): a small file in `state_dir`, so that the rule set which
//! is put up before the first look is the one that was right at the last.
//!
//! The gate writes it, the guard and `postern firewall` read it. It is written in place: the guard holds it open from before it
//! gave away the right to read other users' folders. A file that was torn by a power loss lacks its end and says nothing.

mod format;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use self::format::{parse, text};

/// The file's name in `state_dir`.
const NAME: &str = "armed";
/// As many octets are read: some 1,500 addresses and ports.
const MAX_OCTETS: usize = 64 * 1024;

/// Where it is.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// Makes an empty one where there is none, and opens it to be read. Links are not followed.
///
/// # Errors
///
/// It cannot be opened, or is no regular file.
pub fn open_or_make(state_dir: &Path) -> io::Result<File> {
    opened(state_dir, OpenOptions::new().write(true).create(true).truncate(false))?;
    open(state_dir)
}

/// Opens it to be read. Links are not followed.
///
/// # Errors
///
/// It is not there, cannot be opened, or is no regular file.
pub fn open(state_dir: &Path) -> io::Result<File> {
    opened(state_dir, OpenOptions::new().read(true))
}

fn opened(state_dir: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Nobody waits for the other end of a pipe.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    options.mode(0o644).custom_flags(i32::try_from(flags).unwrap_or_default());
    let file = options.open(path(state_dir))?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// What it says; nothing, if it was not written to its end.
///
/// # Errors
///
/// It cannot be read.
pub fn read(file: &File) -> io::Result<BTreeSet<SocketAddr>> {
    let mut octets = vec![0; MAX_OCTETS];
    let mut length = 0;
    loop {
        match file.read_at(&mut octets[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parse(&octets[..length]).unwrap_or_default())
}

/// Replaces what it says, durably.
///
/// # Errors
///
/// It cannot be written.
pub fn write(state_dir: &Path, armed: &BTreeSet<SocketAddr>) -> io::Result<()> {
    let file = opened(state_dir, OpenOptions::new().write(true).create(true).truncate(false))?;
    let text = text(armed);
    // Without an end first: what is read meanwhile is nothing, not half of each.
    file.set_len(0)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> BTreeSet<SocketAddr> {
        ["198.51.100.25:25", "198.51.100.25:587", "[2001:db8::25]:25"]
            .map(|text| text.parse().unwrap())
            .into()
    }

    #[test]
    fn what_was_written_is_read_also_by_who_has_it_open_already() {
        let folder = tempfile::tempdir().unwrap();
        let held = open_or_make(folder.path()).unwrap();
        assert!(read(&held).unwrap().is_empty(), "new");
        for armed in [servers(), BTreeSet::new(), servers()] {
            write(folder.path(), &armed).unwrap();
            assert_eq!(read(&held).unwrap(), armed);
        }
    }

    #[test]
    fn a_link_is_not_followed_and_a_pipe_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hosts", path(folder.path())).unwrap();
        assert!(open(folder.path()).is_err());
        std::fs::remove_file(path(folder.path())).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path(folder.path()),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(open(folder.path()).is_err());
    }
}
