//! The processes of `postern run` as root, seen from outside: what each of them has, what the guard listens to, and that
//! mail goes on when one of them ends.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::lab::{LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scripted::Client as Scripted;
use postern_tests::sink::Sink;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

const ROLES: &[Need] = &[Need::Root, Need::Program("smtp-sink")];
const LIMIT: Duration = Duration::from_secs(60);
/// The gate's descriptor of its talk with the guard: the first one that it opens.
const LINE: i32 = 3;

/// CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW.
const GUARDS: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 13;

struct Bench {
    postern: Postern,
    _sink: Sink,
}

impl Bench {
    fn start(more: &str) -> Self {
        let sink = Sink::start(&[]);
        let config = backend(&["bench.test"], sink.address(), more);
        let mut bench =
            Self { postern: Postern::start(&Options { config, ..Default::default() }), _sink: sink };
        bench.until_whole();
        bench
    }

    fn processes(&mut self) -> Processes {
        let guard = self.postern.process().pid().expect("a guard");
        Processes::of(guard)
    }

    /// Until the status says that guard, gate and every worker work.
    fn until_whole(&mut self) {
        let whole = || {
            let status = self.postern.ask(&["status"]).output;
            let count = status.matches(": up, pid ").count();
            (count > 2 && !status.contains("NOT READY")).then_some(())
        };
        assert!(ports::wait_until(LIMIT, whole).is_some(), "{}", self.postern.log());
    }

    fn takes_mail(&self) {
        let mail = Mail::new("a@source.test", &["b@bench.test"], "x\n");
        let result = deliver(Client::Wire, self.postern.smtp(), &mail, &How::default());
        assert!(result.accepted, "{}\n{}", result.output, self.postern.log());
    }

    fn logs(&self, words: &str) {
        let said = || self.postern.log().contains(words).then_some(());
        assert!(ports::wait_until(LIMIT, said).is_some(), "{words}:\n{}", self.postern.log());
    }

    /// Until another gate than this one serves.
    fn until_another_gate(&mut self, before: u32) -> u32 {
        let guard = self.postern.process().pid().expect("a guard");
        let another = || Processes::read(guard).and_then(|now| (now.gate != before).then_some(now.gate));
        let gate = ports::wait_until(LIMIT, another).expect("another gate");
        assert!(ports::wait(self.postern.admin(), LIMIT));
        self.until_whole();
        gate
    }
}

#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) guard: u32,
    pub(crate) gate: u32,
    pub(crate) workers: BTreeSet<u32>,
}

impl Processes {
    pub(crate) fn of(guard: u32) -> Self {
        ports::wait_until(LIMIT, || Self::read(guard).filter(|all| !all.workers.is_empty()))
            .expect("all roles")
    }

    fn read(guard: u32) -> Option<Self> {
        let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).ok()?;
        let mut all = Self { guard, gate: 0, workers: BTreeSet::new() };
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|octet| *octet == 0).collect();
            if words.contains(&&b"gate"[..]) {
                all.gate = child;
            } else if words.contains(&&b"sift-worker"[..]) {
                all.workers.insert(child);
            }
        }
        (all.gate != 0).then_some(all)
    }
}

/// What the kernel says of a process (proc(5)).
pub(crate) fn status(pid: u32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that lives");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

pub(crate) fn number(status: &HashMap<String, String>, key: &str) -> u64 {
    u64::from_str_radix(&status[key], 16).expect("a number")
}

/// Inodes of a process's sockets.
fn sockets(pid: u32) -> BTreeSet<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inode = |target: std::path::PathBuf| {
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    targets.filter_map(inode).collect()
}

/// Sockets of the Internet families that this process has, by the state that /proc/net shows.
fn internet(pid: u32) -> Vec<(&'static str, String)> {
    let own = sockets(pid);
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if own.contains(fields[9]) {
                found.push((table, fields[3].to_owned()));
            }
        }
    }
    found
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).expect("a process that lives");
}

/// The gate's own socket towards the guard: what is sent through it the gate has said.
fn line(gate: u32) -> OwnedFd {
    let gate = rustix::process::Pid::from_raw(i32::try_from(gate).expect("a pid")).expect("a pid");
    let handle = pidfd_open(gate, PidfdFlags::empty()).expect("a handle of the gate");
    pidfd_getfd(handle, LINE, PidfdGetfdFlags::empty()).expect("its socket")
}

fn says(gate: u32, record: &[u8]) {
    rustix::net::send(line(gate), record, rustix::net::SendFlags::NOSIGNAL).expect("a guard that listens");
}

/// A verb as the gate writes it, IPv4 only.
fn verb(verb: u8, address: [u8; 4], prefix: u8, seconds: u32) -> Vec<u8> {
    let mut record = b"postV\x01".to_vec();
    record.extend([verb, 4, prefix, 0, 0, 0]);
    record.extend(seconds.to_le_bytes());
    record.extend(address);
    record.resize(32, 0);
    record
}

#[test]
fn every_role_has_the_rights_it_needs_and_no_others() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let Processes { guard, gate, workers } = bench.processes();
    let status_of_guard = status(guard);
    assert_eq!(status_of_guard["Threads"], "1");
    assert_eq!((number(&status_of_guard, "CapEff"), number(&status_of_guard, "CapBnd")), (GUARDS, GUARDS));
    assert_eq!(status_of_guard["NoNewPrivs"], "1");
    for pid in workers.iter().chain([&gate]) {
        let status = status(*pid);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(number(&status, set), 0, "{set} of {pid}");
        }
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
        for ids in ["Uid", "Gid"] {
            assert!(status[ids].split_whitespace().all(|id| id != "0"), "{ids} of {pid}: {}", status[ids]);
        }
    }
    for worker in workers {
        assert_eq!(status(worker)["Threads"], "1");
        assert_eq!(sockets(worker).len(), 1, "its socket and nothing else");
        assert!(internet(worker).is_empty());
    }
    let shown = bench.postern.ask(&["status"]).output;
    assert!(
        shown.contains("roles: separate processes") && shown.contains(&format!("gate: up, pid {gate}")),
        "{shown}"
    );
    assert!(bench.postern.get("/").contains("separate processes"));
}

#[test]
fn a_gate_with_a_transparent_backend_has_one_capability() {
    needs!(ROLES);
    let mut bench = Bench::start("client_address = \"transparent\"");
    let status = status(bench.processes().gate);
    // CAP_NET_RAW
    assert_eq!((number(&status, "CapEff"), number(&status, "CapBnd")), (1 << 13, 0));
}

#[test]
fn the_guard_listens_for_the_gate_and_accepts_nobody_itself() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    bench.takes_mail();
    let Processes { guard, gate, .. } = bench.processes();
    let listening = internet(guard);
    assert!(!listening.is_empty());
    for (table, state) in listening {
        assert!(table.starts_with("tcp") && state == "0A", "{table} {state}");
    }
    assert!(sockets(guard).intersection(&sockets(gate)).count() >= 4, "the same sockets");
}

#[test]
fn clients_wait_while_a_gate_is_replaced() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    bench.takes_mail();
    let gate = bench.processes().gate;
    kill_hard(gate);
    // Nobody has to wait for the next gate to be able to connect.
    let early = TcpStream::connect(bench.postern.smtp());
    assert!(early.is_ok(), "{early:?}");
    bench.until_another_gate(gate);
    bench.takes_mail();
    assert!(bench.postern.ask(&["status"]).output.contains("restarts: 1"));
}

#[test]
fn a_worker_that_ends_is_replaced() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let before = bench.processes().workers;
    kill_hard(*before.first().expect("a worker"));
    let guard = bench.postern.process().pid().expect("a guard");
    let replaced = || {
        let now = Processes::read(guard)?.workers;
        (now.len() == before.len() && now != before).then_some(())
    };
    assert!(ports::wait_until(LIMIT, replaced).is_some(), "{}", bench.postern.log());
    bench.until_whole();
    bench.takes_mail();
}

#[test]
fn a_gate_that_says_anything_but_the_four_verbs_is_ended() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let mut gate = bench.processes().gate;
    let four = verb(4, [192, 0, 2, 9], 32, 60);
    let long = [verb(3, [0; 4], 0, 0), vec![0; 32]].concat();
    for garbage in [&b"nft flush ruleset"[..], &four, &long] {
        says(gate, garbage);
        gate = bench.until_another_gate(gate);
    }
    bench.logs("is none of the four verbs");
    bench.takes_mail();
}

#[test]
fn the_guard_refuses_to_ban_itself_and_the_inside() {
    needs!(ROLES);
    let mut bench = Bench::start("[outbound]\nnetworks = [\"203.0.113.0/24\"]");
    let gate = bench.processes().gate;
    for (address, prefix, why) in [
        ([127, 0, 0, 1], 32, "it holds an address of this machine"),
        ([203, 0, 113, 77], 32, "it is inside"),
        ([198, 51, 0, 0], 16, "the network is too large"),
        ([224, 0, 0, 0], 24, "no client can come from there"),
    ] {
        says(gate, &verb(1, address, prefix, 60));
        bench.logs(why);
    }
    assert_eq!(bench.processes().gate, gate, "what is refused is no fault");
}

#[test]
fn whom_the_gate_bans_the_kernel_turns_away() {
    needs!(LAB);
    let lab = Lab::new();
    let (postern, smtp) = lab.postern.run(|| {
        let postern = Postern::start(&Options {
            address: OUTSIDE.v4.into(),
            config: backend(&["bench.test"], ports::free(), ""),
            limits: "errors = 2".into(),
            ..Default::default()
        });
        let applied = postern.ask(&["firewall", "apply"]);
        assert!(applied.success, "{}", applied.output);
        // From outside its listener is reached by the port that senders know, which the rules redirect.
        let smtp = SocketAddr::from((OUTSIDE.v4, 25));
        (postern, smtp)
    });
    lab.world.run(move || Scripted::greeted(smtp, None).says("QUIT", "221 "));
    lab.world.run(move || be_rude(smtp));
    let bans = |postern: &Postern| postern.ask(&["firewall", "bans"]).output;
    let client = format!("{}/32", WORLD.v4);
    let (postern, listed) = lab.postern.run(move || {
        let listed = ports::wait_until(LIMIT, || bans(&postern).contains(&client).then_some(()));
        (postern, listed)
    });
    assert!(listed.is_some(), "{}", postern.log());
    let refused = lab.world.run(move || connects(smtp));
    assert!(!refused, "the kernel lets nothing of it through");
    lab.postern.run(move || {
        let removed = postern.ask(&["firewall", "remove"]);
        assert!(removed.success, "{}", removed.output);
        drop(postern);
    });
}

/// Talks nonsense until it is let in no more.
pub(crate) fn be_rude(smtp: SocketAddr) {
    for _ in 0..10 {
        let Ok(mut rude) = TcpStream::connect_timeout(&smtp, Duration::from_secs(3)) else { break };
        rude.set_read_timeout(Some(Duration::from_secs(3))).expect("a socket option");
        let _ = rude.write_all("NONSENSE\r\n".repeat(6).as_bytes());
        let _ = rude.read_to_end(&mut Vec::new());
    }
}

pub(crate) fn connects(target: SocketAddr) -> bool {
    TcpStream::connect_timeout(&target, Duration::from_secs(3)).is_ok()
}

#[test]
fn a_reload_brings_new_listeners_that_only_root_could_open() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let gate = bench.processes().gate;
    let new = ports::free();
    let old = fs::read_to_string(bench.postern.config()).expect("a config");
    let more = format!("[[listener]]\naddress = \"{new}\"\n[[backend]]");
    fs::write(bench.postern.config(), old.replacen("[[backend]]", &more, 1)).expect("a config");
    bench.postern.reload();
    bench.logs("reloaded");
    Scripted::greeted(new, None).says("QUIT", "221 ");
    assert_eq!(bench.processes().gate, gate);
    assert!(bench.postern.ask(&["status"]).output.contains(&new.to_string()));
}

#[test]
fn all_processes_end_with_the_guard() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let Processes { guard, gate, workers } = bench.processes();
    kill_hard(guard);
    let gone = || {
        let mut rest = workers.iter().chain([&gate]);
        rest.all(|pid| !alive(*pid)).then_some(())
    };
    assert!(ports::wait_until(LIMIT, gone).is_some());
}

#[test]
fn a_stop_ends_with_the_gates_exit_status_and_leaves_nobody() {
    needs!(ROLES);
    let mut bench = Bench::start("");
    let Processes { gate, workers, .. } = bench.processes();
    bench.postern.process().signal(Signal::SIGTERM);
    let ended = bench.postern.process().wait(LIMIT);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", bench.postern.log());
    assert!(workers.iter().chain([&gate]).all(|pid| !alive(*pid)));
}

/// Whether it runs; one that has ended and is not buried yet does not.
fn alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
