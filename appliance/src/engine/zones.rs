//! The DNS records of the present config.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use route::{StsFetch, StsMode, StsPolicy};
use smtp::Domain;

use super::outbound::Names;
use crate::config::Config;
use crate::dkim::{Keys, KeysError};
use crate::report::{NoZones, ZoneQuestion, ZoneReport};
use crate::zone::{self, Association, Facts, compare};

/// What outlives a reload.
pub(super) struct Zones {
    keys: Arc<Keys>,
    now: Mutex<Option<Now>>,
    /// The MTA-STS policies that are hosted, by domain in lower case; `None`: none is.
    policies: Mutex<HashMap<Domain, Option<StsPolicy>>>,
    /// What there is to say of them, by domain in lower case.
    notes: Mutex<HashMap<String, String>>,
}

/// What there is to publish of the present config, and who is asked what is.
#[derive(Clone)]
struct Now {
    facts: Arc<Facts>,
    names: Names,
    associations: Arc<[Association]>,
    /// How the policies of other hosts are had.
    fetch: Option<Arc<dyn StsFetch>>,
}

impl Zones {
    pub(super) fn new(keys: Arc<Keys>) -> Arc<Self> {
        Arc::new(Self { keys, now: Mutex::default(), policies: Mutex::default(), notes: Mutex::default() })
    }

    /// From now on these are the domains, and these the certificates.
    pub(super) fn config_is(
        &self,
        config: &Config,
        names: Names,
        associations: Vec<Association>,
        fetch: Option<Arc<dyn StsFetch>>,
    ) {
        let facts = Arc::new(Facts::new(config));
        *lock(&self.now) = Some(Now { facts, names, associations: associations.into(), fetch });
    }

    /// The MTA-STS policy of a domain here, if one is hosted. Until it is known what is to be in it there is none: what a sender
    /// fetches it keeps. A domain that has gone from the config is told to forget, for as long as somebody may remember.
    pub(super) fn policy(&self, domain: &Domain) -> Option<String> {
        let known = lock(&self.now).as_ref().is_some_and(|now| now.facts.is_behind(domain.as_str()));
        let policies = lock(&self.policies);
        let policy = policies.get(domain)?.as_ref();
        policy.filter(|policy| known || policy.mode == StsMode::None).map(ToString::to_string)
    }

    /// Domains that are in the config no more and still have a policy to leave by.
    pub(super) fn leaving(&self) -> Vec<Domain> {
        let Some(now) = lock(&self.now).clone() else { return Vec::new() };
        let policies = lock(&self.policies);
        let leaves = |(domain, policy): &(&Domain, &Option<StsPolicy>)| {
            policy.is_some() && !now.facts.is_behind(domain.as_str())
        };
        policies.iter().filter(leaves).map(|(domain, _)| domain.clone()).collect()
    }

    /// From now on there is this to say of the policy of a domain.
    pub(super) fn note_is(&self, domain: &Domain, note: Option<String>) {
        let mut notes = lock(&self.notes);
        match note {
            Some(note) => drop(notes.insert(domain.as_str().to_owned(), note)),
            None => drop(notes.remove(domain.as_str())),
        }
    }

    /// Whether it was found out what the policy of a domain is.
    pub(super) fn has_policy_of(&self, domain: &Domain) -> bool {
        lock(&self.policies).contains_key(domain)
    }

    /// From now on this is the policy of a domain.
    pub(super) fn policy_is(&self, domain: &Domain, policy: Option<StsPolicy>) {
        lock(&self.policies).insert(domain.clone(), policy);
    }

    /// From now on these are the records of the keys.
    pub(super) fn associations_are(&self, associations: Vec<Association>) {
        if let Some(now) = &mut *lock(&self.now) {
            now.associations = associations.into();
        }
    }

    /// Makes new DKIM keys for a domain; what is to be published then.
    pub(super) async fn replace_keys(self: Arc<Self>, domain: String) -> Result<ZoneReport, NoZones> {
        let signs = {
            let now = lock(&self.now);
            let facts = &now.as_ref().ok_or_else(|| NoZones::Failed("there is no config".into()))?.facts;
            if !facts.knows(&domain) {
                return Err(NoZones::UnknownDomain(zone::unknown(facts, &domain)));
            }
            facts.signs(&domain)
        };
        if !signs {
            return Err(NoZones::Refused(format!("mail of {domain} is not signed: see outbound.dkim")));
        }
        let (keys, of) = (Arc::clone(&self.keys), domain.clone());
        let replaced = tokio::task::spawn_blocking(move || keys.replace(&of)).await;
        match replaced {
            Ok(Ok(())) => {}
            Ok(Err(error @ (KeysError::Own { .. } | KeysError::Awaited { .. }))) => {
                return Err(NoZones::Refused(error.to_string()));
            }
            Ok(Err(error)) => return Err(NoZones::Failed(error.to_string())),
            Err(error) => return Err(NoZones::Failed(error.to_string())),
        }
        self.report(ZoneQuestion { domains: vec![domain], verify: false }).await
    }

    pub(super) async fn report(self: Arc<Self>, question: ZoneQuestion) -> Result<ZoneReport, NoZones> {
        let now = lock(&self.now).clone();
        let Now { facts, names, associations, fetch } =
            now.ok_or_else(|| NoZones::Failed("there is no config".into()))?;
        let facts = Arc::new(facts.with_policies(&lock(&self.policies)));
        let ZoneQuestion { domains, verify } = question;
        if let Some(unknown) = domains.iter().find(|domain| !facts.knows(domain)) {
            return Err(NoZones::UnknownDomain(zone::unknown(&facts, unknown)));
        }
        let (keys, shared) = (Arc::clone(&self.keys), Arc::clone(&facts));
        let made = tokio::task::spawn_blocking(move || {
            shared.records(&domains, &keys, &associations).map_err(|error| error.to_string())
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        let mut report = made.map_err(NoZones::Failed)?;
        for zone in &mut report.zones {
            zone.notes.extend(lock(&self.notes).get(&zone.domain).cloned());
        }
        if verify {
            let resolver = names.resolver().await.map_err(|error| NoZones::Failed(error.to_string()))?;
            let compared = compare::compare(&facts, (resolver, fetch.as_deref()), &mut report).await;
            compared
                .map_err(|error| NoZones::Failed(format!("the name servers cannot be asked: {error}")))?;
        }
        Ok(report)
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
