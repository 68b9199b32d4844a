//! Seed volumes: found by their label, mounted read-only for as long as they are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::document::MAX_DOCUMENT;
use crate::error::FirstBootError;

/// By which names a volume is known; udev makes them from the label.
const LABELS: [(&str, Volume); 4] = [
    ("CIDATA", Volume::NoCloud),
    ("cidata", Volume::NoCloud),
    ("config-2", Volume::ConfigDrive),
    ("CONFIG-2", Volume::ConfigDrive),
];
/// What seeds are written as. Nothing else is tried: every file system is a parser in the kernel.
const FILE_SYSTEMS: [&str; 2] = ["iso9660", "vfat"];

/// A kind of seed volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// `CIDATA`, cloud-init's NoCloud.
    NoCloud,
    /// `config-2`, OpenStack's config drive.
    ConfigDrive,
}

/// The folder that a seed is in.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    mounted: bool,
}

/// The first seed volume that there is: NoCloud before the config drive. `None` if there is none.
///
/// # Errors
///
/// There is one, and it cannot be mounted.
pub fn find(root: &Path) -> Option<(Volume, Result<Folder, FirstBootError>)> {
    LABELS.iter().find_map(|(label, volume)| {
        let device = root.join("dev/disk/by-label").join(label);
        device.exists().then(|| (*volume, Folder::open(root, &device)))
    })
}

impl Folder {
    /// A folder that is there already.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mounted: false }
    }

    /// Mounts the volume; a folder in its place is taken as it is.
    fn open(root: &Path, device: &Path) -> Result<Self, FirstBootError> {
        if device.is_dir() {
            return Ok(Self::at(device));
        }
        let place = root.join("run/postern/seed");
        let failed = |error: io::Error| FirstBootError::Volume { path: device.to_owned(), error };
        std::fs::create_dir_all(&place).map_err(failed)?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let mut last = io::Error::other("not tried");
        for kind in FILE_SYSTEMS {
            match mount(device, &place, kind, flags, None) {
                Ok(()) => return Ok(Self { path: place, mounted: true }),
                Err(error) => last = error.into(),
            }
        }
        Err(failed(last))
    }

    /// A file's content; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// It is too large, no regular file, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FirstBootError> {
        let path = self.path.join(name);
        let failed = |error: io::Error| FirstBootError::SeedFile { name: name.to_owned(), error };
        // Whoever made the volume does not choose what else of this machine is read.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: File = match openat(rustix::fs::CWD, &path, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let mut content = Vec::new();
        let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
        file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() > MAX_DOCUMENT {
            return Err(failed(io::Error::other(format!("it is larger than {MAX_DOCUMENT} octets"))));
        }
        Ok(Some(content))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.mounted {
            // It stays mounted read-only at worst, below /run.
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}
