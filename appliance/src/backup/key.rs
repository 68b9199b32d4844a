//! Passphrases from the terminal or a file, recipients and identities.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ::backup::{Lock, Unlock};

use super::Stopped;
use crate::command::{Backup, Restore};

/// A line of text; what is larger is another file.
const MAX_FILE: u64 = 64 << 10;

pub(super) fn lock(options: &Backup) -> Result<Lock, Stopped> {
    if !options.recipients.is_empty() {
        return Ok(Lock::recipients(&options.recipients)?);
    }
    if let Some(file) = &options.passphrase_file {
        return Ok(Lock::passphrase(first_line(file)?)?);
    }
    let first = asked("Passphrase for the backup: ", "--recipient")?;
    if asked("Again: ", "--recipient")? != first {
        return Err(Stopped::Use("the two passphrases differ".into()));
    }
    Ok(Lock::passphrase(first)?)
}

pub(super) fn unlock(options: &Restore) -> Result<Unlock, Stopped> {
    if let Some(path) = &options.identity {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        return Ok(Unlock::identities(file)?);
    }
    let passphrase = match &options.passphrase_file {
        Some(file) => first_line(file)?,
        None => asked("Passphrase of the backup: ", "--identity")?,
    };
    Ok(Unlock::Passphrase(passphrase.into()))
}

fn asked(prompt: &str, other: &str) -> Result<String, Stopped> {
    rpassword::prompt_password(prompt).map_err(|error| {
        Stopped::Use(format!("no passphrase can be asked for ({error}): use --passphrase-file or {other}"))
    })
}

fn first_line(path: &Path) -> Result<String, Stopped> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Stopped {
    Stopped::Reach(format!("{}: {error}", path.display()))
}
