//! The archive: tar in its plainest form, so that any tar reads it, between a manifest and a seal.
//!
//! ```text
//! postern-backup            the manifest, JSON
//! config/NAME               the config file
//! beside/..., elsewhere/N   files that it names, in its folder and elsewhere
//! state/...                 the state folder
//! seal                      members, octets, and BLAKE3 of names, modes, owners and contents, a line each
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use tar::{Archive, Builder, EntryType, Header};

use crate::error::BackupError;
use crate::manifest::{FORMAT, Manifest};
use crate::name::Name;

const MANIFEST: &str = "postern-backup";
const SEAL: &str = "seal";
/// A config that names some thousand files has a manifest of this size.
const MAX_MANIFEST: u64 = 1 << 20;
/// Count, octets, digest.
const MAX_SEAL: u64 = 256;
/// Four files for each of as many messages as a spool may hold.
const MAX_MEMBERS: u64 = 2_000_000;
/// What tar programs fill the last block with.
const MAX_PADDING: u64 = 64 << 10;
/// Octets copied at once.
const PIECE: usize = 256 << 10;

/// A file to be put into a backup.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called there.
    pub name: Name,
    /// Where it is.
    pub path: PathBuf,
    /// It itself where it was opened when it was looked for: it may have been replaced or removed since.
    pub opened: Option<Arc<File>>,
    /// As many octets from its start, no fewer and no more.
    pub length: u64,
    /// Permissions.
    pub mode: u32,
    /// Its user and group, by name; empty where they have none.
    pub owner: (String, String),
}

/// Takes what is read from a backup.
pub trait Destination {
    /// Comes first.
    ///
    /// # Errors
    ///
    /// Nothing more is read then.
    fn begin(&mut self, manifest: &Manifest) -> Result<(), BackupError>;

    /// A file; all of `content` is to be read. `mode` has permissions only.
    ///
    /// # Errors
    ///
    /// Nothing more is read then.
    fn file(&mut self, name: &Name, about: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError>;
}

/// What a backup knows of a file besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// Permissions.
    pub mode: u32,
    /// The user's name, or nothing.
    pub user: &'a str,
    /// The group's name, or nothing.
    pub group: &'a str,
}

/// Writes a backup; `manifest.octets` is filled in here. `progress` hears of every piece: octets so far.
///
/// # Errors
///
/// A source is gone or shorter than it was, or `output` fails.
pub fn write<W: Write>(
    mut manifest: Manifest,
    sources: &[Source],
    output: W,
    progress: &mut dyn FnMut(u64),
) -> Result<W, BackupError> {
    let failed = |error| BackupError::File { path: "the backup".into(), error };
    manifest.octets = sources.iter().map(|source| source.length).sum();
    let mut archive = Builder::new(output);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
    small(&mut archive, MANIFEST, &text).map_err(failed)?;
    let mut tally = Tally::default();
    for source in sources {
        let file = match &source.opened {
            Some(opened) => Arc::clone(opened),
            None => Arc::new(File::open(&source.path).map_err(BackupError::file(&source.path))?),
        };
        let about = About { mode: source.mode & 0o777, user: &source.owner.0, group: &source.owner.1 };
        tally.begin(&source.name, &about, source.length);
        let header = header(&source.name.to_string(), source.length, &about).map_err(failed)?;
        let mut content =
            Counted { inner: (&*file).take(source.length), tally: &mut tally, progress, failed: None };
        let written = archive.append(&header, &mut content);
        if let Some(error) = content.failed {
            return Err(BackupError::file(&source.path)(error));
        }
        written.map_err(failed)?;
        if !tally.is_whole() {
            let error =
                io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile; try again");
            return Err(BackupError::file(&source.path)(error));
        }
    }
    small(&mut archive, SEAL, tally.seal().as_bytes()).map_err(failed)?;
    archive.into_inner().map_err(failed)
}

fn small<W: Write>(archive: &mut Builder<W>, name: &str, text: &[u8]) -> io::Result<()> {
    archive.append(&header(name, text.len() as u64, &About { mode: 0o600, user: "", group: "" })?, text)
}

fn header(name: &str, length: u64, about: &About<'_>) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(length);
    header.set_mode(about.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_username(about.user)?;
    header.set_groupname(about.group)?;
    header.set_cksum();
    Ok(header)
}

/// Reads a backup to its end and checks all of it. What `destination` got may be used only if this succeeds.
///
/// # Errors
///
/// [`BackupError::NotSound`], [`BackupError::Version`], or the destination's.
pub fn read(
    input: impl Read,
    destination: &mut dyn Destination,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest, BackupError> {
    let mut archive = Archive::new(input);
    let mut tally = Tally::default();
    let manifest;
    {
        // Raw: nothing in front of a member says anything about it, so nothing of unknown size is kept.
        let mut entries = archive.entries().map_err(broken)?.raw(true);
        let mut next = || -> Result<Option<tar::Entry<'_, _>>, BackupError> {
            entries.next().transpose().map_err(broken)
        };
        manifest = read_manifest(next()?)?;
        destination.begin(&manifest)?;
        loop {
            let mut entry = next()?.ok_or_else(|| unsound("it has no end"))?;
            let header = entry.header().clone();
            let (path, length) = plain(&header)?;
            if path == SEAL.as_bytes() {
                let text = text_of(&mut entry, length, MAX_SEAL)?;
                if text != tally.seal().as_bytes() || tally.octets != manifest.octets {
                    return Err(unsound("its contents are not what was sealed"));
                }
                if next()?.is_some() {
                    return Err(unsound("something follows its seal"));
                }
                break;
            }
            let name = Name::parse(&path).ok_or_else(|| unsound("a member's name leads nowhere"))?;
            if tally.members >= MAX_MEMBERS || length > manifest.octets.saturating_sub(tally.octets) {
                return Err(unsound("it has more than it says"));
            }
            let (user, group) = (word(header.username_bytes()), word(header.groupname_bytes()));
            let about = About { mode: header.mode().map_err(broken)? & 0o777, user: &user, group: &group };
            tally.begin(&name, &about, length);
            let mut report = |octets| progress(octets, manifest.octets);
            let mut content = Counted {
                inner: (&mut entry).take(length),
                tally: &mut tally,
                progress: &mut report,
                failed: None,
            };
            let taken = destination.file(&name, &about, &mut content);
            if let Some(error) = content.failed {
                return Err(broken(error));
            }
            taken?;
            if !tally.is_whole() {
                return Err(unsound("it ends in the middle of a file"));
            }
        }
    }
    expect_end(archive.into_inner())?;
    Ok(manifest)
}

fn read_manifest<R: Read>(entry: Option<tar::Entry<'_, R>>) -> Result<Manifest, BackupError> {
    let no_backup = || unsound("it is no backup of Postern's");
    let mut entry = entry.ok_or_else(no_backup)?;
    let (path, length) = plain(&entry.header().clone())?;
    if path != MANIFEST.as_bytes() {
        return Err(no_backup());
    }
    let text = text_of(&mut entry, length, MAX_MANIFEST)?;
    // A later format may say other things beside its number.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|_| no_backup())?;
    let format =
        value["format"].as_u64().and_then(|format| u32::try_from(format).ok()).ok_or_else(no_backup)?;
    if format != FORMAT {
        return Err(BackupError::Version(format));
    }
    serde_json::from_value(value).map_err(|error| unsound(&format!("its manifest: {error}")))
}

/// Name and length of a member that is a regular file and nothing else.
fn plain(header: &Header) -> Result<(Vec<u8>, u64), BackupError> {
    if header.as_ustar().is_none() || header.entry_type() != EntryType::Regular {
        return Err(unsound("a member is no plain file"));
    }
    Ok((header.path_bytes().into_owned(), header.size().map_err(broken)?))
}

fn text_of(entry: &mut impl Read, length: u64, most: u64) -> Result<Vec<u8>, BackupError> {
    let mut text = Vec::new();
    if length <= most {
        entry.take(length).read_to_end(&mut text).map_err(broken)?;
    }
    if text.len() as u64 == length {
        Ok(text)
    } else {
        Err(unsound("a member has a size that it cannot have"))
    }
}

/// Only zeros, and not many: and the reader below has seen its own end, which is authenticated as well.
fn expect_end(rest: impl Read) -> Result<(), BackupError> {
    let mut padding = Vec::new();
    rest.take(MAX_PADDING + 1).read_to_end(&mut padding).map_err(broken)?;
    let ends = padding.len() as u64 <= MAX_PADDING && padding.iter().all(|&octet| octet == 0);
    if ends { Ok(()) } else { Err(unsound("something follows its end")) }
}

/// A name of a user or group, or nothing: what is none is as good as unknown.
fn word(octets: Option<&[u8]>) -> String {
    let text = octets.and_then(|octets| std::str::from_utf8(octets).ok()).unwrap_or_default();
    text.chars().filter(|c| c.is_ascii_graphic()).collect()
}

fn unsound(why: &str) -> BackupError {
    BackupError::NotSound(why.to_owned())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: io::Error) -> BackupError {
    BackupError::NotSound(error.to_string())
}

/// What was written or read so far.
#[derive(Default)]
struct Tally {
    members: u64,
    octets: u64,
    /// Of the member at hand.
    missing: u64,
    hasher: blake3::Hasher,
}

impl Tally {
    fn begin(&mut self, name: &Name, about: &About<'_>, length: u64) {
        self.members += 1;
        self.missing = length;
        // Each part says where it ends, so that no two archives have one text.
        let About { mode, user, group } = about;
        for part in [&name.to_string(), &format!("{mode:o}"), *user, *group, &length.to_string()] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part.as_bytes());
        }
    }

    fn take(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.octets += piece.len() as u64;
        self.missing = self.missing.saturating_sub(piece.len() as u64);
    }

    fn is_whole(&self) -> bool {
        self.missing == 0
    }

    fn seal(&self) -> String {
        format!("{}\n{}\n{}\n", self.members, self.octets, self.hasher.finalize().to_hex())
    }
}

/// A content on its way, counted and digested; remembers whether it was this side that failed.
struct Counted<'a, R> {
    inner: io::Take<R>,
    tally: &'a mut Tally,
    progress: &'a mut dyn FnMut(u64),
    failed: Option<io::Error>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(PIECE);
        match self.inner.read(&mut buffer[..room]) {
            Ok(count) => {
                self.tally.take(&buffer[..count]);
                (self.progress)(self.tally.octets);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(again)
            }
        }
    }
}

#[cfg(test)]
mod tests;
