//! The present state for the page, read off the running engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use delivery::Queue;
use record::Clock;
use relay::Relay;
use route::{Backend, ClientAddress, Routing, Server};
use smtp::Extension;
use tls::Chain;
use tokio::sync::OnceCell;
use tokio::time::{Duration, Instant};

use super::arming::Arming;
use super::certifying::Certifying;
use super::entries::Entries;
use super::generation::Base;
use super::hosted::Hosted;
use super::judging::Court;
use super::received::Received;
use super::records::Records;
use super::remembering::Remembering;
use super::repute::Repute;
use super::weekly::Weekly;
use super::zones::Zones;
use crate::report::{
    AddressesState, ArmingState, Asking, AuthorityState, BackendState, BlockedSender, CertificateState,
    CertifyingState, Deciding, DomainEntry, DomainState, EntryOrder, FailingPolicy, Health, HeldReport,
    LearnOrder, LearningState, Lesson, ListenerState, Live, NotJudging, PublishedState, QueueState,
    ReceivedReports, RecipientsState, RolesState, RollOrder, ScanOrder, Scanned, SenderState, ServerState,
    StrainState, VerifyingState, WeekReport, Writing, ZoneQuestion, Zoning,
};
use crate::roles::Roles;

/// What the page asks.
pub(super) struct Present {
    relay: Arc<Relay>,
    certifying: Arc<Certifying>,
    listeners: Mutex<Vec<ListenerState>>,
    arming: Arc<Arming>,
    roles: Arc<Roles>,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    court: Arc<OnceCell<Arc<Court>>>,
    remembering: Arc<Remembering>,
    received: Arc<Received>,
    zones: Arc<Zones>,
    hosted: Arc<Hosted>,
    records: Arc<Records>,
    repute: Arc<Repute>,
    weekly: Arc<Weekly>,
    entries: Arc<Entries>,
    /// By backend and domain, and when they were counted.
    mailboxes: Mutex<Option<(Instant, Mailboxes)>>,
}

type Mailboxes = Arc<HashMap<(Box<str>, Box<str>), usize>>;

/// How long a count of mailboxes is good for: it goes through all recipients that are known, some 200,000.
const COUNTED: Duration = Duration::from_secs(60);

impl Present {
    pub(super) fn new(
        base: &Base,
        relay: Arc<Relay>,
        certifying: Arc<Certifying>,
        listeners: Vec<ListenerState>,
        arming: Arc<Arming>,
        roles: Arc<Roles>,
        (queue, clock): (Arc<Queue>, Arc<dyn Clock>),
    ) -> Self {
        let listeners = Mutex::new(listeners);
        Self {
            relay,
            certifying,
            listeners,
            arming,
            roles,
            queue,
            clock,
            court: Arc::clone(base.court()),
            remembering: Arc::clone(base.remembering()),
            received: Arc::clone(base.received()),
            zones: Arc::clone(base.zones()),
            hosted: Arc::clone(base.hosted()),
            records: Arc::clone(base.records()),
            repute: Arc::clone(base.repute()),
            weekly: Arc::clone(base.weekly()),
            entries: Arc::clone(base.entries()),
            mailboxes: Mutex::default(),
        }
    }

    fn mailboxes(&self, routing: &Routing) -> Mailboxes {
        let now = Instant::now();
        let mut counted = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = counted.as_ref().filter(|(at, _)| now.duration_since(*at) < COUNTED) {
            return Arc::clone(known);
        }
        // They share what they know.
        let mut recipients = routing.backends().iter().filter_map(|backend| backend.recipients());
        let all: Mailboxes =
            Arc::new(recipients.next().map(route::Recipients::mailboxes).unwrap_or_default());
        *counted = Some((now, Arc::clone(&all)));
        all
    }

    /// After a reload that brought new ones.
    pub(super) fn listens_too(&self, more: Vec<ListenerState>) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }
}

impl Live for Present {
    fn listeners(&self) -> Vec<ListenerState> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn backends(&self) -> Vec<BackendState> {
        let routing = Arc::clone(&self.relay.serving().settings.routing);
        routing.backends().iter().map(|backend| backend_state(backend)).collect()
    }

    fn addresses(&self) -> AddressesState {
        self.repute.state()
    }

    fn weeks(&self, domains: Vec<String>, week: Option<u64>) -> Asking<Vec<WeekReport>> {
        let weekly = Arc::clone(&self.weekly);
        Box::pin(async move {
            weekly.weeks(domains, week).await.map_err(|error| NotJudging::Failed(error.to_string()))
        })
    }

    fn certificates(&self) -> Vec<CertificateState> {
        self.certifying.certificates()
    }

    fn certifying(&self) -> CertifyingState {
        self.certifying.state()
    }

    fn renew(&self, name: Option<&str>) -> Option<usize> {
        self.certifying.renew(name)
    }

    fn roll(&self, order: RollOrder) -> Option<Result<(), String>> {
        self.certifying.roll(order)
    }

    fn sessions_now(&self) -> usize {
        self.relay.admission().sessions()
    }

    fn bytes_in_flight(&self) -> u64 {
        self.relay.budget().used()
    }

    fn strains(&self) -> Vec<StrainState> {
        let limits = self.relay.serving().settings.limits;
        let strains = self.relay.admission().strains(&limits);
        let state = |(resource, strain): (relay::Resource, relay::Strain)| StrainState {
            resource: resource.name().into(),
            strain: strain.into(),
        };
        strains.map(state).into()
    }

    fn draining(&self) -> bool {
        self.relay.is_draining()
    }

    fn roles(&self) -> RolesState {
        self.roles.state()
    }

    fn arming(&self) -> Vec<ArmingState> {
        self.arming.states()
    }

    fn authority(&self) -> Option<AuthorityState> {
        let serving = self.relay.serving();
        let authority = serving.driver.interception.as_ref()?.leaves.authority();
        Some(AuthorityState {
            pem: authority.certificate_pem().to_owned(),
            sha256: hexadecimal(&Chain::new(&[authority.certificate()]).digest()),
            expires: authority.not_after().as_secs(),
        })
    }

    fn learning(&self) -> LearningState {
        self.court.get().map(|court| court.learning()).unwrap_or_default()
    }

    fn blocked(&self) -> Vec<BlockedSender> {
        self.court.get().map(|court| court.blocked()).unwrap_or_default()
    }

    fn block(&self, entry: String) -> Asking<bool> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.block(&entry).await })
    }

    fn unblock(&self, entry: String) -> Asking<bool> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.unblock(&entry).await })
    }

    fn domains(&self) -> Vec<DomainState> {
        let routing = Arc::clone(&self.relay.serving().settings.routing);
        let mailboxes = self.mailboxes(&routing);
        let mut domains = Vec::new();
        for backend in routing.backends() {
            for domain in backend.domains() {
                let [blocked, allowed, traps, aliases] = self.entries.numbers(domain.as_str());
                let place: (Box<str>, Box<str>) = (backend.name().into(), domain.as_str().into());
                domains.push(DomainState {
                    domain: domain.to_string(),
                    backend: backend.name().to_owned(),
                    mailboxes: mailboxes.get(&place).copied().unwrap_or_default(),
                    blocked,
                    allowed,
                    traps,
                    aliases,
                });
            }
        }
        domains.sort_by(|one: &DomainState, other| one.domain.cmp(&other.domain));
        domains
    }

    fn domain_entries(&self, domain: &str) -> Option<Vec<DomainEntry>> {
        self.entries.of(domain)
    }

    fn decide(&self, order: EntryOrder) -> Deciding {
        let (entries, now) = (Arc::clone(&self.entries), self.clock.now());
        Box::pin(async move { entries.decide(&order, now).await })
    }

    fn was_reported(&self, transaction: smtp::TransactionId) {
        if let Some(court) = self.court.get() {
            court.was_reported(transaction);
        }
    }

    fn senders(&self, most: usize) -> Vec<SenderState> {
        let now = self.clock.now();
        self.court.get().map(|court| court.accounts.list(most, now)).unwrap_or_default()
    }

    fn suspects(&self) -> Vec<SenderState> {
        let now = self.clock.now();
        self.court.get().map(|court| court.accounts.suspects(now)).unwrap_or_default()
    }

    fn release_sender(&self, name: &str) -> bool {
        self.court.get().is_some_and(|court| court.accounts.release(name))
    }

    fn stop_sender(&self, name: &str) -> bool {
        self.court.get().is_some_and(|court| court.accounts.stop(name, self.clock.now()))
    }

    fn sender_of(&self, transaction: smtp::TransactionId) -> Option<String> {
        self.court.get()?.accounts.sender_of(transaction)
    }

    fn held_reports(&self, most: usize) -> Asking<Vec<HeldReport>> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.held_reports(most).await })
    }

    fn settle_report(&self, id: String, accepts: bool) -> Asking<bool> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.settle_report(&id, accepts).await })
    }

    fn received_reports(&self, domains: Vec<String>) -> Asking<ReceivedReports> {
        let received = Arc::clone(&self.received);
        Box::pin(async move {
            received.told(&domains).await.map_err(|error| NotJudging::Failed(error.to_string()))
        })
    }

    fn was_released(&self, transaction: smtp::TransactionId) {
        if let Some(court) = self.court.get() {
            court.was_released(transaction);
        }
    }

    fn scan(&self, order: ScanOrder) -> Asking<Scanned> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.scan(order).await })
    }

    fn learn(&self, class: judge::Class, order: LearnOrder) -> Asking<Lesson> {
        let court = self.court.get().cloned();
        Box::pin(async move { court.ok_or(NotJudging::Off)?.learn_message(class, order).await })
    }

    fn zones(&self, question: ZoneQuestion) -> Zoning {
        Box::pin(Arc::clone(&self.zones).report(question))
    }

    fn published(&self) -> PublishedState {
        let failing = self.hosted.failing().into_iter();
        let failing = failing
            .map(|(domain, reporter)| FailingPolicy { domain: domain.to_string(), reporter })
            .collect();
        PublishedState { wrong: self.records.wrong(), failing }
    }

    fn replace_dkim(&self, domain: String) -> Zoning {
        Box::pin(Arc::clone(&self.zones).replace_keys(domain))
    }

    fn write_store_down(&self) -> Writing<'_> {
        Box::pin(self.remembering.write_down(&self.relay))
    }

    fn queue(&self) -> QueueState {
        QueueState::of(&self.queue, self.clock.now())
    }

    fn verifying(&self) -> Vec<VerifyingState> {
        let serving = self.relay.serving();
        let inner = serving.driver.interception.as_ref().map(|intercepting| &intercepting.inner);
        let verifying = inner.map(|inner| inner.verifying(Instant::now())).unwrap_or_default();
        let state = |one: relay::Verifying| VerifyingState {
            server: one.server,
            destination: one.destination,
            times: one.times,
        };
        verifying.into_iter().map(state).collect()
    }
}

fn backend_state(backend: &Backend) -> BackendState {
    BackendState {
        name: backend.name().into(),
        domains: backend.domains().iter().map(ToString::to_string).collect(),
        tls: backend.tls().ladder.name().into(),
        servers: backend.servers().iter().map(|server| server_state(backend, server)).collect(),
        recipients: recipients_state(backend),
    }
}

fn recipients_state(backend: &Backend) -> RecipientsState {
    let Some(recipients) = backend.recipients() else { return RecipientsState::default() };
    let state = recipients.state();
    let everything = |domain: &&smtp::Domain| recipients.accepts_everything(domain) == Some(true);
    RecipientsState {
        accepted: state.seen.accepted,
        refused: state.seen.refused,
        list: state.list.into(),
        listed: state.listed,
        trouble: state.trouble.into(),
        accepts_everything: match state.list {
            "ask" => backend.domains().iter().filter(everything).map(ToString::to_string).collect(),
            _ => Vec::new(),
        },
    }
}

fn server_state(backend: &Backend, server: &Server) -> ServerState {
    let offered = server.offered().unwrap_or_default();
    ServerState {
        server: server.address().to_string(),
        health: match server.health() {
            route::Health::Unknown => Health::Unknown,
            route::Health::Up => Health::Up,
            route::Health::Down { since, reason, .. } => {
                Health::Down { since: since.as_secs(), reason: reason.into() }
            }
        },
        capabilities: offered.effective().keywords().map(Into::into).collect(),
        client_address: told_by(backend.client_address(), &offered).into(),
        tls: (offered.encrypted.is_some()).then(|| offered.tls.to_string()),
    }
}

/// What `auto` comes to with this server.
fn told_by(configured: ClientAddress, offered: &route::Offered) -> &'static str {
    match configured {
        ClientAddress::Auto if offered.effective().has(Extension::Xclient) => "xclient",
        ClientAddress::Auto if offered.effective().has(Extension::Xforward) => "xforward",
        ClientAddress::Auto => "none",
        other => other.name(),
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}
