//! The worker's side: takes one body after the other, reads it, and answers with what it is and says. It asks the kernel
//! for next to nothing, so that a short list of system calls is enough for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::content::Content;
use crate::encoded;
use crate::facts::{Facts, Reading};
use crate::frame::{ANSWER, Answer, RECORD, REQUEST, Request};
use crate::packet::{self, Packet};
use crate::read::{Bounds, read};

/// Octets that are read at once.
const PIECE: usize = 64 << 10;
/// Octets of a body whose content is read; of what is behind them only the facts are found out. With what the bounds of
/// reading add, this is within a worker's memory.
const MAX_READ: usize = 64 << 20;
/// Octets of memory that are kept for the next body.
const MAX_KEPT: usize = 1 << 20;

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
    let mut octets = Vec::new();
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
        let sifted = sift(&body, request.length, &mut octets).ok();
        octets.clear();
        octets.shrink_to(MAX_KEPT);
        match answer(&socket, request.id, sifted, last) {
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

/// Sends the answer and the content behind it, in as many records as that takes.
fn answer(socket: impl AsFd, id: u64, sifted: Option<(Facts, Content)>, last: bool) -> io::Result<()> {
    let encoded = sifted.and_then(|(facts, content)| Some((facts, encoded::encode(&content).ok()?)));
    let (facts, content) = encoded.unzip();
    let content = content.unwrap_or_default();
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    let mut octets = Vec::with_capacity(ANSWER + content.len());
    octets.extend_from_slice(&Answer { id, facts, content: length, last }.to_bytes());
    octets.extend_from_slice(&content);
    octets.chunks(RECORD).try_for_each(|record| send(&socket, record))
}

fn send(socket: impl AsFd, record: &[u8]) -> io::Result<()> {
    loop {
        match packet::send(&socket, record, &[]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent,
        }
    }
}

/// What the first `length` octets are and say; fewer, where the body is shorter.
fn sift(body: &OwnedFd, length: u64, octets: &mut Vec<u8>) -> io::Result<(Facts, Content)> {
    let mut reading = Reading::default();
    let mut position = 0;
    let mut beyond = Vec::new();
    // At once: memory that grows is there twice for a moment.
    octets.reserve_exact(usize::try_from(length).unwrap_or(usize::MAX).min(MAX_READ));
    while position < length {
        let left = usize::try_from(length - position).unwrap_or(usize::MAX);
        // What is beyond is counted in passing.
        let is_kept = octets.len() < MAX_READ;
        let wanted = left.min(PIECE).min(if is_kept { MAX_READ - octets.len() } else { PIECE });
        let buffer = if is_kept { &mut *octets } else { &mut beyond };
        let start = if is_kept { buffer.len() } else { 0 };
        buffer.resize(start + wanted, 0);
        let room = buffer.get_mut(start..).unwrap_or_default();
        let read = loop {
            match rustix::io::pread(body, &mut *room, position) {
                Err(rustix::io::Errno::INTR) => {}
                read => break read?,
            }
        };
        reading.feed(room.get(..read).unwrap_or_default());
        buffer.truncate(start + read);
        if read == 0 {
            break;
        }
        position += read as u64;
    }
    let mut content = read(octets, &Bounds::default());
    if position > MAX_READ as u64 {
        content.oddities.left_out = content.oddities.left_out.saturating_add(1);
    }
    Ok((reading.finish(), content))
}
