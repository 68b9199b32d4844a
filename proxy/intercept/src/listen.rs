//! Incoming connections: who comes, to which address of ours, and where he wanted to go before the firewall brought him
//! here.
//!
//! `[::]` takes IPv4 too. Nothing that a client does, and no shortage on this machine, ends a listener: a connection that
//! died in the queue is passed over, a lack of descriptors or memory is waited out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::networks::canonical;
use crate::options;

/// Connections that the kernel completes and keeps until they are accepted (`net.core.somaxconn` caps it): what arrives
/// while the process is restarted or short of descriptors waits instead of being turned away.
const BACKLOG: i32 = 4096;
/// Time between attempts while a resource is lacking. The connection stays in the queue, so that an attempt at once
/// would fail at once, and spin: who opens enough connections could then also take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that came in. No address is IPv4-mapped IPv6.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; no delay for small segments, and keepalive.
    pub stream: TcpStream,
    /// Where it comes from: the client, or a proxy in front of Postern.
    pub client: SocketAddr,
    /// Where it ended.
    pub local: SocketAddr,
    /// Where the client wanted to go: `local`, unless the firewall redirected the connection.
    pub original_destination: SocketAddr,
}

/// Descriptors that this process may have open at once, sockets among them.
pub fn max_files() -> u64 {
    // The system's usual bound, should it not tell.
    const USUAL: u64 = 1024;
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(soft, _)| soft)
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program, or another listener, has the port.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// The address belongs to no interface of this machine, or something else was wrong.
    #[error("cannot listen on {address}: {error}")]
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A right is missing; the text says which.
    #[error("cannot listen on {address}: {missing}")]
    NotPermitted {
        /// The address asked for.
        address: SocketAddr,
        /// The capability, and what for.
        missing: &'static str,
    },
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// The connections' own local address is the original destination: TPROXY changes no addresses.
    transparent: bool,
    /// A shortage was reported and is not over.
    short: AtomicBool,
}

impl Listener {
    /// Listens on `address`; on `[::]` for IPv4 too, and for IPv4 alone where the kernel has no IPv6.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as all of tokio's sockets do.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        Self::open(address, false)
    }

    /// Listens on `address` for connections to any address, which TPROXY brings here. Needs CAP_NET_RAW.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`], which see for panics too.
    pub fn bind_transparent(address: SocketAddr) -> Result<Self, ListenError> {
        Self::open(address, true)
    }

    /// Adopts a socket that somebody else bound and made listen, as systemd does with privileged ports.
    ///
    /// # Errors
    ///
    /// It cannot be used; the kernel says why.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let raw = SockRef::from(&socket);
        options::set_for_dialogue(&raw)?;
        let transparent = match raw.domain()? {
            Domain::IPV6 => raw.ip_transparent_v6()?,
            _ => raw.ip_transparent_v4()?,
        };
        let socket = TcpListener::from_std(socket)?;
        Ok(Self { socket, transparent, short: AtomicBool::new(false) })
    }

    /// The address it listens on, with the port that the kernel chose if 0 was asked for.
    ///
    /// # Errors
    ///
    /// None is known for a listening socket.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// The listener itself is broken; it will accept nothing more.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let error = match self.socket.accept().await {
                Ok((stream, client)) => {
                    self.report_recovery();
                    match self.describe(stream, client) {
                        Ok(accepted) => return Ok(accepted),
                        Err(error) => {
                            tracing::debug!(%client, %error, "a connection died while it was accepted")
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            match AcceptFault::of(&error) {
                AcceptFault::Connection => {
                    tracing::debug!(%error, "a connection died before it was accepted")
                }
                AcceptFault::Shortage => {
                    self.report_shortage(&error);
                    tokio::time::sleep(PAUSE).await;
                }
                AcceptFault::Listener => return Err(error),
            }
        }
    }

    /// `count` sockets that listen on one address, for as many threads with a runtime of their own each: the kernel
    /// spreads connections over them (SO_REUSEPORT), and none crosses from thread to thread. For [`Listener::from_std`].
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`]; also where another program of the same user shares its port.
    pub fn sockets(address: SocketAddr, count: usize) -> Result<Vec<std::net::TcpListener>, ListenError> {
        Ok(open_sockets(address, count, false)?.into_iter().map(Into::into).collect())
    }

    /// As [`Listener::sockets`], for connections that TPROXY brings. `mark` is put on every packet of theirs (`SO_MARK`).
    /// Needs CAP_NET_RAW.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind_transparent`].
    pub fn transparent_sockets(
        address: SocketAddr,
        count: usize,
        mark: u32,
    ) -> Result<Vec<std::net::TcpListener>, ListenError> {
        let sockets = open_sockets(address, count, true)?;
        for socket in &sockets {
            // Connections take the mark over from the socket that accepts them.
            socket.set_mark(mark).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ListenError::NotPermitted {
                    address,
                    missing: "SO_MARK needs CAP_NET_RAW (Linux 5.17) or CAP_NET_ADMIN",
                },
                _ => ListenError::Io { address, error },
            })?;
        }
        Ok(sockets.into_iter().map(Into::into).collect())
    }

    fn open(address: SocketAddr, transparent: bool) -> Result<Self, ListenError> {
        let socket = open_socket(address, transparent, false)?;
        Self::from_std(socket.into()).map_err(|error| ListenError::Io { address, error })
    }

    fn describe(&self, stream: TcpStream, client: SocketAddr) -> io::Result<Accepted> {
        let local = canonical(stream.local_addr()?);
        let original_destination = if self.transparent { local } else { before_redirect(&stream, local) };
        Ok(Accepted { stream, client: canonical(client), local, original_destination })
    }

    fn report_shortage(&self, error: &io::Error) {
        if !self.short.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "connections have to wait: this process or machine is short of a resource");
        }
    }

    fn report_recovery(&self) {
        if self.short.load(Ordering::Relaxed) && self.short.swap(false, Ordering::Relaxed) {
            tracing::info!("connections are accepted again");
        }
    }
}

fn open_sockets(address: SocketAddr, count: usize, transparent: bool) -> Result<Vec<Socket>, ListenError> {
    // A socket that does not share finds out whether somebody is there; one that does would just join them.
    let alone = open_socket(address, transparent, false)?;
    if count == 1 {
        return Ok(vec![alone]);
    }
    let bound = alone.local_addr().ok().and_then(|address| address.as_socket()).unwrap_or(address);
    drop(alone);
    (0..count).map(|_| open_socket(bound, transparent, true)).collect()
}

fn open_socket(address: SocketAddr, transparent: bool, shared: bool) -> Result<Socket, ListenError> {
    let address = canonical(address);
    match prepare(address, transparent, shared) {
        Err(ListenError::Io { error, .. }) if has_no_ipv6(&error) && address.ip().is_unspecified() => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::warn!(%address, instead = %v4, "this kernel has no IPv6, listening on IPv4 alone");
            prepare(v4, transparent, shared)
        }
        prepared => prepared,
    }
}

fn prepare(address: SocketAddr, transparent: bool, shared: bool) -> Result<Socket, ListenError> {
    let io = |error| ListenError::Io { address, error };
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)).map_err(io)?;
    // Connections of the program's last run that are still closing must not keep the next one from its port.
    socket.set_reuse_address(true).map_err(io)?;
    if shared {
        socket.set_reuse_port(true).map_err(io)?;
    }
    if address.is_ipv6() {
        // Said explicitly, because the system's default (`net.ipv6.bindv6only`) may be either.
        socket.set_only_v6(false).map_err(io)?;
    }
    if transparent {
        options::set_transparent(&socket, domain).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ListenError::NotPermitted { address, missing: "TPROXY (IP_TRANSPARENT) needs CAP_NET_RAW" }
            }
            _ => io(error),
        })?;
    }
    socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => {
                ListenError::NotPermitted { address, missing: "a port below 1024 needs CAP_NET_BIND_SERVICE" }
            }
            _ => io(error),
        }
    })?;
    Ok(socket)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
}

/// The destination that connection tracking remembers from before a redirect. `local` where it remembers nothing: the
/// module is not loaded, the connection is not tracked, or its entry is gone.
fn before_redirect(stream: &TcpStream, local: SocketAddr) -> SocketAddr {
    let socket = SockRef::from(stream);
    // Asked for by the family of the connection, not of the socket: IPv4 comes through IPv6 sockets too.
    let remembered = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    remembered.ok().and_then(|address| address.as_socket()).map_or(local, canonical)
}

/// What a failed accept says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFault {
    /// This connection is lost, the next may be sound.
    Connection,
    /// The connection waits in the queue until there is room.
    Shortage,
    /// No accept will ever succeed.
    Listener,
}

impl AcceptFault {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            // Linux hands an error that is pending on the new connection to whoever accepts it (accept(2)); EPERM is the
            // firewall's.
            Some(
                Errno::ECONNABORTED
                | Errno::ECONNREFUSED
                | Errno::ECONNRESET
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EINTR
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EPERM
                | Errno::EPIPE
                | Errno::EPROTO
                | Errno::ETIMEDOUT,
            ) => Self::Connection,
            Some(Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK) => Self::Listener,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever is not known: to pause is safe if it stays and if it goes.
            _ => Self::Shortage,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    async fn accepted_from(listener: &Listener, target: SocketAddr) -> (TcpStream, Accepted) {
        let client = TcpStream::connect(target).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.client, client.local_addr().unwrap());
        assert_eq!(accepted.local, target);
        assert_eq!(accepted.original_destination, target);
        (client, accepted)
    }

    #[tokio::test]
    async fn accepted_connections_have_no_delay_and_keepalive() {
        let listener = Listener::bind(loopback(0)).unwrap();
        let (_client, accepted) = accepted_from(&listener, listener.local_address().unwrap()).await;
        assert!(accepted.stream.nodelay().unwrap());
        let socket = SockRef::from(&accepted.stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(120));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }

    #[tokio::test]
    async fn the_unspecified_ipv6_address_takes_both_families() {
        let listener = Listener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        let port = listener.local_address().unwrap().port();
        accepted_from(&listener, loopback(port)).await;
        accepted_from(&listener, SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    }

    #[tokio::test]
    async fn a_mapped_address_listens_on_ipv4() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let listener = Listener::bind(SocketAddr::from((mapped, 0))).unwrap();
        assert!(listener.local_address().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn an_inherited_socket_is_adopted() {
        let inherited = std::net::TcpListener::bind(loopback(0)).unwrap();
        let listener = Listener::from_std(inherited).unwrap();
        let (_client, accepted) = accepted_from(&listener, listener.local_address().unwrap()).await;
        assert!(accepted.stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_taken_port_is_said_to_be_taken() {
        let first = Listener::bind(loopback(0)).unwrap();
        let address = first.local_address().unwrap();
        let error = Listener::bind(address).unwrap_err();
        assert!(matches!(error, ListenError::InUse(taken) if taken == address), "{error}");
    }

    #[tokio::test]
    async fn a_port_is_free_again_as_soon_as_its_listener_is_gone() {
        let listener = Listener::bind(loopback(0)).unwrap();
        let address = listener.local_address().unwrap();
        let (client, accepted) = accepted_from(&listener, address).await;
        // Closed by us first, so that our side goes through TIME-WAIT.
        drop(accepted);
        drop(client);
        drop(listener);
        Listener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_is_reset_in_the_queue_does_not_stop_the_next() {
        let listener = Listener::bind(loopback(0)).unwrap();
        let address = listener.local_address().unwrap();
        let gone = TcpStream::connect(address).await.unwrap();
        SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        let gone_from = gone.local_addr().unwrap();
        drop(gone);
        let next = TcpStream::connect(address).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        if accepted.client == gone_from {
            accepted = listener.accept().await.unwrap();
        }
        assert_eq!(accepted.client, next.local_addr().unwrap());
    }

    #[test]
    fn a_failed_accept_is_of_the_connection_of_a_resource_or_of_the_listener() {
        use AcceptFault::{Connection, Listener, Shortage};
        for (errno, fault) in [
            (Errno::ECONNABORTED, Connection),
            (Errno::ECONNRESET, Connection),
            (Errno::EPROTO, Connection),
            (Errno::EPERM, Connection),
            (Errno::EHOSTUNREACH, Connection),
            (Errno::ETIMEDOUT, Connection),
            (Errno::EINTR, Connection),
            (Errno::EOPNOTSUPP, Connection),
            (Errno::EMFILE, Shortage),
            (Errno::ENFILE, Shortage),
            (Errno::ENOBUFS, Shortage),
            (Errno::ENOMEM, Shortage),
            (Errno::ENOSYS, Shortage),
            (Errno::EBADF, Listener),
            (Errno::EINVAL, Listener),
        ] {
            assert_eq!(AcceptFault::of(&io::Error::from_raw_os_error(errno as i32)), fault, "{errno}");
        }
    }
}
