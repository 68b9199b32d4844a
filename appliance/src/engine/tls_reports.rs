//! How TLS with the world went, kept by day and domain in the store, and reported to whoever asks for it (RFC 8460).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use dns::DnsError;
use evidence::wanted::Wanted;
use record::{Clock, TlsSession, TlsTally};
use relay::Relay;
use sha2::{Digest as _, Sha256};
use store::{Change, Store, StoreError, Table};
use url::Url;

use super::letters::{Letter, Letters};
use super::outbound::Names;
use super::sites::Sites;
use super::tally::{self, Tally};
use crate::config::Config;
use crate::tls_report::{DAY, Failure, Policy, Report, Tallied, of_session};

/// Counts, by day, domain, policy and failure.
const TALLY: Table = Table("tls-tally");
/// Policies in JSON, by day, domain and hash.
const POLICIES: Table = Table("tls-policies");
/// Octets of how a session failed, in JSON, as part of a key.
const MAX_FAILURE: usize = 640;
/// Kinds of sessions that one report is made of.
const MAX_KINDS: usize = 100_000;
/// A report that could not be sent within so many days is not sent any more.
const FORGET: u64 = 4;
/// Octets of a policy that are kept; real ones have some hundred.
const MAX_POLICY: usize = 16 * 1024;
/// What stands for how a session failed where there are too many ways.
const SOMEHOW: &[u8] = b"{\"result-type\":\"validation-failure\"}";

/// By which a policy is known within a domain's day.
type Hash = [u8; 8];
/// Day, domain and policy: what a report's section is made of.
type Section = (u64, Box<str>, Hash);

/// Day, domain, and site.
type Taken = (u64, Box<str>, Box<str>);

/// The tally.
pub(super) struct TlsReports {
    tally: Tally,
    /// What was met since the last write.
    policies: Mutex<HashMap<Section, Box<str>>>,
    store: Store,
    clock: Arc<dyn Clock>,
    config: Mutex<Option<Arc<Who>>>,
    letters: Arc<Letters>,
    /// Which sites have taken a report, or that the mail is in the queue (empty), while another site has not.
    taken: Mutex<HashSet<Taken>>,
}

/// Who reports, and by which means.
struct Who {
    hostname: String,
    postmaster: String,
    sends: bool,
    sites: Arc<Sites>,
}

impl TlsReports {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, letters: Arc<Letters>) -> Arc<Self> {
        let tally = Tally::new(TALLY, store.clone());
        let (policies, config, taken) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { tally, policies, store, clock, config, letters, taken })
    }

    /// From now on these are the names, and this is how sites are asked.
    pub(super) fn config_is(&self, config: &Config, sites: Arc<Sites>) {
        let who = Who {
            hostname: config.hostname.to_string(),
            postmaster: config.postmaster.as_str().to_owned(),
            sends: config.reports.tls,
            sites,
        };
        *lock(&self.config) = Some(Arc::new(who));
    }

    /// Puts what was tallied into the store.
    pub(super) async fn write(&self) {
        let policies = std::mem::take(&mut *lock(&self.policies));
        let put = |(day, domain, hash): &Section, policy: &str| {
            Change::Put(tally::key(*day, domain, hash), policy.as_bytes().into())
        };
        let changes: Vec<_> = policies.iter().map(|(section, policy)| put(section, policy)).collect();
        let mut stored = Ok(());
        for some in changes.chunks(tally::BATCH) {
            stored = match stored {
                Ok(()) => self.store.apply(POLICIES, some.to_vec()).await,
                failed => failed,
            };
        }
        let stored = match stored {
            Ok(()) => self.tally.write().await,
            failed => failed,
        };
        if let Err(error) = stored {
            tracing::error!(%error, "what is to be reported of TLS cannot be stored, and is tried again");
            lock(&self.policies).extend(policies);
        }
    }

    /// Writes, and reports on days that are over, until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut round = tally::Round::default();
        while !relay.is_draining() {
            let looks = round.next().await;
            self.write().await;
            if looks && let Err(error) = self.report(&relay).await {
                tracing::error!(%error, "reports on TLS cannot be made now");
            }
        }
    }

    /// Reports on every day that is over, and forgets it.
    async fn report(&self, relay: &Relay) -> Result<(), StoreError> {
        let Some(who) = lock(&self.config).clone() else { return Ok(()) };
        let today = tally::today(self.clock.now(), &who.hostname);
        for (day, domain) in self.tally.before(today).await? {
            let wanted = match wanted(&who.sites.names, &domain).await {
                Ok(wanted) => wanted,
                Err(error) if today - day < FORGET => {
                    tracing::info!(%domain, %error, "whether a report on TLS is wanted cannot be found out yet");
                    continue;
                }
                Err(_) => None,
            };
            let sections = self.sections(day, &domain).await?;
            if let Some(wanted) = wanted.filter(|_| who.sends && !sections.is_empty()) {
                let (hostname, contact) = (&*who.hostname, &*who.postmaster);
                let report = Report { hostname, contact, domain: &domain, day, policies: &sections };
                if let Err(error) = self.send(relay, &who, &report, &wanted).await {
                    tracing::error!(%domain, error, "a report on TLS cannot be sent yet");
                    if today - day < FORGET {
                        continue;
                    }
                    tracing::warn!(%domain, day, "a report on TLS is given up");
                }
            }
            self.forget(day, &domain).await?;
        }
        Ok(())
    }

    /// To each site by HTTPS, and by mail, through the queue, signed (RFC 8460 §3). An error if a site has not taken it; those that have
    /// are not asked again.
    async fn send(
        &self,
        relay: &Relay,
        who: &Who,
        report: &Report<'_>,
        wanted: &Wanted,
    ) -> Result<(), String> {
        let part = |site: &str| -> Taken { (report.day, report.domain.into(), site.into()) };
        let is_open = |site: &str| !lock(&self.taken).contains(&part(site));
        let mut sent = Ok(());
        if !wanted.addresses.is_empty() && is_open("") {
            let content = report.mail(&wanted.addresses, self.clock.now());
            let content = content.map_err(|error| error.to_string())?;
            let (from, to) = (report.contact, &wanted.addresses[..]);
            self.letters.send(relay, Letter { from, to, content, what: "a report on TLS" }).await?;
            lock(&self.taken).insert(part(""));
        }
        for site in wanted.sites.iter().filter(|site| is_open(site)) {
            match post(&who.sites, site, report).await {
                Ok(()) => {
                    tracing::info!(domain = report.domain, day = report.day, site, "a report on TLS is sent");
                    lock(&self.taken).insert(part(site));
                }
                Err(why) => sent = Err(format!("{site}: {why}")),
            }
        }
        sent
    }

    /// What a domain's report of a day has.
    async fn sections(&self, day: u64, domain: &str) -> Result<Vec<Tallied>, StoreError> {
        let mut sections: BTreeMap<Hash, Tallied> = BTreeMap::new();
        for (counted, count) in self.tally.counts(day, domain, MAX_KINDS).await? {
            let Some((hash, failure)) = counted.split_first_chunk::<8>() else { continue };
            if !sections.contains_key(hash) {
                let policy = self.store.get(POLICIES, &tally::key(day, domain, hash)).await?;
                let Some(policy) = policy.and_then(|policy| serde_json::from_slice::<Policy>(&policy).ok())
                else {
                    continue;
                };
                sections.insert(*hash, Tallied { policy, succeeded: 0, failed: Vec::new() });
            }
            let Some(section) = sections.get_mut(hash) else { continue };
            match failure {
                [] => section.succeeded = count,
                failure => section.failed.extend(Failure::read(failure).map(|failure| (failure, count))),
            }
        }
        Ok(sections.into_values().collect())
    }

    async fn forget(&self, day: u64, domain: &str) -> Result<(), StoreError> {
        lock(&self.taken).retain(|(of, whose, _)| *of != day || **whose != *domain);
        self.tally.forget(day, domain).await?;
        tally::forget(&self.store, POLICIES, day, domain).await
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
        let mut hash = Hash::default();
        hash.copy_from_slice(&digest[..8]);
        let domain = session.policy_domain.to_lowercase();
        let counted = |failure: &[u8]| [&hash[..], failure].concat();
        let failure = failure.map(|failure| told(&failure)).unwrap_or_default();
        // Of one kind too many it is not told how it failed, only that it did.
        let instead = counted(if failure.is_empty() { b"" } else { SOMEHOW });
        if self.tally.note(day, &domain, &counted(failure.as_bytes()), Some(&instead)) {
            lock(&self.policies).entry((day, domain.into(), hash)).or_insert_with(|| policy.into());
        }
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

/// Whether a domain wants reports; `None`: it does not.
async fn wanted(names: &Names, domain: &str) -> Result<Option<Wanted>, DnsError> {
    let Ok(name) = format!("_smtp._tls.{domain}").parse() else { return Ok(None) };
    match names.resolver().await?.text(&name).await {
        Ok(answer) => Ok(Wanted::read(answer.records.iter().map(|text| &*text.0))),
        Err(error) if error.is_temporary() => Err(error),
        Err(_) => Ok(None),
    }
}

/// A site takes a report with a status of success (RFC 8460 §5.4).
async fn post(sites: &Sites, site: &str, report: &Report<'_>) -> Result<(), String> {
    let url = Url::parse(site).map_err(|error| error.to_string())?;
    let packed = report.compressed().map_err(|error| error.to_string())?;
    match sites.post(&url, "application/tlsrpt+gzip", Vec::new(), packed).await? {
        status if status.is_success() => Ok(()),
        status => Err(format!("status {}", status.as_u16())),
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use record::{PublishedPolicy, SimulatedClock, TlsFailure};

    use super::super::signing;
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
            let letters = Letters::new(signing::Present::new(keys), Arc::clone(&clock));
            TlsReports::new(store.clone(), Arc::clone(&clock), Arc::new(letters))
        };
        let before = reports();
        for failure in [None, None, Some(TlsFailure::CertificateExpired)] {
            before.note(session("One.test", failure));
        }
        before.note(session("two.test", None));
        before.write().await;
        before.note(session("one.test", None));
        before.write().await;
        assert!(before.tally.before(20_778).await.unwrap().is_empty(), "the day is not over");
        drop(before);
        let after = reports();
        let due: Vec<_> = after.tally.before(20_779).await.unwrap().into_iter().collect();
        assert_eq!(due, [(20_778, "one.test".into()), (20_778, "two.test".into())]);
        let sections = after.sections(20_778, "one.test").await.unwrap();
        assert_eq!(sections.len(), 1, "one policy, whatever happened under it");
        assert_eq!((sections[0].succeeded, sections[0].failed.len(), sections[0].failed[0].1), (3, 1, 1));
        assert_eq!(after.sections(20_778, "two.test").await.unwrap()[0].succeeded, 1);
        after.forget(20_778, "one.test").await.unwrap();
        let left: Vec<_> = after.tally.before(20_779).await.unwrap().into_iter().collect();
        assert_eq!(left, [(20_778, "two.test".into())]);
        assert!(after.sections(20_778, "one.test").await.unwrap().is_empty());
    }
}
