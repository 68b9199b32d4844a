//! A scan of TCP ports as somebody outside makes it: many connections at a time, and whatever answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Connections at a time, if so many files may be open.
const AT_A_TIME: usize = 16_000;
/// Files that others of this process have open.
const OTHERS: u64 = 200;
/// A batch in which nothing answered for so long is over. What is open answers at once; a port that is missed on a busy
/// machine is asked again by whoever expected it.
const SILENCE: Duration = Duration::from_millis(400);

/// What answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Connections were accepted.
    pub open: BTreeSet<u16>,
    /// Connections were refused: the packet reached somebody.
    pub refused: BTreeSet<u16>,
}

/// Tries all these ports.
///
/// # Panics
///
/// If there are no sockets to be had.
pub fn scan(address: IpAddr, ports: impl IntoIterator<Item = u16>) -> Found {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let batch = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(AT_A_TIME).clamp(1, AT_A_TIME);
    let ports: Vec<u16> = ports.into_iter().collect();
    let mut found = Found::default();
    for ports in ports.chunks(batch) {
        try_all(address, ports, &mut found);
    }
    found
}

fn try_all(address: IpAddr, ports: &[u16], found: &mut Found) {
    let mut open: Vec<(u16, OwnedFd)> = ports.iter().map(|&port| (port, begin(address, port))).collect();
    loop {
        let mut waiting: Vec<PollFd<'_>> =
            open.iter().map(|(_, socket)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)).collect();
        let limit = Timespec::try_from(SILENCE).expect("a time that fits");
        if waiting.is_empty()
            || poll(&mut waiting, Some(&limit)).expect("sockets that can be waited for") == 0
        {
            return;
        }
        let answered: Vec<bool> = waiting.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut answered = answered.into_iter();
        open.retain(|(port, socket)| {
            if !answered.next().unwrap_or_default() {
                return true;
            }
            match getsockopt(socket, sockopt::SocketError) {
                Ok(0) => drop(found.open.insert(*port)),
                // An ICMP error of "administratively prohibited" and the like is an answer too.
                _ => drop(found.refused.insert(*port)),
            }
            false
        });
    }
}

fn begin(address: IpAddr, port: u16) -> OwnedFd {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None).expect("a socket");
    // In progress, or refused already: poll tells.
    let _ = connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port)));
    socket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_and_what_is_refused_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (open, closed) = (listener.local_addr().unwrap().port(), crate::ports::free().port());
        let found = scan(listener.local_addr().unwrap().ip(), [open, closed]);
        assert_eq!(found, Found { open: [open].into(), refused: [closed].into() });
    }
}
