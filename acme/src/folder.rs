//! The folder: small files that nobody else may read, each written whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::AcmeError;

/// Octets of a file; a certificate with its chain and its key takes some 10 KiB, with 100 names some more.
const MAX_FILE: u64 = 256 * 1024;
/// Nobody but the owner.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A folder for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes it where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, AcmeError> {
        std::fs::create_dir_all(path)
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)))
            .map_err(AcmeError::file(path))?;
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `None`: there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, AcmeError> {
        let path = self.path(name);
        let read = || -> io::Result<Zeroizing<Vec<u8>>> {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            if length > MAX_FILE {
                return Err(io::Error::other("too large to be one of Postern's"));
            }
            // With room for all of it: a vector that grows leaves copies of a key behind.
            let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
            file.take(MAX_FILE).read_to_end(&mut content)?;
            Ok(content)
        };
        match read() {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AcmeError::file(&path)(error)),
        }
    }

    /// Replaces a file, durably: after a crash it is the old one or the new one.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), AcmeError> {
        let (path, aside) = (self.path(name), self.path(&format!("{name}.new")));
        let write = || -> io::Result<()> {
            match std::fs::remove_file(&aside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&aside)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(AcmeError::file(&path))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), AcmeError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(AcmeError::file(&path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_owners_alone_and_replaced_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("certificates")).unwrap();
        assert!(folder.read("a.pem").unwrap().is_none());
        // What a crash left.
        std::fs::write(folder.path("a.pem.new"), "half").unwrap();
        for content in [&b"one"[..], b"two"] {
            folder.write("a.pem", content).unwrap();
            assert_eq!(&**folder.read("a.pem").unwrap().unwrap(), content);
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path("a.pem")), 0o600);
        assert_eq!(mode(&folder.path("")), 0o700);
        folder.remove("a.pem").unwrap();
        folder.remove("a.pem").unwrap();
        assert!(folder.read("a.pem").unwrap().is_none());
    }
}
