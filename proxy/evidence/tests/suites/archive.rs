//! Where test vectors are; none is part of the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of vectors: from `POSTERN_DATA`, else `shared/data` in a folder above.
pub(crate) fn vectors() -> Option<tempfile::TempDir> {
    let named = std::env::var_os("POSTERN_DATA").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/data"));
    let archive = named.into_iter().chain(above).map(|folder| folder.join("auth-vectors.tar.xz"));
    let Some(archive) = archive.into_iter().find(|archive| archive.is_file()) else {
        eprintln!("no auth-vectors.tar.xz in POSTERN_DATA or shared/data: this suite was not run");
        return None;
    };
    let place = tempfile::tempdir().expect("a folder");
    let unpacked = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(place.path()).status();
    unpacked.is_ok_and(|status| status.success()).then_some(place)
}
