//! Power cuts and failing operations at every point of a scripted life: what was acknowledged is there exactly once, with the
//! recipients that remain, and what was acknowledged as gone stays gone.

mod planted;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use record::Clock;
use smtp::{Envelope, RecipientSet, Reply, ReplyCode, TraceId, TransactionId};

use crate::disk::{Disk, DiskFile, Fault, SimulatedDisk};
use crate::{
    ClientFacts, Content, Deferral, Entry, EntryId, Folder, Order, ReceiptKey, SenderProof, Settings,
    Settlement, Space, Spool, SpoolError,
};

/// Stands still: the schedule is not what these tests are about.
pub(crate) struct Noon;

impl Clock for Noon {
    fn now(&self) -> Duration {
        NOON
    }
}

const NOON: Duration = Duration::from_secs(1_800_000_000);
const LATER: Duration = Duration::from_secs(1_800_003_600);

pub(crate) fn words(text: &str) -> Reply {
    Reply::new(ReplyCode::new(451).unwrap(), None, text)
}

pub(crate) fn entry(number: u32, recipients: usize) -> Entry {
    let mut text = b"MAIL FROM:<a@b.example>\r\n".to_vec();
    for i in 0..recipients {
        text.extend_from_slice(format!("RCPT TO:<r{i}@x.example>\r\n").as_bytes());
    }
    Entry {
        transaction: TransactionId { session: TraceId::new(1, 1), number },
        envelope: Envelope::read(&text).unwrap(),
        recipients: (0..recipients).collect(),
        client: Some(ClientFacts {
            address: "192.0.2.1:2525".parse().unwrap(),
            helo: "client.example".into(),
            protocol: "ESMTP".into(),
            tls: None,
            authenticated: false,
        }),
        sender: SenderProof::Spf,
        folder: Folder::Queue,
        backend: "backend".into(),
        reason: words("the server is down"),
        received_at: NOON,
    }
}

pub(crate) fn content_of(number: u32) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\n").repeat(20 + number as usize % 40).into_bytes()
}

pub(crate) async fn read_all(spool: &Spool, id: EntryId) -> Result<(Entry, Vec<u8>), SpoolError> {
    let mut opened = spool.open_entry(id).await?;
    let mut content = Vec::new();
    while let Some(piece) = opened.content.next().await? {
        content.extend_from_slice(&piece);
    }
    Ok((opened.entry, content))
}

fn small() -> Settings {
    Settings { segment_bytes: 6 * 1024, ..Settings::default() }
}

fn open(disk: impl Disk) -> Result<Spool, SpoolError> {
    Spool::open(small(), Arc::new(disk), Arc::new(Noon))
}

/// What may be found of one message: its folder, its recipients, and whether it is held back; or nothing.
type Fate = Option<(Folder, Vec<usize>, bool)>;

/// What was promised: for each message the fates that are allowed.
struct Promises {
    fates: BTreeMap<u32, Vec<Fate>>,
    ids: BTreeMap<u32, EntryId>,
    receipts: Vec<u32>,
    /// Whether disaster mode may be on.
    disaster: Vec<bool>,
}

impl Default for Promises {
    fn default() -> Self {
        let (fates, ids, receipts) = Default::default();
        Self { fates, ids, receipts, disaster: vec![false] }
    }
}

impl Promises {
    /// Until it is answered, a change may have happened or not; after an error too.
    async fn change<T>(
        &mut self,
        number: u32,
        fate: Fate,
        doing: impl Future<Output = Result<T, SpoolError>>,
    ) -> Option<T> {
        let fates = self.fates.entry(number).or_insert_with(|| vec![None]);
        if !fates.contains(&fate) {
            fates.push(fate.clone());
        }
        let value = doing.await.ok()?;
        self.fates.insert(number, vec![fate]);
        Some(value)
    }

    async fn store(&mut self, spool: &Spool, number: u32, recipients: usize) {
        let fate = Some((Folder::Queue, (0..recipients).collect(), false));
        let bytes = content_of(number);
        let middle = bytes.len() / 2;
        let content = Content::new().bytes(bytes[..middle].to_vec()).bytes(bytes[middle..].to_vec());
        let stored = self.change(number, fate, spool.store(entry(number, recipients), content)).await;
        if let Some(spooled) = stored {
            self.ids.insert(number, spooled.id());
        }
    }

    async fn deliver(&mut self, spool: &Spool, number: u32, recipient: usize) {
        let Some(&id) = self.ids.get(&number) else { return };
        let Some(summary) = spool.entry(id) else { return };
        let rest: Vec<_> = summary.recipients.iter().filter(|&index| index != recipient).collect();
        let fate = if rest.is_empty() { None } else { Some((summary.folder, rest, summary.held)) };
        let one: RecipientSet = [recipient].into_iter().collect();
        self.change(number, fate, spool.delivered(id, &one)).await;
    }

    /// One recipient was refused for good and told of, the others wait on with words of their own.
    async fn split(&mut self, spool: &Spool, number: u32, refused: usize) {
        let Some(&id) = self.ids.get(&number) else { return };
        let Some(summary) = spool.entry(id) else { return };
        let rest: Vec<_> = summary.recipients.iter().filter(|&index| index != refused).collect();
        let own_words = rest.iter().map(|&index| (index, words("mailbox busy"))).collect();
        let fate = if rest.is_empty() { None } else { Some((summary.folder, rest, summary.held)) };
        let gone = [refused].into_iter().collect();
        let deferred = Some(Deferral { words: words("busy"), own_words, next: LATER });
        self.change(number, fate, spool.settle(id, Settlement { gone, deferred })).await;
    }

    async fn hold(&mut self, spool: &Spool, number: u32, hold: bool) {
        let Some(&id) = self.ids.get(&number) else { return };
        let Some(summary) = spool.entry(id) else { return };
        let order = if hold { Order::Hold } else { Order::Release(words("released")) };
        let fate = Some((summary.folder, summary.recipients.iter().collect(), hold));
        let ids = [id];
        self.change(number, fate, spool.order(&ids, &order)).await;
    }

    async fn disaster(&mut self, spool: &Spool, on: bool) {
        self.disaster.push(on);
        if spool.set_disaster(on).await.is_ok() {
            self.disaster = vec![on];
        }
    }

    async fn remove(&mut self, spool: &Spool, number: u32) {
        if let Some(&id) = self.ids.get(&number) {
            self.change(number, None, spool.remove(id)).await;
        }
    }

    async fn quarantine(&mut self, spool: &Spool, number: u32) {
        let Some(&id) = self.ids.get(&number) else { return };
        let Some(summary) = spool.entry(id) else { return };
        let fate = Some((Folder::Quarantine, summary.recipients.iter().collect(), false));
        self.change(number, fate, spool.move_to(id, Folder::Quarantine, words("held"))).await;
    }

    async fn defer(&mut self, spool: &Spool, number: u32) {
        if let Some(&id) = self.ids.get(&number) {
            let deferred = Some(Deferral { words: words("still down"), own_words: Vec::new(), next: LATER });
            let _ = spool.settle(id, Settlement { deferred, ..Settlement::default() }).await;
        }
    }

    /// What of this is not so.
    async fn check(&self, spool: &Spool) -> Result<(), String> {
        let mut found: BTreeMap<u32, Fate> = BTreeMap::new();
        for summary in spool.entries() {
            let number = summary.transaction.number;
            let fate = Some((summary.folder, summary.recipients.iter().collect(), summary.held));
            if found.insert(number, fate).is_some() {
                return Err(format!("{number} is there twice"));
            }
            let (entry, content) = read_all(spool, summary.id).await.map_err(|e| e.to_string())?;
            let envelope = &self::entry(number, entry.envelope.recipients.len()).envelope;
            if content != content_of(number) || entry.envelope != *envelope {
                return Err(format!("{number} is not what was stored"));
            }
        }
        for (number, allowed) in &self.fates {
            let fate = found.remove(number).flatten();
            if !allowed.contains(&fate) {
                return Err(format!("{number} is {fate:?}, not one of {allowed:?}"));
            }
        }
        if !found.is_empty() {
            return Err(format!("nobody stored {:?}", found.keys()));
        }
        if !self.disaster.contains(&spool.disaster().is_some()) {
            return Err(format!("disaster mode is not {:?}", self.disaster));
        }
        for &number in &self.receipts {
            if spool.receipts().take(receipt_key(number)) != Some(words("taken")) {
                return Err(format!("the receipt {number} is lost"));
            }
        }
        Ok(())
    }
}

fn receipt_key(number: u32) -> ReceiptKey {
    let entry = entry(number, 1);
    ReceiptKey::new(&[7; 32], &entry.envelope, &entry.recipients)
}

/// A life in which every kind of record is written, segments roll, files move and segments go.
async fn live(spool: &Spool, promises: &mut Promises) {
    for number in 0..10 {
        promises.store(spool, number, 1 + number as usize % 3).await;
    }
    if spool.receipts().record(receipt_key(1), words("taken")).await.is_ok() {
        promises.receipts.push(1);
    }
    promises.deliver(spool, 2, 0).await;
    promises.deliver(spool, 5, 1).await;
    promises.remove(spool, 1).await;
    promises.deliver(spool, 0, 0).await;
    promises.defer(spool, 4).await;
    let _ = spool.tidy(LATER).await;
    for number in 10..16 {
        promises.store(spool, number, 2).await;
        promises.defer(spool, number / 2).await;
    }
    promises.hold(spool, 3, true).await;
    promises.hold(spool, 11, true).await;
    promises.disaster(spool, true).await;
    promises.quarantine(spool, 5).await;
    promises.split(spool, 14, 1).await;
    promises.hold(spool, 11, false).await;
    promises.deliver(spool, 2, 2).await;
    promises.remove(spool, 4).await;
    promises.deliver(spool, 12, 0).await;
    let _ = spool.tidy(LATER).await;
    promises.deliver(spool, 2, 1).await;
    promises.disaster(spool, false).await;
    for number in 16..20 {
        promises.store(spool, number, 1).await;
        promises.remove(spool, number - 8).await;
    }
    let _ = spool.tidy(LATER).await;
    promises.defer(spool, 13).await;
    let _ = spool.tidy(LATER).await;
}

async fn operations_of_a_life() -> u64 {
    let disk = SimulatedDisk::new(0);
    let spool = open(disk.clone()).unwrap();
    live(&spool, &mut Promises::default()).await;
    drop(spool);
    let operations = disk.operations();
    let (own, log) = (disk.list("own").unwrap(), disk.list("log").unwrap());
    assert!(!own.is_empty() && !log.contains(&"0000000000000001.log".into()), "files moved, segments went");
    operations
}

/// The life on `disk`, which loses power at `operation`; then what each seed leaves of it is checked, recovered twice.
async fn die(disk: impl Disk, simulated: &SimulatedDisk, operation: u64, seeds: u64) -> Result<(), String> {
    simulated.cut_power_at(operation);
    let mut promises = Promises::default();
    if let Ok(spool) = open(disk) {
        live(&spool, &mut promises).await;
    }
    for seed in 0..seeds {
        let found = simulated.crash(seed << 32 | operation);
        let receipts = promises.receipts.clone();
        let because = |error: String| format!("operation {operation}, seed {seed}: {error}");
        for _ in 0..2 {
            let spool = open(found.clone()).map_err(|error| because(error.to_string()))?;
            promises.check(&spool).await.map_err(because)?;
            let _ = spool.tidy(LATER).await;
            promises.receipts.clear();
        }
        let after = found.crash(seed);
        let spool = open(after).map_err(|error| because(error.to_string()))?;
        promises.check(&spool).await.map_err(because)?;
        promises.receipts = receipts;
    }
    Ok(())
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_and_revives_nothing() {
    let operations = operations_of_a_life().await;
    assert!(operations > 150, "{operations}");
    for operation in 0..operations {
        let disk = SimulatedDisk::new(operation);
        die(disk.clone(), &disk, operation, 4).await.unwrap();
    }
}

#[tokio::test]
async fn any_failing_operation_loses_and_revives_nothing() {
    let operations = operations_of_a_life().await;
    for operation in 0..operations {
        for fault in [Fault::Io, Fault::NoSpace] {
            let disk = SimulatedDisk::new(operation);
            disk.fail_at(operation, fault);
            let mut promises = Promises::default();
            let Ok(spool) = open(disk.clone()) else { continue };
            live(&spool, &mut promises).await;
            for seed in 0..3 {
                let spool = open(disk.crash(seed)).unwrap();
                let checked = promises.check(&spool).await;
                checked.map_err(|error| format!("{fault:?} at {operation}, seed {seed}: {error}")).unwrap();
            }
        }
    }
}
