//! Content that is too large for memory, in a file without a name: it is gone with the session, whatever happens.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::job::{Done, Job};
use crate::session::LegId;

pub(super) struct Spill {
    folder: PathBuf,
    file: Option<Arc<File>>,
    length: u64,
}

impl Spill {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, length: 0 }
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    pub(super) fn forget(&mut self) {
        self.file = None;
        self.length = 0;
    }

    /// Writes behind what was stored before. The file is made here, in the path: making one without a name is a
    /// matter of memory.
    pub(super) fn store(&mut self, bytes: Vec<u8>) -> Job {
        let file = match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => tempfile::tempfile_in(&self.folder).map(Arc::new),
        };
        let position = self.length;
        self.length += bytes.len() as u64;
        self.file = file.as_ref().ok().cloned();
        Job::new(async move {
            let written = match file {
                // The memory goes back where it was taken: allocators keep more of it where threads take turns.
                Ok(file) => {
                    in_background(move || file.write_all_at(&bytes, position).map(|()| bytes)).await.map(drop)
                }
                Err(error) => Err(error),
            };
            Done::Stored(written)
        })
    }

    pub(super) fn fetch(&self, leg: LegId, position: u64, length: usize) -> Job {
        let file = self.file.clone();
        Job::for_leg(leg, async move {
            let Some(file) = file else { return Done::Fetched(leg, Err(io::ErrorKind::NotFound.into())) };
            let mut bytes = vec![0; length];
            let read = in_background(move || file.read_exact_at(&mut bytes, position).map(|()| bytes));
            Done::Fetched(leg, read.await)
        })
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
