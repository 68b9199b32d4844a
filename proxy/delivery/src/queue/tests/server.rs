//! Mail servers in memory, which are up, down or ill-tempered on cue.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use intercept::{ConnectError, Source};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::Instant;

use crate::network::{Connecting, Network, Stream};

/// How a server is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nobody listens.
    #[default]
    Down,
    Up,
    /// It greets, and sends everybody away at MAIL.
    SendsAway,
    /// It takes the connection and never says a word.
    Silent,
    /// It closes the connection when it has read a content.
    BreaksOff,
}

/// A message as a server got it.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) server: SocketAddr,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) content: String,
    /// The XFORWARD lines before it.
    pub(super) xforward: Vec<String>,
    pub(super) at: Instant,
}

impl Taken {
    /// The number in its subject; 0 for reports.
    pub(super) fn number(&self) -> u32 {
        let number = self.content.strip_prefix("Subject: ").and_then(|rest| rest.split("\r\n").next());
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    moods: HashMap<SocketAddr, Mood>,
    /// Replies to RCPT, by address.
    refusals: HashMap<String, String>,
    taken: Vec<Taken>,
    connections: HashMap<SocketAddr, usize>,
    most_connections: usize,
    opened: usize,
    tries: usize,
    xforward: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Servers {
    state: Mutex<State>,
    this: std::sync::OnceLock<std::sync::Weak<Self>>,
}

impl Servers {
    pub(super) fn new() -> Arc<Self> {
        let servers = Arc::new(Self::default());
        let _ = servers.this.set(Arc::downgrade(&servers));
        servers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn are(&self, address: SocketAddr, mood: Mood) {
        self.state().moods.insert(address, mood);
    }

    /// This recipient is answered so; an empty reply is a yes.
    pub(super) fn answer(&self, recipient: &str, reply: &str) {
        self.state().refusals.insert(recipient.to_owned(), reply.to_owned());
    }

    pub(super) fn offer_xforward(&self) {
        self.state().xforward = true;
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// Connections that were tried, that came about, and the most at the same time.
    pub(super) fn connections(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.tries, state.opened, state.most_connections)
    }

    async fn serve(self: Arc<Self>, address: SocketAddr, stream: DuplexStream) {
        let _ = self.talk(address, stream).await;
        *self.state().connections.entry(address).or_default() -= 1;
    }

    fn mood(&self, address: SocketAddr) -> Mood {
        self.state().moods.get(&address).cloned().unwrap_or_default()
    }

    async fn talk(&self, address: SocketAddr, stream: DuplexStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        if self.mood(address) == Mood::Silent {
            tokio::time::sleep(std::time::Duration::from_secs(86_400)).await;
            return Ok(());
        }
        stream.write_all(b"220 server.test\r\n").await?;
        let (mut from, mut to, mut xforward) = (String::new(), Vec::new(), Vec::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 || self.mood(address) == Mood::Down {
                return Ok(());
            }
            let line = line.trim_end();
            let verb = line.split(' ').next().unwrap_or_default();
            let reply = match verb {
                "EHLO" if self.state().xforward => {
                    "250-server.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 XFORWARD ADDR HELO".into()
                }
                "EHLO" => "250-server.test\r\n250-PIPELINING\r\n250 CHUNKING".into(),
                "XFORWARD" => {
                    xforward.push(line.to_owned());
                    "250 ok".into()
                }
                "MAIL" if self.mood(address) == Mood::SendsAway => {
                    stream.write_all(b"421 4.3.2 too busy\r\n").await?;
                    return Ok(());
                }
                "MAIL" => {
                    from = path(line);
                    to.clear();
                    "250 ok".into()
                }
                "RCPT" => {
                    let refused = self.state().refusals.get(&path(line)).cloned().unwrap_or_default();
                    if refused.is_empty() {
                        to.push(path(line));
                        "250 ok".to_owned()
                    } else {
                        refused
                    }
                }
                "BDAT" => {
                    let size = line.split(' ').nth(1).and_then(|size| size.parse().ok()).unwrap_or_default();
                    let mut content = vec![0; size];
                    stream.read_exact(&mut content).await?;
                    if self.mood(address) == Mood::BreaksOff {
                        return Ok(());
                    }
                    let content = String::from_utf8_lossy(&content).into_owned();
                    let (to, xforward) = (std::mem::take(&mut to), std::mem::take(&mut xforward));
                    let from = std::mem::take(&mut from);
                    let at = Instant::now();
                    self.state().taken.push(Taken { server: address, from, to, content, xforward, at });
                    "250 taken".into()
                }
                "QUIT" => return Ok(()),
                _ => "250 ok".into(),
            };
            stream.write_all(reply.as_bytes()).await?;
            stream.write_all(b"\r\n").await?;
        }
    }
}

fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

impl Network for Servers {
    fn connect(&self, target: SocketAddr, _: Source, _: Instant) -> Connecting<'_> {
        Box::pin(async move {
            self.state().tries += 1;
            if self.mood(target) == Mood::Down {
                return Err(ConnectError::Refused);
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            let Some(servers) = self.this.get().and_then(std::sync::Weak::upgrade) else {
                return Err(ConnectError::Refused);
            };
            {
                let mut state = self.state();
                state.opened += 1;
                *state.connections.entry(target).or_default() += 1;
                let now = state.connections[&target];
                state.most_connections = state.most_connections.max(now);
            }
            tokio::spawn(servers.serve(target, far));
            Ok(Box::new(near) as Stream)
        })
    }
}
