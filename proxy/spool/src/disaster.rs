//! Disaster mode: as long as a file of this name is in the spool, nothing in the queue expires. It outlives a restart, and a
//! person may make and remove it by hand while Postern is stopped.

use std::io;
use std::time::Duration;

use crate::disk::{Disk, read_exact_at};

const FILE: &str = "disaster";
/// More is not a number of seconds.
const LONGEST: u64 = 20;

/// Since when it is on, since 1970; `None`: it is off. A file that somebody made by hand says no time.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Duration>> {
    if !disk.list("")?.iter().any(|name| name == FILE) {
        return Ok(None);
    }
    Ok(Some(Duration::from_secs(since(disk).unwrap_or_default())))
}

fn since(disk: &dyn Disk) -> Option<u64> {
    let file = disk.open(FILE).ok()?;
    let length = usize::try_from(file.length().ok()?.min(LONGEST)).ok()?;
    let mut text = vec![0; length];
    read_exact_at(&*file, &mut text, 0).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// Switches it on or off, durably.
///
/// # Errors
///
/// What the disk says; it may be on or off then.
pub(crate) fn write(disk: &dyn Disk, since: Option<Duration>) -> io::Result<()> {
    match since {
        Some(since) => {
            let mut file = match disk.create(FILE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return disk.sync_folder(""),
                created => created?,
            };
            file.append(format!("{}\n", since.as_secs()).as_bytes())?;
            file.sync()?;
        }
        None => match disk.remove(FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    disk.sync_folder("")
}
