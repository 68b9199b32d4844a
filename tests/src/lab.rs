//! A world, a Postern and an inside: three network namespaces joined by two cables, made for one test and gone with it.
//! Whatever is started through [`Host::run`] lives there, real servers and Postern itself included.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

use crate::needs::Need;
use crate::scratch::Scratch;

/// What a lab needs.
pub const LAB: &[Need] = &[Need::Root, Need::Program("ip"), Need::Program("nft"), Need::Program("mount")];
/// For what is done in a namespace; servers start there.
const PATIENCE: Duration = Duration::from_secs(240);

/// An IPv4 and an IPv6 address of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Both.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// In the world, behind Postern's outer interface.
pub const WORLD: Addresses =
    Addresses { v4: Ipv4Addr::new(192, 0, 2, 9), v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9) };
/// Postern's, towards the world.
pub const OUTSIDE: Addresses =
    Addresses { v4: Ipv4Addr::new(192, 0, 2, 1), v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1) };
/// Postern's, towards the hidden servers.
pub const INSIDE: Addresses =
    Addresses { v4: Ipv4Addr::new(198, 51, 100, 1), v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1) };
/// The hidden server.
pub const HIDDEN: Addresses =
    Addresses { v4: Ipv4Addr::new(198, 51, 100, 25), v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 25) };

/// Behind the world's machine, once there is [`Lab::remote`].
pub const REMOTE: Addresses =
    Addresses { v4: Ipv4Addr::new(203, 0, 113, 9), v6: Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 9) };
/// Behind the inside's machine, once there is [`Lab::deep`].
pub const DEEP: Addresses =
    Addresses { v4: Ipv4Addr::new(203, 0, 114, 25), v6: Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 25) };
/// The largest packet that gets through to those two, in octets: the smallest that IPv6 allows.
pub const NARROW: u32 = 1280;

/// The three machines.
pub struct Lab {
    /// Senders and receivers out there.
    pub world: Host,
    /// The gateway; its interfaces are `outside` and `inside`.
    pub postern: Host,
    /// The hidden servers.
    pub inside: Host,
}

impl Lab {
    /// Three namespaces, with addresses and routes, and no rules yet.
    ///
    /// # Panics
    ///
    /// If the machine cannot do that although [`LAB`] is met.
    pub fn new() -> Self {
        let lab =
            Self { world: Host::new("world"), postern: Host::new("postern"), inside: Host::new("inside") };
        lab.postern.ip(&format!("link add outside type veth peer name cable netns {}", lab.world.id));
        lab.postern.ip(&format!("link add inside type veth peer name cable netns {}", lab.inside.id));
        lab.world.configure("cable", WORLD);
        lab.postern.configure("outside", OUTSIDE);
        lab.postern.configure("inside", INSIDE);
        lab.inside.configure("cable", HIDDEN);
        for (host, gateway) in [(&lab.world, OUTSIDE), (&lab.inside, INSIDE)] {
            host.ip(&format!("-4 route add default via {}", gateway.v4));
            host.ip(&format!("-6 route add default via {}", gateway.v6));
        }
        lab
    }

    /// A machine at [`REMOTE`], to which the world's machine is the router, over a path that is narrow both ways.
    pub fn remote(&self) -> Host {
        self.behind("remote", &self.world, (WORLD, OUTSIDE), REMOTE)
    }

    /// A machine at [`DEEP`], to which the inside's machine is the router, over a path that is narrow both ways.
    pub fn deep(&self) -> Host {
        self.behind("deep", &self.inside, (HIDDEN, INSIDE), DEEP)
    }

    /// A second cable between world and inside, around Postern, with an IPv4 address at either end.
    pub fn second_path(&self, world: &str, inside: &str) {
        self.world.ip(&format!("link add around type veth peer name around netns {}", self.inside.id));
        for (host, address) in [(&self.world, world), (&self.inside, inside)] {
            host.ip(&format!("address add {address}/24 dev around"));
            host.ip("link set around up");
        }
    }

    fn behind(
        &self,
        name: &str,
        router: &Host,
        (near, postern): (Addresses, Addresses),
        own: Addresses,
    ) -> Host {
        let host = Host::new(name);
        router.ip(&format!("link add beyond type veth peer name cable netns {}", host.id));
        host.configure("cable", own);
        let hop = Addresses { v4: first(own.v4), v6: Ipv6Addr::from_bits(own.v6.to_bits() & !0xffff | 1) };
        router.configure("beyond", hop);
        router.run(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                let _ = fs::write(format!("/proc/sys/net/{switch}"), "1");
            }
        });
        // The cables are wide, so that nobody knows beforehand: a packet that is too large comes back as an error.
        for (device, to) in [("beyond", own), ("cable", postern)] {
            let (v4, v6) = (first(to.v4), Ipv6Addr::from_bits(to.v6.to_bits() & !0xffff));
            let v4 = Ipv4Addr::from_bits(v4.to_bits() & !0xff);
            router.ip(&format!("-4 route replace {v4}/24 dev {device} mtu lock {NARROW}"));
            router.ip(&format!("-6 route replace {v6}/64 dev {device} metric 256 mtu lock {NARROW}"));
        }
        router.ip(&format!("-4 route replace default via {} mtu lock {NARROW}", postern.v4));
        router.ip(&format!("-6 route replace default via {} mtu lock {NARROW}", postern.v6));
        host.ip(&format!("-4 route add default via {}", hop.v4));
        host.ip(&format!("-6 route add default via {}", hop.v6));
        self.postern.ip(&format!("-4 route add {} via {}", own.v4, near.v4));
        self.postern.ip(&format!("-6 route add {} via {}", own.v6, near.v6));
        host
    }
}

/// The first address of a network of 24 bits.
fn first(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & !0xff | 1)
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, with files of its own in `/etc`, and the thread that lives in it.
pub struct Host {
    id: Pid,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    etc: Scratch,
}

impl Host {
    /// One that no cable leads to, with its loopback interface up.
    ///
    /// # Panics
    ///
    /// If the machine cannot do that although [`LAB`] is met.
    pub fn new(name: &str) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (born, birth) = mpsc::channel();
        let builder = thread::Builder::new().name(name.to_owned());
        let thread = builder.spawn(move || {
            // The mount namespace is for resolv.conf; without private propagation mounts would show outside.
            let made = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
                .map_err(|error| format!("no namespaces: {error}"))
                .and_then(|()| privately());
            let _ = born.send(made.map(|()| gettid()));
            queue.iter().for_each(|job| job());
        });
        let thread = thread.unwrap_or_else(|error| panic!("no thread for {name}: {error}"));
        let id = birth.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{name}: {error}"));
        let id = id.unwrap_or_else(|error| panic!("{name}: {error}"));
        let host = Self { id, jobs: Some(jobs), thread: Some(thread), etc: Scratch::new(name) };
        host.ip("link set lo up");
        host
    }

    /// Does something there, and waits for it. A panic there is one here.
    ///
    /// # Panics
    ///
    /// If `job` does, or takes more than four minutes.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let caught = move || drop(done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))));
        let jobs = self.jobs.as_ref().expect("a host that lives");
        jobs.send(Box::new(caught)).expect("a thread that lives");
        match result.recv_timeout(PATIENCE).expect("an end in time") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a program there; its output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let (program, arguments) =
            (program.to_owned(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        self.run(move || {
            let output = Command::new(&program).args(&arguments).stdin(Stdio::null()).output();
            let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {arguments:?}: {errors}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// `ip` with these words.
    pub fn ip(&self, words: &str) {
        self.command("ip", &words.split(' ').collect::<Vec<_>>());
    }

    /// Puts a file in the place of one in `/etc`, for whatever runs there.
    pub fn etc(&self, name: &str, content: &str) {
        let own = self.etc.write(name, content);
        let target = format!("/etc/{name}");
        assert!(Path::new(&target).exists(), "{target} has to exist to be covered");
        self.command("mount", &["--bind", &own.display().to_string(), &target]);
    }

    fn configure(&self, interface: &'static str, addresses: Addresses) {
        // Replies to a transparent source come in where their address does not belong.
        self.run(move || {
            for which in ["all", interface] {
                let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{which}/rp_filter"), "0");
            }
            let _ = fs::write("/proc/sys/net/ipv6/conf/all/accept_dad", "0");
        });
        self.ip(&format!("address add {}/24 dev {interface}", addresses.v4));
        self.ip(&format!("address add {}/64 dev {interface} nodad", addresses.v6));
        self.ip(&format!("link set {interface} up"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // What it still does ends with its own limits.
            let _ = thread.join();
        }
    }
}

fn privately() -> Result<(), String> {
    use nix::mount::{MsFlags, mount};
    mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
        .map_err(|error| format!("mounts cannot be made private: {error}"))
}
