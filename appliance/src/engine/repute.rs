//! Looks, again and again, how the world sees the addresses that mail leaves from: whether they have the right name, both ways, and
//! whether a block list of the config has them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::{DnsError, Resolver};
use evidence::lists::{About, Entry, List, Weights};
use record::Clock;
use relay::Relay;
use smtp::Domain;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::judging::is_public;
use super::outbound::Names;
use crate::config::Config;
use crate::report::{AddressState, AddressesState, ListedOn, NameState};
use crate::zone::{self, Facts, Leaves};

/// Lists change by the hour; more questions would be a burden to those who answer for nothing.
const EVERY: Duration = Duration::from_secs(3600);
/// What was not answered, or is wrong and may have been mended, is asked again sooner.
const SOONER: Duration = Duration::from_secs(10 * 60);
/// For all questions about one address.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses that are looked at; a host has some two.
const MOST: usize = 32;

/// Whom the present config names.
struct Whom {
    hostname: Domain,
    /// `None`: those that the hostname has in the DNS.
    addresses: Option<Vec<IpAddr>>,
    lists: Vec<List>,
    names: Names,
}

/// What was seen last.
pub(super) struct Repute {
    clock: Arc<dyn Clock>,
    whom: Mutex<Option<Arc<Whom>>>,
    seen: Mutex<AddressesState>,
    changed: Notify,
}

impl Repute {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (whom, seen) = (Mutex::default(), Mutex::default());
        Arc::new(Self { clock, whom, seen, changed: Notify::new() })
    }

    /// From now on these are the names, and from here mail leaves.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let addresses = match Facts::new(config).leaves {
            Leaves::Hostname => None,
            Leaves::Addresses(addresses) => Some(addresses),
            // Not ours to look after, or known to nobody here.
            Leaves::Relay(_) | Leaves::Servers => Some(Vec::new()),
        };
        let of_addresses = config.judge.dnsbl.iter().filter(|list| list.about == About::Addresses);
        let list = |list: &crate::config::DnsList| {
            let weights = Weights { other: list.weight, codes: list.codes.clone() };
            List::new(list.zone.clone(), list.about, weights)
        };
        let lists = of_addresses.map(list).collect();
        let whom = Whom { hostname: config.hostname.clone(), addresses, lists, names };
        *lock(&self.whom) = Some(Arc::new(whom));
        self.changed.notify_one();
    }

    /// What was seen last.
    pub(super) fn state(&self) -> AddressesState {
        lock(&self.seen).clone()
    }

    /// Looks until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        while !relay.is_draining() {
            let whom = lock(&self.whom).clone();
            let mut pause = EVERY;
            if let Some(whom) = whom {
                let before = self.state().addresses;
                let now = self.clock.now().as_secs();
                let addresses = whom.look(&before, now).await;
                let is_well = |one: &AddressState| one.name == NameState::Right && one.lists.is_empty();
                if !addresses.iter().all(is_well) {
                    pause = SOONER;
                }
                *lock(&self.seen) = AddressesState { hostname: whom.hostname.to_string(), addresses };
            }
            let _ = tokio::time::timeout(pause, self.changed.notified()).await;
        }
    }
}

impl Whom {
    /// What is not answered now stays as it was.
    async fn look(&self, before: &[AddressState], now: u64) -> Vec<AddressState> {
        let Ok(resolver) = self.names.resolver().await else { return before.to_vec() };
        let addresses = match &self.addresses {
            Some(addresses) => addresses.clone(),
            None => match resolver.addresses(&self.hostname).await {
                Ok(found) => found.iter().map(|(address, _)| address).collect(),
                Err(error) if error.is_temporary() => return before.to_vec(),
                Err(_) => Vec::new(),
            },
        };
        let mut seen = Vec::new();
        for address in addresses.into_iter().filter(|address| is_public(*address)).take(MOST) {
            let known = before.iter().find(|one| one.address == address);
            seen.push(self.look_at(resolver, address, known, now).await);
        }
        seen
    }

    async fn look_at(
        &self,
        resolver: &Resolver,
        address: IpAddr,
        known: Option<&AddressState>,
        now: u64,
    ) -> AddressState {
        let (names, name) = match (self.name(resolver, address).await, known) {
            ((_, NameState::Unknown), Some(known)) => (known.names.clone(), known.name),
            (found, _) => found,
        };
        let deadline = Instant::now() + PATIENCE;
        let entry = Entry::Address(address);
        let mut lists = Vec::new();
        for list in &self.lists {
            let zone = list.zone().to_string();
            match list.look_up(resolver, &entry, deadline).await {
                // A list may also say what is good.
                Ok(Some(listing)) if listing.weight > 0.0 => {
                    let reason = list.reason(resolver, &entry, deadline).await;
                    lists.push(ListedOn { list: zone, reason: reason.unwrap_or_default().into() });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "whether the own address is listed is not known now");
                    let before = known.and_then(|known| known.lists.iter().find(|one| one.list == zone));
                    lists.extend(before.cloned());
                }
            }
        }
        AddressState { address, names, name, lists, looked: now }
    }

    async fn name(&self, resolver: &Resolver, address: IpAddr) -> (Vec<String>, NameState) {
        let unknown = |error: DnsError| match error.is_temporary() {
            true => (Vec::new(), NameState::Unknown),
            false => (Vec::new(), NameState::Missing),
        };
        let Ok(reverse) = zone::reverse(address).parse::<Domain>() else {
            return (Vec::new(), NameState::Unknown);
        };
        let names = match resolver.pointers(&reverse).await {
            Ok(answer) => answer.records.iter().map(|host| host.0.clone()).collect::<Vec<_>>(),
            Err(error) => return unknown(error),
        };
        let told: Vec<String> = names.iter().map(ToString::to_string).collect();
        if !names.contains(&self.hostname) {
            return (told, NameState::Other);
        }
        match resolver.addresses(&self.hostname).await {
            Ok(found) if found.iter().any(|(one, _)| one == address) => (told, NameState::Right),
            Err(error) if error.is_temporary() => (told, NameState::Unknown),
            Ok(_) | Err(_) => (told, NameState::Unconfirmed),
        }
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
