//! Counters for `/metrics` in the OpenMetrics format. Every label's values are a closed set, or come from the config:
//! nothing from the network makes a new time series (law 7).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use record::{Event, FarProof, GroupOutcome, Leg, Session, SessionEnd, TlsOutcome, Transaction};

use super::certificate_metrics::CertificateMetrics;
use super::outcome;
use super::queue_metrics::QueueMetrics;
use crate::report::{Health, Live, Strain};

/// All time series.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    sessions: Family<SessionLabels, Counter>,
    abuse: Family<ReasonLabel, Counter>,
    client_tls: Family<TlsLabels, Counter>,
    server_tls: Family<TlsLabels, Counter>,
    messages: Family<MessageLabels, Counter>,
    verdicts: Family<VerdictLabels, Counter>,
    checks: Family<CheckLabels, Counter>,
    judging: Histogram,
    recipients: Family<ClassLabel, Counter>,
    content: Counter,
    bytes: Family<DirectionLabel, Counter>,
    seconds: Histogram,
    settled: Histogram,
    leg_failures: Family<BackendLabel, Counter>,
    outbound_tls: Family<OutboundLabels, Counter>,
    dropped: Counter,
    trace_octets: Gauge,
    trace_entries: Gauge,
    trace_age: Gauge,
    open_sessions: Gauge,
    in_flight: Gauge,
    draining: Gauge,
    strain: Family<ResourceLabel, Gauge>,
    servers_up: Family<ServerLabels, Gauge>,
    certificates: CertificateMetrics,
    queue: QueueMetrics,
    senders_taken_over: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    protocol: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TlsLabels {
    version: &'static str,
    suite: &'static str,
    group: &'static str,
    proof: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutboundLabels {
    /// In the words of RFC 8460 §4.4.
    policy: &'static str,
    /// `success`, or what failed in the words of RFC 8460 §4.3.
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    protocol: &'static str,
    verdict: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    /// Of a closed set, or with a zone of the config.
    check: String,
    speaks: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    backend: String,
    server: String,
}

/// From a cached answer to the time-outs of RFC 5321, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("postern")),
            sessions: Family::default(),
            abuse: Family::default(),
            client_tls: Family::default(),
            server_tls: Family::default(),
            messages: Family::default(),
            verdicts: Family::default(),
            checks: Family::default(),
            judging: Histogram::new(BUCKETS),
            recipients: Family::default(),
            content: Counter::default(),
            bytes: Family::default(),
            seconds: Histogram::new(BUCKETS),
            settled: Histogram::new(BUCKETS),
            leg_failures: Family::default(),
            outbound_tls: Family::default(),
            dropped: Counter::default(),
            trace_octets: Gauge::default(),
            trace_entries: Gauge::default(),
            trace_age: Gauge::default(),
            open_sessions: Gauge::default(),
            in_flight: Gauge::default(),
            draining: Gauge::default(),
            strain: Family::default(),
            servers_up: Family::default(),
            certificates: CertificateMetrics::default(),
            queue: QueueMetrics::default(),
            senders_taken_over: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry();
        let r = &mut *registry;
        r.register("sessions", "Sessions that ended, or were refused", self.sessions.clone());
        r.register("abuse", "Clients refused or thrown out", self.abuse.clone());
        r.register("client_tls", "Sessions by TLS with the client", self.client_tls.clone());
        r.register("server_tls", "Uses of a server by TLS with it", self.server_tls.clone());
        r.register("messages", "Mail transactions", self.messages.clone());
        r.register("verdicts", "Messages that were judged, by what was decided", self.verdicts.clone());
        let help = "Checks of judged messages, by whether they speak for or against the message";
        r.register("checks", help, self.checks.clone());
        let help = "From the end of the content to the verdict";
        r.register_with_unit("judging", help, Unit::Seconds, self.judging.clone());
        r.register("recipients", "Recipients by the class of the reply to them", self.recipients.clone());
        r.register_with_unit("content", "Content of accepted messages", Unit::Bytes, self.content.clone());
        r.register_with_unit("client", "Octets exchanged with clients", Unit::Bytes, self.bytes.clone());
        r.register_with_unit(
            "transaction",
            "From MAIL to the last reply",
            Unit::Seconds,
            self.seconds.clone(),
        );
        let help = "From the end of the content to the last reply";
        r.register_with_unit("settled", help, Unit::Seconds, self.settled.clone());
        r.register("server_failures", "Servers that could not be used", self.leg_failures.clone());
        let help =
            "Attempts at TLS with servers of the world, by the policy that was to hold and what came of it";
        r.register("outbound_tls", help, self.outbound_tls.clone());
        r.register("events_dropped", "Events whose details were dropped", self.dropped.clone());
        r.register_with_unit("trace", "The trace on disk", Unit::Bytes, self.trace_octets.clone());
        r.register("trace_entries", "Entries of the trace on disk", self.trace_entries.clone());
        let help = "Age of the oldest entry of the trace on disk";
        r.register_with_unit("trace_age", help, Unit::Seconds, self.trace_age.clone());
        r.register("open_sessions", "Open sessions with clients", self.open_sessions.clone());
        let help = "Messages in memory and in spill files";
        r.register_with_unit("in_flight", help, Unit::Bytes, self.in_flight.clone());
        r.register("draining", "1 while no new sessions are taken", self.draining.clone());
        let help = "0: enough; 1: only clients in good standing are let in; 2: no new session is";
        r.register("strain", help, self.strain.clone());
        r.register("server_up", "1 if the server answered last time", self.servers_up.clone());
        self.certificates.register(r);
        self.queue.register(r);
        let help = "Senders from here that look taken over";
        r.register("senders_taken_over", help, self.senders_taken_over.clone());
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one event; called from the data path.
    pub(super) fn count(&self, event: &Event) {
        match event {
            Event::Session(session) => self.session(session),
            Event::Transaction(transaction) => self.transaction(transaction),
            Event::LegFailed(failure) => {
                let backend = failure.backend.to_string();
                self.leg_failures.get_or_create(&BackendLabel { backend }).inc();
            }
            Event::FarTls(session) => {
                let result = session.failure.as_ref().map_or("success", |(failure, _)| failure.name());
                self.outbound_tls
                    .get_or_create(&OutboundLabels { policy: session.policy.name(), result })
                    .inc();
            }
            // The queue has totals of its own.
            Event::Afterwards(_) => {}
        }
    }

    /// An event's details were dropped.
    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    /// What the trace on disk has: octets, entries, and when the oldest of them happened.
    pub(super) fn trace_is(&self, (octets, entries, oldest): (u64, u64, Option<Duration>), now: Duration) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.trace_octets.set(number(octets));
        self.trace_entries.set(number(entries));
        self.trace_age.set(number(oldest.map_or(0, |oldest| now.saturating_sub(oldest).as_secs())));
    }

    /// How many events' details were dropped.
    pub fn events_dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn session(&self, session: &Session) {
        let end = match &session.end {
            SessionEnd::Quit => "quit",
            SessionEnd::Closed => "closed",
            SessionEnd::Broken(_) => "broken",
            SessionEnd::TimedOut => "timed_out",
            SessionEnd::Abuse(abuse) => {
                self.abuse.get_or_create(&ReasonLabel { reason: abuse.name() }).inc();
                "refused"
            }
            SessionEnd::Ended(_) => "ended",
        };
        self.sessions.get_or_create(&SessionLabels { protocol: session.protocol.name(), end }).inc();
        self.client_tls.get_or_create(&tls_labels(&session.tls)).inc();
        self.bytes.get_or_create(&DirectionLabel { direction: "in" }).inc_by(session.bytes.0);
        self.bytes.get_or_create(&DirectionLabel { direction: "out" }).inc_by(session.bytes.1);
    }

    fn transaction(&self, transaction: &Transaction) {
        let outcome = outcome(transaction);
        let labels = MessageLabels {
            protocol: transaction.protocol.name(),
            verdict: transaction.verdict.name(),
            outcome: outcome.name(),
        };
        self.messages.get_or_create(&labels).inc();
        if let Some(opinion) = &transaction.opinion {
            let (verdict, direction) = (transaction.verdict.name(), opinion.direction.name());
            self.verdicts.get_or_create(&VerdictLabels { verdict, direction }).inc();
            // Who is refused at MAIL was looked up before the greeting, once for all its messages.
            if !transaction.ended_at_mail() {
                self.judging.observe(opinion.took.as_secs_f64());
            }
            for check in &opinion.checks {
                let labels = CheckLabels { check: check.name.to_string(), speaks: check.speaks() };
                self.checks.get_or_create(&labels).inc();
            }
        }
        if outcome.is_accepted() {
            self.content.inc_by(transaction.size);
            self.settled.observe(transaction.settled_in.as_secs_f64());
        }
        self.seconds.observe(transaction.lasted.as_secs_f64());
        for recipient in &transaction.recipients {
            let class = match recipient.reply.as_ref().map(smtp::Reply::code) {
                Some(code) if code.is_positive() => "2xx",
                Some(code) if code.is_transient() => "4xx",
                Some(_) => "5xx",
                None => "none",
            };
            self.recipients.get_or_create(&ClassLabel { class }).inc();
        }
        for leg in transaction.groups.iter().filter_map(leg_of) {
            self.server_tls.get_or_create(&tls_labels(&leg.tls)).inc();
        }
    }

    /// All time series as OpenMetrics text, with the gauges as they are now.
    pub fn encode(&self, live: &dyn Live, now: Duration) -> String {
        self.open_sessions.set(i64::try_from(live.sessions_now()).unwrap_or(i64::MAX));
        self.in_flight.set(i64::try_from(live.bytes_in_flight()).unwrap_or(i64::MAX));
        self.draining.set(i64::from(live.draining()));
        let queue = live.queue();
        for state in live.strains() {
            let strain = match state.strain {
                Strain::None => 0,
                Strain::High => 1,
                Strain::Full => 2,
            };
            self.strain.get_or_create(&ResourceLabel { resource: state.resource }).set(strain);
        }
        // Locked before the gauges are cleared, so that no other look sees them half filled.
        let registry = self.registry();
        self.queue.show(&queue, now);
        self.senders_taken_over.set(i64::try_from(live.suspects().len()).unwrap_or(i64::MAX));
        self.servers_up.clear();
        for backend in live.backends() {
            for server in backend.servers {
                let labels = ServerLabels { backend: backend.name.clone(), server: server.server };
                self.servers_up.get_or_create(&labels).set(i64::from(server.health == Health::Up));
            }
        }
        self.certificates.show(live);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

/// The connection that a group's copy went over, if there was one.
pub(super) fn leg_of(group: &GroupOutcome) -> Option<&Leg> {
    match group {
        GroupOutcome::Delivered { leg, .. } => Some(leg),
        GroupOutcome::Refused { leg, .. } => leg.as_ref(),
        GroupOutcome::Spooled { .. } => None,
    }
}

fn tls_labels(outcome: &TlsOutcome) -> TlsLabels {
    let none = |version| TlsLabels { version, suite: "", group: "", proof: FarProof::Unverified.name() };
    match outcome {
        TlsOutcome::Plain => none("plain"),
        TlsOutcome::Failed(_) => none("failed"),
        TlsOutcome::Established { facts, proof } => TlsLabels {
            version: facts.version.name(),
            suite: facts.suite,
            group: facts.group,
            proof: proof.name(),
        },
    }
}
