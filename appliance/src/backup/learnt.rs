//! What Postern has learnt, for a backup that is made while it learns on: the store, which changes in place, and the judge's model, whose
//! files come and go.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ::backup::{Name, Part, Source};
use tokio::runtime::Handle;

use super::Stopped;
use super::make::reach;
use crate::client::{self, Running};
use crate::config;

/// The file that the running Postern writes all of its store into, in the state folder.
pub(crate) const EXPORT: &str = "store.export";
/// Another backup may take it away in between.
const TRIES: usize = 3;

/// The store's files.
#[derive(Default)]
pub(super) struct Store {
    pub(super) files: Vec<Source>,
    /// Why it is not in the backup.
    pub(super) lacking: Option<String>,
    /// The engine's lock, or what was written for the backup: held until all is copied.
    _held: Option<File>,
}

impl Store {
    pub(super) fn of(config: &Path, state_dir: &Path) -> Result<Self, Stopped> {
        let folder = state_dir.join("store");
        // The file that its engine locks for as long as it is open.
        let database = folder.join("db");
        let held = match File::open(&database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(|error| reach(&database, &error))?,
        };
        match held.try_lock() {
            Ok(()) => Self::at_rest(state_dir, &folder, held),
            Err(_) => Self::of_running(config, state_dir),
        }
    }

    fn at_rest(state_dir: &Path, folder: &Path, held: File) -> Result<Self, Stopped> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|error| reach(folder, &error))? {
            let entry = entry.map_err(|error| reach(folder, &error))?;
            let facts = entry.metadata().map_err(|error| reach(folder, &error))?;
            if facts.is_file() {
                let relative = Path::new("store").join(entry.file_name());
                files.push(Source::in_state(state_dir, &relative, facts.len())?);
            }
        }
        Ok(Self { files, lacking: None, _held: Some(held) })
    }

    /// Mail can do without it: a Postern that does not answer is no reason to have no backup.
    fn of_running(config: &Path, state_dir: &Path) -> Result<Self, Stopped> {
        let lacking = |why: String| Ok(Self { lacking: Some(why), ..Self::default() });
        let path = state_dir.join(EXPORT);
        for _ in 0..TRIES {
            if let Err(why) = written_down(config) {
                return lacking(why);
            }
            match open(&path) {
                Ok(file) => {
                    // It is held by its descriptor; for the next backup there is another.
                    std::fs::remove_file(&path).map_err(|error| reach(&path, &error))?;
                    let source =
                        held_source(Path::new(EXPORT), &file).map_err(|error| reach(&path, &error))?;
                    return Ok(Self { files: vec![source], lacking: None, _held: Some(file) });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(reach(&path, &error)),
            }
        }
        lacking("other backups took it away".to_owned())
    }
}

/// Asks the running Postern to write its store down.
fn written_down(config: &Path) -> Result<(), String> {
    let running = Running::of(&config::load(config).map_err(|error| error.to_string())?);
    let order = serde_json::json!({});
    let answer = Handle::current().block_on(client::post(&running, "/api/v1/backup/store", &order));
    match answer {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("the running Postern says no: {}", String::from_utf8_lossy(&answer.body))),
        Err(error) => Err(error.to_string()),
    }
}

/// The judge's model: its lessons and its snapshot, all opened at once.
#[derive(Default)]
pub(super) struct Model {
    pub(super) sources: Vec<Source>,
    _held: Vec<File>,
}

impl Model {
    /// Lessons first: a snapshot that is written meanwhile has them all, and one from before is still there with its own.
    pub(super) fn of(state_dir: &Path) -> Result<Self, Stopped> {
        let folder = state_dir.join("model");
        let mut names = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
                })
                .map_err(|error| reach(&folder, &error))?,
        };
        let is_unfinished = |name: &std::ffi::OsString| {
            name.to_str().is_none_or(|name| name.ends_with(".new") || name.ends_with(".damaged"))
        };
        names.retain(|name| !is_unfinished(name));
        names.sort();
        let mut model = Self::default();
        for name in names {
            let (path, relative) = (folder.join(&name), Path::new("model").join(&name));
            let opened = open(&path).and_then(|file| Ok((held_source(&relative, &file)?, file)));
            match opened {
                Ok((source, file)) => {
                    model.sources.push(source);
                    model._held.push(file);
                }
                // Lessons that a snapshot has by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(reach(&path, &error)),
            }
        }
        Ok(model)
    }
}

/// Not through a link: whoever keeps the state folder must not choose what is read of others.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A file as it is now, whatever becomes of its name; to be read while it is held.
fn held_source(relative: &Path, file: &File) -> io::Result<Source> {
    let facts = file.metadata()?;
    let name = Name::new(Part::State, relative).filter(|_| facts.is_file());
    let name = name.ok_or_else(|| io::Error::other("it is no file of Postern's"))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(Source {
        name,
        path,
        opened: None,
        length: facts.len(),
        mode: facts.mode() & 0o700,
        owner: Default::default(),
    })
}

/// What a backup of a running Postern has of the store becomes a store, before anything is replaced by it.
pub(super) fn import_store(state: &Path) -> Result<(), Stopped> {
    let path = state.join(EXPORT);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| reach(&path, &error))?,
    };
    let settings = store::Settings::in_folder(state.join("store"));
    let imported = store::import(file, &settings.folder, settings.cache, settings.max_octets);
    imported.map_err(unsound)?;
    std::fs::remove_file(&path).map_err(|error| reach(&path, &error))
}

/// Reads it, and keeps nothing.
pub(super) fn verify_store(content: &mut dyn io::Read) -> Result<(), ::backup::BackupError> {
    let read = store::read_export(content, &mut |_, _, _| Ok(()));
    read.map(drop).map_err(|error| ::backup::BackupError::NotSound(error.to_string()))
}

fn unsound(error: store::StoreError) -> Stopped {
    ::backup::BackupError::NotSound(format!("what was remembered: {error}")).into()
}
