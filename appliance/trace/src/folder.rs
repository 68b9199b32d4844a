//! The files of the folder and their names.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::TraceError;

/// What a file is; its name is the number of its first entry and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Blocks of the segment that is written to.
    Log,
    /// Blocks of a full one.
    Records,
    /// The index of a full one.
    Index,
}

/// The beginning of a file of blocks.
pub(crate) const MAGIC: &[u8; 16] = b"postern trace 1\n";

impl Kind {
    const ALL: [Self; 3] = [Self::Log, Self::Records, Self::Index];

    fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Records => "records",
            Self::Index => "index",
        }
    }

    pub(crate) fn path(self, folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("{first:020}.{}", self.extension()))
    }

    /// Where a file of this kind is written before it has its name.
    pub(crate) fn unfinished(self, folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("{first:020}.{}.new", self.extension()))
    }
}

/// Makes the folder where it is missing, removes what was not finished, and lists the rest by number.
pub(crate) fn list(folder: &Path) -> Result<Vec<(u64, Kind)>, TraceError> {
    fs::create_dir_all(folder).map_err(TraceError::file(folder))?;
    let mut found = Vec::new();
    for file in fs::read_dir(folder).map_err(TraceError::file(folder))? {
        let path = file.map_err(TraceError::file(folder))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if extension == "new" {
            remove(&path)?;
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension);
        if let (Some(number), Some(kind)) = (number, kind) {
            found.push((number, kind));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Gone already is as good.
pub(crate) fn remove(path: &Path) -> Result<(), TraceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TraceError::file(path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), TraceError> {
    fs::rename(from, to).map_err(TraceError::file(to))
}

/// Names are on disk.
pub(crate) fn sync(folder: &Path) -> Result<(), TraceError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TraceError::file(folder))
}

pub(crate) fn length(path: &Path) -> Result<u64, TraceError> {
    Ok(fs::metadata(path).map_err(TraceError::file(path))?.len())
}
