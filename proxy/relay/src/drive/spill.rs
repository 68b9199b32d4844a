//! Content that is too large for memory, in a file without a name: it is gone with the session, whatever happens.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::job::{Done, Job};
use crate::session::LegId;

/// How far it is written, from its beginning and without a gap.
#[derive(Clone, Copy, Debug)]
enum Progress {
    Written(u64),
    /// What comes next could not be, so that nothing behind it is.
    Failed,
}

impl Progress {
    fn has_come_to(self, octets: u64) -> bool {
        match self {
            Self::Written(written) => written >= octets,
            Self::Failed => true,
        }
    }
}

pub(super) struct Spill {
    folder: PathBuf,
    file: Option<Arc<File>>,
    length: u64,
    progress: Arc<watch::Sender<Progress>>,
}

/// The file for whoever reads it beside the session. What was handed out to be written may not be in it yet.
pub(super) struct Spilled {
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
}

impl Spilled {
    /// The file once its first `octets` are in it; where they could not be written, reading them fails at its end.
    pub(super) async fn written(mut self, octets: u64) -> Arc<File> {
        // Where nobody writes any more it stays as it is.
        let _ = self.progress.wait_for(|progress| progress.has_come_to(octets)).await;
        self.file
    }
}

/// The file of content that has one, once its first `octets` are in it.
pub(super) async fn written(spilled: Option<Spilled>, octets: u64) -> Option<Arc<File>> {
    match spilled {
        Some(spilled) => Some(spilled.written(octets).await),
        None => None,
    }
}

impl Spill {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, length: 0, progress: beginning() }
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<Spilled> {
        let file = Arc::clone(self.file.as_ref()?);
        Some(Spilled { file, progress: self.progress.subscribe() })
    }

    pub(super) fn forget(&mut self) {
        self.file = None;
        self.length = 0;
        self.progress = beginning();
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
        let end = self.length;
        self.file = file.as_ref().ok().cloned();
        let progress = Arc::clone(&self.progress);
        let mut before = progress.subscribe();
        Job::new(async move {
            // One after the other: where a later piece is in the file and an earlier one is not, there are zeros to be read.
            let come = before.wait_for(|progress| progress.has_come_to(position)).await;
            let is_next = come.is_ok_and(|come| matches!(*come, Progress::Written(_)));
            let written = match file {
                // The memory goes back where it was taken: allocators keep more of it where threads take turns.
                Ok(file) if is_next => {
                    in_background(move || file.write_all_at(&bytes, position).map(|()| bytes)).await.map(drop)
                }
                Ok(_) => Err(io::Error::other("what comes before it could not be written")),
                Err(error) => Err(error),
            };
            progress.send_replace(if written.is_ok() { Progress::Written(end) } else { Progress::Failed });
            Done::Stored(written)
        })
    }

    pub(super) fn fetch(&self, leg: LegId, position: u64, length: usize) -> Job {
        let spilled = self.file();
        Job::for_leg(leg, async move {
            let end = position.saturating_add(length as u64);
            let Some(file) = written(spilled, end).await else {
                return Done::Fetched(leg, Err(io::ErrorKind::NotFound.into()));
            };
            let mut bytes = vec![0; length];
            let read = in_background(move || file.read_exact_at(&mut bytes, position).map(|()| bytes));
            Done::Fetched(leg, read.await)
        })
    }
}

fn beginning() -> Arc<watch::Sender<Progress>> {
    Arc::new(watch::Sender::new(Progress::Written(0)))
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn done(mut job: Job) -> Done {
        poll_fn(|context| job.poll(context)).await
    }

    #[tokio::test]
    async fn who_reads_before_it_is_written_waits_and_never_finds_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path().into());
        let (first, second) = (spill.store(vec![b'a'; 1000]), spill.store(vec![b'b'; 1000]));
        let read = tokio::spawn(written(spill.file(), 2000));
        // The later piece is begun first, as a busy disk may do.
        let (second, first) = tokio::join!(done(second), done(first));
        assert!(matches!((first, second), (Done::Stored(Ok(())), Done::Stored(Ok(())))));
        let file = read.await.unwrap().unwrap();
        let mut bytes = vec![0; 2000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [[b'a'; 1000], [b'b'; 1000]].concat());
        assert!(written(spill.file(), 1000).await.is_some());
        spill.forget();
        assert!(written(spill.file(), 0).await.is_none());
    }

    #[tokio::test]
    async fn behind_what_could_not_be_written_nothing_is_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path().join("missing"));
        let first = spill.store(vec![b'a'; 10]);
        spill.folder = folder.path().into();
        let second = spill.store(vec![b'b'; 10]);
        let (second, first) = tokio::join!(done(second), done(first));
        assert!(matches!((first, second), (Done::Stored(Err(_)), Done::Stored(Err(_)))));
        let file = written(spill.file(), 20).await.unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
