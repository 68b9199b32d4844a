//! Redirect, TPROXY and transparent source with real firewall rules: a client, the appliance and a server, each in a network
//! namespace that the test makes for itself, joined by virtual cables. A namespace belongs to a thread, so that nothing
//! of the host is touched and all of it is gone when the test ends.
//!
//! Needs root, `ip` and `nft`; says SKIP where it lacks them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use intercept::{Accepted, ConnectError, Listener, Source, connect};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, geteuid, gettid};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout};

/// How long anything may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// The addresses of one family. The client reaches the server's network only through the appliance.
#[derive(Clone, Copy)]
struct Family {
    client: &'static str,
    appliance: &'static str,
    server: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { client: "192.0.2.9", appliance: "192.0.2.1", server: "198.51.100.25" },
    Family { client: "2001:db8:1::9", appliance: "2001:db8:1::1", server: "2001:db8:2::25" },
];

#[test]
fn a_redirected_connection_says_where_it_wanted_to_go() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.listen(Listener::bind);
    let rule = format!("tcp dport 25 redirect to :{}", listener.port);
    lab.appliance.nft("nat hook prerouting priority dstnat", rule);
    for family in FAMILIES {
        let wanted = at(family.server, 25);
        let (accepted, client) = lab.arrive(&listener, wanted);
        assert_eq!(accepted.client, client);
        assert_eq!(accepted.local, at(family.appliance, listener.port));
        assert_eq!(accepted.original_destination, wanted);

        // Tracked, but not redirected.
        let direct = at(family.appliance, listener.port);
        let (accepted, client) = lab.arrive(&listener, direct);
        assert_eq!((accepted.client, accepted.local), (client, direct));
        assert_eq!(accepted.original_destination, direct);
    }
}

#[test]
fn a_connection_that_is_not_tracked_has_its_local_address_as_destination() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.listen(Listener::bind);
    for family in FAMILIES {
        let direct = at(family.appliance, listener.port);
        let (accepted, _) = lab.arrive(&listener, direct);
        assert_eq!(accepted.original_destination, direct);
    }
}

#[test]
fn tproxy_brings_connections_to_any_address() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.listen(Listener::bind_transparent);
    lab.appliance.divert(&format!("tcp dport 25 tproxy to :{} meta mark set 1 accept", listener.port));
    for family in FAMILIES {
        let wanted = at(family.server, 25);
        let (accepted, client) = lab.arrive(&listener, wanted);
        assert_eq!((accepted.client, accepted.local), (client, wanted));
        assert_eq!(accepted.original_destination, wanted);
    }
}

#[test]
fn the_server_sees_the_clients_address_and_its_replies_come_back() {
    let Some(lab) = Lab::new() else { return };
    lab.appliance.divert("");
    for family in FAMILIES {
        let (server, target) = lab.serve(family);
        let source = Source::Transparent(at(family.client, 4321));
        let mut stream = lab.connect(target, source, None).unwrap();
        let seen = lab.server.run(move |_| {
            let (mut stream, seen) = server.accept().unwrap();
            stream.write_all(b"220").unwrap();
            seen
        });
        assert_eq!(seen, stream.local_addr().unwrap());
        assert_eq!(seen.ip(), at(family.client, 0).ip());
        let greeting = lab.appliance.run(move |runtime| {
            let mut greeting = [0; 3];
            let reading = async { timeout(PATIENCE, stream.read_exact(&mut greeting)).await };
            runtime.block_on(reading).unwrap().unwrap();
            greeting
        });
        assert_eq!(&greeting, b"220");
    }
}

#[test]
fn a_transparent_source_never_has_the_clients_port() {
    let Some(lab) = Lab::new() else { return };
    lab.appliance.divert("");
    lab.appliance.run(|_| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").unwrap());
    for family in FAMILIES {
        for (clients_port, other) in [(40000, 40001), (40001, 40000)] {
            let (_server, target) = lab.serve(family);
            let source = Source::Transparent(at(family.client, clients_port));
            let stream = lab.connect(target, source, None).unwrap();
            assert_eq!(stream.local_addr().unwrap().port(), other);
        }
    }
}

#[test]
fn the_firewall_knows_marked_connections() {
    let Some(lab) = Lab::new() else { return };
    let rule = "oifname inside tcp flags syn meta mark != 0x50 reject with tcp reset";
    lab.appliance.nft("filter hook output priority filter", rule);
    for family in FAMILIES {
        let (_server, target) = lab.serve(family);
        lab.connect(target, Source::Kernel, Some(0x50)).unwrap();
        for mark in [None, Some(0x51)] {
            let error = lab.connect(target, Source::Kernel, mark).unwrap_err();
            assert!(matches!(error, ConnectError::Refused), "{error}");
        }
    }
}

#[test]
fn what_routes_forbid_is_told_apart_from_what_they_do_not_reach() {
    let Some(lab) = Lab::new() else { return };
    lab.appliance.ip("route add prohibit 203.0.113.0/25");
    lab.appliance.ip("route add unreachable 203.0.113.128/25");
    let error = lab.connect(at("203.0.113.1", 25), Source::Kernel, None).unwrap_err();
    assert!(matches!(error, ConnectError::NotPermitted(_)), "{error}");
    for target in ["203.0.113.129", "2001:db8:ffff::1"] {
        let error = lab.connect(at(target, 25), Source::Kernel, None).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable), "{target}: {error}");
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// A listener of the appliance's, on `[::]`.
struct Listening {
    listener: std::sync::Arc<Listener>,
    port: u16,
}

/// Client, appliance, server: `client -- outside appliance inside -- server`.
struct Lab {
    client: Host,
    appliance: Host,
    server: Host,
}

impl Lab {
    fn new() -> Option<Self> {
        if let Some(reason) = missing() {
            skip(&reason);
            return None;
        }
        let lab = Self { client: Host::new()?, appliance: Host::new()?, server: Host::new()? };
        lab.appliance.ip(format!("link add outside type veth peer name cable netns {}", lab.client.id));
        lab.appliance.ip(format!("link add inside type veth peer name cable netns {}", lab.server.id));
        lab.client.configure("cable", ["192.0.2.9/24", "2001:db8:1::9/64"]);
        lab.appliance.configure("outside", ["192.0.2.1/24", "2001:db8:1::1/64"]);
        lab.appliance.configure("inside", ["198.51.100.1/24", "2001:db8:2::1/64"]);
        lab.server.configure("cable", ["198.51.100.25/24", "2001:db8:2::25/64"]);
        lab.client.ip("route add default via 192.0.2.1");
        lab.client.ip("route add default via 2001:db8:1::1");
        lab.server.ip("route add default via 198.51.100.1");
        lab.server.ip("route add default via 2001:db8:2::1");
        Some(lab)
    }

    fn listen(&self, bind: fn(SocketAddr) -> Result<Listener, intercept::ListenError>) -> Listening {
        self.appliance.run(move |runtime| {
            let _within = runtime.enter();
            let listener = bind(at("::", 0)).unwrap();
            let port = listener.local_address().unwrap().port();
            Listening { listener: listener.into(), port }
        })
    }

    /// One connection of the client's to `target`, and the address it came from. The client has heard from the listener.
    fn arrive(&self, listening: &Listening, target: SocketAddr) -> (Accepted, SocketAddr) {
        let client = self.client.start(move |_| {
            let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!((&greeting, stream.peer_addr().unwrap()), (b"220", target));
            stream.local_addr().unwrap()
        });
        let listener = listening.listener.clone();
        let accepted = self.appliance.run(move |runtime| {
            let accepted =
                runtime.block_on(async { timeout(PATIENCE, listener.accept()).await }).unwrap().unwrap();
            runtime.block_on(accepted.stream.writable()).unwrap();
            accepted.stream.try_write(b"220").unwrap();
            accepted
        });
        (accepted, client.recv_timeout(PATIENCE).unwrap())
    }

    /// A listener of the server's.
    fn serve(&self, family: Family) -> (TcpListener, SocketAddr) {
        self.server.run(move |_| {
            let listener = TcpListener::bind(at(family.server, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            (listener, address)
        })
    }

    fn connect(
        &self,
        target: SocketAddr,
        source: Source,
        mark: Option<u32>,
    ) -> Result<tokio::net::TcpStream, ConnectError> {
        self.appliance.run(move |runtime| {
            runtime.block_on(async { connect(target, source, mark, Instant::now() + PATIENCE).await })
        })
    }
}

/// Past the test harness, which keeps to itself what a test prints that passes.
fn skip(reason: &str) {
    io::stderr().write_all(format!("SKIP: {reason}\n").as_bytes()).unwrap();
}

fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    ["ip", "nft"].into_iter().find_map(|program| {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).status();
        found.is_err().then(|| format!("{program} is not installed"))
    })
}

type Job = Box<dyn FnOnce(&Runtime) + Send>;

/// A network namespace and the thread that lives in it. Sockets made on the thread belong to the namespace.
struct Host {
    id: Pid,
    jobs: mpsc::Sender<Job>,
}

impl Host {
    fn new() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (born, birth) = mpsc::channel();
        thread::spawn(move || {
            born.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid())).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            queue.iter().for_each(|job| job(&runtime));
        });
        match birth.recv_timeout(PATIENCE).unwrap() {
            Ok(id) => {
                let host = Self { id, jobs };
                host.ip("link set lo up");
                Some(host)
            }
            Err(error) => {
                skip(&format!("no network namespace: {error}"));
                None
            }
        }
    }

    fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Runtime) -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (done, result) = mpsc::channel();
        // Nobody waits for a result any more if the test has failed.
        self.jobs.send(Box::new(move |runtime| drop(done.send(job(runtime))))).unwrap();
        result
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce(&Runtime) -> T + Send + 'static) -> T {
        self.start(job).recv_timeout(PATIENCE * 2).unwrap()
    }

    fn ip(&self, arguments: impl Into<String>) {
        let arguments = arguments.into();
        self.run(move |_| {
            let family = if arguments.contains("::") { "-6" } else { "-4" };
            let status = Command::new("ip").arg(family).args(arguments.split(' ')).status().unwrap();
            assert!(status.success(), "ip {arguments}");
        });
    }

    /// Loads one chain.
    fn nft(&self, hook: &str, rules: impl AsRef<str>) {
        let table = format!("table inet gate {{\nchain mail {{\ntype {hook};\n{}\n}}\n}}\n", rules.as_ref());
        self.run(move |_| {
            let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
            assert!(nft.wait().unwrap().success(), "{table}");
        });
    }

    fn configure(&self, interface: &'static str, addresses: [&'static str; 2]) {
        self.run(move |_| {
            // Replies to a transparent source come in where its address does not belong.
            for which in ["all", interface] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{which}/rp_filter"), "0").unwrap();
            }
        });
        for address in addresses {
            // Otherwise an IPv6 address could not be used before its duplicates have been looked for.
            let nodad = if address.contains(':') { " nodad" } else { "" };
            self.ip(format!("address add {address} dev {interface}{nodad}"));
        }
        self.ip(format!("link set {interface} up"));
    }

    /// What the appliance needs to be spoken to under addresses that it does not have, and a rule of the test's.
    fn divert(&self, rule: &str) {
        for family in ["0.0.0.0/0", "::/0"] {
            self.ip(format!("rule add from {family} fwmark 1 lookup 100"));
            self.ip(format!("route add local {family} dev lo table 100"));
        }
        let rules = format!("socket transparent 1 socket wildcard 0 meta mark set 1 accept\n{rule}");
        self.nft("filter hook prerouting priority mangle", rules);
    }
}
