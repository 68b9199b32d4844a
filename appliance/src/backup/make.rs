//! Makes a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::backup::{Elsewhere, Manifest, Source, files_named, sources, write};
use record::{Clock as _, SystemClock};
use rustix::fs::{CWD, RenameFlags};
use spool::Copying;

use super::learnt::{Model, Store};
use super::progress::Progress;
use super::{Stopped, key};
use crate::command::Backup;
use crate::config::{Places, size_in_words};
use crate::output;

/// Moving files takes Postern a few seconds each time, at most.
const PATIENCE: u32 = 60_000 / PAUSE;
/// In milliseconds.
const PAUSE: u32 = 50;

pub(super) fn backup(config: &Path, options: &Backup, json: bool) -> Result<(), Stopped> {
    let config = std::path::absolute(config).map_err(|error| reach(config, &error))?;
    if options.file.symlink_metadata().is_ok() {
        return Err(Stopped::Use(format!(
            "{} exists: name another file, or remove it",
            options.file.display()
        )));
    }
    let text = std::fs::read_to_string(&config).map_err(|error| reach(&config, &error))?;
    let places = Places::of(&text).map_err(|error| Stopped::Use(format!("{}: {error}", config.display())))?;
    let folder = config.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let state_dir = folder.join(&places.state_dir);
    if ::backup::unfinished(&state_dir) {
        return Err(Stopped::Reach(
            "a restore was interrupted here: say `postern restore --resume` first".into(),
        ));
    }
    let lock = key::lock(options)?;
    let output = Output::create(&options.file)?;

    let made = SystemClock.now().as_secs();
    let (mut all, elsewhere) = files_named(&config, &state_dir, &places.present(&folder))?;
    all.extend(sources(&state_dir)?);
    let store = Store::of(&config, &state_dir)?;
    all.extend(store.files.iter().cloned());
    let model = Model::of(&state_dir)?;
    all.extend(model.sources.iter().cloned());
    // Last, so that the moment is as late as can be; nothing moves until all is copied.
    let copying = copying(&state_dir)?;
    for (path, length) in copying.iter().flat_map(Copying::files) {
        all.push(Source::in_state(&state_dir, &Path::new("spool").join(path), *length)?);
    }
    let manifest = Manifest {
        format: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        hostname: places.hostname.clone(),
        made,
        state_dir: places.state_dir,
        elsewhere: elsewhere.into_iter().map(|path| Elsewhere { path }).collect(),
        octets: 0,
    };
    let octets: u64 = all.iter().map(|source| source.length).sum();
    let mut progress = Progress::new("backed up");
    let sealed = lock.seal(BufWriter::new(&output.file)).map_err(|error| reach(&options.file, &error))?;
    let sealed = write(manifest, &all, sealed, &mut |done| progress.at(done, octets))?;
    let mut plain = sealed.finish().map_err(|error| reach(&options.file, &error))?;
    plain.flush().map_err(|error| reach(&options.file, &error))?;
    drop((plain, copying, model, progress));
    output.keep()?;

    if json {
        output::json(&serde_json::json!({
            "file": options.file, "made": made, "files": all.len(), "octets": octets, "store": store.lacking.is_none(),
        }));
    } else {
        output::line(&format!(
            "{}: {} files, {}, of {}",
            options.file.display(),
            all.len(),
            size_in_words(octets),
            state_dir.display(),
        ));
        if let Some(why) = &store.lacking {
            output::line(&format!("  without what Postern remembers of senders and recipients: {why}"));
        }
    }
    Ok(())
}

/// The spool's moment; `None` where there is no spool yet.
fn copying(state_dir: &Path) -> Result<Option<Copying>, Stopped> {
    let spool = state_dir.join("spool");
    for _ in 0..PATIENCE {
        match Copying::begin(&spool) {
            Ok(Some(copying)) => return Ok(Some(copying)),
            Ok(None) => pause(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(reach(&spool, &error)),
        }
    }
    Err(Stopped::Reach(format!("{} is being tidied without an end", spool.display())))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a thread of the runtime's blocking pool, in a program of its own"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(PAUSE.into()));
}

/// The file while it is not whole: under another name, and gone if nothing comes of it.
struct Output {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Output {
    fn create(path: &Path) -> Result<Self, Stopped> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|error| reach(&unfinished, &error))?;
        Ok(Self { file, unfinished, path: path.into(), kept: false })
    }

    fn keep(mut self) -> Result<(), Stopped> {
        let kept = self.file.sync_all().and_then(|()| {
            // A file that came there meanwhile stays.
            rustix::fs::renameat_with(CWD, &self.unfinished, CWD, &self.path, RenameFlags::NOREPLACE)?;
            let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
        });
        kept.map_err(|error| reach(&self.path, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

pub(super) fn reach(path: &Path, error: &io::Error) -> Stopped {
    Stopped::Reach(format!("{}: {error}", path.display()))
}
