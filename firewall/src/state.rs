//! The file that remembers kernel settings as they were before the rule set came. One line each: path, space, value.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::FirewallError;
use crate::sysctl;

/// A file that is larger was not written here.
const MAX_FILE: u64 = 64 << 10;

/// Kernel settings, in the order in which they were changed first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Earlier(Vec<(String, String)>);

impl Earlier {
    /// What the file says; nothing if there is none. Lines that are not of the expected kind are left out.
    pub(crate) fn load(file: &Path) -> Result<Self, FirewallError> {
        let mut text = String::new();
        let read = fs::File::open(file).and_then(|open| open.take(MAX_FILE).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file, error)),
            _ => {
                let lines = text.lines().filter_map(|line| line.split_once(' '));
                let plausible = lines.filter(|(path, value)| sysctl::is_plausible(path, value));
                Ok(Self(plausible.map(|(path, value)| (path.to_owned(), value.to_owned())).collect()))
            }
        }
    }

    /// Replaces the file, or removes it if there is nothing to remember.
    pub(crate) fn save(&self, file: &Path) -> Result<(), FirewallError> {
        if self.0.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(file, error)),
                _ => Ok(()),
            };
        }
        let mut text = String::new();
        for (path, value) in &self.0 {
            let _ = writeln!(text, "{path} {value}");
        }
        replace(file, &text).map_err(|error| failed(file, error))
    }

    pub(crate) fn entries(&self) -> &[(String, String)] {
        &self.0
    }

    /// Remembers a value, unless an earlier one is remembered: that is the one to go back to.
    pub(crate) fn remember(&mut self, path: &str, value: &str) {
        if !self.0.iter().any(|(known, _)| known == path) {
            self.0.push((path.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn forget(&mut self, path: &str) {
        self.0.retain(|(known, _)| known != path);
    }
}

/// Never through a link that somebody else put there, never half.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    open.write_all(text.as_bytes())?;
    fs::rename(&new, file)
}

fn failed(file: &Path, source: io::Error) -> FirewallError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            FirewallError::NotPermitted { said: format!("{}: {source}", file.display()) }
        }
        _ => FirewallError::State { path: file.to_owned(), source },
    }
}
