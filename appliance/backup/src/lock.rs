//! One at a time in a state folder: a Postern, or a restore.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;
use std::time::Duration;

use crate::error::BackupError;

/// The file's name in the state folder; it stays there.
pub(crate) const NAME: &str = "lock";

/// Of a Postern that was killed, the kernel ends one process after the other: who starts it again at once waits for that, three
/// seconds at most.
const TRIES: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(50);

/// Held for as long as it lives, at the latest until the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes it, and waits a little for one that is about to be free. The file belongs to whoever owns the folder.
    ///
    /// # Errors
    ///
    /// [`BackupError::InUse`]; the file cannot be made.
    pub fn take(state_dir: &Path) -> Result<Self, BackupError> {
        let path = state_dir.join(NAME);
        // A link that somebody put there is not followed.
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path)
            .map_err(BackupError::file(&path))?;
        let mut tries = 0;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if tries < TRIES => tries += 1,
                TryLockError::WouldBlock => return Err(BackupError::InUse(state_dir.into())),
                TryLockError::Error(error) => return Err(BackupError::file(&path)(error)),
            }
            #[expect(clippy::disallowed_methods, reason = "nothing runs beside it yet")]
            std::thread::sleep(BETWEEN);
        }
        if rustix::process::geteuid().is_root() {
            let owner = std::fs::metadata(state_dir).map_err(BackupError::file(state_dir))?;
            fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(BackupError::file(&path))?;
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_kept_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path()).unwrap();
        assert!(matches!(StateLock::take(folder.path()), Err(BackupError::InUse(_))));
        drop(first);
        StateLock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), folder.path().join(NAME)).unwrap();
        assert!(StateLock::take(folder.path()).is_err());
        assert!(!folder.path().join("other").exists());
    }
}
