//! MTA-STS (RFC 8461): what domains demand of TLS without DNSSEC, asked over HTTPS once and believed for as long as they say.
//!
//! Whoever can forge the DNS can hide that there is a policy, but not one that is known: a policy holds until its time is over,
//! whatever becomes of the record, of the policy host and of its certificate (§3.3, §10.2). It is kept over a restart for that reason.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::{Clock, TlsFailure};
use smtp::Domain;
use store::{Change, Store, StoreError, Table};
use tokio::time::Instant;

use crate::lookup::Lookup;
use crate::reach::is_public;

mod policy;
mod txt;

pub use policy::{BadStsPolicy, MAX_AGE, MAX_POLICY, MxPattern, StsMode, StsPolicy};
pub use txt::policy_id;

/// Where policies are kept.
pub const POLICIES: Table = Table("mta_sts");
/// Domains whose policies are in memory; others are in the store.
const REMEMBERED: usize = 10_000;
/// A host that did not give its policy is not asked for it again sooner (RFC 8461 §3.3 says five minutes).
const PAUSE: Duration = Duration::from_secs(5 * 60);
/// A policy is fetched again after this long although its identifier is the same, so that its time does not run out (§3.3).
const REFRESH: Duration = Duration::from_secs(86_400);

/// What [`StsFetch::fetch`] returns.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Box<str>, StsFetchError>> + Send + 'a>>;

/// Fetches policies.
pub trait StsFetch: Send + Sync + 'static {
    /// The text at `https://HOST/.well-known/mta-sts.txt`, from one of these addresses: within a minute, at most
    /// [`MAX_POLICY`] octets, without redirects, as `text/plain`, from a host whose certificate is valid for its name.
    fn fetch(&self, host: Domain, addresses: Vec<IpAddr>) -> Fetching<'_>;
}

/// Why a policy cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StsFetchError {
    /// The policy host gives something else.
    #[error("the policy host answers with {0}")]
    Answer(Box<str>),
    /// The policy host's certificate does not hold.
    #[error("the policy host is not proved: {0}")]
    Certificate(Box<str>),
    /// The policy host cannot be reached, or does not answer.
    #[error("the policy host cannot be reached: {0}")]
    Unreachable(Box<str>),
}

/// A policy that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsKept {
    /// By which a change is known.
    pub id: Box<str>,
    /// What it says.
    pub policy: StsPolicy,
    /// When it was fetched, in seconds since 1970.
    pub fetched: u64,
}

impl StsKept {
    /// The first second in which it holds no more, since 1970.
    pub fn until(&self) -> u64 {
        self.fetched.saturating_add(self.policy.max_age.as_secs())
    }

    fn holds(&self, now: u64) -> bool {
        // A clock that went back makes no policy last longer than it says.
        now < self.until() && now.saturating_add(REFRESH.as_secs()) >= self.fetched
    }

    fn to_bytes(&self) -> Box<[u8]> {
        format!("{}\n{}\n{}", self.id, self.fetched, self.policy).into_bytes().into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(3, '\n');
        let (id, fetched, policy) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { id: id.into(), fetched: fetched.parse().ok()?, policy: policy.parse().ok()? })
    }
}

/// What was found for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StsFinding {
    /// The policy that is in force, with whatever mode.
    pub(crate) kept: Option<Arc<StsKept>>,
    /// Why there is none although the domain says that it has one, or why the one that is known could not be fetched anew.
    pub(crate) trouble: Option<(TlsFailure, Box<str>)>,
}

/// The policies of the world's domains.
pub(crate) struct Sts<L> {
    lookup: L,
    fetch: Arc<dyn StsFetch>,
    store: Option<Store>,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<Domain, Entry>>,
}

#[derive(Clone, Default)]
struct Entry {
    kept: Option<Arc<StsKept>>,
    /// The identifier whose policy could not be had, when that was, and why.
    failed: Option<(Box<str>, Instant, TlsFailure, Box<str>)>,
}

impl<L: Lookup> Sts<L> {
    /// Without a store what is known is forgotten at a restart.
    pub(crate) fn new(
        lookup: L,
        fetch: Arc<dyn StsFetch>,
        store: Option<Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { lookup, fetch, store, clock, entries: Mutex::default() }
    }

    /// The policy for mail to `domain`. Asks the DNS, and the policy host where there is something new.
    pub(crate) async fn find(&self, domain: &Domain) -> StsFinding {
        let entry = self.recall(domain).await;
        let id = match prefixed("_mta-sts", domain) {
            Some(name) => self.lookup.text(&name).await,
            None => return StsFinding::default(),
        };
        let id = id
            .ok()
            .and_then(|answer| policy_id(answer.records.iter().map(|text| &*text.0)).map(Box::<str>::from));
        let Some(id) = id else { return StsFinding { kept: entry.kept, trouble: None } };
        let now = self.clock.now().as_secs();
        let is_fresh =
            |kept: &StsKept| kept.id == id && now < kept.fetched + REFRESH.as_secs().min(half(kept));
        if entry.kept.as_deref().is_some_and(is_fresh) {
            return StsFinding { kept: entry.kept, trouble: None };
        }
        if let Some((failed, when, failure, why)) = &entry.failed
            && *failed == id
            && when.elapsed() < PAUSE
        {
            return StsFinding { kept: entry.kept, trouble: Some((*failure, why.clone())) };
        }
        match self.fetch(domain).await {
            Ok(policy) => {
                let kept = Arc::new(StsKept { id, policy, fetched: self.clock.now().as_secs() });
                self.keep(domain, Arc::clone(&kept)).await;
                StsFinding { kept: Some(kept), trouble: None }
            }
            Err((failure, why)) => {
                tracing::debug!(%domain, %why, "an MTA-STS policy cannot be had");
                let failed = Some((id, Instant::now(), failure, why.clone()));
                self.remember(domain, Entry { failed, ..entry.clone() });
                StsFinding { kept: entry.kept, trouble: Some((failure, why)) }
            }
        }
    }

    async fn fetch(&self, domain: &Domain) -> Result<StsPolicy, (TlsFailure, Box<str>)> {
        let unreachable = |why: String| (TlsFailure::StsPolicyFetchError, why.into_boxed_str());
        let host = prefixed("mta-sts", domain).ok_or_else(|| unreachable("the name is too long".into()))?;
        let found = self.lookup.addresses(&host).await.map_err(|error| unreachable(error.to_string()))?;
        // Nobody out there makes us knock on doors of the inside.
        let addresses: Vec<IpAddr> =
            found.iter().map(|(address, _)| address).filter(|address| is_public(*address)).collect();
        if addresses.is_empty() {
            return Err(unreachable("the policy host has no address on the Internet".into()));
        }
        let text = self.fetch.fetch(host, addresses).await.map_err(|error| {
            let failure = match error {
                StsFetchError::Certificate(_) => TlsFailure::StsWebpkiInvalid,
                StsFetchError::Answer(_) | StsFetchError::Unreachable(_) => TlsFailure::StsPolicyFetchError,
            };
            (failure, error.to_string().into())
        })?;
        text.parse().map_err(|error: BadStsPolicy| {
            (TlsFailure::StsPolicyInvalid, format!("the policy cannot be used: {error}").into())
        })
    }

    /// What is known of a domain, if it still holds.
    async fn recall(&self, domain: &Domain) -> Entry {
        let known = self.entries().get(domain).cloned();
        let mut entry = match (known, &self.store) {
            (Some(entry), _) => entry,
            (None, Some(store)) => {
                let stored = store.get(POLICIES, domain.as_str().as_bytes()).await.unwrap_or_default();
                let kept = stored.as_deref().and_then(StsKept::from_bytes).map(Arc::new);
                let entry = Entry { kept, failed: None };
                self.remember(domain, entry.clone());
                entry
            }
            (None, None) => Entry::default(),
        };
        let now = self.clock.now().as_secs();
        entry.kept = entry.kept.filter(|kept| kept.holds(now));
        entry
    }

    async fn keep(&self, domain: &Domain, kept: Arc<StsKept>) {
        if let Some(store) = &self.store {
            let change = Change::Put(domain.as_str().as_bytes().into(), kept.to_bytes());
            let stored = match store.apply(POLICIES, vec![change]).await {
                Ok(()) => store.flush().await,
                Err(error) => Err(error),
            };
            // In memory it holds all the same.
            if let Err(error) = stored {
                tracing::warn!(%domain, %error, "an MTA-STS policy is not stored");
            }
        }
        self.remember(domain, Entry { kept: Some(kept), failed: None });
    }

    fn remember(&self, domain: &Domain, entry: Entry) {
        let mut entries = self.entries();
        if entries.len() >= REMEMBERED {
            // Those that are in force are found in the store again.
            entries.clear();
        }
        entries.insert(domain.clone(), entry);
    }

    /// Nothing panics while it holds the lock.
    fn entries(&self) -> MutexGuard<'_, HashMap<Domain, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes from the store the policies whose time is over: those of domains to which nobody writes any more. `now` is the time
/// since 1970.
///
/// # Errors
///
/// As [`StoreError`] says.
pub async fn forget_old_policies(store: &Store, now: Duration) -> Result<(), StoreError> {
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let pairs = store.scan(POLICIES, after.as_deref()).await?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        after = Some(last.clone());
        let is_over =
            |value: &[u8]| StsKept::from_bytes(value).is_none_or(|kept| kept.until() <= now.as_secs());
        let old: Vec<Change> = pairs
            .iter()
            .filter(|(_, value)| is_over(value))
            .map(|(key, _)| Change::Remove(key.clone()))
            .collect();
        if !old.is_empty() {
            store.apply(POLICIES, old).await?;
        }
    }
}

/// A policy that lasts for hours is fetched again in the middle of its time.
fn half(kept: &StsKept) -> u64 {
    (kept.policy.max_age / 2).as_secs().max(1)
}

fn prefixed(label: &str, domain: &Domain) -> Option<Domain> {
    format!("{label}.{domain}").parse().ok()
}

#[cfg(test)]
mod tests;
