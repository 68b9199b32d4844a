//! From a listener to sessions: PROXY header, admission, one task each; and how they all come to an end.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use delivery::Stream;
use intercept::proxy_protocol::{Header, Reader};
use intercept::{Accepted, Listener, Networks};
use record::{Abuse, Clock, Event, Protocol, SessionEnd, TlsOutcome};
use smtp::{No, TraceId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::{Admission, Caller};
use crate::budget::Budget;
use crate::drive::{Driver, drive};
use crate::session::{Arrival, Beginning};
use crate::settings::Settings;

mod early;

use early::Early;

/// For the PROXY header, which a proxy sends with its first segment; its specification wants at least 3 seconds.
const PROXY_HEADER: Duration = Duration::from_secs(5);
/// For one connection that is passed through unread: no honest sender keeps one for longer, and a dead one must go.
const SPLICE_LIFE: Duration = Duration::from_secs(3600);
/// For what is known of a client before it is greeted: an honest one waits five minutes for that (RFC 5321 §4.5.3.2.1).
const DOOR: Duration = Duration::from_secs(3);
/// For a client that is not let in to take the reason.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What sessions begin with; replaced as a whole by a reload.
#[derive(Clone)]
pub struct Serving {
    /// What they keep to.
    pub settings: Arc<Settings>,
    /// What carries them out.
    pub driver: Arc<Driver>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Clients connect to it, for this protocol.
    Here(Protocol),
    /// TPROXY brings it what was on its way to hidden servers.
    Inbound,
    /// TPROXY brings it what was on its way from hidden servers to the world.
    Outbound,
}

impl Entrance {
    /// What comes by it is on its way to the world.
    fn leads_out(self) -> bool {
        matches!(self, Self::Outbound)
    }

    /// The protocol of what came in; of an intercepted connection its port tells (RFC 8314, RFC 6409).
    fn protocol(self, destination: SocketAddr) -> Protocol {
        match (self, destination.port()) {
            (Self::Here(protocol), _) => protocol,
            (_, 465) => Protocol::Submissions,
            (_, 587) => Protocol::Submission,
            _ => Protocol::Smtp,
        }
    }
}

/// All sessions of this Postern.
pub struct Relay {
    serving: watch::Sender<Serving>,
    admission: Arc<Admission>,
    budget: Arc<Budget>,
    clock: Arc<dyn Clock>,
    unique: AtomicU32,
    drain: watch::Sender<bool>,
    tasks: Arc<Tasks>,
}

/// Counts tasks, so that an end can be waited for.
#[derive(Default)]
struct Tasks {
    count: AtomicUsize,
    none_left: Notify,
}

struct Running(Arc<Tasks>);

impl Running {
    fn new(tasks: &Arc<Tasks>) -> Self {
        tasks.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

impl Relay {
    /// Nobody is served before [`Relay::serve`].
    pub fn new(serving: Serving, budget: Arc<Budget>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            serving: watch::Sender::new(serving),
            admission: Admission::new(Arc::clone(&budget), intercept::max_files(), Instant::now()),
            budget,
            clock,
            unique: AtomicU32::new(rand::random()),
            drain: watch::Sender::new(false),
            tasks: Arc::default(),
        })
    }

    /// What new sessions begin with from now on; those under way keep what they have.
    pub fn replace(&self, serving: Serving) {
        self.serving.send_replace(serving);
    }

    /// What new sessions begin with.
    pub fn serving(&self) -> Serving {
        self.serving.borrow().clone()
    }

    /// Who is in.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// What is in flight.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Whether sessions are being ended.
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Serves a listener until the drain. PROXY headers are believed of, and demanded from, `proxies`.
    ///
    /// # Errors
    ///
    /// The listener broke.
    pub async fn serve(
        self: Arc<Self>,
        listener: Listener,
        entrance: Entrance,
        proxies: Networks,
    ) -> std::io::Result<()> {
        let mut drain = self.drain.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted?,
                _ = drain.wait_for(|&drains| drains) => return Ok(()),
            };
            let (relay, running) = (Arc::clone(&self), Running::new(&self.tasks));
            if proxies.contains(accepted.client.ip()) {
                tokio::spawn(async move {
                    let _running = running;
                    if let Some((accepted, rest)) = relay.behind_proxy(accepted, entrance).await {
                        relay.begin(accepted, Some(rest), entrance).await;
                    }
                });
            } else {
                tokio::spawn(async move {
                    let _running = running;
                    relay.begin(accepted, None, entrance).await;
                });
            }
        }
    }

    /// Asks every session to end, and waits until all have, or `patience` is over. Returns how many have not.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.drain.send_replace(true);
        let end = Instant::now() + patience;
        loop {
            let none_left = self.tasks.none_left.notified();
            let left = self.tasks.count.load(Ordering::Acquire);
            if left == 0 || timeout_at(end, none_left).await.is_err() {
                return self.tasks.count.load(Ordering::Acquire);
            }
        }
    }

    /// A session identifier that was not given out before.
    fn new_id(&self) -> TraceId {
        let milliseconds = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
        TraceId::new(milliseconds, self.unique.fetch_add(1, Ordering::Relaxed))
    }

    /// Reads the header that a proxy puts before everything; what came behind it belongs to the session.
    async fn behind_proxy(&self, mut accepted: Accepted, entrance: Entrance) -> Option<(Accepted, Vec<u8>)> {
        let protocol = entrance.protocol(accepted.original_destination);
        match timeout(PROXY_HEADER, read_proxy_header(&mut accepted.stream)).await {
            Ok(Ok((header, rest))) => {
                if let Header::Proxied { source, destination } = header {
                    accepted.client = source;
                    accepted.original_destination = destination;
                }
                Some((accepted, rest))
            }
            Ok(Err(reason)) => {
                tracing::warn!(proxy = %accepted.client, %reason, "no PROXY header from a proxy that must send one");
                self.turn_away(accepted, protocol, SessionEnd::Abuse(Abuse::BadProxyHeader), None).await;
                None
            }
            Err(_) => {
                self.turn_away(accepted, protocol, SessionEnd::Abuse(Abuse::BadProxyHeader), None).await;
                None
            }
        }
    }

    /// `early` is what came behind a PROXY header, where there was one.
    async fn begin(&self, accepted: Accepted, early: Option<Vec<u8>>, entrance: Entrance) {
        let Serving { settings, driver } = self.serving();
        let protocol = entrance.protocol(accepted.original_destination);
        let address = accepted.client.ip();
        let inside = &settings.inside;
        let file = u64::try_from(accepted.stream.as_raw_fd()).unwrap_or_default();
        let caller = Caller { address, file };
        let admitted = match self.admission.admit(caller, &settings.limits, inside, Instant::now()) {
            Ok(admitted) => admitted,
            Err(abuse) => {
                let no = match abuse {
                    Abuse::Banned => No::Banned,
                    Abuse::TooManySessions => No::TooManySessions,
                    _ => No::Overloaded,
                };
                return self.turn_away(accepted, protocol, SessionEnd::Abuse(abuse), Some(no)).await;
            }
        };
        let arrival = match entrance {
            // Who came through a proxy is known by the proxy's word alone.
            Entrance::Here(protocol) => Arrival::Here {
                may_relay: early.is_none()
                    && protocol == Protocol::Smtp
                    && settings.originators.contains(address),
            },
            Entrance::Inbound => match settings.routing.backend_at(accepted.original_destination) {
                Some(backend) => Arrival::Inbound(Arc::clone(backend)),
                None => {
                    let server = accepted.original_destination;
                    tracing::warn!(%server, "intercepted on the way to a server that is no backend's");
                    return self
                        .turn_away(
                            accepted,
                            protocol,
                            SessionEnd::Ended("no backend there".into()),
                            Some(No::ServerUnavailable),
                        )
                        .await;
                }
            },
            Entrance::Outbound if is_spliced(&driver, &accepted) => return splice(&driver, accepted).await,
            Entrance::Outbound => {
                let destinations = driver.destinations.as_ref();
                match destinations.and_then(|d| d.at(accepted.original_destination)) {
                    // Answered as if it had come to Postern itself: clouds close port 25, nobody is met there.
                    None if destinations.is_some_and(|d| d.is_one_relay()) => {
                        Arrival::Here { may_relay: settings.originators.contains(address) }
                    }
                    chosen => Arrival::Outbound(chosen),
                }
            }
        };
        let id = self.new_id();
        let from_world = protocol == Protocol::Smtp && !inside.contains(address) && !entrance.leads_out();
        let unwelcome = match driver.judge.as_ref().filter(|_| from_world) {
            Some(judge) => judge.at_the_door(address, Instant::now() + DOOR).await,
            None => None,
        };
        if let Some(unwelcome) = unwelcome.as_ref().filter(|unwelcome| unwelcome.only_as.is_none()) {
            let reason = unwelcome.no.reply(id);
            tracing::info!(session = %id, client = %address, reason = %reason.words(), "its mail is refused");
        }
        let beginning = Beginning {
            id,
            settings,
            protocol,
            client: accepted.client,
            destination: accepted.original_destination,
            arrival,
            unwelcome,
            wall: self.clock.now(),
            budget: Arc::clone(&self.budget),
        };
        let stream: Stream = match early.filter(|early| !early.is_empty()) {
            None => Box::new(accepted.stream),
            Some(early) => Box::new(Early::new(early, accepted.stream)),
        };
        drive(driver, beginning, stream, Some(admitted), self.drain.subscribe()).await;
    }

    /// Says why, if the client can read it, and closes.
    async fn turn_away(&self, mut accepted: Accepted, protocol: Protocol, end: SessionEnd, no: Option<No>) {
        let id = self.new_id();
        let mut out = Vec::new();
        // Behind TLS nobody could read it.
        if let Some(no) = no.filter(|_| protocol != Protocol::Submissions) {
            no.reply(id).write(&mut out);
        }
        let _ = timeout(LAST_WORD, accepted.stream.write_all(&out)).await;
        self.serving().driver.recorder.record(Event::Session(Box::new(record::Session {
            id,
            began: self.clock.now(),
            lasted: Duration::ZERO,
            protocol,
            client: accepted.client,
            helo: "".into(),
            tls: TlsOutcome::Plain,
            authenticated: false,
            transactions: 0,
            unwelcome: false,
            bytes: (0, out.len() as u64),
            end,
        })));
    }
}

/// Whether a hidden server that verifies by itself is let through to this destination (DECISIONS 18).
fn is_spliced(driver: &Driver, accepted: &Accepted) -> bool {
    driver.interception.as_ref().is_some_and(|intercepting| {
        let (server, destination) = (accepted.client.ip(), accepted.original_destination);
        intercepting.inner.is_spliced(server, destination, Instant::now())
    })
}

/// Passes bytes on unread, both ways, until both sides have closed, for [`SPLICE_LIFE`] at most.
async fn splice(driver: &Driver, mut accepted: Accepted) {
    let Some(intercepting) = &driver.interception else { return };
    let (client, destination) = (accepted.client, accepted.original_destination);
    let source = intercepting.far_side.source_for(client, destination);
    let deadline = Instant::now() + delivery::timeouts::CONNECT;
    let mut far = match driver.opener.network.connect(destination, source, deadline).await {
        Ok(far) => far,
        Err(error) => return tracing::info!(%client, %destination, %error, "not passed through"),
    };
    tracing::info!(%client, %destination, "passed through unread: the hidden server verifies by itself");
    let both_ways = tokio::io::copy_bidirectional(&mut accepted.stream, &mut far);
    match timeout(SPLICE_LIFE, both_ways).await {
        Ok(Ok((out, back))) => tracing::debug!(%client, %destination, out, back, "passed through"),
        Ok(Err(error)) => tracing::debug!(%client, %destination, %error, "passed through until it broke"),
        Err(_) => tracing::info!(%client, %destination, "passed through for too long"),
    }
}

async fn read_proxy_header(stream: &mut TcpStream) -> Result<(Header, Vec<u8>), String> {
    use tokio::io::AsyncReadExt;
    let mut reader = Reader::new();
    let mut buffer = [0; intercept::proxy_protocol::MAX_V2];
    loop {
        let length = stream.read(&mut buffer).await.map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("it closed".into());
        }
        let mut input = &buffer[..length];
        if let Some(header) = reader.read(&mut input).map_err(|error| error.to_string())? {
            return Ok((header, input.to_vec()));
        }
    }
}
