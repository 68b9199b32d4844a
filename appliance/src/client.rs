//! Asks a running Postern, by the administrator's API, bounded in time and size.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// It runs on the same machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// An order may change the whole queue, durably.
const ORDER_PATIENCE: Duration = Duration::from_secs(120);
/// A thousand transactions of a hundred recipients, with room; more is not from Postern.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
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
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, AskError> {
    // HTTP/1.0: the answer ends where the connection does.
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"), PATIENCE).await
}

/// As [`get`], for what takes the network's time.
///
/// # Errors
///
/// As for [`get`], with two minutes.
pub async fn get_patiently(address: SocketAddr, path: &str) -> Result<Answer, AskError> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"), ORDER_PATIENCE).await
}

/// Sends an order in JSON to `path`.
///
/// # Errors
///
/// As for [`get`]; an order for many messages has two minutes.
pub async fn post(address: SocketAddr, path: &str, order: &serde_json::Value) -> Result<Answer, AskError> {
    let body = order.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(address, &request, ORDER_PATIENCE).await
}

async fn ask(address: SocketAddr, request: &str, patience: Duration) -> Result<Answer, AskError> {
    let unreachable = |reason: String| AskError::Unreachable { address, reason };
    let answer = timeout(patience, exchange(address, request)).await;
    let answer = answer.map_err(|_| unreachable(format!("no answer within {} s", patience.as_secs())))?;
    let bytes = answer.map_err(|error| unreachable(error.to_string()))?;
    parse(&bytes).ok_or(AskError::Other(address))
}

async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
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
        let answer = get(address, "/healthz").await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"alive\n"[..]));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(free, "/healthz").await.unwrap_err();
        assert!(error.to_string().contains("start it with `postern run`"), "{error}");
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("a b&c@ü"), "a%20b%26c%40%C3%BC");
    }
}
