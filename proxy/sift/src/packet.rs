//! Records over a pair of UNIX sockets, descriptors passed along (SOCK_SEQPACKET and SCM_RIGHTS, unix(7)). A record comes
//! whole or not at all, and descriptors that were not asked for are closed by the kernel. Gate and workers speak so, and
//! guard and gate.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
    socketpair,
};

mod socket;

pub use socket::Socket;

/// The most descriptors with one record; the kernel's own limit is 253.
pub const MAX_DESCRIPTORS: usize = 64;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// A record that was received.
#[derive(Debug)]
pub struct Packet {
    /// How many octets of the buffer it filled; 0 where the other side has closed.
    pub length: usize,
    /// Whether that is all of it, and of the descriptors that came with it.
    pub whole: bool,
    /// What was passed along, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Two sockets, each the other's peer; closed on exec, blocking.
///
/// # Errors
///
/// The kernel's: no descriptors or memory are left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A socket that is connected to who listens at this path; closed on exec, blocking, but no longer than `patience` for a record
/// that is sent.
///
/// # Errors
///
/// Nobody listens there, or it may not be opened.
pub fn connect(path: &Path, patience: Duration) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends one record with at most [`MAX_DESCRIPTORS`] descriptors.
///
/// # Errors
///
/// `WouldBlock` where the socket does not block and the other side does not read; `BrokenPipe` where it is gone;
/// `InvalidInput` for too many descriptors.
pub fn send(socket: impl AsFd, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [const { MaybeUninit::uninit() }; SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one record"));
    }
    // A record goes out as a whole.
    sendmsg(socket, &[IoSlice::new(record)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one record, and at most `most` descriptors with it.
///
/// # Errors
///
/// `WouldBlock` where the socket does not block and nothing is there; `Interrupted`; whatever else the kernel says.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], most: usize) -> io::Result<Packet> {
    let mut space = [const { MaybeUninit::uninit() }; SPACE];
    let room = if most == 0 { 0 } else { space.len() };
    let mut control = RecvAncillaryBuffer::new(space.get_mut(..room).unwrap_or_default());
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let whole = !cut && descriptors.len() <= most;
    Ok(Packet { length: received.bytes.min(buffer.len()), whole, descriptors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_arrives_whole_with_what_was_passed_along() {
        let (one, other) = pair().unwrap();
        let (passed, _) = pair().unwrap();
        send(&one, b"first", &[passed.as_fd(), one.as_fd()]).unwrap();
        send(&one, b"second", &[]).unwrap();
        let mut buffer = [0; 16];
        let packet = receive(&other, &mut buffer, 2).unwrap();
        assert_eq!(
            (&buffer[..packet.length], packet.whole, packet.descriptors.len()),
            (&b"first"[..], true, 2)
        );
        let packet = receive(&other, &mut buffer, 2).unwrap();
        assert_eq!(
            (&buffer[..packet.length], packet.whole, packet.descriptors.len()),
            (&b"second"[..], true, 0)
        );
        drop(one);
        drop(packet);
    }

    #[test]
    fn what_is_too_long_or_was_not_asked_for_is_said_to_be_cut() {
        let (one, other) = pair().unwrap();
        let mut buffer = [0; 4];
        send(&one, b"longer", &[]).unwrap();
        assert!(!receive(&other, &mut buffer, 1).unwrap().whole);
        send(&one, b"more", &[one.as_fd()]).unwrap();
        let packet = receive(&other, &mut buffer, 0).unwrap();
        assert!(!packet.whole && packet.descriptors.is_empty());
        send(&one, b"more", &[one.as_fd(), one.as_fd()]).unwrap();
        assert!(!receive(&other, &mut buffer, 1).unwrap().whole);
    }

    #[test]
    fn a_closed_peer_is_an_empty_record_and_then_a_broken_pipe() {
        let (one, other) = pair().unwrap();
        drop(one);
        assert_eq!(receive(&other, &mut [0; 4], 0).unwrap().length, 0);
        assert_eq!(send(&other, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
