//! The trace on disk. A thread of its own writes it, so that no session ever waits for a disk.
//!
//! What is there is what the trace in memory has, but for the words of a message that weighed most: content does not go to disk.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use record::{Afterwards, Clock, Session, Transaction};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::{TraceId, TransactionId};
use tokio::sync::watch;
use trace::{Entry, Found, Place, Search, Terms, Trace, TraceError, Wanted};
use tracing::{error, warn};

use super::memory::STEPS_TOLD;
use super::metrics::Metrics;
use super::query::{
    ADDRESS, CLIENT, DIRECTION, FROM, HELO, ID, KIND, MESSAGE_ID, OUTCOME, Query, SUBJECT, See, TO, VERDICT,
};
use crate::report::{AfterwardsStory, SessionStory, TransactionStory};

/// Batches of at most 256 events that wait for the disk; the trace in memory shares them.
const QUEUE: usize = 32;
/// What a crash costs.
const FLUSH: Duration = Duration::from_secs(1);
/// Bounds of age and size are looked at so often.
const TIDY: Duration = Duration::from_secs(60);
/// Entries that one question looks at, at most, beside those that the index rules out: some tenths of a second.
const LOOKS: usize = 20_000;
/// Transactions of one session that are told.
const OF_A_SESSION: usize = 1000;

/// What goes to disk, shared with the trace in memory.
#[derive(Clone, Debug)]
pub(super) enum Traced {
    Transaction(Arc<Transaction>),
    Session(Arc<Session>),
    Afterwards(Arc<Afterwards>),
}

/// An entry of the trace on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEntry {
    /// When it began, in seconds since 1970.
    at: u64,
    /// What it is.
    pub story: TracedStory,
}

/// What an entry of the trace tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TracedStory {
    /// A transaction.
    Transaction(Box<TransactionStory>),
    /// A session.
    Session(SessionStory),
    /// What became of a message behind its transaction.
    Afterwards {
        /// The transaction.
        id: String,
        /// What.
        step: AfterwardsStory,
    },
}

impl From<&Traced> for TraceEntry {
    fn from(traced: &Traced) -> Self {
        let (at, story) = match traced {
            Traced::Transaction(transaction) => {
                let mut story = TransactionStory::from(&**transaction);
                story.opinion.iter_mut().for_each(|opinion| opinion.words.clear());
                (transaction.began, TracedStory::Transaction(Box::new(story)))
            }
            Traced::Session(session) => (session.began, TracedStory::Session(SessionStory::from(&**session))),
            Traced::Afterwards(step) => {
                let id = step.transaction.to_string();
                (step.at, TracedStory::Afterwards { id, step: AfterwardsStory::from(&**step) })
            }
        };
        Self { at: at.as_secs(), story }
    }
}

const TRANSACTION: &str = "transaction";
const SESSION: &str = "session";
const WITHOUT_MAIL: &str = "session without mail";
const AFTERWARDS: &str = "afterwards";

impl Entry for TraceEntry {
    fn at(&self) -> Duration {
        Duration::from_secs(self.at)
    }

    fn describe(&self, terms: &mut Terms) {
        match &self.story {
            TracedStory::Transaction(story) => describe(story, terms),
            TracedStory::Session(story) => {
                let kind = if story.transactions == 0 { WITHOUT_MAIL } else { SESSION };
                terms.exactly(KIND, kind);
                terms.exactly(ID, &story.id);
                came_from(&story.client, &story.helo, terms);
                terms.text(ID, &story.id);
            }
            TracedStory::Afterwards { id, .. } => {
                terms.exactly(KIND, AFTERWARDS);
                terms.exactly(ID, id);
            }
        }
    }
}

fn describe(story: &TransactionStory, terms: &mut Terms) {
    terms.exactly(KIND, TRANSACTION);
    terms.exactly(ID, &story.id);
    terms.exactly(ID, story.id.split('.').next().unwrap_or_default());
    terms.exactly(VERDICT, &story.verdict);
    terms.exactly(OUTCOME, &story.outcome);
    came_from(&story.client, &story.helo, terms);
    terms.text(FROM, &story.from);
    if let Some(opinion) = &story.opinion {
        terms.exactly(DIRECTION, &opinion.direction);
        terms.text(SUBJECT, &opinion.subject);
        terms.text(MESSAGE_ID, &opinion.message_id);
    }
    terms.text(ID, &story.id);
    for recipient in &story.recipients {
        terms.text(TO, &recipient.address);
        recipient.alias.iter().for_each(|alias| terms.text(TO, alias));
    }
}

fn came_from(client: &str, helo: &str, terms: &mut Terms) {
    let address = client.rsplit_once(':').map_or(client, |(address, _)| address);
    let canonical = address.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if let Ok(address) = canonical {
        terms.exactly(CLIENT, &address.to_canonical().to_string());
    }
    terms.text(ADDRESS, client);
    terms.text(HELO, helo);
}

/// The trace on disk.
pub struct Disk {
    trace: Arc<Trace<TraceEntry>>,
    /// `None` once it is closed.
    batches: Mutex<Option<SyncSender<Vec<Traced>>>>,
    sent: AtomicU64,
    written: watch::Receiver<u64>,
}

impl Disk {
    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub(super) fn start(
        trace: Trace<TraceEntry>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let trace = Arc::new(trace);
        let (batches, waiting) = sync_channel(QUEUE);
        let (done, written) = watch::channel(0);
        let writer = Writer { trace: Arc::clone(&trace), clock, metrics, done, silent_until: Duration::ZERO };
        std::thread::Builder::new().name("trace".to_owned()).spawn(|| writer.write(waiting))?;
        Ok(Self { trace, batches: Mutex::new(Some(batches)), sent: AtomicU64::new(0), written })
    }

    /// False if the disk cannot keep pace.
    pub(super) fn keep(&self, batch: Vec<Traced>) -> bool {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = batches.as_ref().is_some_and(|batches| batches.try_send(batch).is_ok());
        if sent {
            self.sent.fetch_add(1, Ordering::Release);
        }
        sent
    }

    /// Waits until what was sent before now can be found.
    pub(super) async fn caught_up(&self) {
        let wanted = self.sent.load(Ordering::Acquire);
        // The writer has ended: nothing more comes.
        let _ = self.written.clone().wait_for(|&written| written >= wanted).await;
    }

    /// Everything that was sent is on disk afterwards, and nothing more is taken.
    pub(super) async fn close(&self) {
        self.caught_up().await;
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(error) = self.trace.flush() {
            warn!(%error, "the end of the trace is lost");
        }
    }

    /// Octets on disk, entries, and when the oldest of them happened.
    pub fn extent(&self) -> (u64, u64, Option<Duration>) {
        self.trace.extent()
    }

    /// Transactions that fit, latest first, as they are seen, and where to go on.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn transactions(
        &self,
        query: &Query,
        see: See<'_>,
    ) -> Result<(Vec<TransactionStory>, Option<Place>), TraceError> {
        let wanted = query.wanted().is(KIND, TRANSACTION);
        let mut stories = Vec::new();
        let found = self.search(wanted, query, |entry| {
            let TracedStory::Transaction(story) = &entry.story else { return false };
            let fits = query.is_time(entry.at()) && query.fits(story);
            let seen = fits.then(|| query.seen((**story).clone(), see)).flatten();
            let is_seen = seen.is_some();
            stories.extend(seen);
            is_seen
        })?;
        Ok((stories, found.reached))
    }

    /// Sessions without mail that fit, latest first, and where to go on.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn sessions_without_mail(
        &self,
        query: &Query,
    ) -> Result<(Vec<SessionStory>, Option<Place>), TraceError> {
        let wanted = query.wanted_of_sessions().is(KIND, WITHOUT_MAIL);
        let found = self.search(wanted, query, |entry| match &entry.story {
            TracedStory::Session(story) => query.is_time(entry.at()) && query.fits_session(story),
            _ => false,
        })?;
        Ok((found.entries.into_iter().filter_map(|(_, entry)| session_of(entry)).collect(), found.reached))
    }

    /// One transaction, without what became of it later.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn transaction(&self, id: TransactionId) -> Result<Option<TransactionStory>, TraceError> {
        let id = id.to_string();
        let wanted = Wanted::default().is(KIND, TRANSACTION).is(ID, &id);
        let query = Query { last: 1, ..Query::default() };
        let found = self.search(wanted, &query, |entry| match &entry.story {
            TracedStory::Transaction(story) => story.id == id,
            _ => false,
        })?;
        Ok(found.entries.into_iter().find_map(|(_, entry)| transaction_of(entry)))
    }

    /// What became of a message behind its transaction, the last of it, in order.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn afterwards(&self, id: TransactionId) -> Result<Vec<AfterwardsStory>, TraceError> {
        let wanted_id = id.to_string();
        let wanted = Wanted::default().is(KIND, AFTERWARDS).is(ID, &wanted_id);
        let query = Query { last: STEPS_TOLD, ..Query::default() };
        let found = self.search(wanted, &query, |entry| match &entry.story {
            TracedStory::Afterwards { id, .. } => *id == wanted_id,
            _ => false,
        })?;
        let steps = found.entries.into_iter().rev().filter_map(|(_, entry)| match entry.story {
            TracedStory::Afterwards { step, .. } => Some(step),
            _ => None,
        });
        Ok(steps.collect())
    }

    /// A session, if it has ended, and its transactions that have, latest first.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn session(&self, id: TraceId) -> Result<(Option<SessionStory>, Vec<TransactionStory>), TraceError> {
        let id = id.to_string();
        let wanted = Wanted::default().is(ID, &id);
        let query = Query { last: OF_A_SESSION, ..Query::default() };
        let found = self.search(wanted, &query, |entry| match &entry.story {
            TracedStory::Transaction(story) => story.id.split('.').next() == Some(&*id),
            TracedStory::Session(story) => story.id == id,
            TracedStory::Afterwards { .. } => false,
        })?;
        let (mut session, mut transactions) = (None, Vec::new());
        for (_, entry) in found.entries {
            match entry.story {
                TracedStory::Session(story) => session = Some(story),
                TracedStory::Transaction(story) => transactions.push(*story),
                TracedStory::Afterwards { .. } => {}
            }
        }
        Ok((session, transactions))
    }

    /// Entries from this place on, in the order in which they were kept, and the place behind them; `None` at the end.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written.
    pub fn forward(&self, from: Place) -> Result<Option<(Vec<TraceEntry>, Place)>, TraceError> {
        self.trace.flush()?;
        self.trace.forward(from)
    }

    fn search(
        &self,
        wanted: Wanted,
        query: &Query,
        fits: impl FnMut(&TraceEntry) -> bool,
    ) -> Result<Found<TraceEntry>, TraceError> {
        let Query { since, before, last, .. } = *query;
        self.trace.search(&Search { wanted, since, before, last, looks: LOOKS }, fits)
    }
}

fn transaction_of(entry: TraceEntry) -> Option<TransactionStory> {
    match entry.story {
        TracedStory::Transaction(story) => Some(*story),
        _ => None,
    }
}

fn session_of(entry: TraceEntry) -> Option<SessionStory> {
    match entry.story {
        TracedStory::Session(story) => Some(story),
        _ => None,
    }
}

/// What the thread has.
struct Writer {
    trace: Arc<Trace<TraceEntry>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    done: watch::Sender<u64>,
    /// A disk that is full says so for every entry; the log says it once a minute.
    silent_until: Duration,
}

impl Writer {
    fn write(mut self, batches: Receiver<Vec<Traced>>) {
        let (mut flushed, mut tidied) = (self.clock.now(), Duration::ZERO);
        loop {
            match batches.recv_timeout(FLUSH) {
                Ok(batch) => {
                    for traced in &batch {
                        let kept = self.trace.append(&TraceEntry::from(traced));
                        self.tell(kept);
                    }
                    self.done.send_modify(|done| *done += 1);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.clock.now();
            if now.saturating_sub(flushed) >= FLUSH {
                let kept = self.trace.flush();
                self.tell(kept);
                self.metrics.trace_is(self.trace.extent(), now);
                flushed = now;
            }
            if now.saturating_sub(tidied) >= TIDY {
                let kept = self.trace.tidy(now);
                self.tell(kept);
                tidied = now;
            }
        }
        let kept = self.trace.flush();
        self.tell(kept);
    }

    /// Where the disk is full, mail needs the room more.
    fn tell(&mut self, kept: Result<(), TraceError>) {
        let Err(trouble) = kept else { return };
        self.metrics.dropped();
        if let TraceError::File { error, .. } = &trouble
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            let _ = self.trace.shed();
        }
        let now = self.clock.now();
        if now >= self.silent_until {
            error!(error = %trouble, "a part of the trace is lost");
            self.silent_until = now + TIDY;
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("trace", &self.trace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Recording, samples};
    use record::{Event, Recorder as _, SimulatedClock, Step};
    use tempfile::TempDir;
    use trace::Bounds;

    fn recording(folder: &TempDir) -> Arc<Recording> {
        let clock = SimulatedClock::starting_at(samples::BEGAN);
        let (recording, _keeper) = Recording::start(Arc::new(clock));
        let bounds = Bounds { octets: 1 << 30, age: Duration::from_secs(86_400) };
        recording.keep_on_disk(Trace::open(folder.path().to_owned(), bounds).unwrap()).unwrap();
        recording
    }

    #[tokio::test]
    async fn what_became_of_mail_is_known_after_a_restart() {
        let folder = TempDir::new().unwrap();
        let id = samples::judged(2).id;
        let before = recording(&folder);
        before.record(Event::Transaction(Box::new(samples::judged(2))));
        before.record(Event::Session(Box::new(samples::refused_session())));
        for (second, step) in [(1, Step::Deferred), (2, Step::Delivered)] {
            let at = samples::BEGAN + Duration::from_secs(second);
            before.record(Event::Afterwards(Box::new(samples::afterwards(id, step, at))));
        }
        before.close().await;
        drop(before);

        let after = recording(&folder);
        let disk = after.disk().unwrap();
        let story = disk.transaction(id).unwrap().unwrap();
        let opinion = story.opinion.as_ref().unwrap();
        assert_eq!((opinion.subject.as_str(), opinion.words.len()), ("Rechnung Nr. 2", 0));
        let steps: Vec<_> = disk.afterwards(id).unwrap().into_iter().map(|step| step.step).collect();
        assert_eq!(steps, ["deferred", "delivered"]);
        let query = Query { last: 9, ip: Some("2001:db8:77::9".parse().unwrap()), ..Query::default() };
        assert_eq!(disk.sessions_without_mail(&query).unwrap().0.len(), 1);
        assert!(disk.transactions(&query, &Some).unwrap().0.is_empty());
        assert_eq!(disk.session(id.session).unwrap().1.len(), 1);
        assert!(disk.transaction(samples::transaction(9).id).unwrap().is_none());
    }

    #[tokio::test]
    async fn subjects_can_be_left_out() {
        let folder = TempDir::new().unwrap();
        let recording = recording(&folder);
        recording.keep_subjects(false);
        recording.record(Event::Transaction(Box::new(samples::judged(2))));
        recording.caught_up().await;
        let story = recording.disk().unwrap().transaction(samples::judged(2).id).unwrap().unwrap();
        assert_eq!(story.opinion.unwrap().subject, "");
        assert!(
            recording
                .kept()
                .memory
                .transaction(samples::judged(2).id)
                .unwrap()
                .opinion
                .as_ref()
                .unwrap()
                .subject
                .is_empty()
        );
    }
}
