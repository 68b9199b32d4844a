//! Certificates are renewed, the key that TLSA records promise rolls, the policy's mode changes, and mail goes on over TLS meanwhile:
//! no session ends, no message is lost, none comes twice.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use postern_tests::certificate::client_tls;
use postern_tests::child;
use postern_tests::nameserver::{KEY, KNOT, NameServer};
use postern_tests::needs;
use postern_tests::pebble::{self, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scripted::Client as Scripted;
use serde_json::Value;

use super::{LIMIT, becomes_believed, dns_update, fingerprint, policy, zones};

const SMTP_LOAD: &str = env!("CARGO_BIN_EXE_smtp-load");
/// Messages of one run of the generator, each over a connection of its own.
const RUN: u64 = 40;
/// Messages that have to get through after each change.
const ENOUGH: u64 = 20;

/// Takes all mail, and verifies it.
struct LoadSink {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl LoadSink {
    fn start() -> Self {
        let mut command = Command::new(SMTP_LOAD);
        command.arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program that was built with this test");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut sink = Self { process, input, output: BufReader::new(output), address: ports::free() };
        sink.address = sink.line()["address"].as_str().unwrap().parse().unwrap();
        sink
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn counts(&mut self) -> Value {
        self.input.write_all(b"\n").unwrap();
        self.line()
    }
}

impl Drop for LoadSink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends until it is told to stop; how many messages were taken, and the words of the first failure.
struct Traffic {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<(), String>>,
}

impl Traffic {
    fn start(to: SocketAddr) -> Self {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&taken));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let (count, first) = (RUN.to_string(), counted.load(Ordering::Relaxed).to_string());
                let mut send = Command::new(SMTP_LOAD);
                send.args(["send", "--to", &to.to_string(), "--messages", &count, "--sessions", "4"]);
                send.args(["--size", "4096", "--first", &first]);
                let ended = child::run(&send, LIMIT);
                if !ended.success {
                    return Err(ended.output);
                }
                counted.fetch_add(RUN, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { stop, taken, thread }
    }

    fn goes_on(&self, postern: &Postern) {
        let before = self.taken.load(Ordering::Relaxed);
        let more = || (self.taken.load(Ordering::Relaxed) >= before + ENOUGH).then_some(());
        assert!(ports::wait_until(LIMIT, more).is_some(), "mail does not get through\n{}", postern.log());
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().expect("a sender that ends");
        assert_eq!(ended, Ok(()), "a message was not taken");
        self.taken.load(Ordering::Relaxed)
    }
}

#[test]
fn neither_renewal_nor_a_roll_nor_another_policy_drops_a_session_or_a_message() {
    needs!(KNOT, PEBBLE);
    let (mut sink, names) = (LoadSink::start(), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { refused_nonces: 10, ..pebble::Options::default() });
    let more = format!(
        "mta_sts = \"testing\"\n[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        names.address(),
        names.anchor()
    );
    let mut config = backend(&["bench.test"], sink.address, &more);
    config.push_str(&dns_update(&names, KEY.1));
    let acme = pebble.acme("http-01", "rsa = true");
    let postern = Postern::start(&Options { config, acme, http: pebble.http(), ..Options::default() });
    let root = pebble.root();
    becomes_believed(&postern, &pebble, &root, "mx.postern.test");
    becomes_believed(&postern, &pebble, &root, "mta-sts.bench.test");
    // A session that lasts through all of it, in the midst of a message.
    let mut open = Scripted::greeted(postern.smtp(), Some(client_tls(&root, "mx.postern.test")));
    open.secure();
    open.says("MAIL FROM:<a@source.test>", "250 ");
    let traffic = Traffic::start(postern.smtp());
    traffic.goes_on(&postern);
    let before = fingerprint(&postern, "mx.postern.test");
    for order in
        [&["certs", "renew"][..], &["certs", "roll", "mail", "--at-once"], &["certs", "roll", "account"]]
    {
        let ended = postern.ask_within(order, LIMIT);
        assert!(ended.success, "{order:?}: {}\n{}", ended.output, postern.log());
        traffic.goes_on(&postern);
    }
    assert_ne!(fingerprint(&postern, "mx.postern.test"), before);
    let text = fs::read_to_string(postern.config()).unwrap();
    for (old, new) in [("testing", "enforce"), ("enforce", "off")] {
        let text = text.replace("mta_sts = \"testing\"", &format!("mta_sts = \"{new}\""));
        fs::write(postern.config(), text).unwrap();
        postern.reload();
        // Who leaves says so first: for as long as anybody may remember.
        let mode = if new == "off" { "mode: none" } else { "mode: enforce" };
        let is_so = || policy(&root, pebble.tls(), "bench.test").contains(mode).then_some(());
        assert!(ports::wait_until(LIMIT, is_so).is_some(), "{old} to {new}:\n{}", postern.log());
        traffic.goes_on(&postern);
    }
    let sent = traffic.end();
    open.says("RCPT TO:<b@bench.test>", "250 ");
    open.says("RSET", "250 ");
    open.says("QUIT", "221 ");
    let counts = sink.counts();
    assert_eq!(counts["messages"], sent, "{counts}");
    assert!(["damaged", "repeated", "broken"].iter().all(|what| counts[what] == 0), "{counts}");
}
