//! A hidden server that writes down every envelope and every octet of content, and forgets its manners where a test says
//! so: it drops, delays, says the wrong thing, or says too much, at any step of the dialogue.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ports;
use crate::scripted::Tls;

mod connection;

use connection::Connection;

/// What a tape closes when it is told to, it has closed after this, also on a busy machine.
const CLOSING: Duration = Duration::from_secs(10);

/// What a server offers.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// CHUNKING: content comes by BDAT.
    pub chunking: bool,
    /// STARTTLS.
    pub tls: Option<Tls>,
}

/// Where in the dialogue a server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before anything was asked.
    Greeting,
    /// In answer to EHLO.
    Ehlo,
    /// In answer to STARTTLS.
    StartTls,
    /// In answer to MAIL.
    Mail,
    /// In answer to RCPT.
    Rcpt,
    /// In answer to DATA.
    Data,
    /// When the first octets of content come.
    Content,
    /// In answer to the whole content.
    Dot,
    /// In answer to QUIT.
    Quit,
}

/// What it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Closes in order.
    Drop,
    /// Closes with a reset.
    Reset,
    /// Says this in place of the right reply.
    Say(&'static str),
    /// Says the right reply, and this in the same segment.
    Add(&'static str),
    /// Says the right reply, and this soon after in a segment of its own.
    Then(&'static str),
    /// Says the right reply an octet at a time.
    Bytewise,
    /// Says the right reply after this long.
    Delay(Duration),
}

/// One misdemeanour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// What.
    pub does: Deed,
}

/// A transaction as the server saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The connection, from 0.
    pub connection: usize,
    /// The line of MAIL.
    pub mail: String,
    /// The lines of RCPT.
    pub recipients: Vec<String>,
    /// The content, dots unstuffed; `None` while it is not whole.
    pub content: Option<Vec<u8>>,
    /// Whether the server said 250 to it.
    pub accepted: bool,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Between transactions.
    Idle,
    /// After MAIL.
    Busy,
    /// The other side closed, or was told to go.
    Closed,
}

#[derive(Default)]
struct State {
    connections: Vec<Standing>,
    taken: Vec<Taken>,
    fault: Option<Fault>,
    /// Connections that may still misbehave.
    times: usize,
    /// What was said on a connection after it had misbehaved, but for QUIT.
    said_after_fault: Vec<String>,
    /// Connections that began before this one are to close.
    close_before: usize,
}

/// A running one.
#[derive(Clone)]
pub struct Tape {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl Tape {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("a tape: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("a tape: {error}"));
        let tape = Self { address, state: Arc::default(), stop: Arc::default() };
        let (server, manners) = (tape.clone(), Arc::new(manners));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (server, manners) = (server.clone(), Arc::clone(&manners));
                thread::spawn(move || server.serve(stream, &manners));
            }
        });
        tape
    }

    fn serve(&self, stream: TcpStream, manners: &Manners) {
        let number = {
            let mut state = self.state();
            state.connections.push(Standing::Idle);
            state.connections.len() - 1
        };
        // How a connection ends is on the tape; why does not matter.
        let _: io::Result<()> = Connection::new(self, stream, number, manners).and_then(Connection::run);
        self.state().connections[number] = Standing::Closed;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every open connection, then misbehaves on the next `times` ones that come that far.
    ///
    /// # Panics
    ///
    /// If the connections do not close.
    pub fn misbehave(&self, fault: Fault, times: usize) {
        self.behave();
        self.hang_up();
        let mut state = self.state();
        state.said_after_fault.clear();
        state.fault = Some(fault);
        state.times = times;
    }

    /// Closes every connection that is open now.
    ///
    /// # Panics
    ///
    /// If they do not close.
    pub fn hang_up(&self) {
        let count = self.state().connections.len();
        self.state().close_before = count;
        let is_closed = |state: &State| state.connections[..count].iter().all(|&one| one == Standing::Closed);
        let closed = ports::wait_until(CLOSING, || is_closed(&self.state()).then_some(()));
        assert!(closed.is_some(), "connections stay open: {:?}", self.open());
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.state().fault = None;
    }

    /// Every transaction so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// The transactions whose MAIL has this in it.
    pub fn taken_from(&self, sender: &str) -> Vec<Taken> {
        self.taken().into_iter().filter(|taken| taken.mail.contains(sender)).collect()
    }

    /// What was said on connections after they had misbehaved; QUIT does not count.
    pub fn said_after_fault(&self) -> Vec<String> {
        self.state().said_after_fault.clone()
    }

    /// Connections that are open.
    pub fn open(&self) -> Vec<Standing> {
        self.state().connections.iter().copied().filter(|&one| one != Standing::Closed).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread that accepts.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}
