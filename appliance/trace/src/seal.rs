//! A segment that is full gets its index, and blocks that are worth their name.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::Entry;
use crate::block::{self, ENTRIES, Unpacked};
use crate::error::TraceError;
use crate::folder::{self, Kind, MAGIC};
use crate::segment::{Content, Sealed, write_index};
use crate::writer::Current;

/// Blocks that are flushed every second are small on a quiet site, and compress badly: from so many entries a block on, on the
/// average, they stay as they are.
const GOOD_ENOUGH: usize = ENTRIES / 2;

/// The full segment; `None` if nothing is in it. Its log is gone afterwards.
///
/// A crash in between leaves the log, or the records, with an index or without: each is enough.
pub(crate) fn seal<E: Entry>(folder: &Path, current: &mut Current) -> Result<Option<Sealed>, TraceError> {
    current.flush()?;
    let (entries, blocks) = (current.content.index.len(), current.content.blocks.len());
    if blocks == 0 {
        folder::remove(&current.path)?;
        return Ok(None);
    }
    let records = Kind::Records.path(folder, current.first);
    if entries / blocks >= GOOD_ENOUGH && !current.has_gaps {
        current.file.sync_data().map_err(TraceError::file(&current.path))?;
        write_index(folder, current.first, &current.content)?;
        folder::rename(&current.path, &records)?;
    } else {
        let repacked = repack::<E>(folder, current)?;
        write_index(folder, current.first, &repacked)?;
        folder::rename(&Kind::Records.unfinished(folder, current.first), &records)?;
        folder::sync(folder)?;
        folder::remove(&current.path)?;
    }
    folder::sync(folder)?;
    Sealed::open::<E>(folder, current.first).map(Some)
}

/// Writes the entries anew, in full blocks.
fn repack<E: Entry>(folder: &Path, current: &Current) -> Result<Content, TraceError> {
    let path = Kind::Records.unfinished(folder, current.first);
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(TraceError::file(&path))?;
    let mut end = 0;
    let mut write = |octets: &[u8]| {
        let at = end;
        end += octets.len() as u64;
        file.write_all_at(octets, at).map_err(TraceError::file(&path))
    };
    write(MAGIC)?;
    let mut full = Unpacked::default();
    for span in &current.content.blocks {
        let block =
            block::read_at(&current.file, u64::from(span.offset)).map_err(TraceError::file(&current.path))?;
        let Some((block, _)) = block else { continue };
        for json in block.entries() {
            full.push(json);
            if full.is_full() {
                write(&full.pack())?;
                full.clear();
            }
        }
    }
    if !full.is_empty() {
        write(&full.pack())?;
    }
    file.sync_data().map_err(TraceError::file(&path))?;
    Content::read::<E>(&file, &path)
}
