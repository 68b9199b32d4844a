//! Servers in memory, reached through a [`Network`] of their own, and one session that the real driver carries out. Time is
//! tokio's, paused: it jumps from timer to timer, and minutes cost nothing.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use delivery::notification::Reporter;
use delivery::{Connecting, Network, Opener, Pool, Stream};
use intercept::{ConnectError, Source};
use record::{Clock, Event, Protocol, Recorder, SimulatedClock, SystemClock};
use relay::{Beginning, Budget, Claim, Driver, Limits, Proving, Reporting, Senders, Settings, drive};
use route::{Backend, BackendSettings, Banner, ClientAddress, List, Recipients, Routing};
use smtp::{Domain, ForwardPath, Mailbox, Reply, ReplyCode, TraceId};
use spool::{SenderProof, SimulatedDisk, Spool};
use tls::{Connector, Ladder, LegPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::choices::Choices;
use crate::server::{Ledger, Server, Voice};

/// Makes the voice of each next connection; `None`: nobody accepts it.
pub(crate) type Voices = Box<dyn FnMut(&str) -> Option<Voice> + Send>;

/// How a connection dawdles and breaks: at most this long before each piece, and one piece in so many is the last.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    pub(crate) drops: usize,
}

pub(crate) const CALM: Weather = Weather { delay: Duration::ZERO, drops: 1 };

struct Servers {
    voices: Mutex<Voices>,
    ledger: Ledger,
    connections: Arc<AtomicUsize>,
    greets: bool,
    weather: Weather,
    choices: Mutex<Choices>,
}

impl Network for Servers {
    fn connect(&self, target: SocketAddr, _: Source, deadline: Instant) -> Connecting<'_> {
        let backend = if target.port() == 1 { "one" } else { "two" };
        let voice = self.voices.lock().ok().and_then(|mut voices| voices(backend));
        let seed = self.choices.lock().map_or(0, |mut choices| choices.below(1 << 20) as u64);
        Box::pin(async move {
            let Some(voice) = voice else {
                tokio::time::sleep_until(deadline).await;
                return Err(ConnectError::TimedOut);
            };
            self.connections.fetch_add(1, Ordering::Relaxed);
            let (near, far) = duplex(16 * 1024);
            let server = Server::new(backend, crate::OFFERED, voice, Arc::clone(&self.ledger));
            if self.greets {
                tokio::spawn(serve(server, far, self.weather, Choices::of_seed(seed)));
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(86_400)).await;
                    drop(far);
                });
            }
            Ok(Box::new(near) as Stream)
        })
    }
}

/// One connection of a server: the greeting and EHLO, then what [`Server`] says.
async fn serve(mut server: Server, mut stream: DuplexStream, weather: Weather, mut choices: Choices) {
    let offered: String = crate::OFFERED.iter().map(|extension| format!("250-{extension}\r\n")).collect();
    if stream.write_all(b"220 server.example\r\n").await.is_err() {
        return;
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut greeted = Vec::new();
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        tokio::time::sleep(weather.delay.mul_f64(choices.below(100) as f64 / 100.0)).await;
        if greeted.ends_with(b"\r\n") {
            server.hears(&buffer[..length]);
        } else {
            greeted.extend_from_slice(&buffer[..length]);
            if greeted.ends_with(b"\r\n") {
                server.out = format!("250-server.example\r\n{offered}250 HELP\r\n").into_bytes();
            }
        }
        let mut out = std::mem::take(&mut server.out);
        if choices.once_in(weather.drops) {
            out.truncate(choices.below(out.len() + 1));
            server.is_closed = true;
        }
        if stream.write_all(&out).await.is_err() || server.is_closed {
            return;
        }
    }
}

/// Knows after some seconds that SPF passes for whoever is called so.
struct Vouching;

impl Senders for Vouching {
    fn prove<'a>(&'a self, claim: Claim<'a>) -> Proving<'a> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            match claim.reverse_path.as_str().starts_with("spf@") {
                true => SenderProof::Spf,
                false => SenderProof::Unknown,
            }
        })
    }
}

/// Events, and whether the disk owes an answer: its thread is outside of simulated time, which must not pass meanwhile.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) events: Mutex<Vec<Event>>,
    disk_owes: AtomicBool,
}

impl Recorder for Record {
    fn record(&self, event: Event) {
        if matches!(event, Event::Transaction(_)) {
            self.disk_owes.store(false, Ordering::Relaxed);
        }
        if let Ok(mut events) = self.events.lock() {
            events.push(event);
        }
    }
}

/// The spool asks for the time when it is given a message.
struct DiskClock(Arc<Record>);

impl Clock for DiskClock {
    fn now(&self) -> Duration {
        self.0.disk_owes.store(true, Ordering::Relaxed);
        Duration::from_secs(1_795_288_205)
    }
}

pub(crate) struct World {
    driver: Arc<Driver>,
    routing: Arc<Routing>,
    pub(crate) record: Arc<Record>,
    pub(crate) ledger: Ledger,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) drain: watch::Sender<bool>,
}

impl World {
    pub(crate) fn new(voices: Voices, weather: Weather, seed: u64) -> Self {
        Self::with(voices, weather, seed, true)
    }

    /// Servers that accept and say nothing.
    pub(crate) fn mute() -> Self {
        Self::with(Box::new(|_| Some(Box::new(crate::server::yes))), CALM, 0, false)
    }

    fn with(voices: Voices, weather: Weather, seed: u64, greets: bool) -> Self {
        let (record, ledger, connections) = (Arc::new(Record::default()), Ledger::default(), Arc::default());
        let network = Servers {
            voices: Mutex::new(voices),
            ledger: Arc::clone(&ledger),
            connections: Arc::clone(&connections),
            greets,
            weather,
            choices: Mutex::new(Choices::of_seed(seed)),
        };
        let clock = SimulatedClock::starting_at(Duration::from_secs(1_795_288_205));
        let disk_clock = Arc::new(DiskClock(Arc::clone(&record)));
        let disk = Arc::new(SimulatedDisk::new(seed));
        let spool = Spool::open(spool::Settings::default(), disk, disk_clock).unwrap();
        record.disk_owes.store(false, Ordering::Relaxed);
        let opener = Opener {
            network: Arc::new(network),
            hostname: "mx.postern.example".into(),
            recorder: Arc::<Record>::clone(&record),
            clock: Arc::new(clock),
            pool: Pool::default(),
            tally: None,
        };
        let recorder = Arc::<Record>::clone(&record);
        let driver = Driver {
            opener,
            spool,
            recorder,
            acceptor: None,
            destinations: None,
            interception: None,
            reporting: Some(Arc::new(Reporting::new(
                Reporter {
                    hostname: "mx.postern.example".into(),
                    postmaster: "postmaster@one.example".into(),
                    signer: None,
                },
                Arc::new(Vouching),
                Arc::default(),
            ))),
            judge: None,
            signer: None,
            spill: std::env::temp_dir(),
        };
        let backends = vec![backend("one", 1), backend("two", 2)];
        let routing = Arc::new(Routing::new(backends).unwrap());
        Self {
            driver: Arc::new(driver),
            routing,
            record,
            ledger,
            connections,
            drain: watch::Sender::new(false),
        }
    }

    /// How often senders are told.
    pub(crate) fn report_rate(&self) -> &delivery::ReportRate {
        &self.driver.reporting.as_ref().unwrap().rate
    }

    pub(crate) fn now(&self) -> Duration {
        self.driver.opener.clock.now()
    }

    /// Servers accepted this recipient lately.
    pub(crate) fn knows(&self, recipient: &str) {
        let mailbox: Mailbox = recipient.parse().unwrap();
        let backend = self.routing.backend_of(mailbox.domain().unwrap()).unwrap();
        let ok = Reply::new(ReplyCode::new(250).unwrap(), None, "ok");
        let now = Duration::from_secs(1_795_288_205);
        backend.recipients().unwrap().answered(&ForwardPath::Mailbox(mailbox), &ok, now);
    }

    /// A session whose client has waited for the greeting; its end is the task's.
    pub(crate) async fn session(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let limits = Limits::default();
        let settings = Settings {
            hostname: "mx.postern.example".into(),
            routing: Arc::clone(&self.routing),
            limits,
            inbound_plain: relay::InboundPlain::Accept,
            offers_tls: false,
            loop_key: [7; 32],
            inside: intercept::Networks::none(),
            originators: intercept::Networks::none(),
            mends_lines_of: intercept::Networks::none(),
            hides: true,
            judging: None,
            signs: false,
            own: relay::OwnAddresses::default(),
        };
        let beginning = Beginning {
            arrival: relay::Arrival::Here { may_relay: false },
            id: TraceId::new(1_795_288_205_000, 5),
            settings: Arc::new(settings),
            protocol: Protocol::Smtp,
            client: ([192, 0, 2, 1], 40_000).into(),
            destination: ([192, 0, 2, 2], 25).into(),
            unwelcome: None,
            wall: Duration::from_secs(1_795_288_205),
            budget: Budget::new(limits.in_flight),
        };
        let (mut client, near) = duplex(16 * 1024);
        let driven = drive(Arc::clone(&self.driver), beginning, Box::new(near), None, self.drain.subscribe());
        let session = tokio::spawn(awake(driven, Arc::clone(&self.record)));
        while client.read_u8().await.unwrap() != b'\n' {}
        (client, session)
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.driver.spool
    }
}

/// Keeps the runtime busy, and so its time from jumping, while the disk owes an answer.
async fn awake(driven: impl Future<Output = ()>, record: Arc<Record>) {
    let mut driven: Pin<Box<_>> = Box::pin(driven);
    std::future::poll_fn(|context| {
        let polled = driven.as_mut().poll(context);
        if polled == Poll::Pending && record.disk_owes.load(Ordering::Relaxed) {
            std::thread::yield_now();
            context.waker().wake_by_ref();
        }
        polled
    })
    .await;
}

fn backend(name: &str, port: u16) -> Backend {
    let plain = LegPolicy { ladder: Ladder::Off, ..LegPolicy::default() };
    let connector = Connector::new(&tls::Settings::default(), &plain, Arc::new(SystemClock)).unwrap();
    let backend = Backend::new(BackendSettings {
        name: name.into(),
        domains: vec![format!("{name}.example").parse::<Domain>().unwrap()],
        servers: vec![route::Server::new(([127, 0, 0, 1], port).into(), name)],
        submission: Vec::new(),
        tls: plain,
        connector,
        client_address: ClientAddress::None,
        banner: Banner::Postern,
        world: None,
    });
    backend.with_recipients(Recipients::new(name, Arc::default(), List::Ask))
}
