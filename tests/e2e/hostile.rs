//! Strangers who mean harm, many of them, while others send mail: everybody else is served, and memory has a bound that does not
//! grow with what they try. `POSTERN_BURST=N` makes the burst larger or smaller than 100,000 connections.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::promises::{Server, Told, send};

const BURST: usize = 100_000;
/// The burst ends after this, however far it came; how far is told and checked.
const BURST_TIME: Duration = Duration::from_secs(40);
const ATTACKERS: usize = 8;
/// At rest it has some 30 MiB; a session costs some 40 KiB, and 2,000 of them are open at most. KiB.
const MEMORY: u64 = 256 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

struct Bench {
    server: Server,
    postern: Postern,
    pid: u32,
}

impl Bench {
    fn start(limits: &str) -> Self {
        let server = Server::start(None);
        let options = Options {
            config: postern::backend(&["corp.test"], server.address(), "tls = \"off\""),
            limits: limits.into(),
            ..Options::default()
        };
        let mut postern = Postern::start(&options);
        let pid = postern.serving().expect("a process that runs");
        Self { server, postern, pid }
    }

    /// The most memory it ever had, KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a process that lives")
    }

    /// Others are served while `harm` is done: their mails, each within the patience of a sender.
    fn others_are_served_while(&self, harm: impl FnOnce()) -> usize {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    // The first word may be that there are too many; the second try is what any sender makes.
                    let taken = (0..200).any(|_| {
                        let told = send(self.postern.smtp(), number);
                        if told != Told::Promised {
                            thread::sleep(Duration::from_millis(50));
                        }
                        told == Told::Promised
                    });
                    assert!(taken, "an honest sender was not served");
                    sent.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                }
            });
            harm();
            over.store(true, Ordering::Relaxed);
        });
        sent.load(Ordering::Relaxed)
    }

    fn expect_all_is_well(&self) {
        let peak = self.peak();
        println!("at most {peak} KiB");
        assert!(peak <= MEMORY, "{peak} KiB");
        let none =
            ports::wait_until(LIMIT, || (self.postern.metric("postern_open_sessions") < 1.0).then_some(()));
        assert!(none.is_some(), "{} sessions are left", self.postern.metric("postern_open_sessions"));
        assert_eq!(send(self.postern.smtp(), 999_999), Told::Promised);
        assert!(self.server.deliveries() > 0);
    }
}

/// From an address of its own: loopback has a whole network of them, and limits are per address.
fn connect(attacker: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, socket};
    use std::os::fd::AsRawFd as _;
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let own = Ipv4Addr::new(127, 66, 0, 1 + u8::try_from(attacker).unwrap_or_default());
    bind(socket.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(own, 0)))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(socket.into())
}

/// Each connects and goes, with a reset so that loopback has ports for the next; one in four says something first.
#[test]
fn a_burst_of_connections_is_borne() {
    let burst = std::env::var("POSTERN_BURST").ok().and_then(|text| text.parse().ok()).unwrap_or(BURST);
    let bench = Bench::start("sessions = 2000\nsessions_per_ip = 500\n");
    let (to, made, began) = (bench.postern.smtp(), AtomicUsize::new(0), Instant::now());
    let served = bench.others_are_served_while(|| {
        thread::scope(|scope| {
            for attacker in 0..ATTACKERS {
                let made = &made;
                scope.spawn(move || {
                    while began.elapsed() < BURST_TIME && made.fetch_add(1, Ordering::Relaxed) < burst {
                        let Ok(mut stream) = connect(attacker, to) else { continue };
                        if made.load(Ordering::Relaxed).is_multiple_of(4) {
                            let _ = stream.write_all(b"EHLO many.test\r\nMAIL FROM:<");
                        }
                        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                        let _ =
                            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger);
                    }
                });
            }
        });
    });
    let made = made.into_inner().min(burst);
    println!("{made} connections in {:?}, {served} mails of others meanwhile", began.elapsed());
    assert!(made >= burst / 10, "only {made} connections were made: nothing was tried");
    assert!(served > 0);
    bench.expect_all_is_well();
}

/// Connections that say nothing, or an octet now and then, as many as are let in and more.
#[test]
fn half_open_and_slow_clients_hold_no_more_than_their_share() {
    let bench = Bench::start("sessions = 600\nsessions_per_ip = 60\n");
    let to = bench.postern.smtp();
    let served = bench.others_are_served_while(|| {
        let mut held = Vec::new();
        for number in 0..800 {
            if let Ok(stream) = connect(number % ATTACKERS, to) {
                let _ = stream.set_nonblocking(true);
                held.push(stream);
            }
        }
        for octet in b"EHLO slowly.test\r\nMAIL FROM:<a@slowly.test>\r\nRCPT TO:<r" {
            for stream in held.iter_mut().step_by(2) {
                let _ = stream.write_all(&[*octet]);
            }
            thread::sleep(Duration::from_millis(60));
        }
        // Those beyond their share were told so and closed.
        let open = held.iter_mut().map(still_open).filter(|open| *open).count();
        assert!(open <= ATTACKERS * 60, "{open} are open");
    });
    assert!(served > 3, "{served}");
    bench.expect_all_is_well();
}

fn still_open(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Everything that has no end: a header, a line, ten thousand recipients, a chunk of 4 GiB; several at a time, some hundred MiB of
/// each.
#[test]
fn what_has_no_end_costs_no_memory() {
    const EACH: usize = 64 << 20;
    let bench = Bench::start("sessions_per_ip = 100\nmessage_size = \"10MiB\"\n");
    let to = bench.postern.smtp();
    let endless: [(&str, Vec<u8>); 5] = [
        ("DATA\r\n", b"X-Field: endless header fields, one after another\r\n".repeat(1300)),
        ("DATA\r\n", b"endless-line-".repeat(5000)),
        ("BDAT 4294967296 LAST\r\n", b"a chunk of four gibibytes\r\n".repeat(2400)),
        ("BDAT 18446744073709551615\r\n", b"a chunk without measure\r\n".repeat(2400)),
        ("", b"RCPT TO:<one-of-ten-thousand@corp.test>\r\n".repeat(10_000)),
    ];
    let served = bench.others_are_served_while(|| {
        thread::scope(|scope| {
            for (attacker, (command, piece)) in endless.iter().cycle().take(15).enumerate() {
                scope.spawn(move || pour(attacker % ATTACKERS, to, command, piece, EACH));
            }
        });
    });
    assert!(served > 0);
    bench.expect_all_is_well();
}

/// Says the envelope and the command, then the piece again and again, until it is closed or has said enough. Replies are read, so
/// that it is not the network that stops it.
fn pour(attacker: usize, to: SocketAddr, command: &str, piece: &[u8], enough: usize) {
    let Ok(stream) = connect(attacker, to) else { return };
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reading = stream.try_clone().expect("a second handle");
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while reading.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    // The greeting first: who speaks before it is sent away.
    thread::sleep(Duration::from_millis(500));
    let envelope = "EHLO endless.test\r\nMAIL FROM:<a@endless.test>\r\nRCPT TO:<b@corp.test>\r\n";
    let mut out = &stream;
    let mut said = out.write_all(envelope.as_bytes()).and_then(|()| {
        thread::sleep(Duration::from_millis(500));
        out.write_all(command.as_bytes())
    });
    thread::sleep(Duration::from_millis(300));
    let mut octets = 0;
    while said.is_ok() && octets < enough {
        said = out.write_all(piece);
        octets += piece.len();
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = reader.join();
}
