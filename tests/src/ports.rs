//! Ports that nobody else uses, and waiting until somebody listens.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A server that does not listen after this long has failed to start, also on a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// Below those that the kernel gives to whoever connects: a server that is started again finds its port as it left it. A client that
/// keeps trying such a port can even come to be connected with itself.
const PORTS: RangeInclusive<u16> = 21_000..=32_000;
/// So many are tried before somebody is told that there is none.
const TRIES: u32 = 10_000;

static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that was free a moment ago, never the same twice in this process.
///
/// The port is not held: a server is given it by name. They are drawn at random, so that processes that do the same at the
/// same time hardly ever meet.
///
/// # Panics
///
/// If there is none.
pub fn free() -> SocketAddr {
    free_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// As [`free`], on another address of this machine.
///
/// # Panics
///
/// If there is none.
pub fn free_on(address: IpAddr) -> SocketAddr {
    let mut last = None;
    for _ in 0..TRIES {
        let found = SocketAddr::new(address, drawn());
        let mut handed_out = HANDED_OUT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match TcpListener::bind(found) {
            Ok(_) if handed_out.get_or_insert_default().insert(found.port()) => return found,
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    panic!("no free port on {address}: {last:?}")
}

fn drawn() -> u16 {
    let drawn = RandomState::new().build_hasher().finish();
    let count = u64::from(PORTS.end() - PORTS.start()) + 1;
    PORTS.start() + u16::try_from(drawn % count).unwrap_or_default()
}

/// Connects from one address of this machine, so that the other side can tell clients apart.
///
/// # Panics
///
/// If that address is not this machine's, or nobody listens.
pub fn connect_from(source: Ipv4Addr, target: SocketAddr) -> TcpStream {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect, socket,
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    let source = SockaddrIn::from(std::net::SocketAddrV4::new(source, 0));
    bind(socket.as_raw_fd(), &source).unwrap_or_else(|error| panic!("{source}: {error}"));
    connect(socket.as_raw_fd(), &SockaddrStorage::from(target))
        .unwrap_or_else(|error| panic!("{source} to {target}: {error}"));
    socket.into()
}

/// Waits until something accepts connections there; `false` after `limit`.
pub fn wait(address: SocketAddr, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks again and again until there is an answer; `None` after `limit`.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let ports: HashSet<_> = (0..50).map(|_| free().port()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn waiting_ends_when_somebody_listens_and_when_nobody_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(wait(listener.local_addr().unwrap(), START_LIMIT));
        assert!(!wait(free(), Duration::from_millis(50)));
    }
}
