//! Many clients that do little, for as long as they may: afterwards Postern is what it was before. `POSTERN_SOAK=1` makes it
//! 10,000 idle TLS sessions and 5,000 slow senders; without, the numbers are small enough for every run.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::{Client, Step};
use postern_tests::tape::{Manners, Standing, Tape};

const LIMIT: Duration = Duration::from_secs(60);
/// Clients that are served at a time while sessions are set up.
const THREADS: usize = 8;
/// Mails with TLS that are sent before anything is measured: allocators and pools have their size then.
const WARM_UP: usize = 50;
/// Of the memory that the sessions took one part in this many may be left: allocators give back in pieces.
const LEFT_OVER: u64 = 2;
/// An idle TLS leg may take this much, KiB.
const IDLE_LEG: f64 = 40.0;
/// Memory that may be left in any case, KiB.
const SLACK: u64 = 16 * 1024;

/// How many: few in every run, many where `POSTERN_SOAK` is set, and never more than the process may have files.
fn number(few: usize, many: usize) -> usize {
    let wanted = if std::env::var_os("POSTERN_SOAK").is_some() { many } else { few };
    let (soft, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
    // As many as there may be; Postern, started from here, inherits it.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard);
    let files = usize::try_from(hard.max(soft)).unwrap_or(usize::MAX);
    let possible = wanted.min(files.saturating_sub(500));
    if possible < wanted {
        eprintln!("{possible} sessions instead of {wanted}: no more than {hard} files are allowed");
    }
    possible
}

struct Bench {
    tape: Tape,
    postern: Postern,
    authority: Authority,
    pid: u32,
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    files: usize,
    /// KiB.
    memory: u64,
}

impl Bench {
    fn start() -> Self {
        let authority = Authority::new();
        let tape = Tape::start(Manners::default());
        let options = Options {
            config: postern::backend(&["corp.test"], tape.address(), ""),
            certificate: Some(authority.certify(&["localhost"])),
            limits: "sessions = 20000\nsessions_per_ip = 20000\n".into(),
            ..Options::default()
        };
        let mut postern = Postern::start(&options);
        let pid = postern.serving().expect("a process that runs");
        Self { tape, postern, authority, pid }
    }

    fn secured(&self) -> Client {
        let mut client = Client::greeted(self.postern.smtp(), Some(self.authority.client_tls("localhost")));
        client.says("STARTTLS", "220");
        client.run(&[Step::Tls]);
        client.says("EHLO client.test", "250");
        client
    }

    fn send(&self, client: &mut Client) {
        client.says("MAIL FROM:<a@source.test>", "250");
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says("DATA", "354");
        client.says("Subject: x\r\n\r\ntext\r\n.", "250");
    }

    fn holdings(&self) -> Holdings {
        let process = format!("/proc/{}", self.pid);
        let files = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let memory =
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default();
        Holdings { files, memory }
    }

    fn warmed_up(&self) -> Holdings {
        for _ in 0..WARM_UP {
            let mut client = self.secured();
            self.send(&mut client);
            client.says("QUIT", "221");
        }
        self.expect_no_sessions();
        self.holdings()
    }

    fn expect_no_sessions(&self) {
        let sessions = || self.postern.metric("postern_open_sessions");
        let none = ports::wait_until(LIMIT, || (sessions() == 0.0).then_some(()));
        assert!(none.is_some(), "{} sessions are left", sessions());
    }

    /// Sessions, files and memory are what they were, and the server's connections are idle.
    fn expect_as_before(&self, before: Holdings, at_most: Holdings) {
        self.expect_no_sessions();
        // A pool of connections to the server may be left: at most twenty (and one that is read for the metrics).
        let files = ports::wait_until(LIMIT, || (self.holdings().files <= before.files + 21).then_some(()));
        assert!(files.is_some(), "{} files were {}", self.holdings().files, before.files);
        let grown = at_most.memory.saturating_sub(before.memory);
        let allowed = before.memory + SLACK + grown / LEFT_OVER;
        // An allocator gives back while it works: some mail keeps it at that.
        let given_back = ports::wait_until(LIMIT, || {
            let mut client = self.secured();
            self.send(&mut client);
            (self.holdings().memory <= allowed).then_some(())
        });
        println!("before {before:?}, with all {at_most:?}, after {:?}", self.holdings());
        assert!(given_back.is_some(), "{} KiB of {allowed}", self.holdings().memory);
        // The server notes that it is idle after it has said its last word.
        let idle = || self.tape.open().iter().all(|one| *one == Standing::Idle).then_some(());
        assert!(ports::wait_until(LIMIT, idle).is_some(), "{:?}", self.tape.open());
        let mut client = self.secured();
        self.send(&mut client);
    }
}

/// Makes clients on some threads at a time.
fn crowd<T: Send>(count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let all = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (all, make) = (&all, &make);
            scope.spawn(move || {
                for number in (thread..count).step_by(THREADS) {
                    let one = make(number);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn idle_tls_sessions_cost_little_and_leave_nothing() {
    let count = number(500, 10_000);
    let bench = Bench::start();
    let before = bench.warmed_up();
    let clients = crowd(count, |_| bench.secured());
    assert_eq!(bench.postern.metric("postern_open_sessions"), count as f64);
    let at_most = bench.holdings();
    let each = at_most.memory.saturating_sub(before.memory) as f64 / count as f64;
    println!("{count} idle TLS sessions, {each:.1} KiB of RSS each");
    assert!(each <= IDLE_LEG, "{each:.1} KiB each");
    drop(clients);
    bench.expect_as_before(before, at_most);
}

/// Each sends a few octets of its message now and then; half of them are gone before they come to an end.
#[test]
fn slow_senders_leave_nothing() {
    let count = number(200, 5_000);
    let bench = Bench::start();
    let before = bench.warmed_up();
    let mut clients = crowd(count, |number| {
        let mut stream = TcpStream::connect(bench.postern.smtp()).unwrap();
        // The greeting: who speaks before it is sent away.
        stream.read_exact(&mut [0; 4]).unwrap();
        let sender = format!("slow{number}@source.test");
        write!(stream, "EHLO c.test\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<b@corp.test>\r\nDATA\r\n").unwrap();
        stream
    });
    for piece in ["Subject: slow", "\r\n\r", "\na l", "ine\r\n"] {
        for client in &mut clients {
            client.write_all(piece.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let at_most = bench.holdings();
    for client in clients.iter_mut().step_by(2) {
        client.write_all(b".\r\nQUIT\r\n").unwrap();
    }
    let arrived = || bench.tape.taken_from("slow").iter().filter(|taken| taken.accepted).count();
    let all = ports::wait_until(LIMIT * 4, || (arrived() == count.div_ceil(2)).then_some(()));
    drop(clients);
    assert!(all.is_some(), "{} of {} arrived", arrived(), count.div_ceil(2));
    bench.expect_as_before(before, at_most);
    assert_eq!(arrived(), count.div_ceil(2), "no message that was cut off was taken");
}
