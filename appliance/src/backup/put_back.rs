//! Restores a backup.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::backup::{
    About, BackupError, Destination, Done, Manifest, Name, Part, Staging, StateLock, place, plan_of, read,
    unfinished,
};
use record::{Clock as _, SystemClock};
use serde::Serialize;
use spool::{Folder, RealDisk, Spool};
use tokio::runtime::Handle;

use super::learnt::{EXPORT, import_store, verify_store};
use super::progress::Progress;
use super::{Stopped, key};
use crate::command::Restore;
use crate::config::{Places, size_in_words};
use crate::output;

/// Octets read from the file at once.
const READ: usize = 1 << 20;

pub(super) fn restore(config: &Path, options: &Restore, json: bool) -> Result<(), Stopped> {
    let config = std::path::absolute(config).map_err(|error| reach(config, &error))?;
    let Some(file) = &options.file else { return resume(&config, json) };
    let opened = File::open(file).map_err(|error| reach(file, &error))?;
    let unlocked = key::unlock(options)?.open(BufReader::with_capacity(READ, opened))?;
    let mut progress = Progress::new(if options.verify { "verified" } else { "unpacked" });
    let mut progress = move |octets, of| progress.at(octets, of);
    if options.verify {
        let mut nowhere = Nowhere::default();
        let manifest = read(unlocked, &mut nowhere, &mut progress)?;
        tell_verified(file, &manifest, nowhere.files, json);
        return Ok(());
    }
    let mut unpacking = Unpacking { config: &config, keeps_config: options.without_config, place: None };
    let manifest = read(unlocked, &mut unpacking, &mut progress)?;
    drop(progress);
    let Some((state_dir, _lock, staging)) = unpacking.place else {
        return Err(BackupError::NotSound("it has no beginning".into()).into());
    };
    expect_config(&staging)?;
    import_store(&staging.state()?)?;
    let held = spool(&staging.state()?.join("spool"), options.without_queue)?;
    let new_config = (!options.without_config).then_some(config.as_path());
    let plan = staging.plan(SystemClock.now().as_secs(), new_config, options.elsewhere);
    staging.commit(&plan)?;
    let done = place(&state_dir, &plan)?;
    tell(&state_dir, Some(&manifest), &held, &done, json);
    Ok(())
}

fn resume(config: &Path, json: bool) -> Result<(), Stopped> {
    let state_dir = present_state_dir(config)?;
    let _lock = StateLock::take(&state_dir)?;
    if !unfinished(&state_dir) {
        return Err(Stopped::Use(format!("no restore into {} was interrupted", state_dir.display())));
    }
    let done = place(&state_dir, &plan_of(&state_dir)?)?;
    tell(&state_dir, None, &Held::default(), &done, json);
    Ok(())
}

/// Of the config that is here.
fn present_state_dir(config: &Path) -> Result<PathBuf, Stopped> {
    let text = std::fs::read_to_string(config).map_err(|error| reach(config, &error))?;
    let places = Places::of(&text).map_err(|error| Stopped::Use(format!("{}: {error}", config.display())))?;
    Ok(below(config, &places.state_dir))
}

fn below(config: &Path, state_dir: &Path) -> PathBuf {
    config.parent().unwrap_or_else(|| Path::new("/")).join(state_dir)
}

/// Verifies, and keeps nothing.
#[derive(Default)]
struct Nowhere {
    files: u64,
}

impl Destination for Nowhere {
    fn begin(&mut self, _: &Manifest) -> Result<(), BackupError> {
        Ok(())
    }

    fn file(&mut self, name: &Name, _: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError> {
        self.files += 1;
        if name.part == Part::State && name.path() == Path::new(EXPORT) {
            verify_store(content)?;
        }
        let copied = io::copy(content, &mut io::sink());
        copied.map(drop).map_err(|error| BackupError::NotSound(error.to_string()))
    }
}

/// Where it goes is known once the backup has said it.
struct Unpacking<'a> {
    config: &'a Path,
    keeps_config: bool,
    place: Option<(PathBuf, StateLock, Staging)>,
}

impl Unpacking<'_> {
    fn state_dir(&self, manifest: &Manifest) -> Result<PathBuf, BackupError> {
        if !self.keeps_config {
            return Ok(below(self.config, &manifest.state_dir));
        }
        let wrong = |error: Stopped| BackupError::File {
            path: self.config.into(),
            error: io::Error::other(error.to_string()),
        };
        present_state_dir(self.config).map_err(wrong)
    }
}

impl Destination for Unpacking<'_> {
    fn begin(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let state_dir = self.state_dir(manifest)?;
        let failed = |error| BackupError::File { path: state_dir.clone(), error };
        DirBuilder::new().recursive(true).mode(0o750).create(&state_dir).map_err(failed)?;
        // What it leads to is where things are renamed.
        let state_dir = state_dir.canonicalize().map_err(failed)?;
        let lock = StateLock::take(&state_dir)?;
        if unfinished(&state_dir) {
            let error = io::Error::other(
                "another restore was interrupted here: say `postern restore --resume` first",
            );
            return Err(BackupError::File { path: state_dir, error });
        }
        let mut staging = Staging::begin(&state_dir)?;
        staging.begin(manifest)?;
        self.place = Some((state_dir, lock, staging));
        Ok(())
    }

    fn file(&mut self, name: &Name, about: &About<'_>, content: &mut dyn Read) -> Result<(), BackupError> {
        match &mut self.place {
            Some((_, _, staging)) => staging.file(name, about, content),
            None => Err(BackupError::NotSound("it has no beginning".into())),
        }
    }
}

/// The config in it can be read as one.
fn expect_config(staging: &Staging) -> Result<(), Stopped> {
    let unsound = |why: String| Stopped::from(BackupError::NotSound(why));
    let folder = staging.path().join(Part::Config.folder());
    let file = std::fs::read_dir(&folder).ok().and_then(|mut entries| entries.next()?.ok());
    let file = file.ok_or_else(|| unsound("it has no config".into()))?;
    let text =
        std::fs::read_to_string(file.path()).map_err(|error| unsound(format!("its config: {error}")))?;
    Places::of(&text).map(drop).map_err(|error| unsound(format!("its config: {error}")))
}

/// Messages in the restored spool, by folder; and how many were left out.
#[derive(Debug, Default, Serialize)]
struct Held {
    messages: BTreeMap<&'static str, usize>,
    left_out: usize,
}

/// Reads the unpacked spool as a start would, so that what will not start is not put in place.
fn spool(folder: &Path, without_queue: bool) -> Result<Held, Stopped> {
    let mut held = Held::default();
    if !folder.exists() {
        return Ok(held);
    }
    let disk = RealDisk::new(folder).map_err(|error| reach(folder, &error))?;
    let unsound = |error: spool::SpoolError| Stopped::from(BackupError::NotSound(error.to_string()));
    let spool =
        Spool::open(spool::Settings::default(), Arc::new(disk), Arc::new(SystemClock)).map_err(unsound)?;
    for summary in spool.entries() {
        if without_queue && summary.folder == Folder::Queue {
            Handle::current().block_on(spool.remove(summary.id)).map_err(unsound)?;
            held.left_out += 1;
        } else {
            *held.messages.entry(summary.folder.name()).or_default() += 1;
        }
    }
    Ok(held)
}

fn tell_verified(file: &Path, manifest: &Manifest, files: u64, json: bool) {
    if json {
        output::json(
            &serde_json::json!({ "file": file, "sound": true, "files": files, "manifest": manifest }),
        );
    } else {
        output::line(&format!(
            "{} is whole: {} of {}, {files} files, {}",
            file.display(),
            date(manifest.made),
            manifest.hostname,
            size_in_words(manifest.octets),
        ));
    }
}

fn tell(state_dir: &Path, manifest: Option<&Manifest>, held: &Held, done: &Done, json: bool) {
    if json {
        output::json(&serde_json::json!({
            "state_dir": state_dir, "made": manifest.map(|manifest| manifest.made), "done": done,
            "messages": held.messages, "left_out": held.left_out,
        }));
        return;
    }
    match manifest {
        Some(manifest) => output::line(&format!(
            "restored into {}: the state of {}",
            state_dir.display(),
            date(manifest.made)
        )),
        None => output::line(&format!("the restore into {} is at its end", state_dir.display())),
    }
    for (folder, count) in &held.messages {
        output::line(&format!("  {count} messages in {folder}"));
    }
    if held.left_out > 0 {
        output::line(&format!("  {} messages that waited for delivery were left out", held.left_out));
    } else if held.messages.contains_key(Folder::Queue.name()) {
        output::line(
            "  those in queue that were delivered since the backup will be delivered once more (--without-queue)",
        );
    }
    for path in &done.placed {
        output::line(&format!("  written: {}", path.display()));
    }
    for path in &done.replaced {
        output::line(&format!("  what was there before: {}", path.display()));
    }
    if let Some(aside) = &done.aside {
        output::line(&format!("  the state before: {}", aside.display()));
    }
    for path in &done.left {
        output::line(&format!(
            "  not written, it lies outside the config's folder: {} (--elsewhere)",
            path.display()
        ));
    }
}

fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn reach(path: &Path, error: &io::Error) -> Stopped {
    Stopped::Reach(format!("{}: {error}", path.display()))
}
