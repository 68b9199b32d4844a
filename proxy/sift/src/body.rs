//! A message's content as something that can be handed to another process and that nobody changes meanwhile.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FileType, MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat,
    memfd_create,
};

use crate::error::SiftError;

/// Octets that are read at once where a body is digested.
const PIECE: usize = 64 << 10;
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// A body: a regular file that is open for reading only, or memory that is sealed.
#[derive(Debug)]
pub struct Body {
    file: OwnedFd,
    length: u64,
}

impl Body {
    /// Puts octets into sealed memory (memfd_create(2)).
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or memory are left.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("body", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(bytes)?;
        fcntl_add_seals(&file, SEALS)?;
        Ok(Self { file: file.into(), length: bytes.len() as u64 })
    }

    /// Takes an open file from its beginning to its present end.
    ///
    /// # Errors
    ///
    /// [`SiftError::Body`] for what is no regular file, or could be written to through this descriptor.
    pub fn from_file(file: OwnedFd) -> Result<Self, SiftError> {
        let facts = fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(SiftError::Body("it is no regular file"));
        }
        let mode = fcntl_getfl(&file).map_err(io::Error::from)? & OFlags::RWMODE;
        let sealed = || fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
        if mode != OFlags::RDONLY && !sealed() {
            return Err(SiftError::Body("its descriptor can be written to"));
        }
        let length = u64::try_from(facts.st_size).map_err(|_| SiftError::Body("it has no length"))?;
        Ok(Self { file, length })
    }

    /// Octets.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The same for everybody who has the same octets, and for nobody else.
    pub(crate) fn digest(&self) -> io::Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; PIECE];
        let mut position = 0;
        while position < self.length {
            let read = rustix::io::pread(&self.file, &mut buffer, position)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            position += read as u64;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Another descriptor of the same.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, length: self.length })
    }
}

impl AsFd for Body {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_still_change_is_no_body() {
        let written = tempfile::tempfile().unwrap();
        assert!(matches!(Body::from_file(written.into()), Err(SiftError::Body(_))));
        let (reader, _writer) = io::pipe().unwrap();
        assert!(matches!(Body::from_file(reader.into()), Err(SiftError::Body(_))));
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), b"abc").unwrap();
        let body = Body::from_file(File::open(named.path()).unwrap().into()).unwrap();
        assert_eq!(body.length(), 3);
        let sealed = Body::from_bytes(b"abc").unwrap();
        assert_eq!(sealed.digest().unwrap(), body.digest().unwrap());
        let mut writable = File::from(sealed.try_clone().unwrap().file);
        assert!(writable.write_all(b"x").is_err());
        assert_eq!(Body::from_file(sealed.file).unwrap().length(), 3);
    }
}
