//! All that a store has, as one file that does not change: for backups, since the store's own files change in place.
//!
//! ```text
//! magic     "postern store 1\n"
//! record    octets of the table's name (1), the name, octets of the key (2), the key, octets of the value (4), the value
//! end       0 (1), number of records (8), CRC-32 of all before (4)
//! ```
//!
//! Numbers are big-endian. It holds against accidents; against whoever can write it a backup has its seal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::engine::{Engine, MAX_KEY, MAX_VALUE, Pairs, SledEngine};
use crate::error::StoreError;

const MAGIC: &[u8] = b"postern store 1\n";
/// Octets of a table's name.
const MAX_NAME: usize = 64;
/// Pairs that are put into a table at once, and their octets.
const BATCH: (usize, usize) = (1000, 1 << 20);

/// Takes a table, a key and a value.
pub type Taking<'a> = dyn FnMut(&str, &[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Writes all of it to a file that appears when it is whole and durable; returns the number of records.
pub(crate) fn write(engine: &dyn Engine, to: &Path) -> Result<u64, StoreError> {
    let unfinished = to.with_extension("partial");
    let written = write_unfinished(engine, &unfinished).and_then(|records| {
        std::fs::rename(&unfinished, to).map_err(StoreError::Export)?;
        Ok(records)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

fn write_unfinished(engine: &dyn Engine, to: &Path) -> Result<u64, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
    let mut out = Summed::new(BufWriter::new(file.map_err(StoreError::Export)?));
    let mut records = 0_u64;
    out.write_all(MAGIC).map_err(StoreError::Export)?;
    engine.each(&mut |table, key, value| {
        records += 1;
        write_record(&mut out, table, key, value)
    })?;
    write_end(out, records).map_err(StoreError::Export)?;
    Ok(records)
}

fn write_record(out: &mut impl Write, table: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
    let name = u8::try_from(table.len()).map_err(io::Error::other)?;
    out.write_all(&[name])?;
    out.write_all(table.as_bytes())?;
    out.write_all(&u16::try_from(key.len()).map_err(io::Error::other)?.to_be_bytes())?;
    out.write_all(key)?;
    out.write_all(&u32::try_from(value.len()).map_err(io::Error::other)?.to_be_bytes())?;
    out.write_all(value)
}

fn write_end(mut out: Summed<BufWriter<File>>, records: u64) -> io::Result<()> {
    out.write_all(&[0])?;
    out.write_all(&records.to_be_bytes())?;
    let sum = out.sum();
    let mut file = out.inner;
    file.write_all(&sum.to_be_bytes())?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// Reads an export to its end, and tells every record: its table, key and value. What was told counts only if this succeeds.
/// Returns the number of records.
///
/// # Errors
///
/// [`StoreError::Damaged`], [`StoreError::Export`] if it cannot be read, or what `each` says.
pub fn read_export(input: impl Read, each: &mut Taking<'_>) -> Result<u64, StoreError> {
    let mut input = Summed::new(BufReader::new(input));
    if input.take(MAGIC.len())? != MAGIC {
        return Err(damaged("it is no export of a store"));
    }
    let mut records = 0;
    loop {
        let [name] = input.number()?;
        if name == 0 {
            break;
        }
        let name = input.take(bounded(name.into(), MAX_NAME)?)?;
        let name = std::str::from_utf8(&name).map_err(|_| damaged("a table has no name"))?;
        let key = usize::from(u16::from_be_bytes(input.number()?));
        let key = input.take(bounded(key, MAX_KEY)?)?;
        let value = usize::try_from(u32::from_be_bytes(input.number()?)).unwrap_or(usize::MAX);
        let value = input.take(bounded(value, MAX_VALUE)?)?;
        records += 1;
        each(name, &key, &value)?;
    }
    if u64::from_be_bytes(input.number()?) != records {
        return Err(damaged("it has not as many records as it says"));
    }
    let sum = input.sum();
    if u32::from_be_bytes(input.number()?) != sum || !input.is_at_end()? {
        return Err(damaged("its checksum is another one"));
    }
    Ok(records)
}

/// Makes a store in `folder`, which has none, out of an export. Returns the number of records.
///
/// # Errors
///
/// As [`read_export`], or the new store's; what is in `folder` is of no use then.
pub fn import(input: impl Read, folder: &Path, cache: u64, max_octets: u64) -> Result<u64, StoreError> {
    let mut engine = SledEngine::open(folder, cache, max_octets)?;
    let mut batch = Batch { table: String::new(), pairs: Pairs::new(), octets: 0 };
    let records = read_export(input, &mut |table, key, value| {
        if batch.table != table || batch.pairs.len() >= BATCH.0 || batch.octets >= BATCH.1 {
            batch.put(&mut engine)?;
            batch.table = table.to_owned();
        }
        batch.octets += key.len() + value.len();
        batch.pairs.push((key.into(), value.into()));
        Ok(())
    })?;
    batch.put(&mut engine)?;
    engine.flush()?;
    Ok(records)
}

/// Pairs on their way into a table.
struct Batch {
    table: String,
    pairs: Pairs,
    octets: usize,
}

impl Batch {
    fn put(&mut self, engine: &mut SledEngine) -> Result<(), StoreError> {
        self.octets = 0;
        match self.pairs.is_empty() {
            true => Ok(()),
            false => engine.put_all(&self.table, std::mem::take(&mut self.pairs)),
        }
    }
}

fn bounded(length: usize, most: usize) -> Result<usize, StoreError> {
    if length <= most { Ok(length) } else { Err(damaged("a record is too large")) }
}

fn damaged(why: &str) -> StoreError {
    StoreError::Damaged(why.into())
}

/// Sums up what goes through.
struct Summed<T> {
    inner: T,
    sum: crc32fast::Hasher,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self { inner, sum: crc32fast::Hasher::new() }
    }

    fn sum(&self) -> u32 {
        self.sum.clone().finalize()
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.sum.update(octets.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Summed<T> {
    /// As many octets, which the caller has bounded.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut octets = vec![0; length];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut octets = [0; N];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn fill(&mut self, octets: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_exact(octets).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it has no end"),
            _ => StoreError::Export(error),
        })?;
        self.sum.update(octets);
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, StoreError> {
        let mut more = [0];
        self.inner.read(&mut more).map(|length| length == 0).map_err(StoreError::Export)
    }
}
