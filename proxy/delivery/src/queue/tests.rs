//! The queue in simulated time, over a simulated disk, against servers in memory.
//!
//! Time is paused and moved by hand: the spool's writer is a thread of its own, and time that ran on by itself whenever the
//! runtime is idle would run away while it works.

mod failures;
mod outages;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, NoRecord, SimulatedClock};
use route::{Backend, BackendSettings, Banner, ClientAddress, Destinations, Routing, Server};
use smtp::{Envelope, Reply, ReplyCode, TraceId, TransactionId};
use spool::{ClientFacts, Content, Entry, EntryId, Folder, SenderProof, SimulatedDisk, Spool};
use tls::{Connector, Ladder, LegPolicy};
use tokio::task::JoinHandle;

use super::{Queue, Settings, WayOut};
use crate::notification::Reporter;
use crate::open::Opener;
use crate::pool::Pool;
use server::Servers;

const EPOCH: Duration = Duration::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Where the hidden servers of the backend `hidden` listen; `inside` has the senders' mailboxes.
const FIRST: &str = "10.0.0.1:25";
const SECOND: &str = "10.0.0.2:25";
const INSIDE: &str = "10.0.0.9:25";

struct Way {
    opener: Opener,
    routing: Routing,
    settings: Settings,
}

impl WayOut for Way {
    fn opener(&self) -> &Opener {
        &self.opener
    }
    fn routing(&self) -> &Routing {
        &self.routing
    }
    fn destinations(&self) -> Option<&dyn Destinations> {
        None
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// A spool, a queue at work, and the servers around it.
struct World {
    spool: Spool,
    queue: Arc<Queue>,
    servers: Arc<Servers>,
    clock: SimulatedClock,
    disk: SimulatedDisk,
    running: JoinHandle<()>,
}

impl World {
    fn new(settle: impl FnOnce(&mut Settings)) -> Self {
        Self::on(SimulatedDisk::new(0), settle)
    }

    fn on(disk: SimulatedDisk, settle: impl FnOnce(&mut Settings)) -> Self {
        // Somebody always has something to do: time moves by hand only.
        tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let clock = SimulatedClock::starting_at(EPOCH);
        let shared: Arc<dyn Clock> = Arc::new(clock);
        let spool =
            Spool::open(spool::Settings::default(), Arc::new(disk.clone()), Arc::clone(&shared)).unwrap();
        let servers = Servers::new();
        let reporter = Reporter {
            hostname: "mx.test".into(),
            postmaster: "postmaster@hidden.test".into(),
            signer: None,
        };
        let mut settings = Settings::new(reporter);
        settle(&mut settings);
        let opener = Opener {
            network: Arc::clone(&servers) as _,
            hostname: "mx.test".into(),
            recorder: Arc::new(NoRecord),
            clock: Arc::clone(&shared),
            pool: Pool::default(),
            tally: None,
        };
        let backends = vec![
            backend("hidden", &["hidden.test", "other.test"], &[FIRST, SECOND]),
            backend("inside", &["inside.test"], &[INSIDE]),
        ];
        let way: Arc<dyn WayOut> =
            Arc::new(Way { opener, routing: Routing::new(backends).unwrap(), settings });
        let queue = Queue::new(spool.clone(), shared, Box::new(move || Arc::clone(&way)), Arc::default());
        let running = tokio::spawn(Arc::clone(&queue).run(std::future::pending()));
        Self { spool, queue, servers, clock, disk, running }
    }

    /// A message from a sender inside, whose mailbox is at `inside`.
    async fn store(&self, number: u32, recipients: &[&str]) -> EntryId {
        self.store_as(number, "s@inside.test", SenderProof::Inside, recipients, "").await
    }

    async fn store_as(
        &self,
        number: u32,
        from: &str,
        sender: SenderProof,
        recipients: &[&str],
        parameters: &str,
    ) -> EntryId {
        let mut text = format!("MAIL FROM:<{from}>\r\n");
        for recipient in recipients {
            text.push_str(&format!("RCPT TO:<{recipient}>{parameters}\r\n"));
        }
        let entry = Entry {
            transaction: TransactionId { session: TraceId::new(1, 1), number },
            envelope: Envelope::read(text.as_bytes()).unwrap(),
            recipients: (0..recipients.len()).collect(),
            client: Some(client()),
            sender,
            folder: Folder::Queue,
            backend: "hidden".into(),
            reason: Reply::new(ReplyCode::new(451).unwrap(), None, "4.4.1 away"),
            received_at: self.clock.now(),
        };
        let content = Content::new().bytes(format!("Subject: {number}\r\n\r\nnumber {number}\r\n"));
        self.spool.store(entry, content).await.unwrap().id()
    }

    /// Lets time pass in steps; between them everything that can be done is done.
    async fn pass(&self, time: Duration, step: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            settle().await;
            tokio::time::advance(step).await;
        }
        settle().await;
    }

    /// Until `is` holds; for an hour of simulated time at most.
    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let end = self.clock.now() + HOUR;
        while !is(self) {
            assert!(self.clock.now() < end, "{what}: {:?}", self.spool.entries());
            self.pass(Duration::from_millis(250), Duration::from_millis(250)).await;
        }
    }

    fn waiting(&self) -> usize {
        self.spool.select(Some(Folder::Queue), None).len()
    }
}

/// The runtime has done all that it can, and so has the spool's writer.
#[expect(
    clippy::disallowed_methods,
    reason = "the writer's thread takes real time, of which the runtime has none"
)]
async fn settle() {
    for _ in 0..3 {
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

fn client() -> ClientFacts {
    ClientFacts {
        address: "192.0.2.1:2525".parse().unwrap(),
        helo: "client.example".into(),
        protocol: "ESMTP".into(),
        tls: None,
        authenticated: false,
    }
}

fn backend(name: &str, domains: &[&str], servers: &[&str]) -> Backend {
    let plain = LegPolicy { ladder: Ladder::Off, ..LegPolicy::default() };
    let clock = Arc::new(SimulatedClock::starting_at(EPOCH));
    let server = |address: &&str| Server::new(address.parse().unwrap(), address);
    Backend::new(BackendSettings {
        name: name.into(),
        domains: domains.iter().map(|domain| domain.parse().unwrap()).collect(),
        servers: servers.iter().map(server).collect(),
        submission: Vec::new(),
        connector: Connector::new(&tls::Settings::default(), &plain, clock).unwrap(),
        tls: plain,
        client_address: ClientAddress::Auto,
        banner: Banner::Postern,
        world: None,
    })
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// How often each message was delivered, by its number.
fn counted(numbers: impl IntoIterator<Item = u32>) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    numbers.into_iter().for_each(|number| *counts.entry(number).or_default() += 1);
    counts
}
