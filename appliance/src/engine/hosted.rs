//! The MTA-STS policies that are hosted here: which hosts are in them is what each domain's MX records say, how strict they are is
//! the config's to say, and what was once given out is not just dropped (DECISIONS 27).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;
use relay::Relay;
use route::{Lookup as _, StsPolicy};
use smtp::Domain;
use store::{Change, Store, Table};
use tokio::sync::Notify;

use super::certifying::identities;
use super::outbound::Names;
use super::publishing::Publishing;
use super::received::Received;
use super::zones::Zones;
use crate::config::Config;
use crate::mta_sts::experience::Experience;
use crate::mta_sts::{self, Given, Wanted};

/// What domains were given last, in JSON.
const GIVEN: Table = Table("hosted-policies");
/// How often MX records are looked at: a policy must not forbid for long what the DNS says.
const LOOK: Duration = Duration::from_secs(600);
/// How often the reports on a domain are read; they come once a day.
const READ_REPORTS: Duration = Duration::from_secs(3600);
/// Hosts of one policy; a domain has as many exchangers as it likes.
const MAX_HOSTS: usize = 32;

/// Looks after them.
pub(super) struct Hosted {
    zones: Arc<Zones>,
    publishing: Arc<Publishing>,
    received: Arc<Received>,
    store: Store,
    clock: Arc<dyn Clock>,
    now: Mutex<Option<Now>>,
    changed: Notify,
    /// What reports say, by domain.
    experiences: Mutex<HashMap<Domain, Reported>>,
}

/// As the config has it.
#[derive(Clone)]
struct Now {
    wanted: Arc<HashMap<Domain, Wanted>>,
    hostname: Domain,
    names: Names,
}

/// What was read of the reports on a domain.
#[derive(Clone, Debug)]
struct Reported {
    /// When, in seconds since 1970.
    read: u64,
    experience: Experience,
    /// Who met a failure lately although the policy is enforced.
    fails: Option<String>,
}

impl Hosted {
    pub(super) fn new(
        zones: Arc<Zones>,
        publishing: Arc<Publishing>,
        received: Arc<Received>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            zones,
            publishing,
            received,
            store,
            clock,
            now: Mutex::default(),
            changed: Notify::new(),
            experiences: Mutex::default(),
        })
    }

    /// From now on these are the domains.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let of_backend = |backend| {
            let wanted = mta_sts::wanted(config, backend);
            backend.domains.iter().map(move |domain| (lower(domain), wanted))
        };
        let wanted = Arc::new(config.backends.iter().flat_map(of_backend).collect());
        let now = Now { wanted, hostname: config.hostname.clone(), names };
        *lock(&self.now) = Some(now);
        // Who is believed may be another one.
        lock(&self.experiences).clear();
        self.changed.notify_one();
    }

    /// Domains whose enforced policy keeps mail away, with the reporter who says so.
    pub(super) fn failing(&self) -> Vec<(Domain, String)> {
        let experiences = lock(&self.experiences);
        let failing = experiences
            .iter()
            .filter_map(|(domain, reported)| Some((domain.clone(), reported.fails.clone()?)));
        let mut failing: Vec<_> = failing.collect();
        failing.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        failing
    }

    /// Looks until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut certificates = self.publishing.certificates();
        while !relay.is_draining() {
            let now = lock(&self.now).clone();
            if let Some(now) = now {
                for (domain, wanted) in now.wanted.iter() {
                    self.look(&relay, &now, domain, *wanted).await;
                }
                for domain in self.gone(&now).await {
                    self.look(&relay, &now, &domain, Wanted::Nothing).await;
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = certificates.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Domains that had a policy and are in the config no more.
    async fn gone(&self, now: &Now) -> Vec<Domain> {
        let (mut gone, mut after) = (Vec::new(), None::<Box<[u8]>>);
        while let Ok(page) = self.store.scan(GIVEN, after.as_deref()).await {
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let domain = |key: &[u8]| std::str::from_utf8(key).ok()?.parse::<Domain>().ok();
            let named = page.iter().filter_map(|(key, _)| domain(key));
            gone.extend(named.filter(|domain| !now.wanted.contains_key(domain)));
        }
        gone
    }

    async fn look(&self, relay: &Relay, now: &Now, domain: &Domain, wanted: Wanted) {
        let given = self.given(domain).await;
        let hosts = match wanted {
            // Nothing is said of hosts.
            Wanted::Nothing => Vec::new(),
            _ => match exchangers(&now.names, domain).await {
                Some(hosts) if hosts.is_empty() => vec![now.hostname.clone()],
                Some(hosts) => hosts,
                // The DNS does not answer: what was said last stands.
                None if self.zones.has_policy_of(domain) => return,
                None => known(&given, &now.hostname),
            },
        };
        let is_shown = given.waits(wanted) && self.is_shown(domain).await;
        let seconds = self.clock.now().as_secs();
        let (policy, next) = given.next(wanted, is_shown, &hosts, seconds);
        if next != given {
            self.keep_given(domain, &next).await;
            let id = policy.as_ref().map(mta_sts::id);
            let mode = policy.as_ref().map_or("off", |policy| policy.mode.name());
            tracing::info!(%domain, mode, id, by_reports = is_shown, "the MTA-STS policy is another one");
        }
        if let Some(since) = next.shown() {
            self.look_for_failures(domain, since).await;
        }
        self.zones.note_is(domain, self.note(domain, wanted, &next, seconds));
        self.zones.policy_is(domain, policy.clone());
        self.publish(relay, domain, policy.as_ref()).await;
        if policy.is_none() && !now.wanted.contains_key(domain) {
            // Nobody remembers it.
            let change = Change::Remove(domain.as_str().as_bytes().into());
            if let Err(error) = self.store.apply(GIVEN, vec![change]).await {
                tracing::debug!(%domain, %error, "a policy that is over stays known");
            }
        }
    }

    async fn given(&self, domain: &Domain) -> Given {
        let kept = self.store.get(GIVEN, domain.as_str().as_bytes()).await.unwrap_or_default();
        kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default()
    }

    async fn keep_given(&self, domain: &Domain, given: &Given) {
        let octets = serde_json::to_vec(given).unwrap_or_default();
        let change = Change::Put(domain.as_str().as_bytes().into(), octets.into());
        if let Err(error) = self.store.apply(GIVEN, vec![change]).await {
            tracing::warn!(%domain, %error, "it cannot be kept which MTA-STS policy was given");
        }
    }

    /// What others have met, read anew at times.
    async fn reported(&self, domain: &Domain) -> Option<Reported> {
        let now = self.clock.now().as_secs();
        let known = lock(&self.experiences).get(domain).cloned();
        if let Some(known) = known.filter(|known| now.abs_diff(known.read) < READ_REPORTS.as_secs()) {
            return Some(known);
        }
        match self.received.experience(domain.as_str()).await {
            Ok(experience) => {
                let reported = Reported { read: now, experience, fails: None };
                lock(&self.experiences).insert(domain.clone(), reported.clone());
                Some(reported)
            }
            Err(error) => {
                tracing::warn!(%domain, %error, "reports on it cannot be read");
                None
            }
        }
    }

    /// Whether reports have shown that the policy can be enforced, and the record can follow it: a policy whose id stays the same is
    /// not fetched anew.
    async fn is_shown(&self, domain: &Domain) -> bool {
        let Some(reported) = self.reported(domain).await else { return false };
        if !reported.experience.is_enough(self.clock.now().as_secs()) {
            return false;
        }
        match owner(domain) {
            Some(owner) => self.publishing.can_write(&owner, is_policy).await,
            None => false,
        }
    }

    async fn look_for_failures(&self, domain: &Domain, since: u64) {
        let Some(reported) = self.reported(domain).await else { return };
        let fails = reported.experience.fails_now(since, self.clock.now().as_secs());
        if let Some(known) = lock(&self.experiences).get_mut(domain) {
            known.fails = fails;
        }
    }

    /// What is to be said of a policy whose mode moves by itself.
    fn note(&self, domain: &Domain, wanted: Wanted, given: &Given, now: u64) -> Option<String> {
        if wanted != Wanted::Moving {
            return None;
        }
        if let Some(since) = given.shown() {
            let date = record::rfc3339_date(Duration::from_secs(since));
            let date = date.get(..10).unwrap_or(&date);
            return Some(format!(
                "MTA-STS: enforced since {date}, as reports had shown that nothing is lost by it. `mta_sts = \"testing\"` takes it back."
            ));
        }
        let experience = lock(&self.experiences).get(domain).map(|reported| reported.experience.clone())?;
        let by_hand = match experience.is_enough(now) {
            true => {
                ". They have, but the record's new id cannot be written from here ([dns_update]): set `mta_sts = \"enforce\"` and publish it"
            }
            false => "",
        };
        Some(format!("{}{by_hand}.", experience.words(now)))
    }

    /// The record by which senders learn that there is a policy. Not before it can be had: a first fetch that fails says that there is
    /// none.
    async fn publish(&self, relay: &Relay, domain: &Domain, policy: Option<&StsPolicy>) {
        let Some(owner) = owner(domain) else { return };
        let text = policy.map(|policy| format!("v=STSv1; id={};", mta_sts::id(policy)));
        let host = format!("mta-sts.{domain}");
        if text.is_some() && !self.publishing.is_certified(&host) && !serves(relay, &host) {
            return;
        }
        let id = policy.map(mta_sts::id);
        let is_it = |there: &str| id.is_some() && route::policy_id([there]) == id.as_deref();
        self.publishing.write(&owner, text.as_deref(), is_it, is_policy).await;
    }
}

/// Where the record is.
fn owner(domain: &Domain) -> Option<Domain> {
    format!("_mta-sts.{domain}").parse().ok()
}

/// Whether a text is a record on a policy.
fn is_policy(text: &str) -> bool {
    text.starts_with("v=STSv1")
}

/// Whether a certificate of the config's own serves for a name.
fn serves(relay: &Relay, host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    let is_it = |name: &str| name == host || parent.as_deref() == Some(name);
    let served = identities(relay).map(|identities| identities.served()).unwrap_or_default();
    served.iter().any(|identity| identity.names().iter().any(|name| is_it(name)))
}

/// What the policy said of hosts before a restart.
fn known(given: &Given, hostname: &Domain) -> Vec<Domain> {
    let hosts = given.policy().map(|policy| policy.mx).unwrap_or_default();
    let hosts: Vec<_> = hosts.iter().filter_map(|host| host.to_string().parse().ok()).collect();
    if hosts.is_empty() { vec![hostname.clone()] } else { hosts }
}

/// The hosts that a domain's MX records name, in order; `None`: that cannot be told now.
async fn exchangers(names: &Names, domain: &Domain) -> Option<Vec<Domain>> {
    let mut hosts: Vec<Domain> = match names.mx(domain).await {
        Ok(answer) => answer.records.into_iter().filter_map(|mx| mx.exchange).collect(),
        Err(error) if error.is_temporary() => return None,
        Err(_) => Vec::new(),
    };
    hosts.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    hosts.dedup();
    hosts.truncate(MAX_HOSTS);
    Some(hosts)
}

fn lower(domain: &Domain) -> Domain {
    domain.as_str().to_lowercase().parse().unwrap_or_else(|_| domain.clone())
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
