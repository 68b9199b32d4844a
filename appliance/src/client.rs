//! Asks a running Postern, by the administrator's API, bounded in time and size.
//!
//! By the socket in its state folder, which opens to Postern's user and root alone; where there is none, by the address of the page,
//! which answers whoever it is open to.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::admin::command_socket;
use crate::config::Config;

/// It runs on the same machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// An order may change the whole queue, durably.
const ORDER_PATIENCE: Duration = Duration::from_secs(120);
/// A thousand transactions of a hundred recipients, with room; more is not from Postern.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// This user may not.
    #[error(
        "only root and Postern's own user may give commands to it, by {path}: say it with sudo, or log in to the page",
        path = .0.display()
    )]
    NotAllowed(PathBuf),
    /// Something else listens there.
    #[error("what listens on {0} is not Postern; see [admin] listen in the config")]
    Other(SocketAddr),
    /// Nothing listens, or it does not answer in time.
    #[error(
        "cannot reach Postern on {address}: {reason}; start it with `postern run`, or name its config with --config"
    )]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// Where a Postern runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// The command line's socket.
    socket: Option<PathBuf>,
    /// The page.
    address: SocketAddr,
}

impl Running {
    /// With this config.
    pub fn of(config: &Config) -> Self {
        Self { socket: Some(command_socket(&config.state_dir)), address: config.admin.listen }
    }

    /// Known by the page's address alone.
    pub fn at(address: SocketAddr) -> Self {
        Self { socket: None, address }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Gets `path`, which begins with a slash and is encoded already.
///
/// # Errors
///
/// Nobody answers there within ten seconds, or somebody who does not speak HTTP.
pub async fn get(running: &Running, path: &str) -> Result<Answer, AskError> {
    // HTTP/1.0: the answer ends where the connection does.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", running.address);
    ask(running, &request, PATIENCE).await
}

/// As [`get`], for what takes the network's time.
///
/// # Errors
///
/// As for [`get`], with two minutes.
pub async fn get_patiently(running: &Running, path: &str) -> Result<Answer, AskError> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", running.address);
    ask(running, &request, ORDER_PATIENCE).await
}

/// Sends an order in JSON to `path`.
///
/// # Errors
///
/// As for [`get`]; an order for many messages has two minutes.
pub async fn post(running: &Running, path: &str, order: &serde_json::Value) -> Result<Answer, AskError> {
    let body = order.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        running.address,
        body.len()
    );
    ask(running, &request, ORDER_PATIENCE).await
}

async fn ask(running: &Running, request: &str, patience: Duration) -> Result<Answer, AskError> {
    let address = running.address;
    let unreachable = |reason: String| AskError::Unreachable { address, reason };
    let answer = timeout(patience, exchange(running, request)).await;
    let answer = answer.map_err(|_| unreachable(format!("no answer within {} s", patience.as_secs())))?;
    let bytes = answer.map_err(|error| match (&running.socket, error.kind()) {
        (Some(socket), ErrorKind::PermissionDenied) => AskError::NotAllowed(socket.clone()),
        _ => unreachable(error.to_string()),
    })?;
    parse(&bytes).ok_or(AskError::Other(address))
}

async fn exchange(running: &Running, request: &str) -> std::io::Result<Vec<u8>> {
    if let Some(socket) = &running.socket {
        match UnixStream::connect(socket).await {
            Ok(stream) => return said(stream, request).await,
            // It does not run, or it runs elsewhere.
            Err(error) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
    said(TcpStream::connect(running.address).await?, request).await
}

async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body: bytes[end + 4..].to_vec() })
}

/// A value for a query, percent-encoded (RFC 3986 §2.1).
pub fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::{FakeEngine, start};

    #[tokio::test]
    async fn a_running_server_answers_and_a_missing_one_is_named() {
        let (address, _stop) = start(FakeEngine { all_down: false, self_signed: false }, false).await;
        let answer = get(&Running::at(address), "/healthz").await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"alive\n"[..]));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(&Running::at(free), "/healthz").await.unwrap_err();
        assert!(error.to_string().contains("start it with `postern run`"), "{error}");
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("a b&c@ü"), "a%20b%26c%40%C3%BC");
    }
}
