//! The socket options that every SMTP connection gets, in and out.

use std::io;
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive};

/// Silence after which the kernel asks whether the peer is still there: shorter than RFC 5321's shortest time-out of
/// five minutes, and than what middleboxes grant an idle connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Time between the questions that remain unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Unanswered questions after which the connection is dead. A peer that vanished without a word is noticed after four
/// minutes; without this it would hold a session for ever wherever Postern only waits.
const KEEPALIVE_RETRIES: u32 = 4;

/// No delay for small segments (a dialogue is made of them), and keepalive. Set on a listening socket, Linux gives them
/// to each connection it accepts, without system calls of its own.
pub(crate) fn set_for_dialogue(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

/// Lets the socket use addresses that are not the appliance's own (`IP_TRANSPARENT`, `IPV6_TRANSPARENT`).
pub(crate) fn set_transparent(socket: &Socket, domain: Domain) -> io::Result<()> {
    match domain {
        Domain::IPV6 => socket.set_ip_transparent_v6(true),
        _ => socket.set_ip_transparent_v4(true),
    }
}
