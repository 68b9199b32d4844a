//! A store: an engine with a thread of its own, which is opened again after a fault and moved aside when it is damaged.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use record::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::aside::move_aside;
use crate::engine::{Change, Engine, PAGE, Pairs, SledEngine, Table};
use crate::error::StoreError;
use crate::export;

/// Requests that wait; whoever comes then waits before it asks.
const WAITING: usize = 64;
/// After a fault the store is opened again no sooner than after this long.
const REOPEN: Duration = Duration::from_secs(10);

/// Where a store is, and how large it gets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder; made where it is missing.
    pub folder: PathBuf,
    /// Octets of memory for pages.
    pub cache: u64,
    /// Octets that the file may grow to; beyond, only removing goes on.
    pub max_octets: u64,
}

impl Settings {
    /// In this folder, with bounds that suit facts about some hundred thousand addresses.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, cache: 16 << 20, max_octets: 1 << 30 }
    }
}

/// A handle on the store; the last one that goes closes it, flushed.
#[derive(Clone, Debug)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    epoch: Arc<AtomicU64>,
}

/// What is stored under a key, if anything is.
type Value = Option<Box<[u8]>>;
type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
enum Request {
    Get(Vec<(Table, Box<[u8]>)>, Answer<Vec<Value>>),
    Apply(Vec<(Table, Vec<Change>)>, Answer<()>),
    Scan(Table, Option<Box<[u8]>>, Answer<Pairs>),
    Flush(Answer<()>),
    Export(PathBuf, Answer<u64>),
}

impl Store {
    /// Starts the store's thread. One that cannot be opened is tried again with later requests, which fail until then;
    /// one that is damaged is moved aside and begun anew. Both are logged.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let max = (settings.cache, settings.max_octets);
        let open = move |folder: &std::path::Path| -> Result<Box<dyn Engine>, StoreError> {
            Ok(Box::new(SledEngine::open(folder, max.0, max.1)?))
        };
        Self::with_engine(settings.folder, clock, open)
    }

    /// The same with an engine of the caller's choice, for its folder.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn with_engine(
        folder: PathBuf,
        clock: Arc<dyn Clock>,
        open: impl FnMut(&std::path::Path) -> Result<Box<dyn Engine>, StoreError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, received) = mpsc::channel(WAITING);
        let epoch = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            folder,
            clock,
            open: Box::new(open),
            engine: None,
            tried: None,
            epoch: Arc::clone(&epoch),
        };
        std::thread::Builder::new().name("store".into()).spawn(move || keeper.keep(received))?;
        Ok(Self { requests, epoch })
    }

    /// Grows with every store that was moved aside: what was stored before is gone, and may be stored again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What is stored under a key.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.get_all(vec![(table, key.into())]).await?.pop().flatten())
    }

    /// What is stored under several keys, in their order; [`PAGE`] at most. Each question wakes the store's thread, and its answer this
    /// one: whoever has several asks them together.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn get_all(&self, keys: Vec<(Table, Box<[u8]>)>) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        if keys.len() > PAGE {
            return Err(StoreError::TooLarge("a question"));
        }
        self.ask(|answer| Request::Get(keys, answer)).await
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn apply(&self, table: Table, changes: Vec<Change>) -> Result<(), StoreError> {
        self.apply_all(vec![(table, changes)]).await
    }

    /// Makes changes in several tables, of each table all or none. The first that cannot be made is the last that is tried.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn apply_all(&self, mut changes: Vec<(Table, Vec<Change>)>) -> Result<(), StoreError> {
        changes.retain(|(_, changes)| !changes.is_empty());
        if changes.is_empty() {
            return Ok(());
        }
        self.ask(|answer| Request::Apply(changes, answer)).await
    }

    /// A page of pairs, those with keys behind `after`; an empty one is behind the last.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn scan(&self, table: Table, after: Option<&[u8]>) -> Result<Pairs, StoreError> {
        self.ask(|answer| Request::Scan(table, after.map(Into::into), answer)).await
    }

    /// Makes durable what was applied.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Request::Flush).await
    }

    /// Writes all that is stored, as it is at one moment, to a file that appears when it is whole and durable; returns the number of
    /// records. Other requests wait meanwhile.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says.
    pub async fn export(&self, to: PathBuf) -> Result<u64, StoreError> {
        self.ask(|answer| Request::Export(to, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

type Opening = dyn FnMut(&std::path::Path) -> Result<Box<dyn Engine>, StoreError> + Send;

/// The thread's own.
struct Keeper {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    open: Box<Opening>,
    engine: Option<Box<dyn Engine>>,
    /// When it was last tried to open it, since 1970.
    tried: Option<Duration>,
    epoch: Arc<AtomicU64>,
}

impl Keeper {
    fn keep(mut self, mut requests: mpsc::Receiver<Request>) {
        // The first request finds it open.
        if let Err(error) = self.open_again() {
            tracing::error!(folder = %self.folder.display(), %error, "facts about servers and recipients are not kept");
        }
        while let Some(request) = requests.blocking_recv() {
            // Who asked may be gone.
            match request {
                Request::Get(keys, answer) => {
                    let all = |engine: &mut dyn Engine| {
                        keys.iter().map(|(table, key)| engine.get(*table, key)).collect()
                    };
                    let _ = answer.send(self.with(all));
                }
                Request::Apply(changes, answer) => {
                    let all = |engine: &mut dyn Engine| {
                        changes.iter().try_for_each(|(table, changes)| engine.apply(*table, changes))
                    };
                    let _ = answer.send(self.with(all));
                }
                Request::Scan(table, after, answer) => {
                    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    let _ = answer.send(self.with(|engine| engine.scan(table, from)));
                }
                Request::Export(to, answer) => {
                    let _ = answer.send(self.with(|engine| export::write(engine, &to)));
                }
                Request::Flush(answer) => {
                    let _ = answer.send(self.with(|engine| engine.flush()));
                }
            }
        }
        if let Err(error) = self.with(|engine| engine.flush()) {
            tracing::error!(%error, "the last facts about servers and recipients are lost");
        }
    }

    /// Asks the engine. After a fault of the disk sled answers nothing any more until it is opened again.
    fn with<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => {
                self.open_again()?;
                self.engine.take().ok_or(StoreError::Closed)?
            }
        };
        let answered = caught(|| ask(&mut *engine));
        match &answered {
            Err(StoreError::Unavailable(error)) => {
                tracing::error!(%error, "the store's disk fails");
                self.close(engine);
            }
            Err(StoreError::Damaged(reason)) => {
                let reason = reason.clone();
                self.close(engine);
                self.begin_anew(&reason)?;
            }
            _ => self.engine = Some(engine),
        }
        answered
    }

    fn close(&mut self, engine: Box<dyn Engine>) {
        let _ = caught(|| {
            drop(engine);
            Ok(())
        });
    }

    fn open_again(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.tried.is_some_and(|tried| now.saturating_sub(tried) < REOPEN && now >= tried) {
            return Err(StoreError::Unavailable(std::io::Error::other("it failed a moment ago")));
        }
        match self.open_now() {
            Ok(()) => {
                self.tried = None;
                Ok(())
            }
            Err(StoreError::Damaged(reason)) => self.begin_anew(&reason),
            Err(error) => {
                self.tried = Some(now);
                Err(error)
            }
        }
    }

    fn open_now(&mut self) -> Result<(), StoreError> {
        let (open, folder) = (&mut self.open, &self.folder);
        self.engine = Some(caught(|| open(folder))?);
        Ok(())
    }

    /// What is damaged goes aside; mail does not wait for a person to look at it.
    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        let moved = move_aside(&self.folder, self.clock.now());
        let opened = moved.and_then(|to| {
            tracing::error!(
                reason,
                moved_to = %to.display(),
                "the store is damaged: it was moved aside, what it knew of servers and recipients is learnt again"
            );
            self.epoch.fetch_add(1, Ordering::AcqRel);
            self.open_now()
        });
        if opened.is_err() {
            self.tried = Some(self.clock.now());
        }
        opened
    }
}

/// sled panics where it meets what it does not expect on disk.
fn caught<T>(ask: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(StoreError::Damaged(words.unwrap_or("sled panicked").into()))
    })
}
