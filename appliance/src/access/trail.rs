//! The trail: who changed what, when, from where. Lines of JSON that are only ever added, in two files: when the newer is full, it
//! takes the place of the older. No content of mail, no passwords, no codes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const NAME: &str = "trail.jsonl";
const OLDER: &str = "trail.old.jsonl";
/// Of each file: some 20,000 changes.
const MAX_FILE: u64 = 4 << 20;
/// Characters of what a change was about.
const MAX_ABOUT: usize = 500;
/// The most entries of one answer.
pub(crate) const MAX_LAST: usize = 1000;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Entry {
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// A user, `token NAME`, or `command line (user NUMBER)`.
    pub(crate) who: String,
    /// An address; empty for the command line.
    pub(crate) from: String,
    /// The order.
    pub(crate) what: String,
    /// On what: names, identifiers, domains.
    pub(crate) about: String,
}

pub(crate) struct Trail {
    folder: PathBuf,
    writing: Mutex<()>,
}

impl Trail {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, writing: Mutex::default() }
    }

    /// Adds an entry, durably; also to the log. What cannot be written is in the log alone, which says so.
    pub(crate) async fn add(self: &Arc<Self>, mut entry: Entry) {
        entry.about = clean(&entry.about);
        let Entry { who, from, what, about, .. } = &entry;
        tracing::info!(target: "postern::access", %who, %from, %what, %about, "changed");
        let trail = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || trail.write(&entry)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = written {
            tracing::error!(%error, "a change is not in the trail");
        }
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(NAME);
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let full = std::fs::metadata(&path).is_ok_and(|facts| facts.len() + line.len() as u64 > MAX_FILE);
        if full {
            std::fs::rename(&path, self.folder.join(OLDER))?;
        }
        let is_new = full || !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(&line)?;
        file.sync_data()?;
        if is_new {
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }

    /// The last ones, the latest first.
    pub(crate) async fn last(self: &Arc<Self>, last: usize) -> io::Result<Vec<Entry>> {
        let trail = Arc::clone(self);
        let read = move || {
            let mut entries = Vec::new();
            for name in [NAME, OLDER] {
                let text = trail.read(name)?;
                // A line that a crash cut off is no entry.
                let lines = text.split(|octet| *octet == b'\n').rev();
                entries.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
                if entries.len() >= last {
                    break;
                }
            }
            entries.truncate(last);
            Ok(entries)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match File::open(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(text),
            opened => {
                let mut file = opened?;
                let length = file.metadata()?.len();
                file.seek(SeekFrom::Start(length.saturating_sub(MAX_FILE)))?;
                file.take(MAX_FILE).read_to_end(&mut text)?;
            }
        }
        Ok(text)
    }
}

/// In one line, and not too long.
fn clean(about: &str) -> String {
    let plain = about.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    plain.take(MAX_ABOUT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        let what = "queue release".to_owned();
        Entry {
            at: number,
            who: "ann".into(),
            from: "192.0.2.1".into(),
            what,
            about: format!("{number}\n\"x\""),
        }
    }

    #[tokio::test]
    async fn entries_are_kept_in_order_and_one_that_was_cut_off_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Arc::new(Trail::new(folder.path().into()));
        assert!(trail.last(5).await.unwrap().is_empty());
        for number in 0..3 {
            trail.add(entry(number)).await;
        }
        let mut file = OpenOptions::new().append(true).open(folder.path().join(NAME)).unwrap();
        file.write_all(b"{\"at\":3,\"who\"").unwrap();
        let last = trail.last(2).await.unwrap();
        assert_eq!(last.iter().map(|entry| entry.at).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(last[0].about, "2?\"x\"");
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn it_is_bounded_and_what_was_written_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Arc::new(Trail::new(folder.path().into()));
        let filler = "x\n".repeat(usize::try_from(MAX_FILE).unwrap() / 2);
        for round in 0..3 {
            std::fs::write(folder.path().join(NAME), &filler).unwrap();
            trail.add(entry(round)).await;
        }
        let size: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size < 2 * MAX_FILE + 4096, "{size}");
        assert_eq!(trail.last(1).await.unwrap()[0].at, 2);
    }
}
