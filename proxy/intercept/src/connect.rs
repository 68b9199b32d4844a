//! Outgoing connections: from the kernel's choice of address, from one of the appliance's own, or from the client's.
//!
//! With a transparent source the server sees the client's address and its replies come back through Postern, which
//! needs routes and rules of the firewall (`firewall/`) and CAP_NET_RAW here.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::networks::canonical;
use crate::options;

/// Where a connection is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The kernel's choice.
    Kernel,
    /// One of the appliance's own addresses; the port is the kernel's choice.
    Address(IpAddr),
    /// The client's address, which is not the appliance's. The port is any but the client's: with the same port the
    /// connection to the server would have the addresses and ports of the client's own, and connection tracking
    /// could not tell them apart. Where the client's port is not known (its mail was queued) it is 0.
    Transparent(SocketAddr),
}

impl Source {
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Kernel => None,
            Self::Address(address) => Some(address.to_canonical()),
            Self::Transparent(client) => Some(canonical(client).ip()),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// IPv4 towards IPv6 or the other way round. An IPv6 client can never be shown to an IPv4 server.
    #[error("{target} cannot be reached from {from}: IPv4 and IPv6 do not mix")]
    FamilyMismatch {
        /// The source address asked for.
        from: IpAddr,
        /// The server.
        target: SocketAddr,
    },
    /// Anything else, as the kernel put it; mostly that it ran out of descriptors, ports or memory.
    #[error("connection failed: {0}")]
    Io(#[source] io::Error),
    /// Something on this machine forbids it; the text says what is missing.
    #[error("not permitted: {0}")]
    NotPermitted(&'static str),
    /// The server's machine says that nobody listens on that port.
    #[error("connection refused")]
    Refused,
    /// The source address is not one of the appliance's own, or all its ports are in use.
    #[error("cannot connect from {0}: not an address of this machine, or no port is left")]
    SourceUnavailable(IpAddr),
    /// The deadline passed, or the kernel gave up before.
    #[error("no answer in time")]
    TimedOut,
    /// No route, or a router says that there is none.
    #[error("network or host unreachable")]
    Unreachable,
}

impl ConnectError {
    /// The kind in a few fixed words, to count by and to search logs for. `Display` has the particulars.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::FamilyMismatch { .. } => "IPv4 and IPv6 do not mix",
            Self::Io(_) => "connection failed",
            Self::NotPermitted(_) => "not permitted",
            Self::Refused => "connection refused",
            Self::SourceUnavailable(_) => "source address unavailable",
            Self::TimedOut => "no answer in time",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether the fault lies on this machine, so that another server or a later hour will not help by itself.
    pub fn is_local(&self) -> bool {
        match self {
            Self::FamilyMismatch { .. }
            | Self::Io(_)
            | Self::NotPermitted(_)
            | Self::SourceUnavailable(_) => true,
            Self::Refused | Self::TimedOut | Self::Unreachable => false,
        }
    }

    /// What `connect` reported; after it, "permission denied" is the word of the packet filter and the routes.
    fn of_connecting(error: io::Error, source: Source) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Self::Refused,
            Some(Errno::ETIMEDOUT) => Self::TimedOut,
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN) => {
                Self::Unreachable
            }
            Some(Errno::EPERM | Errno::EACCES) => {
                Self::NotPermitted("a firewall rule or a prohibiting route on this machine is in the way")
            }
            Some(Errno::EADDRNOTAVAIL) => match source.address() {
                Some(address) => Self::SourceUnavailable(address),
                None => Self::Io(error),
            },
            _ => Self::Io(error),
        }
    }

    /// What setting an option reported that needs a capability.
    fn of_privilege(error: io::Error, missing: &'static str) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted(missing),
            _ => Self::Io(error),
        }
    }
}

/// Connects to `target` from `source`, until `deadline` at most. `mark` is put on every packet (`SO_MARK`), by which
/// the firewall knows Postern's own connections and does not bring them back to it.
///
/// The connection has no delay for small segments, and keepalive.
///
/// # Errors
///
/// [`ConnectError`]; nothing is left open. Dropping the future abandons the attempt.
pub async fn connect(
    target: SocketAddr,
    source: Source,
    mark: Option<u32>,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let target = canonical(target);
    let socket = TcpSocket::from_std_stream(prepare(target, source, mark)?.into());
    let Ok(connected) = timeout_at(deadline, socket.connect(target)).await else {
        return Err(ConnectError::TimedOut);
    };
    let stream = connected.map_err(|error| ConnectError::of_connecting(error, source))?;
    // TCP lets a socket connect to itself where nobody listens and the kernel happens to choose the target's port as
    // its own. It would hear its own words as replies.
    if target.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local == target) {
        return Err(ConnectError::Refused);
    }
    Ok(stream)
}

/// A socket with everything set that must be set before it connects.
fn prepare(target: SocketAddr, source: Source, mark: Option<u32>) -> Result<Socket, ConnectError> {
    if let Some(from) = source.address()
        && from.is_ipv4() != target.is_ipv4()
    {
        return Err(ConnectError::FamilyMismatch { from, target });
    }
    let socket = open(target, mark)?;
    match source {
        Source::Kernel => Ok(socket),
        Source::Address(own) => bind_own(socket, own.to_canonical()),
        Source::Transparent(client) => {
            let client = canonical(client);
            let socket = bind_transparent(socket, client.ip())?;
            if !has_port(&socket, client.port())? {
                return Ok(socket);
            }
            // The first socket still holds the client's port, so the second gets another.
            bind_transparent(open(target, mark)?, client.ip())
        }
    }
}

fn open(target: SocketAddr, mark: Option<u32>) -> Result<Socket, ConnectError> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(ConnectError::Io)?;
    options::set_for_dialogue(&socket).map_err(ConnectError::Io)?;
    if let Some(mark) = mark {
        socket.set_mark(mark).map_err(|error| {
            ConnectError::of_privilege(error, "SO_MARK needs CAP_NET_RAW (Linux 5.17) or CAP_NET_ADMIN")
        })?;
    }
    Ok(socket)
}

fn bind_own(socket: Socket, own: IpAddr) -> Result<Socket, ConnectError> {
    // The port is chosen when the target is known, so that one source address has all its ports for each server
    // instead of once for all. Without the option (Linux before 4.2) there are only fewer ports.
    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
    bind(socket, own)
}

/// Here the port is chosen at once, because it must be looked at before the first packet leaves. Ports are not scarce:
/// each client's address has all of them.
fn bind_transparent(socket: Socket, client: IpAddr) -> Result<Socket, ConnectError> {
    let domain = if client.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    options::set_transparent(&socket, domain).map_err(|error| {
        ConnectError::of_privilege(error, "a transparent source (IP_TRANSPARENT) needs CAP_NET_RAW")
    })?;
    bind(socket, client)
}

fn has_port(socket: &Socket, port: u16) -> Result<bool, ConnectError> {
    let local = socket.local_addr().map_err(ConnectError::Io)?;
    Ok(local.as_socket().is_some_and(|local| local.port() == port))
}

fn bind(socket: Socket, from: IpAddr) -> Result<Socket, ConnectError> {
    match socket.bind(&SocketAddr::new(from, 0).into()) {
        Ok(()) => Ok(socket),
        Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE) => ConnectError::SourceUnavailable(from),
            _ => ConnectError::Io(error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn errno(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[tokio::test]
    async fn a_connection_has_no_delay_and_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let stream = connect(target, Source::Kernel, None, soon()).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(socket2::SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn an_own_address_is_the_one_the_server_sees() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        for own in ["127.0.0.9", "::ffff:127.0.0.9"] {
            let source = Source::Address(own.parse().unwrap());
            let stream = connect(target, source, None, soon()).await.unwrap();
            let (_, seen) = listener.accept().await.unwrap();
            assert_eq!(seen.ip(), Ipv4Addr::new(127, 0, 0, 9));
            assert_eq!(seen, stream.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn a_mapped_target_is_reached_over_ipv4() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
        let stream = connect(target, Source::Kernel, None, soon()).await.unwrap();
        assert!(stream.local_addr().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = connect(target, Source::Kernel, None, soon()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused), "{error}");
        assert!(!error.is_local());
    }

    #[tokio::test]
    async fn families_do_not_mix() {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
        for source in [Source::Address(v6), Source::Transparent(SocketAddr::new(v6, 0))] {
            let error = connect(target, source, None, soon()).await.unwrap_err();
            assert!(matches!(error, ConnectError::FamilyMismatch { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_foreign_address_is_no_own_address() {
        let source = Source::Address(Ipv4Addr::new(192, 0, 2, 77).into());
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
        let error = connect(target, source, None, soon()).await.unwrap_err();
        assert!(matches!(error, ConnectError::SourceUnavailable(_)), "{error}");
    }

    #[tokio::test]
    async fn a_deadline_that_has_passed_is_a_time_out() {
        // A full backlog leaves the next connection without an answer.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let target = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        for _ in 0..8 {
            match connect(target, Source::Kernel, None, Instant::now() + Duration::from_millis(200)).await {
                Ok(stream) => held.push(stream),
                Err(error) => {
                    assert!(matches!(error, ConnectError::TimedOut), "{error}");
                    return;
                }
            }
        }
        panic!("a backlog of none took {} connections", held.len());
    }

    #[test]
    fn what_the_kernel_reports_has_a_kind() {
        for (number, reason, local) in [
            (Errno::ECONNREFUSED, "connection refused", false),
            (Errno::ETIMEDOUT, "no answer in time", false),
            (Errno::ENETUNREACH, "unreachable", false),
            (Errno::EHOSTUNREACH, "unreachable", false),
            (Errno::EPERM, "not permitted", true),
            (Errno::EACCES, "not permitted", true),
            (Errno::EADDRNOTAVAIL, "connection failed", true),
            (Errno::EMFILE, "connection failed", true),
        ] {
            let error = ConnectError::of_connecting(errno(number), Source::Kernel);
            assert_eq!((error.reason(), error.is_local()), (reason, local), "{number}");
        }
        let own = Source::Address(Ipv4Addr::LOCALHOST.into());
        let error = ConnectError::of_connecting(errno(Errno::EADDRNOTAVAIL), own);
        assert_eq!(error.reason(), "source address unavailable");
        let error = ConnectError::of_privilege(errno(Errno::EPERM), "it needs CAP_NET_RAW");
        assert_eq!(error.to_string(), "not permitted: it needs CAP_NET_RAW");
    }
}
