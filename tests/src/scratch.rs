//! A folder that lives as long as the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A temporary folder that every user may enter: mail servers read their files under users of their own. Kept when
/// `POSTERN_KEEP` is set.
#[derive(Debug)]
pub struct Scratch(Option<tempfile::TempDir>);

impl Scratch {
    /// A new folder; `name` is part of its name.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("postern-{name}-"))
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary folder for {name}: {error}"));
        open_to_all(folder.path());
        Self(Some(folder))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or_else(|| Path::new(""), tempfile::TempDir::path)
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Makes a folder that belongs to the user of this name, or to whoever runs the tests if there is no such user.
    pub fn folder(&self, name: &str, owner: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        open_to_all(&path);
        if let Ok(Some(user)) = nix::unistd::User::from_name(owner) {
            nix::unistd::chown(&path, Some(user.uid), Some(user.gid))
                .unwrap_or_else(|error| panic!("{} to {owner}: {error}", path.display()));
        }
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("POSTERN_KEEP").is_some()
            && let Some(folder) = self.0.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_the_value() {
        let scratch = Scratch::new("scratch");
        let file = scratch.write("a/b", "content");
        assert_eq!(fs::read(&file).unwrap(), b"content");
        if std::env::var_os("POSTERN_KEEP").is_none() {
            drop(scratch);
            assert!(!file.exists());
        }
    }
}
