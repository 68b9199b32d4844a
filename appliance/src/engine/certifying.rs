//! Certificates in a running Postern: who orders them, for which names, how they come to serve, and what is published of their keys.

mod hosts;
mod tlsa;
mod told;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acme::roll::Order;
use acme::{Certifier, Surroundings};
use record::Clock;
use relay::Relay;
use tls::Identities;
use tokio::net::TcpListener;
use tokio::time::sleep;

pub(crate) use self::told::ca_settings;
use super::error::EngineError;
use super::identity::Own;
use super::outbound::Names;
use super::zones::Zones;
use crate::config::Config;
use crate::report::{
    AccountState, CertificateState, CertifyingState, KeyOrder, KeyState, LeftOutState, OrderState, RollOrder,
    TlsaState, WebState,
};
use crate::roles::Roles;
use crate::web::{self, Policy, Web};

/// What could not be told the certifier (a name server's name that did not resolve) is tried again.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// Looks after certificates as the config says.
pub(super) struct Certifying {
    certifier: Arc<Certifier>,
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    web: Arc<Web>,
    zones: Arc<Zones>,
    now: Mutex<Now>,
}

/// As the last config and the last look have it.
struct Now {
    config: Arc<Config>,
    names: Names,
    own: Arc<Own>,
    hindrance: Option<String>,
    /// Something has to be told again.
    incomplete: bool,
    ports: Vec<WebState>,
    /// Where mail is taken, as the last look found.
    hosts: Vec<String>,
    tlsa: Vec<TlsaState>,
}

impl Certifying {
    /// Nothing is asked for yet.
    pub(super) fn new(
        certifier: &Arc<Certifier>,
        relay: &Arc<Relay>,
        clock: Arc<dyn Clock>,
        (config, names, own): (&Config, Names, Own),
        policy: Policy,
        zones: &Arc<Zones>,
    ) -> Arc<Self> {
        let serving = Arc::clone(relay);
        let identities = move || identities(&serving);
        let tls = super::generation::tls_settings(config);
        let web = Web::new(certifier.answers().clone(), policy, tls, identities);
        let now = Now {
            config: Arc::new(config.clone()),
            names,
            own: Arc::new(own),
            hindrance: None,
            incomplete: false,
            ports: Vec::new(),
            hosts: Vec::new(),
            tlsa: Vec::new(),
        };
        Arc::new(Self {
            certifier: Arc::clone(certifier),
            relay: Arc::clone(relay),
            clock,
            web,
            zones: Arc::clone(zones),
            now: Mutex::new(now),
        })
    }

    /// Opens the ports of the public web server that the config wants and that are not open yet. One that nobody named and that
    /// cannot be had is told of; the mail goes on.
    pub(super) fn open_ports(&self, config: &Config, roles: &Roles) -> Result<(), EngineError> {
        for port in web::sockets::wanted(config) {
            if self.now().ports.iter().any(|open| open.address == port.address && open.problem.is_none()) {
                continue;
            }
            let bound = roles.sockets(port.address, || web::sockets::bind(port)).and_then(|sockets| {
                let failed = |error| EngineError::Web { address: port.address, error };
                let none = || failed(std::io::ErrorKind::NotFound.into());
                let socket = sockets.into_iter().next().ok_or_else(none)?;
                socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)).map_err(failed)
            });
            let problem = match bound {
                Ok(listener) => {
                    tokio::spawn(Arc::clone(&self.web).serve(listener, port.tls));
                    None
                }
                Err(error) if config.http.is_written => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "certificates may not come");
                    Some(error.to_string())
                }
            };
            let mut now = self.now();
            now.ports.retain(|open| open.address != port.address);
            now.ports.push(WebState { address: port.address, tls: port.tls, problem });
        }
        Ok(())
    }

    /// Looks after everything for as long as the relay serves.
    pub(super) async fn keep(self: Arc<Self>) {
        self.tell().await;
        tokio::spawn(Arc::clone(&self.certifier).keep(Arc::clone(&self)));
        let mut changes = self.certifier.changes();
        while !self.relay.is_draining() {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.publish();
                }
                () = sleep(TELL_AGAIN) => {
                    let incomplete = self.now().incomplete;
                    if incomplete {
                        self.tell().await;
                    }
                }
            }
        }
    }

    /// After a reload, when the new generation serves.
    pub(super) async fn config_is(&self, config: &Config, names: Names, own: Own) {
        {
            let mut now = self.now();
            now.config = Arc::new(config.clone());
            (now.names, now.own) = (names, Arc::new(own));
        }
        self.web.tls_is(super::generation::tls_settings(config));
        self.publish();
        self.tell().await;
    }

    /// What serves from now on. Sessions go on.
    fn publish(&self) {
        let own = Arc::clone(&self.now().own);
        if let Some(identities) = identities(&self.relay) {
            identities.serve(own.served(self.certifier.identities()).identities);
        }
    }

    /// For the page.
    pub(super) fn certificates(&self) -> Vec<CertificateState> {
        let (own, config) = {
            let now = self.now();
            (Arc::clone(&now.own), Arc::clone(&now.config))
        };
        let state = self.certifier.state();
        let renews = |identity: &tls::Identity| {
            let is_it = |line: &&acme::Line| {
                line.certificate.as_ref().is_some_and(|facts| {
                    facts.pin == identity.pin() && facts.not_after == identity.not_after()
                })
            };
            state.lines.iter().find(is_it)?.renews.map(|at| at.as_secs())
        };
        let directory = state.directory.as_deref().unwrap_or(&config.acme.directory);
        own.states(self.certifier.identities(), directory, renews)
    }

    /// For the page and the commands.
    pub(super) fn state(&self) -> CertifyingState {
        let state = self.certifier.state();
        let now = self.now();
        CertifyingState {
            directory: state.directory,
            hindrance: state.problem.or_else(|| now.hindrance.clone()),
            orders: state.lines.into_iter().map(order).collect(),
            not_asked: state.not_asked.into_iter().map(left_out).collect(),
            tlsa: now.tlsa.clone(),
            next_key_ready: ready(&state.keys),
            keys: state.keys.iter().map(key).collect(),
            account: state.account.map(account),
            web: now.ports.clone(),
        }
    }

    /// What ends TLS of web browsers with the certificates that serve now.
    pub(super) fn acceptor(&self) -> Option<tls::Acceptor> {
        self.web.acceptor()
    }

    /// How many certificates are ordered anew; `None`: nothing is ordered here.
    pub(super) fn renew(&self, name: Option<&str>) -> Option<usize> {
        self.certifier.state().directory?;
        Some(self.certifier.renew(name))
    }

    /// Changes a key before its time; `None`: nothing is ordered here.
    pub(super) fn roll(&self, order: RollOrder) -> Option<Result<(), String>> {
        self.certifier.state().directory?;
        let order = match order {
            RollOrder::Mail(KeyOrder::Soon) => Order::Soon,
            RollOrder::Mail(KeyOrder::AtOnce) => Order::AtOnce,
            RollOrder::Account => {
                self.certifier.roll_account();
                return Some(Ok(()));
            }
        };
        Some(self.certifier.roll(order).map_err(|error| error.to_string()))
    }

    /// Nothing panics while it holds the lock.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Surroundings for Certifying {
    async fn wanted(&self) -> acme::Wanted {
        hosts::wanted(self).await
    }

    async fn published(&self, certifier: &Certifier) -> acme::roll::Seen {
        // Records are compared with what is shown, which is not to be what was shown before the certificate came.
        self.publish();
        tlsa::published(self, certifier).await
    }
}

/// Those that serve now.
pub(super) fn identities(relay: &Relay) -> Option<Arc<Identities>> {
    relay.serving().driver.acceptor.as_ref().map(|acceptor| Arc::clone(acceptor.identities()))
}

/// From when on all next keys may serve.
fn ready(keys: &[acme::KeyFacts]) -> Option<u64> {
    keys.iter().map(|key| key.next_ready).try_fold(0, |latest, at| Some(latest.max(at?.as_secs())))
}

fn key(key: &acme::KeyFacts) -> KeyState {
    let order = |order| match order {
        Order::Soon => KeyOrder::Soon,
        Order::AtOnce => KeyOrder::AtOnce,
    };
    KeyState {
        current: hexadecimal(&key.current.digest()),
        next: hexadecimal(&key.next.digest()),
        next_ready: key.next_ready.map(|at| at.as_secs()),
        next_may_serve: key.next_may_serve,
        serves: key.serves,
        order: key.order.map(order),
    }
}

fn account(account: acme::AccountFacts) -> AccountState {
    let acme::AccountFacts { key_since, changes, problem } = account;
    AccountState { key_since: key_since.as_secs(), changes, problem }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn order(line: acme::Line) -> OrderState {
    let seconds = |at: Option<Duration>| at.map(|at| at.as_secs());
    OrderState {
        id: line.id,
        names: line.names,
        expires: line.certificate.map(|facts| facts.not_after.as_secs()),
        renews: seconds(line.renews),
        again: seconds(line.again),
        problem: line.problem,
        advice: line.advice,
        waits: line.waits,
        under_way: line.under_way,
        attempts: line.attempts,
        left_out: line.left_out.into_iter().map(left_out).collect(),
    }
}

fn left_out(one: acme::LeftOut) -> LeftOutState {
    LeftOutState { name: one.name, reason: one.reason }
}
