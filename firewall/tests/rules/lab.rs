//! The hosts, and what they do.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firewall::{Applied, FirewallError, Gateway, Mode, RuleSet, Settings, System, marks};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, geteuid, gettid};
use socket2::{Domain, Socket, Type};

/// How long anything may take before the test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection is tried that must not come about: long enough for a second attempt of the kernel's.
const TRIED: Duration = Duration::from_millis(1500);

pub(crate) const INBOUND: u16 = 20025;
pub(crate) const OUTBOUND: u16 = 20026;

/// The addresses of one family. The client reaches the server's network only through the appliance.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) client: &'static str,
    pub(crate) appliance: &'static str,
    pub(crate) server: &'static str,
}

pub(crate) const FAMILIES: [Family; 2] = [
    Family { client: "192.0.2.9", appliance: "192.0.2.1", server: "198.51.100.25" },
    Family { client: "2001:db8:1::9", appliance: "2001:db8:1::1", server: "2001:db8:2::25" },
];

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Client, appliance, server: `client -- outside appliance inside -- server`.
pub(crate) struct Lab {
    pub(crate) client: Host,
    pub(crate) appliance: Host,
    pub(crate) server: Host,
    pub(crate) system: System,
    state: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Option<Self> {
        if let Some(reason) = missing() {
            skip(&reason);
            return None;
        }
        let state = tempfile::tempdir().unwrap();
        let system = System::new(state.path().join("firewall"));
        let (client, appliance, server) = (Host::new()?, Host::new()?, Host::new()?);
        let lab = Self { client, appliance, server, system, state };
        lab.appliance.cable("outside", &lab.client);
        lab.appliance.cable("inside", &lab.server);
        lab.client.configure("cable", &["192.0.2.9/24", "192.0.2.66/24", "2001:db8:1::9/64"]);
        lab.appliance.configure("outside", &["192.0.2.1/24", "2001:db8:1::1/64"]);
        lab.appliance.configure("inside", &["198.51.100.1/24", "2001:db8:2::1/64"]);
        lab.server.configure("cable", &["198.51.100.25/24", "2001:db8:2::25/64"]);
        lab.client.ip("route add default via 192.0.2.1");
        lab.client.ip("route add default via 2001:db8:1::1");
        lab.server.ip("route add default via 198.51.100.1");
        lab.server.ip("route add default via 2001:db8:2::1");
        Some(lab)
    }

    /// Applies it in the appliance.
    pub(crate) fn apply(&self, settings: Settings) -> Result<Applied, FirewallError> {
        let system = self.system.clone();
        self.appliance.run(move || RuleSet::new(settings).unwrap().apply(&system))
    }

    /// Does something with the rule set, in the appliance.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        mut applied: Applied,
        change: impl FnOnce(&mut Applied) -> T + Send + 'static,
    ) -> (Applied, T) {
        self.appliance.run(move || {
            let result = change(&mut applied);
            (applied, result)
        })
    }

    pub(crate) fn remove(&self) {
        let system = self.system.clone();
        self.appliance.run(move || firewall::remove(&system)).unwrap();
    }

    pub(crate) fn state_file_exists(&self) -> bool {
        self.state.path().join("firewall").exists()
    }

    /// How many packets were dropped for this reason.
    pub(crate) fn dropped(&self, counter: &str) -> u64 {
        let listing = self.appliance.output("nft", &format!("list counter inet postern {counter}"));
        let words: Vec<_> = listing.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets").unwrap();
        words[at + 1].parse().unwrap()
    }
}

/// A gateway whose target is the server's port 25 in both families, armed or not.
pub(crate) fn gateway(armed: bool) -> Gateway {
    let targets: BTreeSet<_> = FAMILIES.iter().map(|family| at(family.server, 25)).collect();
    Gateway {
        outside: "outside".into(),
        inside: "inside".into(),
        inbound_port: INBOUND,
        outbound_port: OUTBOUND,
        armed: if armed { targets.clone() } else { BTreeSet::new() },
        targets,
        originators: Vec::new(),
        bypass: Vec::new(),
        forward: Vec::new(),
    }
}

pub(crate) fn settings(gateway: Gateway) -> Settings {
    Settings {
        mode: Mode::Gateway(gateway),
        services: Vec::new(),
        redirects: Vec::new(),
        protected: Vec::new(),
    }
}

/// Whether the two ends of a connection hear each other.
pub(crate) fn speak(one: &TcpStream, other: &TcpStream) {
    for (mut from, mut to) in [(one, other), (other, one)] {
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        from.write_all(b"220 hello").unwrap();
        let mut heard = [0; 9];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"220 hello");
    }
}

/// The next connection, from whom and to whom.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr, SocketAddr) {
    let (stream, peer) = listener.accept().unwrap();
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let local = plain(stream.local_addr().unwrap());
    (stream, plain(peer), local)
}

/// Past the test harness, which keeps to itself what a test prints that passes; and into the list that `tests/run` counts.
pub(crate) fn skip(reason: &str) {
    let line = format!("SKIP: {}: {reason}\n", thread::current().name().unwrap_or("a test"));
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "{line} (and POSTERN_NO_SKIP is set)");
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("POSTERN_SKIPS") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
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

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that lives in it. Sockets made on the thread belong to the namespace, wherever they are
/// used.
pub(crate) struct Host {
    id: Pid,
    jobs: mpsc::Sender<Job>,
}

impl Host {
    pub(crate) fn new() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (born, birth) = mpsc::channel();
        thread::spawn(move || {
            born.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid())).unwrap();
            queue.iter().for_each(|job| job());
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

    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        // Nobody waits for a result any more if the test has failed.
        self.jobs.send(Box::new(move || drop(done.send(job())))).unwrap();
        result.recv_timeout(PATIENCE * 2).unwrap()
    }

    pub(crate) fn ip(&self, arguments: impl AsRef<str>) {
        let arguments = arguments.as_ref();
        let family = if arguments.contains("::") { "-6" } else { "-4" };
        self.output("ip", &format!("{family} {arguments}"));
    }

    /// What a program said that went well.
    pub(crate) fn output(&self, program: &'static str, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
            assert!(output.status.success(), "{program} {arguments}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// A cable between an interface of that name here and one called `cable` there.
    pub(crate) fn cable(&self, name: &str, other: &Self) {
        self.ip(format!("link add {name} type veth peer name cable netns {}", other.id));
    }

    pub(crate) fn configure(&self, interface: &str, addresses: &[&str]) {
        for address in addresses {
            // Otherwise an IPv6 address could not be used before its duplicates have been looked for.
            let nodad = if address.contains(':') { " nodad" } else { "" };
            self.ip(format!("address add {address} dev {interface}{nodad}"));
        }
        self.ip(format!("link set {interface} up"));
    }

    pub(crate) fn set(&self, sysctl: &str, value: &'static str) {
        let file = Path::new("/proc/sys/net").join(sysctl);
        self.run(move || std::fs::write(file, value)).unwrap();
    }

    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.listener(port, false)
    }

    /// As Postern listens for what is diverted.
    pub(crate) fn listen_transparent(&self, port: u16) -> TcpListener {
        self.listener(port, true)
    }

    fn listener(&self, port: u16, transparent: bool) -> TcpListener {
        self.run(move || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.set_only_v6(false).unwrap();
            socket.set_reuse_address(true).unwrap();
            if transparent {
                socket.set_ip_transparent_v6(true).unwrap();
                socket.set_mark(marks::OWN).unwrap();
            }
            // For accept, too.
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.bind(&at("::", port).into()).unwrap();
            socket.listen(128).unwrap();
            socket.into()
        })
    }

    pub(crate) fn connect(&self, target: SocketAddr) -> TcpStream {
        self.socket(target, None).connect_timeout_ok(target)
    }

    pub(crate) fn connect_from(&self, source: &str, target: SocketAddr) -> TcpStream {
        self.socket(target, Some(at(source, 0).ip())).connect_timeout_ok(target)
    }

    /// As Postern connects to servers: from an address that is not its own.
    pub(crate) fn connect_transparently(&self, source: &str, target: SocketAddr) -> TcpStream {
        let source = at(source, 0);
        let socket = self.run(move || {
            let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
            if target.is_ipv4() {
                socket.set_ip_transparent_v4(true).unwrap();
            } else {
                socket.set_ip_transparent_v6(true).unwrap();
            }
            socket.set_mark(marks::OWN).unwrap();
            socket.bind(&source.into()).unwrap();
            socket
        });
        socket.connect_timeout_ok(target)
    }

    /// Nothing answers there, not even with a refusal.
    pub(crate) fn cannot_reach(&self, source: Option<&str>, target: SocketAddr) {
        let source = source.map(|source| at(source, 0).ip());
        let tried = self.socket(target, source).connect_timeout(&target.into(), TRIED);
        let error = tried.expect_err(&format!("{target} answers"));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{target}: {error}");
    }

    fn socket(&self, target: SocketAddr, source: Option<IpAddr>) -> Socket {
        self.run(move || {
            let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
            if let Some(source) = source {
                socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
            }
            socket
        })
    }
}

trait Connect {
    fn connect_timeout_ok(self, target: SocketAddr) -> TcpStream;
}

impl Connect for Socket {
    fn connect_timeout_ok(self, target: SocketAddr) -> TcpStream {
        self.connect_timeout(&target.into(), PATIENCE).unwrap_or_else(|error| panic!("{target}: {error}"));
        self.into()
    }
}
