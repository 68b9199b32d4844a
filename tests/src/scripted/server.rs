//! The scripted server.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Personality, Step, Tls, Wire};
use crate::ports;

/// How one connection went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which connection it was, from 0, in the order they were accepted.
    pub connection: usize,
    /// Where it came from.
    pub peer: Option<SocketAddr>,
    /// Every byte that was read, after decryption; TLS handshakes are not in it.
    pub transcript: Vec<u8>,
    /// What went otherwise than the script, in words.
    pub fault: Option<String>,
}

impl Outcome {
    /// The transcript as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.transcript).into_owned()
    }
}

/// A server that runs its first script on the first connection, and so on; the last one again and again.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::start_with(scripts, None)
    }

    /// Starts one that can do [`Step::Tls`].
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start_with(scripts: Vec<Vec<Step>>, tls: Option<Tls>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), scripts, tls)
    }

    /// Starts one at an address of the machine where this runs.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start_at(address: SocketAddr, scripts: Vec<Vec<Step>>, tls: Option<Tls>) -> Self {
        let listener =
            TcpListener::bind(address).unwrap_or_else(|error| panic!("a scripted server: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("a scripted server: {error}"));
        let server =
            Self { address, outcomes: Arc::default(), accepted: Arc::default(), stop: Arc::default() };
        let (outcomes, accepted, stop) =
            (Arc::clone(&server.outcomes), Arc::clone(&server.accepted), Arc::clone(&server.stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = accepted.fetch_add(1, Ordering::Relaxed);
                let Some(script) = scripts.get(connection).or_else(|| scripts.last()).cloned() else {
                    continue;
                };
                let (outcomes, tls) = (Arc::clone(&outcomes), tls.clone());
                thread::spawn(move || {
                    let outcome = serve(stream, connection, &script, tls.as_ref());
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                });
            }
        });
        server
    }

    /// Starts one that only answers as this personality does, on every connection.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn with_personality(personality: Personality, tls: Option<Tls>) -> Self {
        Self::start_with(vec![vec![Step::Converse(personality)]], tls)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The connections that ended so far.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.locked().clone()
    }

    /// Waits until this many connections ended, then tells how, in the order they were accepted.
    ///
    /// # Panics
    ///
    /// If fewer ended within `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Outcome> {
        let mut outcomes =
            ports::wait_until(limit, || Some(self.outcomes()).filter(|outcomes| outcomes.len() >= count))
                .unwrap_or_else(|| {
                    panic!("{count} connections were to end, these did: {:#?}", self.outcomes())
                });
        outcomes.sort_by_key(|outcome| outcome.connection);
        outcomes
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

fn serve(stream: std::net::TcpStream, connection: usize, script: &[Step], tls: Option<&Tls>) -> Outcome {
    let peer = stream.peer_addr().ok();
    let mut outcome = Outcome { connection, peer, transcript: Vec::new(), fault: None };
    match Wire::new(stream) {
        Err(error) => outcome.fault = Some(error.to_string()),
        Ok(mut wire) => {
            for (at, step) in script.iter().enumerate() {
                if let Err(error) = wire.step(step, tls) {
                    outcome.fault = Some(format!("step {at}, {step:?}: {error}"));
                    break;
                }
            }
            outcome.transcript = std::mem::take(&mut wire.transcript);
        }
    }
    outcome
}

/// Plays a whole server by its table, until QUIT, the end of the connection, or its idle time is over.
pub(crate) fn converse(wire: &mut Wire, personality: &Personality, tls: Option<&Tls>) -> io::Result<()> {
    wire.write(personality.greeting.as_bytes())?;
    loop {
        let line = match wire.read_line(personality.idle.0) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return wire.write(personality.idle.1.as_bytes());
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            line => line?,
        };
        let command = String::from_utf8_lossy(&line).trim_end().to_ascii_uppercase();
        let answer = answer(personality, &command, wire.secured);
        if let Some(chunk) = command.strip_prefix("BDAT ") {
            let mut words = chunk.split(' ');
            let size = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
            wire.read_octets(size, personality.idle.0)?;
            if words.next() != Some("LAST") {
                wire.write(b"250 2.0.0 chunk received\r\n")?;
                continue;
            }
            thread::sleep(personality.thinks);
            wire.write(personality.accepted.as_bytes())?;
            continue;
        }
        wire.write(answer.as_bytes())?;
        match command.as_str() {
            "QUIT" => return Ok(()),
            "DATA" if answer.starts_with('3') => {
                wire.read_message(personality.idle.0)?;
                thread::sleep(personality.thinks);
                wire.write(personality.accepted.as_bytes())?;
            }
            "STARTTLS" if answer.starts_with('2') => {
                let tls = tls.ok_or_else(|| io::Error::other("STARTTLS without a configuration"))?;
                wire.begin_tls(tls)?;
            }
            _ => {}
        }
    }
}

fn answer(personality: &Personality, command: &str, secured: bool) -> &'static str {
    if command.starts_with("EHLO") {
        return if secured { personality.ehlo_tls } else { personality.ehlo };
    }
    if command.starts_with("HELO") {
        return personality.helo;
    }
    let fits = |(beginning, _): &&(&str, &str)| command.starts_with(beginning);
    personality.answers.iter().find(fits).map_or(personality.unknown, |(_, answer)| answer)
}
