//! The DKIM keys of the domains here, as files: `STATE/dkim/DOMAIN/SELECTOR.pem`.
//!
//! A generation is an RSA and an Ed25519 key of one month, `PREFIX-YYYYMM` and `PREFIX-YYYYMM-ed25519`. Its successor is made
//! after [`ROTATION`] months, and signs once its records are seen in the DNS; what it replaced stays for [`OVERLAP`], since
//! mail is verified days after it was signed. Keys under selectors of another shape are the administrator's own: they sign, and
//! are not replaced.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evidence::EvidenceError;
use evidence::signing::{Algorithm, DkimKey};
use record::Clock;
use tokio::sync::Notify;

/// Months after which a generation gets a successor: M3AAWG's practice for DKIM key rotation asks for twice a year.
const ROTATION: u32 = 6;
/// How long the records and keys of a generation that was replaced are kept. Mail waits in queues for five days, and is
/// verified again by readers later.
const OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Octets of a key file; an RSA key of 4096 bits has 3.3 KiB.
const MAX_KEY_FILE: u64 = 16 * 1024;
/// Key files that are looked at for one domain.
const MAX_KEYS: usize = 32;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// A file or folder cannot be read or made.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The key that signs is the administrator's own.
    #[error(
        "the key of {domain} that signs is your own: put another one beside it, under a selector that sorts behind, and take the \
         old one away"
    )]
    Own {
        /// Whose.
        domain: String,
    },
    /// There is a successor that does not sign yet.
    #[error(
        "there are new keys for {domain} already: they sign once all of their records are seen; publish what `postern dns` prints"
    )]
    Awaited {
        /// Whose.
        domain: String,
    },
    /// A key cannot be made or read.
    #[error("{path}: {error}")]
    Key {
        /// Where.
        path: PathBuf,
        /// Why.
        error: EvidenceError,
    },
}

/// The keys of one month.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// `YYYYMM`; `None` for keys of the administrator's own.
    month: Option<u32>,
    /// At least one; RSA first.
    pub(crate) keys: Vec<Arc<DkimKey>>,
}

/// What a domain has, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct OfDomain {
    pub(crate) generations: Vec<Generation>,
}

/// Whether a key's record is in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is.
    Published,
    /// It is not, or another is in its place.
    Missing,
    /// Nobody could tell so far.
    Unknown,
}

/// What a generation is for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It signs.
    Signs,
    /// It will, once its records are published.
    Next,
    /// It signed before.
    Retired,
}

/// A record, by domain and selector.
type Record = (Box<str>, Box<str>);

/// All of them.
pub(crate) struct Keys {
    folder: PathBuf,
    prefix: String,
    clock: Arc<dyn Clock>,
    /// Keys that are not there are not made.
    only_reads: bool,
    known: Mutex<HashMap<Box<str>, OfDomain>>,
    seen: Mutex<HashMap<Record, Seen>>,
    /// Records are to be looked for soon.
    pub(crate) changed: Notify,
}

impl Keys {
    pub(crate) fn new(state_dir: &Path, prefix: &str, clock: Arc<dyn Clock>) -> Self {
        let folder = state_dir.join("dkim");
        let (known, seen) = (Mutex::default(), Mutex::default());
        let changed = Notify::new();
        Self { folder, prefix: prefix.to_owned(), clock, only_reads: false, known, seen, changed }
    }

    /// The same for whoever is not to change anything: a domain without keys has none.
    pub(crate) fn only_read(self) -> Self {
        Self { only_reads: true, ..self }
    }

    /// The keys of a domain, read or made if they are not known yet: blocks for up to a second.
    pub(crate) fn of(&self, domain: &str) -> Result<OfDomain, KeysError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(domain) {
            return Ok(found.clone());
        }
        let mut found = self.read(domain)?;
        if found.is_empty() && !self.only_reads {
            found.push(self.make(domain, month_of(self.clock.now()))?);
        }
        let found = OfDomain { generations: found };
        known.insert(domain.into(), found.clone());
        Ok(found)
    }

    /// The keys that sign now.
    pub(crate) fn signing(&self, domain: &str) -> Result<Vec<Arc<DkimKey>>, KeysError> {
        let found = self.of(domain)?;
        let at = self.signing_at(domain, &found);
        Ok(found.generations.get(at).map(|generation| generation.keys.clone()).unwrap_or_default())
    }

    /// What each generation of a domain is for.
    pub(crate) fn duties(&self, domain: &str) -> Result<Vec<(Duty, Generation)>, KeysError> {
        let found = self.of(domain)?;
        let signing = self.signing_at(domain, &found);
        let duty = |at: usize| match at.cmp(&signing) {
            std::cmp::Ordering::Less => Duty::Retired,
            std::cmp::Ordering::Equal => Duty::Signs,
            std::cmp::Ordering::Greater => Duty::Next,
        };
        Ok(found.generations.into_iter().enumerate().map(|(at, one)| (duty(at), one)).collect())
    }

    /// The newest generation whose records are all there; before any was seen, the oldest: a signature that nobody can verify
    /// is as good as none (RFC 6376 §6.1), and the record may only be invisible from here.
    fn signing_at(&self, domain: &str, found: &OfDomain) -> usize {
        let is_published = |generation: &Generation| {
            generation.keys.iter().all(|key| self.seen(domain, key.selector()) == Seen::Published)
        };
        found.generations.iter().rposition(is_published).unwrap_or_default()
    }

    /// What was last seen of a record.
    pub(crate) fn seen(&self, domain: &str, selector: &str) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(domain.into(), selector.into())).copied().unwrap_or(Seen::Unknown)
    }

    /// The DNS was asked for a record. What is not known does not replace what was.
    pub(crate) fn saw(&self, domain: &str, selector: &str, seen: Seen) {
        if seen != Seen::Unknown {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert((domain.into(), selector.into()), seen);
        }
    }

    /// Makes a successor where it is time for one, and removes what was replaced long ago; blocks.
    pub(crate) fn keep(&self, domain: &str) -> Result<(), KeysError> {
        let OfDomain { mut generations } = self.of(domain)?;
        let now = self.clock.now();
        let due = generations
            .last()
            .and_then(|last| last.month)
            .is_some_and(|month| months(month_of(now)).saturating_sub(months(month)) >= ROTATION);
        if due {
            generations.push(self.make(domain, month_of(now))?);
            tracing::info!(domain, "new DKIM keys; they sign once their records are published: postern dns");
        }
        let signing = self.signing_at(domain, &OfDomain { generations: generations.clone() });
        if signing > 0 && self.replaced_for(domain, &generations[signing], now)? >= OVERLAP {
            for retired in generations.drain(..signing) {
                self.remove(domain, &retired)?;
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(domain.into(), OfDomain { generations });
        Ok(())
    }

    /// Makes a successor before its time; blocks. It signs once its records are seen, and what it replaces is kept as ever. Its
    /// selector has the month behind the last one's, where that is of this month.
    pub(crate) fn replace(&self, domain: &str) -> Result<(), KeysError> {
        let OfDomain { mut generations } = self.of(domain)?;
        let domain_of = || domain.to_owned();
        let present = month_of(self.clock.now());
        let month = match generations.last() {
            Some(Generation { month: None, .. }) => return Err(KeysError::Own { domain: domain_of() }),
            Some(Generation { month: Some(month), .. }) if *month >= present => month_after(*month),
            _ => present,
        };
        let signing = self.signing_at(domain, &OfDomain { generations: generations.clone() });
        if signing + 1 < generations.len() {
            return Err(KeysError::Awaited { domain: domain_of() });
        }
        generations.push(self.make(domain, month)?);
        tracing::info!(
            domain,
            month,
            "new DKIM keys were ordered; they sign once their records are published"
        );
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(domain.into(), OfDomain { generations });
        drop(known);
        self.changed.notify_one();
        Ok(())
    }

    /// How long this generation has signed in place of an older one; from now on, if that is news.
    fn replaced_for(&self, domain: &str, by: &Generation, now: Duration) -> Result<Duration, KeysError> {
        let Some(key) = by.keys.first() else { return Ok(Duration::ZERO) };
        let path = self.folder.join(domain).join(format!("{}.since", key.selector()));
        match fs::read_to_string(&path) {
            Ok(text) => {
                let since = text.trim().parse().map_or(now, Duration::from_secs);
                Ok(now.saturating_sub(since))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                write(&path, now.as_secs().to_string().as_bytes())?;
                tracing::info!(domain, selector = key.selector(), "new DKIM keys sign from now on");
                Ok(Duration::ZERO)
            }
            Err(error) => Err(KeysError::File { path, error }),
        }
    }

    fn remove(&self, domain: &str, retired: &Generation) -> Result<(), KeysError> {
        for key in &retired.keys {
            for extension in ["pem", "since"] {
                let path = self.folder.join(domain).join(format!("{}.{extension}", key.selector()));
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(KeysError::File { path, error });
                    }
                    _ => {}
                }
            }
            tracing::info!(
                domain,
                selector = key.selector(),
                "a DKIM key that was replaced is removed; its record may go"
            );
        }
        Ok(())
    }

    fn make(&self, domain: &str, month: u32) -> Result<Generation, KeysError> {
        let folder = self.folder.join(domain);
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| KeysError::File { path: folder.clone(), error })?;
        let mut keys = Vec::new();
        for (algorithm, suffix) in [(Algorithm::Rsa2048, ""), (Algorithm::Ed25519, "-ed25519")] {
            let selector = format!("{}-{month}{suffix}", self.prefix);
            let path = folder.join(format!("{selector}.pem"));
            let failed = |error| KeysError::Key { path: path.clone(), error };
            let pem = DkimKey::generate(algorithm).map_err(failed)?;
            let key = DkimKey::from_pem(&selector, &pem).map_err(failed)?;
            write(&path, pem.as_bytes())?;
            keys.push(Arc::new(key));
        }
        Ok(Generation { month: Some(month), keys })
    }

    /// One that cannot be read is named and left out: the others sign.
    fn read(&self, domain: &str) -> Result<Vec<Generation>, KeysError> {
        let folder = self.folder.join(domain);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(KeysError::File { path: folder, error }),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
        paths.sort();
        paths.truncate(MAX_KEYS);
        let mut by_month: BTreeMap<Option<u32>, Vec<Arc<DkimKey>>> = BTreeMap::new();
        for path in paths {
            match read_key(&path) {
                Ok(key) => by_month.entry(month_in(key.selector())).or_default().push(Arc::new(key)),
                Err(error) => tracing::error!(domain, %error, "a DKIM key is not used"),
            }
        }
        let generation = |(month, mut keys): (Option<u32>, Vec<Arc<DkimKey>>)| {
            keys.sort_by_key(|key| key.algorithm());
            Generation { month, keys }
        };
        // The administrator's own come last: they sign before any that were made here, and nothing follows them.
        let own = by_month.remove(&None).map(|keys| generation((None, keys)));
        Ok(by_month.into_iter().map(generation).chain(own).collect())
    }
}

fn read_key(path: &Path) -> Result<DkimKey, KeysError> {
    let failed = |error| KeysError::File { path: path.into(), error };
    if fs::metadata(path).map_err(failed)?.len() > MAX_KEY_FILE {
        return Err(failed(io::Error::other("too large for a key")));
    }
    let pem = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let selector = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    DkimKey::from_pem(selector, &pem).map_err(|error| KeysError::Key { path: path.into(), error })
}

/// Whole or not at all: a key that was half written would never be made again.
fn write(path: &Path, octets: &[u8]) -> Result<(), KeysError> {
    let failed = |error| KeysError::File { path: path.into(), error };
    let unfinished = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished).map_err(failed)?;
    file.write_all(octets).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    let folder = path.parent().map(fs::File::open).transpose().map_err(failed)?;
    folder.map_or(Ok(()), |folder| folder.sync_all()).map_err(failed)
}

/// `YYYYMM` of a time since 1970, in UTC.
fn month_of(now: Duration) -> u32 {
    let date = record::rfc3339_date(now);
    date.get(..7).and_then(|month| month.replace('-', "").parse().ok()).unwrap_or_default()
}

/// Months since the year 0.
fn months(month: u32) -> u32 {
    month / 100 * 12 + month % 100
}

/// The next `YYYYMM`.
fn month_after(month: u32) -> u32 {
    if month % 100 == 12 { month + 89 } else { month + 1 }
}

fn month_in(selector: &str) -> Option<u32> {
    let selector = selector.strip_suffix("-ed25519").unwrap_or(selector);
    let (_, digits) = selector.rsplit_once('-')?;
    let is_month = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|month| is_month && (1..=12).contains(&(month % 100)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::SimulatedClock;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const DOMAIN: &str = "corp.example";

    fn keys(folder: &Path, now: Duration) -> Keys {
        Keys::new(folder, "postern", Arc::new(SimulatedClock::starting_at(now)))
    }

    fn selectors(keys: &Keys) -> Vec<(Duty, Vec<String>)> {
        let names = |one: Generation| one.keys.iter().map(|key| key.selector().to_owned()).collect();
        keys.duties(DOMAIN).unwrap().into_iter().map(|(duty, one)| (duty, names(one))).collect()
    }

    fn generation(month: u32) -> Vec<String> {
        vec![format!("postern-{month}"), format!("postern-{month}-ed25519")]
    }

    /// 2026-11-21.
    const NOVEMBER: Duration = Duration::from_secs(1_795_219_200);

    #[tokio::test]
    async fn keys_are_made_once_and_found_again_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let first = keys(folder.path(), NOVEMBER);
        assert_eq!(selectors(&first), [(Duty::Signs, generation(202611))]);
        let again = keys(folder.path(), NOVEMBER + 60 * DAY);
        let record = |keys: &Keys| keys.signing(DOMAIN).unwrap()[0].record().to_owned();
        assert_eq!(record(&first), record(&again));
        for entry in fs::read_dir(folder.path().join("dkim").join(DOMAIN)).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_successor_signs_once_its_records_are_seen_and_the_old_key_outlives_that() {
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path(), NOVEMBER).of(DOMAIN).unwrap();
        let in_may = keys(folder.path(), NOVEMBER + 170 * DAY);
        in_may.keep(DOMAIN).unwrap();
        assert_eq!(selectors(&in_may), [(Duty::Signs, generation(202611)), (Duty::Next, generation(202705))]);
        in_may.saw(DOMAIN, "postern-202705", Seen::Published);
        in_may.keep(DOMAIN).unwrap();
        assert_eq!(selectors(&in_may)[0].0, Duty::Signs, "half of the records is not enough");
        in_may.saw(DOMAIN, "postern-202705-ed25519", Seen::Published);
        in_may.saw(DOMAIN, "postern-202705-ed25519", Seen::Unknown);
        in_may.keep(DOMAIN).unwrap();
        assert_eq!(
            selectors(&in_may),
            [(Duty::Retired, generation(202611)), (Duty::Signs, generation(202705))]
        );
        let in_june = keys(folder.path(), NOVEMBER + 201 * DAY);
        assert_eq!(selectors(&in_june)[0].0, Duty::Signs, "what was seen is not known after a restart");
        for selector in generation(202705) {
            in_june.saw(DOMAIN, &selector, Seen::Published);
        }
        in_june.keep(DOMAIN).unwrap();
        assert_eq!(selectors(&in_june), [(Duty::Signs, generation(202705))]);
        let left = fs::read_dir(folder.path().join("dkim").join(DOMAIN)).unwrap().count();
        assert_eq!(left, 3, "two keys and since when");
    }

    #[tokio::test]
    async fn keys_are_replaced_on_demand_once_their_successors_sign() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path(), NOVEMBER);
        keys.of(DOMAIN).unwrap();
        keys.replace(DOMAIN).unwrap();
        assert_eq!(selectors(&keys), [(Duty::Signs, generation(202611)), (Duty::Next, generation(202612))]);
        assert!(matches!(keys.replace(DOMAIN), Err(KeysError::Awaited { .. })));
        for selector in generation(202612) {
            keys.saw(DOMAIN, &selector, Seen::Published);
        }
        keys.replace(DOMAIN).unwrap();
        let all = selectors(&keys);
        assert_eq!(all[0], (Duty::Retired, generation(202611)));
        assert_eq!(all[2], (Duty::Next, generation(202701)));
    }

    #[tokio::test]
    async fn the_administrators_own_key_signs_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("dkim").join(DOMAIN);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("mail.pem"), &*DkimKey::generate(Algorithm::Rsa2048).unwrap()).unwrap();
        fs::write(own.join("broken.pem"), "no key").unwrap();
        let keys = keys(folder.path(), NOVEMBER);
        keys.keep(DOMAIN).unwrap();
        assert_eq!(selectors(&keys), [(Duty::Signs, vec!["mail".to_owned()])]);
        assert!(matches!(keys.replace(DOMAIN), Err(KeysError::Own { .. })));
    }

    #[test]
    fn months_are_read_off_selectors_and_times() {
        assert_eq!(month_of(NOVEMBER), 202611);
        assert_eq!(months(202705) - months(202611), 6);
        for (selector, month) in [
            ("postern-202611", Some(202611)),
            ("a-b-202612-ed25519", Some(202612)),
            ("postern-202613", None),
            ("postern-2026111", None),
            ("mail", None),
        ] {
            assert_eq!(month_in(selector), month, "{selector}");
        }
    }
}
