//! How connections get to the administrator's server: by `admin.listen`, which off loopback speaks TLS and nothing else, and by a
//! socket in the state folder, which the kernel opens to Postern's user and root alone. That is how the command line proves itself.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tls::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;
use tracing::debug;

use super::asker::{Came, Door};
use super::{Doors, HEADER_TIME, exchange};

/// The folder of the command line's socket, in `state_dir`. Nobody else can look into it.
pub const FOLDER: &str = "door";
const SOCKET: &str = "commands";
/// Commands that may wait to be accepted.
const BACKLOG: u32 = 16;
/// The first octet of a TLS record with a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Where the command line's socket is.
pub fn command_socket(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER).join(SOCKET)
}

/// Opens it. One of a Postern that was killed is taken away: there is no other one, whoever holds the state folder's lock.
///
/// # Errors
///
/// The folder cannot be made, or the socket cannot be opened there; its path may be too long for one.
pub fn open_for_commands(state_dir: &Path) -> io::Result<UnixListener> {
    let path = command_socket(state_dir);
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir.join(FOLDER))?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(&path)?;
    // Nobody can connect before it listens.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)
}

/// Ends TLS with the certificate that serves at this moment.
#[derive(Clone)]
pub struct Terminal(Arc<dyn Fn() -> Option<Acceptor> + Send + Sync>);

impl Terminal {
    /// `acceptor` tells what ends TLS now.
    pub fn new(acceptor: impl Fn() -> Option<Acceptor> + Send + Sync + 'static) -> Self {
        Self(Arc::new(acceptor))
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal(..)")
    }
}

/// A connection that was accepted.
pub(super) enum Arrival {
    Web { stream: TcpStream, peer: SocketAddr },
    Command(UnixStream),
}

impl Doors {
    pub(super) async fn arrival(&self) -> io::Result<Arrival> {
        let commands = async {
            match &self.commands {
                Some(commands) => commands.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.web.accept() => accepted.map(|(stream, peer)| Arrival::Web { stream, peer }),
            accepted = commands => accepted.map(|(stream, _)| Arrival::Command(stream)),
        }
    }
}

impl Arrival {
    /// Where it comes from; not told of the command line.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Web { peer, .. } => Some(peer.ip()),
            Self::Command(_) => None,
        }
    }

    pub(super) async fn serve(self, router: Router, terminal: Option<Terminal>) {
        match self {
            Self::Command(stream) => {
                // Who it is, by the kernel's word; for the trail.
                let Ok(user) = stream.peer_cred().map(|peer| peer.uid()) else { return };
                let local = (Ipv4Addr::LOCALHOST, 0).into();
                let came = Came { door: Door::Command { user }, peer: Ipv4Addr::LOCALHOST.into(), local };
                exchange(stream, came, router).await;
            }
            Self::Web { stream, peer } => {
                let Ok(local) = stream.local_addr() else { return };
                let came = |tls| Came { door: Door::Web { tls }, peer: peer.ip(), local };
                let Some(terminal) = terminal else { return exchange(stream, came(false), router).await };
                if let Some(acceptor) = (terminal.0)() {
                    encrypted(stream, &acceptor, came(true), router).await;
                }
            }
        }
    }
}

async fn encrypted(mut stream: TcpStream, acceptor: &Acceptor, came: Came, router: Router) {
    let mut first = [0];
    let looked = timeout(HEADER_TIME, stream.peek(&mut first)).await;
    if !matches!(looked, Ok(Ok(1))) {
        return;
    }
    if first[0] != HANDSHAKE {
        let _ = timeout(HEADER_TIME, in_plain_text(&mut stream, came.local)).await;
        return;
    }
    match timeout(tls::HANDSHAKE_DEADLINE, acceptor.accept(stream, None)).await {
        Ok(Ok((stream, _))) => exchange(stream, came, router).await,
        Ok(Err(error)) => {
            debug!(peer = %came.peer, reason = %error.reason(), "no TLS with a client of the page")
        }
        Err(_) => debug!(peer = %came.peer, "a handshake with a client of the page took too long"),
    }
}

/// Whoever speaks plain HTTP is told where to go, by themselves: a redirection would have hidden that what they sent was readable.
async fn in_plain_text(stream: &mut TcpStream, local: SocketAddr) -> io::Result<()> {
    let body = format!("{{\"error\":\"this is HTTPS: use https:// with port {}\"}}\n", local.port());
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
