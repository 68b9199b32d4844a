//! How TLS with the world went, kept by day and domain in the store, and reported to whoever asks for it (RFC 8460).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns::DnsError;
use record::{Clock, TlsSession, TlsTally};
use relay::Relay;
use sha2::{Digest as _, Sha256};
use smtp::{Domain, Envelope, ForwardPath, Reply, ReplyCode, TraceId, TransactionId};
use spool::{Content, Entry, Folder};
use store::{Change, Store, StoreError, Table};

use super::outbound::Names;
use super::signing;
use crate::config::Config;
use crate::tls_report::{DAY, Failure, Policy, Report, Tallied, Wanted, of_session};

/// Counts, by day, domain, policy and failure.
const TALLY: Table = Table("tls-tally");
/// Policies in JSON, by day, domain and hash.
const POLICIES: Table = Table("tls-policies");
/// How often what was tallied goes to the store: what a crash can lose.
const WRITE: Duration = Duration::from_secs(10);
/// Kinds of sessions between two writes; of one more it is not told how it failed, only that it did.
const MAX_KINDS: usize = 10_000;
/// Octets of how a session failed, in JSON, as part of a key.
const MAX_FAILURE: usize = 640;
/// How often it is looked whether a day is over.
const LOOK: Duration = Duration::from_secs(600);
/// A report that could not be sent within so many days is not sent any more.
const FORGET: u64 = 4;
/// After midnight reporters wait for a while, each its own (RFC 8460 §4.1: up to four hours).
const SPREAD: u64 = 4 * 3600;
/// Octets of a policy that are kept; real ones have some hundred.
const MAX_POLICY: usize = 16 * 1024;

/// Day, domain and policy: what a report's section is made of.
type Section = (u64, Box<str>, [u8; 8]);

/// What is to be reported of one domain's day.
#[derive(Debug)]
struct Due {
    day: u64,
    domain: Box<str>,
    sections: Vec<Tallied>,
}

/// What was tallied since the last write.
#[derive(Default)]
struct Unwritten {
    counts: HashMap<(Section, Box<str>), u64>,
    policies: HashMap<Section, Box<str>>,
}

/// The tally.
pub(super) struct TlsReports {
    unwritten: Mutex<Unwritten>,
    store: Store,
    clock: Arc<dyn Clock>,
    config: Mutex<Option<(Arc<Who>, Names)>>,
    signing: Arc<signing::Present>,
}

/// Who reports.
struct Who {
    hostname: String,
    postmaster: String,
}

impl TlsReports {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, signing: Arc<signing::Present>) -> Arc<Self> {
        Arc::new(Self { unwritten: Mutex::default(), store, clock, config: Mutex::default(), signing })
    }

    /// From now on these are the names.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let who =
            Who { hostname: config.hostname.to_string(), postmaster: config.postmaster.as_str().to_owned() };
        *lock(&self.config) = Some((Arc::new(who), names));
    }

    /// Puts what was tallied into the store.
    pub(super) async fn write(&self) {
        let unwritten = std::mem::take(&mut *lock(&self.unwritten));
        if unwritten.counts.is_empty() {
            return;
        }
        let put = |section: &Section, policy: &str| Change::Put(key(section, ""), policy.as_bytes().into());
        let add = |section: &Section, failure: &str, count: u64| {
            Change::Add(key(section, failure), i64::try_from(count).unwrap_or(i64::MAX))
        };
        let policies = unwritten.policies.iter().map(|(section, policy)| put(section, policy)).collect();
        let counts = unwritten.counts.iter().map(|((section, failure), count)| add(section, failure, *count));
        let counts: Vec<_> = counts.collect();
        let stored = match self.store.apply(POLICIES, policies).await {
            Ok(()) => self.store.apply(TALLY, counts).await,
            failed => failed,
        };
        if let Err(error) = stored {
            tracing::error!(%error, "what is to be reported of TLS cannot be stored, and is tried again");
            lock(&self.unwritten).take_back(unwritten);
        }
    }

    /// Writes, and reports on days that are over, until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut looked = None;
        while !relay.is_draining() {
            tokio::time::sleep(WRITE).await;
            self.write().await;
            let now = tokio::time::Instant::now();
            if looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK) {
                looked = Some(now);
                if let Err(error) = self.report(&relay).await {
                    tracing::error!(%error, "reports on TLS cannot be made now");
                }
            }
        }
    }

    /// Reports on every day that is over, and forgets it.
    async fn report(&self, relay: &Relay) -> Result<(), StoreError> {
        let Some((who, names)) = lock(&self.config).clone() else { return Ok(()) };
        let now = self.clock.now().as_secs();
        let digest = Sha256::digest(&who.hostname);
        let wait = u64::from(u16::from_be_bytes([digest[0], digest[1]])) * SPREAD / u64::from(u16::MAX);
        let today = now.saturating_sub(wait) / DAY;
        for Due { day, domain, sections } in self.due(today).await? {
            let wanted = match wanted(&names, &domain).await {
                Ok(wanted) => wanted,
                Err(error) if today - day < FORGET => {
                    tracing::info!(%domain, %error, "whether a report on TLS is wanted cannot be found out yet");
                    continue;
                }
                Err(_) => None,
            };
            if let Some(wanted) = wanted.filter(|_| !sections.is_empty()) {
                let report = Report {
                    hostname: &who.hostname,
                    contact: &who.postmaster,
                    domain: &domain,
                    day,
                    policies: &sections,
                };
                if let Err(error) = self.send(relay, &report, &wanted).await {
                    tracing::error!(%domain, error, "a report on TLS cannot be sent yet");
                    continue;
                }
            }
            self.forget(day, &domain).await?;
        }
        Ok(())
    }

    /// What is in the store of days before `today`.
    async fn due(&self, today: u64) -> Result<Vec<Due>, StoreError> {
        let (policies, counts) = (self.all(POLICIES).await?, self.all(TALLY).await?);
        let sections_of = counts.keys().filter_map(|key| Some(section_of(key)?.0));
        let over = sections_of.filter(|(day, ..)| *day < today);
        let domains: BTreeSet<_> = over.map(|(day, domain, _)| (day, domain)).collect();
        let due = |(day, domain): (u64, Box<str>)| {
            let sections = sections(&policies, &counts, day, &domain);
            Due { day, domain, sections }
        };
        Ok(domains.into_iter().map(due).collect())
    }

    /// Through the queue, signed: a report that is not signed is not believed (RFC 8460 §5.3).
    async fn send(&self, relay: &Relay, report: &Report<'_>, wanted: &Wanted) -> Result<(), String> {
        if wanted.addresses.is_empty() {
            tracing::info!(
                domain = report.domain,
                "a report on TLS is wanted by https alone, which is not done; none is sent"
            );
            return Ok(());
        }
        let now = self.clock.now();
        let content = report.mail(&wanted.addresses, now).map_err(|error| error.to_string())?;
        let signatures = match self.signing.now() {
            Some((signatures, _)) => signatures.sign_own(content.clone()).await?,
            None => String::new(),
        };
        for to in &wanted.addresses {
            let entry = match entry(relay, report.contact, to, now) {
                Ok(entry) => entry,
                Err(why) => {
                    tracing::info!(domain = report.domain, why, "a report on TLS is not sent there");
                    continue;
                }
            };
            let id = entry.transaction;
            let content = Content::new().bytes(signatures.clone().into_bytes()).bytes(content.clone());
            let stored = relay.serving().driver.spool.store_own(entry, content).await;
            let stored = stored.map_err(|error| error.to_string())?;
            tracing::info!(entry = %stored.id(), transaction = %id, domain = report.domain, day = report.day, to, "a report on TLS is sent");
        }
        Ok(())
    }

    async fn all(&self, table: Table) -> Result<BTreeMap<Box<[u8]>, Box<[u8]>>, StoreError> {
        let mut all = BTreeMap::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let page = self.store.scan(table, after.as_deref()).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            all.extend(page);
        }
    }

    async fn forget(&self, day: u64, domain: &str) -> Result<(), StoreError> {
        for table in [TALLY, POLICIES] {
            let all = self.all(table).await?;
            let keys = all.keys().filter(|key| is_of(key, day, domain));
            let changes: Vec<_> = keys.map(|key| Change::Remove(key.clone())).collect();
            for some in changes.chunks(1000) {
                self.store.apply(table, some.to_vec()).await?;
            }
        }
        Ok(())
    }
}

impl TlsTally for TlsReports {
    fn note(&self, session: TlsSession) {
        let day = self.clock.now().as_secs() / DAY;
        let (policy, failure) = of_session(&session);
        let Ok(policy) = serde_json::to_string(&policy) else { return };
        if policy.len() > MAX_POLICY {
            return;
        }
        let digest: [u8; 32] = Sha256::digest(&policy).into();
        let mut hash = [0; 8];
        hash.copy_from_slice(&digest[..8]);
        let section = (day, session.policy_domain.to_lowercase().into(), hash);
        let failure = failure.map(|failure| told(&failure)).unwrap_or_default();
        let mut unwritten = lock(&self.unwritten);
        let known = unwritten.counts.contains_key(&(section.clone(), failure.clone().into()));
        let full = !known && unwritten.counts.len() >= MAX_KINDS;
        let failure: Box<str> = match (full, failure.is_empty()) {
            (true, false) => "{\"result-type\":\"validation-failure\"}".into(),
            _ => failure.into(),
        };
        *unwritten.counts.entry((section.clone(), failure)).or_default() += 1;
        unwritten.policies.entry(section).or_insert_with(|| policy.into());
    }
}

impl Unwritten {
    fn take_back(&mut self, earlier: Self) {
        for (kind, count) in earlier.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.policies.extend(earlier.policies);
    }
}

/// How a session failed, as part of a key; without its words where they are too long.
fn told(failure: &Failure) -> String {
    let whole = serde_json::to_string(failure).unwrap_or_default();
    if whole.len() <= MAX_FAILURE {
        whole
    } else {
        serde_json::to_string(&failure.shortened()).unwrap_or_default()
    }
}

/// Day, domain, hash, then the failure; empty for sessions that went well, and for policies.
fn key(section: &Section, failure: &str) -> Box<[u8]> {
    let (day, domain, hash) = section;
    let day = u32::try_from(*day).unwrap_or(u32::MAX).to_be_bytes();
    [&day[..], domain.as_bytes(), &[0], hash, failure.as_bytes()].concat().into()
}

fn section_of(key: &[u8]) -> Option<(Section, &str)> {
    let (day, rest) = key.split_first_chunk::<4>()?;
    let end = rest.iter().position(|&octet| octet == 0)?;
    let (domain, rest) = rest.split_at(end);
    let (hash, failure) = rest.get(1..)?.split_first_chunk::<8>()?;
    let domain = std::str::from_utf8(domain).ok()?;
    Some(((u32::from_be_bytes(*day).into(), domain.into(), *hash), std::str::from_utf8(failure).ok()?))
}

fn is_of(key: &[u8], day: u64, domain: &str) -> bool {
    section_of(key).is_some_and(|((of, whose, _), _)| of == day && *whose == *domain)
}

/// What a domain's report of a day has.
fn sections(
    policies: &BTreeMap<Box<[u8]>, Box<[u8]>>,
    counts: &BTreeMap<Box<[u8]>, Box<[u8]>>,
    day: u64,
    domain: &str,
) -> Vec<Tallied> {
    let mut tallied = Vec::new();
    for (key, policy) in policies.iter().filter(|(key, _)| is_of(key, day, domain)) {
        let Ok(policy) = serde_json::from_slice::<Policy>(policy) else { continue };
        let mut section = Tallied { policy, succeeded: 0, failed: Vec::new() };
        for (kind, count) in counts.range(key.clone()..).take_while(|(kind, _)| kind.starts_with(key)) {
            let count = <[u8; 8]>::try_from(&**count).map_or(0, i64::from_be_bytes);
            let count = u64::try_from(count).unwrap_or_default();
            match section_of(kind) {
                Some((_, "")) => section.succeeded = count,
                Some((_, failure)) => {
                    section.failed.extend(serde_json::from_str(failure).ok().map(|failure| (failure, count)));
                }
                None => {}
            }
        }
        tallied.push(section);
    }
    tallied
}

/// Whether a domain wants reports; `None`: it does not.
async fn wanted(names: &Names, domain: &str) -> Result<Option<Wanted>, DnsError> {
    let Ok(name) = format!("_smtp._tls.{domain}").parse() else { return Ok(None) };
    match names.resolver().await?.text(&name).await {
        Ok(answer) => Ok(Wanted::read(answer.records.iter().map(|text| &*text.0))),
        Err(error) if error.is_temporary() => Err(error),
        Err(_) => Ok(None),
    }
}

fn entry(relay: &Relay, from: &str, to: &str, now: Duration) -> Result<Entry, String> {
    let text = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}> NOTIFY=NEVER\r\n");
    let envelope = Envelope::read(text.as_bytes()).map_err(|_| format!("{to} is no address"))?;
    let domain = envelope.recipients.first().and_then(|rcpt| match &rcpt.forward_path {
        ForwardPath::Mailbox(mailbox) => mailbox.domain().cloned(),
        ForwardPath::Postmaster(_) => None,
    });
    let domain: Domain = domain.ok_or_else(|| format!("{to} has no domain"))?;
    let serving = relay.serving();
    let backend = serving.settings.routing.backend_of(&domain);
    let backend = backend.map_or_else(|| domain.as_str().into(), |backend| backend.name().into());
    let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
    Ok(Entry {
        transaction: TransactionId { session, number: 1 },
        recipients: [0].into_iter().collect(),
        envelope,
        client: None,
        sender: spool::SenderProof::Unknown,
        folder: Folder::Queue,
        backend,
        reason: Reply::new(ReplyCode::COMPLETED, None, "a report on TLS"),
        received_at: now,
    })
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use record::{PublishedPolicy, SimulatedClock, TlsFailure};

    use super::*;

    fn session(domain: &str, failure: Option<TlsFailure>) -> TlsSession {
        TlsSession {
            policy_domain: domain.into(),
            policy: PublishedPolicy::None,
            mx_host: Some(format!("mx.{domain}").into()),
            receiving_ip: None,
            sending_ip: None,
            failure: failure.map(|kind| (kind, "why ".repeat(1000).into())),
        }
    }

    #[tokio::test]
    async fn a_day_that_is_over_is_due_once_whoever_tallied_it() {
        let folder = tempfile::tempdir().unwrap();
        let noon = Duration::from_secs(20_778 * DAY + DAY / 2);
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(noon));
        let store = store::Settings::in_folder(folder.path().join("store"));
        let store = Store::start(store, Arc::clone(&clock)).unwrap();
        let reports = || {
            let keys = crate::dkim::Keys::new(folder.path(), "postern", Arc::clone(&clock));
            TlsReports::new(store.clone(), Arc::clone(&clock), signing::Present::new(keys))
        };
        let before = reports();
        for failure in [None, None, Some(TlsFailure::CertificateExpired)] {
            before.note(session("One.test", failure));
        }
        before.note(session("two.test", None));
        before.write().await;
        before.note(session("one.test", None));
        before.write().await;
        assert!(before.due(20_778).await.unwrap().is_empty(), "the day is not over");
        drop(before);
        let after = reports();
        let due = after.due(20_779).await.unwrap();
        let found: Vec<_> = due.iter().map(|due| (&*due.domain, due.sections[0].succeeded)).collect();
        assert_eq!(found, [("one.test", 3), ("two.test", 1)]);
        assert_eq!(due[0].sections.len(), 1, "one policy, whatever happened under it");
        assert_eq!(due[0].sections[0].failed.len(), 1);
        assert_eq!(due[0].sections[0].failed[0].1, 1);
        after.forget(20_778, "one.test").await.unwrap();
        let left: Vec<_> = after.due(20_779).await.unwrap().into_iter().map(|due| due.domain).collect();
        assert_eq!(left, ["two.test".into()]);
    }

    #[test]
    fn keys_are_read_back_and_a_policy_is_the_beginning_of_its_counts() {
        let section: Section = (20_778, "world.test".into(), [0, 1, 2, 3, 0, 0, 0, 7]);
        assert_eq!(section_of(&key(&section, "{}")), Some((section.clone(), "{}")));
        assert!(key(&section, "{}").starts_with(&key(&section, "")));
        assert!(
            is_of(&key(&section, ""), 20_778, "world.test") && !is_of(&key(&section, ""), 20_778, "world")
        );
        assert_eq!(section_of(b"short"), None);
    }
}
