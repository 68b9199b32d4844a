//! The generator: as many sessions at a time as it is told, a connection and a full handshake for each message.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use rustls::{ClientConfig, HandshakeKind};
use serde_json::{Value, json};

use crate::endpoints;
use crate::message::Rest;
use crate::wire::Wire;

/// What is sent, and where to.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Whom to send to.
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// How many messages.
    #[arg(long, default_value_t = 1)]
    pub(crate) messages: u64,
    /// How many sessions at a time.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: u64,
    /// Octets of each message, rounded up to whole lines.
    #[arg(long, default_value_t = 10_240)]
    pub(crate) size: usize,
    /// The name of the first message; the others are counted on from it.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
}

/// What was sent. Every message got a 250.
#[derive(Debug)]
pub(crate) struct Sent {
    messages: u64,
    seconds: f64,
}

impl Sent {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "messages": self.messages, "seconds": self.seconds })
    }
}

/// Sends all of it.
///
/// # Errors
///
/// The first message that was not taken, and why; the others are not sent then.
pub(crate) fn run(options: &Options) -> Result<Sent> {
    let (rest, tls) = (Rest::new(options.size), endpoints::client()?);
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..options.sessions)
            .map(|_| scope.spawn(|| send_until_done(options, &next, &rest, &tls)))
            .collect();
        sessions.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a session panicked"))?)
    })?;
    Ok(Sent { messages: options.messages, seconds: begun.elapsed().as_secs_f64() })
}

fn send_until_done(options: &Options, next: &AtomicU64, rest: &Rest, tls: &Arc<ClientConfig>) -> Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.messages {
            return Ok(());
        }
        if let Err(error) = send(options.to, options.first + number, rest, tls) {
            // The other sessions end, too.
            next.store(options.messages, Ordering::Relaxed);
            return Err(error.context(format!("message {number}")));
        }
    }
}

/// One message, one command at a time, as smtp-source sends it.
fn send(to: SocketAddr, id: u64, rest: &Rest, tls: &Arc<ClientConfig>) -> Result<()> {
    let mut wire = Wire::new(TcpStream::connect(to)?)?;
    expect(&mut wire, "220")?;
    ask(&mut wire, "EHLO source.test\r\n", "250")?;
    ask(&mut wire, "STARTTLS\r\n", "220")?;
    ensure!(wire.begin_as_client(tls)? == HandshakeKind::Full, "the handshake was not a full one");
    ask(&mut wire, "EHLO source.test\r\n", "250")?;
    ask(&mut wire, "MAIL FROM:<a@source.test>\r\n", "250")?;
    ask(&mut wire, "RCPT TO:<b@bench.test>\r\n", "250")?;
    ask(&mut wire, "DATA\r\n", "354")?;
    wire.write(&[rest.field(id).as_bytes(), rest.octets(), b".\r\n"].concat())?;
    expect(&mut wire, "250")?;
    ask(&mut wire, "QUIT\r\n", "221")?;
    wire.close();
    Ok(())
}

fn ask(wire: &mut Wire, command: &str, code: &str) -> Result<()> {
    wire.write(command.as_bytes())?;
    expect(wire, code)
}

/// Reads one reply, of however many lines.
fn expect(wire: &mut Wire, code: &str) -> Result<()> {
    loop {
        let line = wire.line()?.context("closed instead of a reply")?;
        ensure!(line.starts_with(code), "wanted {code}, got {line:?}");
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
