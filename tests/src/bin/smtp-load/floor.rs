//! What cryptography costs by itself: two connections that hand each other octets in memory, on one thread.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use serde_json::{Value, json};

use crate::endpoints;
use crate::message::Rest;

/// Plain text that is handled at a time: it stays in the cache, as it does in a proxy that passes on what it reads.
const PIECE: usize = 64 * 1024;
/// Handshakes before the first one that counts.
const WARM_UP: usize = 20;

/// CPU time of one full handshake: medians.
#[derive(Debug)]
pub(crate) struct Handshakes {
    server: Duration,
    client: Duration,
    suite: String,
    group: String,
}

impl Handshakes {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "server_us": micros(self.server), "client_us": micros(self.client),
            "suite": self.suite, "group": self.group,
        })
    }
}

/// CPU time of a message's way through two connections.
#[derive(Debug)]
pub(crate) struct Records {
    octets: usize,
    decrypt: Duration,
    encrypt: Duration,
}

impl Records {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "octets": self.octets, "decrypt_us": micros(self.decrypt), "encrypt_us": micros(self.encrypt) })
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// What this thread has used.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Runs `work` and adds what it used.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let before = cpu();
    let done = work();
    *spent += cpu() - before;
    done
}

/// Two ends, with what each has used.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
    client_cpu: Duration,
    server_cpu: Duration,
}

impl Pair {
    /// After a full handshake.
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Self> {
        let (mut client_cpu, mut server_cpu) = (Duration::ZERO, Duration::ZERO);
        let name = endpoints::name()?;
        let mut client = timed(&mut client_cpu, || ClientConnection::new(Arc::clone(client), name))?;
        let mut server = timed(&mut server_cpu, || ServerConnection::new(Arc::clone(server)))?;
        let mut between = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            timed(&mut client_cpu, || client.write_tls(&mut between))?;
            timed(&mut server_cpu, || take(&mut server, &mut between))?;
            timed(&mut server_cpu, || server.write_tls_all(&mut between))?;
            timed(&mut client_cpu, || take(&mut client, &mut between))?;
        }
        ensure!(client.handshake_kind() == Some(HandshakeKind::Full), "the handshake was not a full one");
        Ok(Self { client, server, client_cpu, server_cpu })
    }
}

/// Hands all of `between` to one end.
fn take<Side>(end: &mut rustls::ConnectionCommon<Side>, between: &mut Vec<u8>) -> Result<()> {
    let mut rest = &between[..];
    while !rest.is_empty() {
        end.read_tls(&mut rest)?;
        end.process_new_packets()?;
    }
    between.clear();
    Ok(())
}

/// Medians of `count` full handshakes.
///
/// # Errors
///
/// TLS failed, which it must not.
pub(crate) fn handshakes(count: usize) -> Result<Handshakes> {
    let (client, server) = (endpoints::client()?, endpoints::server()?);
    for _ in 0..WARM_UP {
        Pair::new(&client, &server)?;
    }
    let pairs = (0..count.max(1)).map(|_| Pair::new(&client, &server)).collect::<Result<Vec<_>>>()?;
    let last = pairs.last().context("no handshake")?;
    let suite = last.client.negotiated_cipher_suite().context("no suite")?.suite();
    let group = last.client.negotiated_key_exchange_group().context("no group")?.name();
    Ok(Handshakes {
        server: median(pairs.iter().map(|pair| pair.server_cpu)),
        client: median(pairs.iter().map(|pair| pair.client_cpu)),
        suite: format!("{suite:?}"),
        group: format!("{group:?}"),
    })
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One message of `size` octets: taken by the server's end of one connection, given to the client's end of another.
///
/// # Errors
///
/// TLS failed, or not all of it came out again.
pub(crate) fn records(size: usize) -> Result<Records> {
    let (client, server) = (endpoints::client()?, endpoints::server()?);
    let (mut near, mut far) = (Pair::new(&client, &server)?, Pair::new(&client, &server)?);
    let message = Rest::new(size);
    let (mut decrypt, mut encrypt) = (Duration::ZERO, Duration::ZERO);
    let (mut wire, mut plain, mut octets) = (Vec::new(), vec![0; PIECE], 0);
    for piece in message.octets().chunks(PIECE) {
        near.client.writer().write_all(piece)?;
        near.client.write_tls_all(&mut wire)?;
        let length = timed(&mut decrypt, || decrypted(&mut near.server, &wire, &mut plain))?;
        wire.clear();
        let plain = plain.get(..length).unwrap_or_default();
        ensure!(plain == piece, "something else came out");
        timed(&mut encrypt, || -> Result<()> {
            far.client.writer().write_all(plain)?;
            far.client.write_tls_all(&mut wire)
        })?;
        octets += length;
        wire.clear();
    }
    Ok(Records { octets, decrypt, encrypt })
}

/// Octets of plain text that came out of `wire`.
fn decrypted(server: &mut ServerConnection, wire: &[u8], plain: &mut [u8]) -> Result<usize> {
    let (mut rest, mut length) = (wire, 0);
    while !rest.is_empty() {
        server.read_tls(&mut rest)?;
        let state = server.process_new_packets()?;
        let end = length + state.plaintext_bytes_to_read();
        server.reader().read_exact(plain.get_mut(length..end).context("more than was sent")?)?;
        length = end;
    }
    Ok(length)
}

/// Everything an end has to say.
trait WriteAll {
    fn write_tls_all(&mut self, wire: &mut Vec<u8>) -> Result<()>;
}

impl<Side> WriteAll for rustls::ConnectionCommon<Side> {
    fn write_tls_all(&mut self, wire: &mut Vec<u8>) -> Result<()> {
        while self.wants_write() {
            self.write_tls(wire)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_costs_both_sides_something_and_is_post_quantum() {
        let cost = handshakes(3).unwrap();
        assert!(cost.server > Duration::ZERO && cost.client > Duration::ZERO);
        assert_eq!(
            (cost.suite.as_str(), cost.group.as_str()),
            ("TLS13_AES_256_GCM_SHA384", "X25519MLKEM768")
        );
    }

    #[test]
    fn all_of_a_message_goes_through_both_connections() {
        let cost = records(300_000).unwrap();
        assert!(cost.octets >= 300_000);
        assert!(cost.decrypt > Duration::ZERO && cost.encrypt > Duration::ZERO);
    }
}
