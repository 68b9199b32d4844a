//! What domains decide for themselves, beside the config: kept in the store, looked up in memory, in force from the next message on.
//!
//! Entries of a domain that no backend names any more stay where they are and mean nothing, until one names it again.

mod format;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use relay::{DomainEntries, Own, OwnAddresses};
use smtp::{Domain, ForwardPath, Mailbox};
use store::{Change, Store, StoreError, Table};
use tokio::sync::{Mutex, OnceCell};

use format::{Fact, folded, names_of};

use super::judging::Sitting;
use crate::config::{Config, Mode};
use crate::report::{DomainEntry, EntryError, EntryKind, EntryOrder};

/// By domain, kind and entry: since when, by whom, and where an alias leads.
const ENTRIES: Table = Table("domain-entries");
/// Entries of one kind that a domain has at most: they are lists that people read.
pub(super) const MOST: usize = 1000;
/// Entries of all domains together, at most: some tens of megabytes.
const MOST_OF_ALL: usize = 50_000;

/// The entries of all domains.
pub(super) struct Entries {
    store: Store,
    known: RwLock<Known>,
    /// Of the first generation.
    opened: OnceCell<()>,
    /// One order after the other: each is compared with what is there.
    turn: Mutex<Written>,
}

/// What the store had when it was last written to.
#[derive(Default)]
struct Written {
    epoch: u64,
}

/// A domain's lists, in the order of [`EntryKind::ALL`].
type Lists = [BTreeMap<String, Fact>; 4];

#[derive(Default)]
struct Known {
    domains: BTreeMap<String, Lists>,
    /// Entries of all domains.
    number: usize,
    serving: Serving,
}

/// What the present config says.
#[derive(Default)]
struct Serving {
    /// By domain: its backend.
    backends: BTreeMap<String, String>,
    /// Whether mail is judged: without that nobody learns from traps.
    judges: bool,
    /// Whether connections are taken on their way to one server.
    takes_connections: bool,
    /// Addresses that the config has a use for.
    reserved: BTreeSet<String>,
}

impl Entries {
    pub(super) fn new(store: Store) -> Arc<Self> {
        let written = Written { epoch: store.epoch() };
        Arc::new(Self { store, known: RwLock::default(), opened: OnceCell::new(), turn: Mutex::new(written) })
    }

    /// Takes another config. The first time what is stored is read; what cannot be read is told in the log, and mail goes on.
    pub(super) async fn config_is(&self, config: &Config) {
        self.opened
            .get_or_init(|| async {
                if let Err(error) = self.read().await {
                    tracing::error!(%error, "what domains decided for themselves cannot be read: traps and aliases among it are not in force");
                }
            })
            .await;
        let judge = &config.judge;
        let (spam, ham, feedback) = (&judge.report_spam, &judge.report_ham, &config.reports.address);
        let reserved = judge.traps.iter().chain([spam, ham, feedback]);
        let serving = Serving {
            backends: config
                .backends
                .iter()
                .flat_map(|backend| {
                    let name = move |domain: &Domain| (domain.as_str().to_owned(), backend.name.clone());
                    backend.domains.iter().map(name)
                })
                .collect(),
            judges: judge.enabled,
            takes_connections: config.network.mode != Mode::Front,
            reserved: reserved.map(|address| folded_text(address)).collect(),
        };
        self.known.write().unwrap_or_else(PoisonError::into_inner).serving = serving;
    }

    async fn read(&self) -> Result<(), StoreError> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = self.store.scan(ENTRIES, after.as_deref()).await?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in &pairs {
                let read = format::read_key(key).zip(Fact::from_bytes(value));
                let Some(((domain, letter, entry), fact)) = read else { continue };
                if let Some(kind) = EntryKind::ALL.into_iter().find(|kind| letter_of(*kind) == letter) {
                    known.put(domain, kind, entry.to_owned(), fact);
                }
            }
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries an order out; whether something is other than before. It is durable when this returns.
    pub(super) async fn decide(&self, order: &EntryOrder, now: Duration) -> Result<bool, EntryError> {
        let mut turn = self.turn.lock().await;
        let domain = order.domain.as_str();
        let entry = entry_of(order)?;
        let is_there = {
            let known = self.known();
            if !known.serving.backends.contains_key(domain) {
                return Err(EntryError::NoDomain);
            }
            // An alias that is to lead elsewhere is another one.
            let is_same = |fact: &Fact| !order.adds || fact.target == format::target(&order.target);
            known.fact(domain, order.kind, &entry).is_some_and(is_same)
        };
        if order.adds == is_there {
            return Ok(false);
        }
        let key = format::key(domain, letter_of(order.kind), &entry);
        if !order.adds {
            self.write(&mut turn, Change::Remove(key.into())).await?;
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(domain, order.kind, &entry);
            return Ok(true);
        }
        let target = self.known().check(order, &entry)?;
        let by = order.by.chars().filter(|c| !c.is_control()).collect();
        let fact = Fact { since: now.as_secs(), by, target };
        self.write(&mut turn, Change::Put(key.into(), fact.to_bytes().into())).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).put(domain, order.kind, entry, fact);
        Ok(true)
    }

    /// After a damaged store was moved aside, all that memory has goes into the new one.
    async fn write(&self, written: &mut Written, change: Change) -> Result<(), EntryError> {
        let epoch = self.store.epoch();
        let done = async {
            if written.epoch != epoch {
                let all = self.known().all();
                for some in all.chunks(store::MAX_CHANGES) {
                    self.store.apply(ENTRIES, some.to_vec()).await?;
                }
            }
            self.store.apply(ENTRIES, vec![change]).await?;
            self.store.flush().await
        };
        done.await.map_err(|error: StoreError| {
            tracing::error!(%error, "what a domain decides for itself is not stored");
            EntryError::NotStored
        })?;
        written.epoch = epoch;
        Ok(())
    }

    /// A domain's entries, by kind and name; `None` where no backend has it.
    pub(super) fn of(&self, domain: &str) -> Option<Vec<DomainEntry>> {
        let known = self.known();
        known.serving.backends.get(domain)?;
        let Some(lists) = known.domains.get(domain) else { return Some(Vec::new()) };
        let told = |(kind, list): (EntryKind, &BTreeMap<String, Fact>)| {
            let told = list.iter().map(move |(entry, fact)| DomainEntry {
                kind,
                entry: entry.clone(),
                target: fact.target.as_ref().map(ToString::to_string),
                by: fact.by.clone(),
                since: fact.since,
            });
            told.collect::<Vec<_>>()
        };
        Some(EntryKind::ALL.into_iter().zip(lists).flat_map(told).collect())
    }

    /// How many a domain has of each kind.
    pub(super) fn numbers(&self, domain: &str) -> [usize; 4] {
        self.known().domains.get(domain).map(|lists| lists.each_ref().map(BTreeMap::len)).unwrap_or_default()
    }

    /// Which entry of a domain's list names this sender, by an address of theirs in any case.
    pub(super) fn sender(&self, domain: &str, kind: EntryKind, address: &str) -> Option<String> {
        let known = self.known();
        let list = known.list(domain, kind).filter(|list| !list.is_empty())?;
        let address = folded_text(address);
        names_of(&address).find(|name| list.contains_key(*name)).map(str::to_owned)
    }

    /// Whether a recipient is a trap of its domain's.
    pub(super) fn has_trap(&self, path: &ForwardPath) -> bool {
        matches!(path, ForwardPath::Mailbox(mailbox) if self.is_trap(mailbox))
    }

    /// Whether nobody has decided anything.
    pub(super) fn are_none(&self) -> bool {
        self.known().number == 0
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("number", &self.known().number).finish_non_exhaustive()
    }
}

impl DomainEntries for Entries {
    fn is_trap(&self, mailbox: &Mailbox) -> bool {
        let known = self.known();
        let list = mailbox.domain().filter(|_| known.number > 0 && known.serving.judges);
        let list = list.and_then(|domain| known.list(domain.as_str(), EntryKind::Trap));
        list.is_some_and(|list| !list.is_empty() && list.contains_key(&folded(mailbox)))
    }

    fn target(&self, mailbox: &Mailbox) -> Option<Mailbox> {
        let known = self.known();
        if known.number == 0 { None } else { known.leads_to(mailbox).cloned() }
    }
}

impl Known {
    /// Where an alias leads, while its domain and that of the other are behind Postern.
    fn leads_to(&self, mailbox: &Mailbox) -> Option<&Mailbox> {
        let list = self.list(mailbox.domain()?.as_str(), EntryKind::Alias).filter(|list| !list.is_empty())?;
        let target = list.get(&folded(mailbox))?.target.as_ref()?;
        self.serving.backends.contains_key(target.domain()?.as_str()).then_some(target)
    }

    /// Whether an alias of any domain leads to an address.
    fn is_led_to(&self, address: &str) -> bool {
        let aliases = self.domains.values().flat_map(|lists| lists[place_of(EntryKind::Alias)].values());
        aliases.filter_map(|fact| fact.target.as_ref()).any(|target| folded(target) == address)
    }

    /// A list that is in force.
    fn list(&self, domain: &str, kind: EntryKind) -> Option<&BTreeMap<String, Fact>> {
        self.serving.backends.get(domain)?;
        self.domains.get(domain).map(|lists| &lists[place_of(kind)])
    }

    fn fact(&self, domain: &str, kind: EntryKind, entry: &str) -> Option<&Fact> {
        self.domains.get(domain)?[place_of(kind)].get(entry)
    }

    fn put(&mut self, domain: &str, kind: EntryKind, entry: String, fact: Fact) {
        let lists = self.domains.entry(domain.to_owned()).or_default();
        self.number += usize::from(lists[place_of(kind)].insert(entry, fact).is_none());
    }

    fn remove(&mut self, domain: &str, kind: EntryKind, entry: &str) {
        let Some(lists) = self.domains.get_mut(domain) else { return };
        self.number -= usize::from(lists[place_of(kind)].remove(entry).is_some());
    }

    fn all(&self) -> Vec<Change> {
        let lists = self.domains.iter().flat_map(|(domain, lists)| {
            EntryKind::ALL.into_iter().zip(lists).map(move |(kind, list)| (domain, kind, list))
        });
        let changes = lists.flat_map(|(domain, kind, list)| {
            list.iter().map(move |(entry, fact)| {
                let key = format::key(domain, letter_of(kind), entry);
                Change::Put(key.into(), fact.to_bytes().into())
            })
        });
        changes.collect()
    }

    /// Whether an entry can be added; where it leads, if it is an alias.
    fn check(&self, order: &EntryOrder, entry: &str) -> Result<Option<Mailbox>, EntryError> {
        let domain = order.domain.as_str();
        let is_new = self.fact(domain, order.kind, entry).is_none();
        if is_new && self.numbers_of(domain, order.kind) >= MOST {
            return Err(EntryError::Full("the list is full: 1000 entries; remove some first"));
        }
        if is_new && self.number >= MOST_OF_ALL {
            return Err(EntryError::Full("all domains together have 50,000 entries; remove some first"));
        }
        if order.kind != EntryKind::Alias && !self.serving.judges {
            return Err(EntryError::Conflict("nothing is judged: [judge] is off"));
        }
        if matches!(order.kind, EntryKind::Trap | EntryKind::Alias) && self.serving.reserved.contains(entry) {
            return Err(EntryError::Conflict(
                "the config has a use for this address: it is where reports go, or a trap; take another one",
            ));
        }
        match order.kind {
            EntryKind::Block | EntryKind::Allow => Ok(None),
            EntryKind::Trap if self.fact(domain, EntryKind::Alias, entry).is_some() => {
                Err(EntryError::Conflict("the address is an alias: remove that first"))
            }
            EntryKind::Trap if self.is_led_to(entry) => {
                Err(EntryError::Conflict("an alias leads to this address: remove that first"))
            }
            EntryKind::Trap => Ok(None),
            EntryKind::Alias => self.check_alias(order, entry).map(Some),
        }
    }

    /// One step is all that is gone, so that there is no way round in a circle.
    fn check_alias(&self, order: &EntryOrder, entry: &str) -> Result<Mailbox, EntryError> {
        const TARGET: EntryError = EntryError::Wrong(
            "an alias leads to an address, name@domain, of plain letters and without quotes, % or !",
        );
        const ELSEWHERE: EntryError =
            EntryError::Wrong("an alias leads to an address of a domain behind Postern that is yours, too");
        let domain = order.domain.as_str();
        let target = format::target(&order.target).ok_or(TARGET)?;
        let its_domain = target.domain().map(Domain::as_str).unwrap_or_default();
        let backend = self.serving.backends.get(its_domain).ok_or(ELSEWHERE)?;
        let address = folded(&target);
        if address == entry {
            return Err(EntryError::Wrong("an alias leads to another address than its own"));
        }
        if self.fact(domain, EntryKind::Trap, entry).is_some() {
            return Err(EntryError::Conflict("the address is a trap: remove that first"));
        }
        if self.fact(its_domain, EntryKind::Alias, &address).is_some() {
            return Err(EntryError::Conflict(
                "the address that it leads to is an alias itself: enter where that one leads",
            ));
        }
        if self.is_led_to(entry) {
            return Err(EntryError::Conflict(
                "another alias leads to this address: have that one lead elsewhere first",
            ));
        }
        let is_trap = self.fact(its_domain, EntryKind::Trap, &address).is_some();
        if is_trap || self.serving.reserved.contains(&address) {
            return Err(EntryError::Conflict(
                "nobody reads the address that it leads to: it is a trap, or reports go there",
            ));
        }
        if self.serving.takes_connections && self.serving.backends.get(domain) != Some(backend) {
            return Err(EntryError::Conflict(
                "connections are taken on their way to one server here: an alias leads to an address of the same backend",
            ));
        }
        Ok(target)
    }

    fn numbers_of(&self, domain: &str, kind: EntryKind) -> usize {
        self.domains.get(domain).map_or(0, |lists| lists[place_of(kind)].len())
    }
}

/// An entry as it is kept: what it names has to be of its kind, and of its domain.
fn entry_of(order: &EntryOrder) -> Result<String, EntryError> {
    const SENDER: EntryError =
        EntryError::Wrong("a sender is a mail address without quotes, or a domain such as shop.example");
    const ADDRESS: EntryError = EntryError::Wrong("an address is written as name@domain, without quotes");
    const ELSEWHERE: EntryError = EntryError::Wrong("the address is not in this domain: enter it there");
    const POSTMASTER: EntryError =
        EntryError::Wrong("every domain has to have a postmaster (RFC 5321): this cannot be a trap");
    if order.kind != EntryKind::Alias && !order.target.trim().is_empty() {
        return Err(EntryError::Wrong("an alias alone has a target"));
    }
    match order.kind {
        EntryKind::Block | EntryKind::Allow => format::sender(&order.entry).ok_or(SENDER),
        EntryKind::Trap | EntryKind::Alias => {
            let (address, domain) = format::recipient(&order.entry).ok_or(ADDRESS)?;
            match order.kind {
                _ if domain != order.domain => Err(ELSEWHERE),
                EntryKind::Trap if address.starts_with("postmaster@") => Err(POSTMASTER),
                EntryKind::Alias if address.contains(['%', '!']) => Err(ADDRESS),
                _ => Ok(address),
            }
        }
    }
}

/// One address, one text, whoever wrote it.
pub(super) fn folded_text(address: &str) -> String {
    format::folded_text(address)
}

fn place_of(kind: EntryKind) -> usize {
    match kind {
        EntryKind::Block => 0,
        EntryKind::Allow => 1,
        EntryKind::Trap => 2,
        EntryKind::Alias => 3,
    }
}

/// In the store.
fn letter_of(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Block => b'b',
        EntryKind::Allow => b'a',
        EntryKind::Trap => b't',
        EntryKind::Alias => b'n',
    }
}

/// Whom Postern answers itself.
pub(super) fn own_addresses(config: &Config, entries: &Arc<Entries>) -> OwnAddresses {
    let own = match config.judge.enabled {
        true => Sitting::own_addresses(config),
        false => OwnAddresses::default(),
    };
    let own = own.beside(Arc::clone(entries) as _);
    match config.reports_come_here() {
        true => own.with(&config.reports.address, Own::Feedback),
        false => own,
    }
}
