//! Where a damaged store goes: beside its place, under a name that says when, for a person to look at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StoreError;

/// Damaged stores that are kept; a disk that breaks one a day must not fill itself with them.
const KEPT: usize = 3;

/// Moves the folder aside; returns where it went. `now` is the time since 1970.
pub(crate) fn move_aside(folder: &Path, now: Duration) -> Result<PathBuf, StoreError> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!("{MARK}{}", now.as_secs()));
    let to = folder.with_file_name(name);
    forget_oldest(folder);
    std::fs::rename(folder, &to).map_err(|error| StoreError::NotAside { to: to.clone(), error })?;
    Ok(to)
}

const MARK: &str = ".damaged-";

/// Makes room for one more.
fn forget_oldest(folder: &Path) {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name().and_then(|name| name.to_str()))
    else {
        return;
    };
    let when = |path: &Path| -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix(MARK)?.parse().ok()
    };
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut damaged: Vec<(u64, PathBuf)> =
        entries.filter_map(|entry| Some((when(&entry.path())?, entry.path()))).collect();
    damaged.sort();
    let many = damaged.len().saturating_sub(KEPT - 1);
    for (_, path) in damaged.into_iter().take(many) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "an old damaged store cannot be removed");
        }
    }
}
