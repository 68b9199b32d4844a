//! A process that has no descriptor left keeps its listener. A file of its own: the limit is the whole process's.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use intercept::Listener;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::timeout;

#[tokio::test]
async fn connections_wait_while_there_are_no_descriptors() {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let client = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();

    // The next descriptor would be the one after the client's.
    let used = u64::try_from(client.as_raw_fd()).unwrap() + 1;
    setrlimit(Resource::RLIMIT_NOFILE, used, hard).unwrap();
    let meanwhile = timeout(Duration::from_millis(350), listener.accept()).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    assert!(meanwhile.is_err(), "{meanwhile:?}");
    let accepted = timeout(Duration::from_secs(30), listener.accept()).await.unwrap().unwrap();
    assert_eq!(accepted.client, client.local_addr().unwrap());
}
