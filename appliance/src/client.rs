//! Asks a running Postern: a GET to the administrator's API, bounded in time and size.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// It runs on the same machine.
const PATIENCE: Duration = Duration::from_secs(10);
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
    let unreachable = |reason: String| AskError::Unreachable { address, reason };
    let answer = timeout(PATIENCE, exchange(address, path)).await;
    let answer = answer.map_err(|_| unreachable("no answer within 10 s".to_owned()))?;
    let bytes = answer.map_err(|error| unreachable(error.to_string()))?;
    parse(&bytes).ok_or(AskError::Other(address))
}

async fn exchange(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer ends where the connection does.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
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
