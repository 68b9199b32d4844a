//! The last changes of the config that were made here, in `state_dir/config-history`: who, when, the difference, and both texts, so
//! that each can be undone. For Postern's user alone: the texts have their secrets.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::difference::{Line, count};

/// The folder, in `state_dir`.
pub(crate) const FOLDER: &str = "config-history";
/// Changes that are kept.
pub(crate) const KEPT: usize = 20;
/// Two texts as JSON, and their difference.
const MAX_FILE: u64 = 16 << 20;

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Change {
    /// By which it is named.
    pub(crate) number: u64,
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// A user, `token NAME`, or `command line (user NUMBER)`.
    pub(crate) who: String,
    /// An address; empty for the command line.
    pub(crate) from: String,
    /// `edited`, `KEY set`, or `NUMBER undone`.
    pub(crate) what: String,
    /// Lines that are new.
    pub(crate) added: usize,
    /// Lines that are gone.
    pub(crate) removed: usize,
}

/// All that is kept of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    pub(crate) change: Change,
    /// Without secrets.
    pub(crate) difference: Vec<Line>,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// Who changes something, how.
#[derive(Clone, Debug)]
pub(crate) struct By {
    pub(crate) who: String,
    pub(crate) from: String,
    pub(crate) what: String,
    pub(crate) at: u64,
}

/// All of them. Its functions block.
#[derive(Clone, Debug)]
pub(crate) struct History {
    folder: PathBuf,
}

impl History {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER) }
    }

    /// The numbers of those that are there, the latest first.
    fn numbers(&self) -> Vec<u64> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let number = |file: std::fs::DirEntry| file.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
        let mut numbers: Vec<u64> = files.filter_map(number).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.json"))
    }

    /// The latest first. What cannot be read is left out.
    pub(crate) fn list(&self) -> Vec<Change> {
        self.numbers().into_iter().take(KEPT).filter_map(|number| Some(self.one(number)?.change)).collect()
    }

    pub(crate) fn one(&self, number: u64) -> Option<Whole> {
        let mut text = Vec::new();
        let read = File::open(self.path(number)).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
        read.ok()?;
        let read = serde_json::from_slice::<Whole>(&text);
        if let Err(error) = &read {
            tracing::error!(%error, number, "a change of the config that was kept cannot be read");
        }
        read.ok()
    }

    /// Keeps one more, and the oldest no longer.
    ///
    /// # Errors
    ///
    /// It is not kept.
    pub(crate) fn add(
        &self,
        by: By,
        difference: Vec<Line>,
        before: String,
        after: String,
    ) -> io::Result<Change> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let numbers = self.numbers();
        let number = numbers.first().copied().unwrap_or_default() + 1;
        let (added, removed) = count(&difference);
        let By { who, from, what, at } = by;
        let change = Change { number, at, who, from, what, added, removed };
        let whole = Whole { change: change.clone(), difference, before, after };
        let new = self.folder.join("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&whole)?)?;
        file.sync_all()?;
        std::fs::rename(&new, self.path(number))?;
        File::open(&self.folder)?.sync_all()?;
        for old in numbers.into_iter().skip(KEPT - 1) {
            std::fs::remove_file(self.path(old))?;
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::difference;
    use super::*;

    #[test]
    fn the_last_changes_are_kept_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        assert!(history.list().is_empty());
        for at in 0..25 {
            let by = By { who: "ann".into(), from: "192.0.2.1".into(), what: "edited".into(), at };
            let (before, after) = (format!("a = {at}\n"), format!("a = {}\n", at + 1));
            let made = history.add(by, difference(&before, &after), before, after).unwrap();
            assert_eq!((made.number, made.added, made.removed), (at + 1, 1, 1));
        }
        let list = history.list();
        assert_eq!((list.len(), list[0].number, list[19].number), (KEPT, 25, 6));
        assert_eq!(history.one(25).unwrap().before, "a = 24\n");
        assert!(history.one(5).is_none());
        std::fs::write(folder.path().join(FOLDER).join("25.json"), "{").unwrap();
        assert_eq!(history.list().len(), KEPT - 1);
    }
}
