//! The worker's side: takes one body after the other, reads it through a fixed buffer, and answers with facts. It asks the
//! kernel for next to nothing, so that a short list of system calls is enough for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::facts::{Facts, Reading};
use crate::frame::{Answer, REQUEST, Request};
use crate::packet::{self, Packet};

/// Octets that are read at once.
const PIECE: usize = 64 << 10;

/// Why a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The gate has closed the socket.
    Closed,
    /// What came was no request; whoever sends such a thing is not the gate.
    Nonsense,
    /// It was told to make room for a fresh one.
    Retired,
}

/// Serves until the socket is closed. `before_each` is called before each body is looked at, and may set limits anew;
/// where it says `false` that body is the last one.
///
/// # Errors
///
/// The socket is broken.
pub fn serve(socket: impl AsFd, mut before_each: impl FnMut() -> bool) -> io::Result<End> {
    let mut buffer = vec![0; PIECE];
    loop {
        let mut frame = [0; REQUEST];
        let packet = match packet::receive(&socket, &mut frame, 1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if packet.length == 0 && packet.descriptors.is_empty() {
            return Ok(End::Closed);
        }
        let Some((request, body)) = request(&frame, packet) else { return Ok(End::Nonsense) };
        let last = !before_each();
        let facts = sift(&body, request.length, &mut buffer).ok();
        let answer = Answer { id: request.id, facts, last };
        match packet::send(&socket, &answer.to_bytes(), &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::Closed),
            sent => sent?,
        }
        if last {
            return Ok(End::Retired);
        }
    }
}

fn request(frame: &[u8], packet: Packet) -> Option<(Request, OwnedFd)> {
    let request = Request::read(frame.get(..packet.length)?).ok()?;
    let body = packet.descriptors.into_iter().next()?;
    packet.whole.then_some((request, body))
}

/// Facts of the first `length` octets; of fewer, where the body is shorter.
fn sift(body: &OwnedFd, length: u64, buffer: &mut [u8]) -> io::Result<Facts> {
    let mut reading = Reading::default();
    let mut position = 0;
    while position < length {
        let wanted = usize::try_from(length - position).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..wanted) else { break };
        let read = match rustix::io::pread(body, &mut *room, position) {
            Err(rustix::io::Errno::INTR) => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        reading.feed(room.get(..read).unwrap_or_default());
        position += read as u64;
    }
    Ok(reading.finish())
}
