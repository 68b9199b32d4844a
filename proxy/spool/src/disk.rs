//! What the spool asks of a file system, as a trait: the real one, and one in memory whose power can be cut between any
//! two operations. Paths are relative to the spool's folder, with `/` between their parts.

mod real;
mod simulated;

use std::io;

use crate::copying::Leave;
use crate::space::Space;

pub use real::RealDisk;
pub use simulated::{Fault, SimulatedDisk};

/// A folder and the folders in it. Every call blocks; none comes from a runtime's own thread.
///
/// # Errors
///
/// Whatever the file system says. A call that failed may have had any part of its effect.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file that did not exist. Its name is durable after [`Disk::sync_folder`].
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and syncing.
    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder, unless it exists.
    fn create_folder(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; the empty path is the spool's own folder.
    fn sync_folder(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name, atomically. Both folders are to be synced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name; who has it open can read on.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The names of the files in a folder, in no order.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Leave to move and remove files; `None` while somebody copies them ([`crate::Copying`]). Nobody does unless a disk says so.
    fn leave_to_move(&self) -> io::Result<Option<Leave>> {
        Ok(Some(Leave::default()))
    }

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
}

/// A file that only ever grows.
///
/// # Errors
///
/// As for [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads from `offset`; 0 only at the end of the file or for an empty buffer.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes content and length durable (fdatasync). After an error nothing that was not durable before can be trusted,
    /// whatever a second call says: the kernel may have dropped it and forgotten the error.
    fn sync(&self) -> io::Result<()>;

    /// Octets in it.
    fn length(&self) -> io::Result<u64>;
}

/// Fills the buffer from `offset`.
///
/// # Errors
///
/// `UnexpectedEof` where the file ends before; what the disk says.
pub(crate) fn read_exact_at(file: &dyn DiskFile, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = file.read_at(buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}
