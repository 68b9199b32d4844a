//! The MTA-STS policies that are hosted here: which hosts are in them is what each domain's MX records say, how strict they are is
//! the config's to say, and what was once given out is not just dropped (DECISIONS 27).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use record::Clock;
use relay::Relay;
use route::{Lookup as _, StsMode, StsPolicy};
use smtp::Domain;
use store::{Change, Store, Table};
use tokio::sync::Notify;

use super::certifying::identities;
use super::outbound::Names;
use super::publishing::Publishing;
use super::zones::Zones;
use crate::config::Config;
use crate::mta_sts::{self, Given};

/// What domains were given last, in JSON.
const GIVEN: Table = Table("hosted-policies");
/// How often MX records are looked at: a policy must not forbid for long what the DNS says.
const LOOK: Duration = Duration::from_secs(600);
/// Hosts of one policy; a domain has as many exchangers as it likes.
const MAX_HOSTS: usize = 32;

/// Looks after them.
pub(super) struct Hosted {
    zones: Arc<Zones>,
    publishing: Arc<Publishing>,
    store: Store,
    clock: Arc<dyn Clock>,
    now: Mutex<Option<Now>>,
    changed: Notify,
}

/// As the config has it.
#[derive(Clone)]
struct Now {
    wanted: Arc<HashMap<Domain, Option<StsMode>>>,
    hostname: Domain,
    names: Names,
}

impl Hosted {
    pub(super) fn new(
        zones: Arc<Zones>,
        publishing: Arc<Publishing>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { zones, publishing, store, clock, now: Mutex::default(), changed: Notify::new() })
    }

    /// From now on these are the domains.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let of_backend = |backend| {
            let mode = mta_sts::wanted(config, backend);
            backend.domains.iter().map(move |domain| (lower(domain), mode))
        };
        let wanted = Arc::new(config.backends.iter().flat_map(of_backend).collect());
        let now = Now { wanted, hostname: config.hostname.clone(), names };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.changed.notify_one();
    }

    /// Looks until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut certificates = self.publishing.certificates();
        while !relay.is_draining() {
            let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(now) = now {
                for (domain, mode) in now.wanted.iter() {
                    self.look(&relay, &now, domain, *mode).await;
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = certificates.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self, relay: &Relay, now: &Now, domain: &Domain, wanted: Option<StsMode>) {
        let key = domain.as_str().as_bytes();
        let kept = self.store.get(GIVEN, key).await.unwrap_or_default();
        let given: Given = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
        let hosts = match exchangers(&now.names, domain).await {
            Some(hosts) if hosts.is_empty() => vec![now.hostname.clone()],
            Some(hosts) => hosts,
            // The DNS does not answer: what was said last stands.
            None if self.zones.has_policy_of(domain) => return,
            None => known(&given, &now.hostname),
        };
        let (policy, next) = given.next(wanted, &hosts, self.clock.now().as_secs());
        if next != given {
            let octets = serde_json::to_vec(&next).unwrap_or_default();
            let stored = self.store.apply(GIVEN, vec![Change::Put(key.into(), octets.into())]).await;
            if let Err(error) = stored {
                tracing::warn!(%domain, %error, "it cannot be kept which MTA-STS policy was given");
            }
            let id = policy.as_ref().map(mta_sts::id);
            tracing::info!(%domain, mode = policy.as_ref().map_or("off", |policy| policy.mode.name()), id, "the MTA-STS policy is another one");
        }
        self.zones.policy_is(domain, policy.clone());
        self.publish(relay, domain, policy.as_ref()).await;
    }

    /// The record by which senders learn that there is a policy. Not before it can be had: a first fetch that fails says that there is
    /// none.
    async fn publish(&self, relay: &Relay, domain: &Domain, policy: Option<&StsPolicy>) {
        let Ok(owner) = format!("_mta-sts.{domain}").parse() else { return };
        let text = policy.map(|policy| format!("v=STSv1; id={};", mta_sts::id(policy)));
        let host = format!("mta-sts.{domain}");
        if text.is_some() && !self.publishing.is_certified(&host) && !serves(relay, &host) {
            return;
        }
        let is_policy = |text: &str| text.starts_with("v=STSv1");
        let id = policy.map(mta_sts::id);
        let is_it = |there: &str| id.is_some() && route::policy_id([there]) == id.as_deref();
        self.publishing.write(&owner, text.as_deref(), is_it, is_policy).await;
    }
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
