//! Puts a config's text into its file: for the guard, for who keeps the rule set, and for a Postern of one process. None of them
//! believes whoever asks: the text is checked again, and the file must be as it was seen.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::unistd::{setfsgid, setfsuid};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fchown, fstat, fsync, openat, renameat, unlinkat,
};
use sha2::{Digest as _, Sha256};

use super::fixed;
use crate::config::{self, Config};

/// Octets of a text that is put in place.
pub(crate) const MAX_TEXT: usize = 512 << 10;

/// What a text is known by: SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Digest {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// In hexadecimal digits.
    pub(crate) fn words(&self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Why a text is not in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `[admin] edit` is off.
    #[error("the config says that it is not edited here: [admin] edit = false")]
    Off,
    /// The file is another one than was seen.
    #[error("the file has changed since it was shown: look at it as it is now, and make the change again")]
    Changed,
    /// `postern check` would not take it.
    #[error("the config would be wrong")]
    Wrong,
    /// Something in it changes in the file alone.
    #[error("it changes what changes in the file alone")]
    Fixed,
    /// It is longer than a config is.
    #[error("the text is longer than 512 KiB; edit the file itself")]
    TooLong,
    /// The file is a link, or has several names.
    #[error("the config file is a link or has a second name; name the file itself with --config")]
    Linked,
    /// What is written there by renaming could not be read again.
    #[error(
        "the config file lies in a folder of the system's; move it to one of its own, such as /etc/postern"
    )]
    Folder,
    /// The system's error.
    #[error("the file cannot be written: {}", io::Error::from_raw_os_error(*.0))]
    Unwritable(i32),
    /// Changes come one after the other.
    #[error("there was a change a moment ago; try again")]
    Soon,
    /// It cannot be listened on.
    #[error("a port that it names cannot be opened; the log says why")]
    Port,
    /// There is no answer.
    #[error("whoever writes the config does not answer; the log says more")]
    Silent,
}

impl Refusal {
    /// As guard and gate tell it each other.
    pub(crate) fn numbers(self) -> (u32, u32) {
        match self {
            Self::Off => (1, 0),
            Self::Changed => (2, 0),
            Self::Wrong => (3, 0),
            Self::Fixed => (4, 0),
            Self::TooLong => (5, 0),
            Self::Linked => (6, 0),
            Self::Folder => (7, 0),
            Self::Unwritable(error) => (8, error.unsigned_abs()),
            Self::Soon => (9, 0),
            Self::Port => (10, 0),
            Self::Silent => (11, 0),
        }
    }

    /// What was told by numbers; 0 is no refusal.
    pub(crate) fn told(outcome: u32, detail: u32) -> Result<(), Self> {
        Err(match outcome {
            0 => return Ok(()),
            1 => Self::Off,
            2 => Self::Changed,
            3 => Self::Wrong,
            4 => Self::Fixed,
            5 => Self::TooLong,
            6 => Self::Linked,
            7 => Self::Folder,
            8 => Self::Unwritable(i32::try_from(detail).unwrap_or_default()),
            9 => Self::Soon,
            10 => Self::Port,
            _ => Self::Silent,
        })
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error.raw_os_error().unwrap_or_default())
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Unwritable(error.raw_os_error())
    }
}

/// Reads a file that is to be one of config text.
pub(crate) fn read(file: &Path) -> Result<String, Refusal> {
    let mut text = Vec::new();
    let most = MAX_TEXT as u64 + 1;
    File::open(file)?.take(most).read_to_end(&mut text)?;
    if text.len() > MAX_TEXT {
        return Err(Refusal::TooLong);
    }
    String::from_utf8(text).map_err(|_| Refusal::Wrong)
}

/// What a text means that may be put in the place of the one with this digest.
pub(crate) fn look(file: &Path, base: Digest, text: &str) -> Result<Config, Refusal> {
    if text.len() > MAX_TEXT {
        return Err(Refusal::TooLong);
    }
    let present = read(file)?;
    if Digest::of(&present) != base {
        return Err(Refusal::Changed);
    }
    // As the file has it: what was switched off there counts before it is reloaded.
    if !may_edit(&present) {
        return Err(Refusal::Off);
    }
    // Before it is parsed: that opens the files that it names.
    fixed::look(&present, text).map_err(|_| Refusal::Fixed)?;
    config::parse(text, file).map_err(|_| Refusal::Wrong)
}

/// What `[admin] edit` says in this text; where that cannot be read, no.
pub(crate) fn may_edit(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else { return false };
    let edit = table.get("admin").and_then(|admin| admin.get("edit"));
    edit.is_none_or(|edit| edit.as_bool() == Some(true))
}

/// Writes a text beside the file and gives it the file's name: there is the old one or the new one, with the owner and the rights of
/// the old one.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Refusal> {
    let name = file.file_name().ok_or(Refusal::Linked)?;
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let facts = fstat(openat(&folder, name, flags, Mode::empty())?)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile || facts.st_nlink != 1 {
        return Err(Refusal::Linked);
    }
    let mut beside = name.to_owned();
    beside.push(".new");
    let written = with_owner(&folder, Path::new(&beside), &facts, text);
    let placed = written.and_then(|()| Ok(renameat(&folder, Path::new(&beside), &folder, name)?));
    if let Err(error) = placed {
        let _ = unlinkat(&folder, Path::new(&beside), AtFlags::empty());
        return Err(error);
    }
    Ok(fsync(&folder)?)
}

fn with_owner(folder: &OwnedFd, name: &Path, facts: &Stat, text: &str) -> Result<(), Refusal> {
    let made = made_new(folder, name)?;
    if !is_owned_as(&made, facts)? {
        let (user, group) =
            (rustix::fs::Uid::from_raw(facts.st_uid), rustix::fs::Gid::from_raw(facts.st_gid));
        if fchown(&made, Some(user), Some(group)).is_err() {
            // Whoever may not give files away may be allowed to make them as somebody else.
            drop(made);
            let made = as_owner(facts, || made_new(folder, name))?;
            if !is_owned_as(&made, facts)? {
                return Err(rustix::io::Errno::PERM.into());
            }
            return finish(made, facts, text);
        }
    }
    finish(made, facts, text)
}

fn finish(made: OwnedFd, facts: &Stat, text: &str) -> Result<(), Refusal> {
    let mut file = File::from(made);
    file.write_all(text.as_bytes())?;
    fchmod(file.as_fd(), Mode::from_raw_mode(facts.st_mode & 0o777))?;
    Ok(file.sync_all()?)
}

/// One that a crash left is no use.
fn made_new(folder: &OwnedFd, name: &Path) -> Result<OwnedFd, Refusal> {
    let _ = unlinkat(folder, name, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?)
}

fn is_owned_as(file: &OwnedFd, facts: &Stat) -> Result<bool, Refusal> {
    let made = fstat(file)?;
    Ok(made.st_uid == facts.st_uid && made.st_gid == facts.st_gid)
}

/// The guard has given away the right to change owners, and may be another user to the file system (setfsuid(2)) still. Of this
/// thread, for this long.
fn as_owner<T>(facts: &Stat, work: impl FnOnce() -> T) -> T {
    let group = setfsgid(facts.st_gid.into());
    let user = setfsuid(facts.st_uid.into());
    let done = work();
    setfsuid(user);
    setfsgid(group);
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    const TEXT: &str =
        "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"a.test\"]\nservers = [\"10.0.0.1\"]\n";

    #[test]
    fn a_checked_text_takes_the_place_of_the_one_that_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postern.toml");
        std::fs::write(&file, TEXT).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::write(folder.path().join("postern.toml.new"), "left by a crash").unwrap();
        let more = format!("{TEXT}[limits]\nsessions = 7\n");
        assert_eq!(look(&file, Digest::of(TEXT), &more).unwrap().limits.sessions, 7);
        write(&file, &more).unwrap();
        assert_eq!(read(&file).unwrap(), more);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_must_not_be_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postern.toml");
        std::fs::write(&file, TEXT).unwrap();
        let refused = |base: &str, text: &str| look(&file, Digest::of(base), text).map(|_| ()).unwrap_err();
        assert_eq!(refused("seen before", TEXT), Refusal::Changed);
        assert_eq!(refused(TEXT, "hostname = 1"), Refusal::Wrong);
        assert_eq!(refused(TEXT, &format!("state_dir = \"/usr\"\n{TEXT}")), Refusal::Fixed);
        assert_eq!(refused(TEXT, &" ".repeat(MAX_TEXT + 1)), Refusal::TooLong);
        // What would take the guard's stack if it was followed.
        for deep in [
            "a = ".to_owned() + &"[".repeat(200_000),
            "a.".repeat(100_000) + "b = 1",
            "a = ".to_owned() + &"{a=".repeat(100_000),
        ] {
            assert!(matches!(refused(TEXT, &deep), Refusal::Fixed | Refusal::Wrong));
        }
        let off = format!("{TEXT}[admin]\nedit = false\n");
        std::fs::write(&file, &off).unwrap();
        assert_eq!(refused(&off, TEXT), Refusal::Off);
        let (link, second) = (folder.path().join("link.toml"), folder.path().join("second.toml"));
        symlink(&file, &link).unwrap();
        assert_eq!(write(&link, TEXT), Err(Refusal::Linked));
        std::fs::hard_link(&file, &second).unwrap();
        assert_eq!(write(&file, TEXT), Err(Refusal::Linked));
        assert_eq!(read(&file).unwrap(), off);
    }

    #[test]
    fn each_refusal_is_told_by_numbers() {
        for code in 1..=11 {
            let refusal = Refusal::told(code, 13).unwrap_err();
            assert_eq!(refusal.numbers().0, code);
            assert!(!refusal.to_string().is_empty());
        }
        assert_eq!(Refusal::told(8, 13), Err(Refusal::Unwritable(13)));
        assert_eq!(Refusal::told(0, 0), Ok(()));
    }
}
