//! One worker as the gate holds it: its socket, and the right to end it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Signal, pidfd_send_signal};

use crate::body::Body;
use crate::content::Content;
use crate::encoded;
use crate::frame::{ANSWER, Answer, RECORD, Request};
use crate::packet::Socket;
use crate::workers::Worker;

/// Why a worker is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// While it looked at the body.
    Died,
    /// Before it got the body, which has no part in it.
    Gone,
    Nonsense,
}

impl Fault {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Died => "it died",
            Self::Gone => "it was gone",
            Self::Nonsense => "its answer was none",
        }
    }
}

/// Dropping it ends the worker: at once where it is a process, else as soon as it looks at its socket again.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) slot: usize,
    /// Which filling of the place this is.
    pub(crate) restarts: u32,
    socket: Socket,
    process: Option<OwnedFd>,
}

impl Seat {
    /// Takes over a socket; must be called within a runtime.
    pub(crate) fn new(worker: Worker) -> io::Result<Self> {
        let Worker { slot, socket, process, restarts, .. } = worker;
        Ok(Self { slot, restarts, socket: Socket::new(socket)?, process })
    }

    /// Has a body looked at. After an error, or when dropped half-way, the worker must not be used again: its late
    /// answer would be taken for the next body's (law 3).
    pub(crate) async fn ask(&self, id: u64, body: &Body) -> Result<(Answer, Option<Content>), Fault> {
        let request = Request { id, length: body.length() }.to_bytes();
        self.socket.send(&request, &[body.as_fd()]).await.map_err(|_| Fault::Gone)?;
        let mut octets = vec![0; RECORD];
        let received = self.receive(&mut octets).await?;
        octets.truncate(received);
        let (frame, content) = octets.split_at_checked(ANSWER).ok_or(Fault::Nonsense)?;
        let answer = Answer::read(frame).map_err(|_| Fault::Nonsense)?;
        let fits = answer.facts.is_none_or(|facts| facts.octets <= body.length());
        if answer.id != id || !fits {
            return Err(Fault::Nonsense);
        }
        let content = self.content(&answer, content).await?;
        Ok((answer, content))
    }

    /// The content, of which `begun` came with the answer.
    async fn content(&self, answer: &Answer, begun: &[u8]) -> Result<Option<Content>, Fault> {
        let length = usize::try_from(answer.content).map_err(|_| Fault::Nonsense)?;
        if begun.len() != length.min(RECORD - ANSWER) {
            return Err(Fault::Nonsense);
        }
        if answer.facts.is_none() {
            return Ok(None);
        }
        if begun.len() == length {
            return encoded::decode(begun).map(Some).map_err(|_| Fault::Nonsense);
        }
        let mut octets = vec![0; length];
        let (first, mut rest) = octets.split_at_mut_checked(begun.len()).ok_or(Fault::Nonsense)?;
        first.copy_from_slice(begun);
        while !rest.is_empty() {
            let wanted = rest.len().min(RECORD);
            let (record, behind) = rest.split_at_mut_checked(wanted).ok_or(Fault::Nonsense)?;
            if self.receive(record).await? != wanted {
                return Err(Fault::Nonsense);
            }
            rest = behind;
        }
        encoded::decode(&octets).map(Some).map_err(|_| Fault::Nonsense)
    }

    /// One record, that fits.
    async fn receive(&self, record: &mut [u8]) -> Result<usize, Fault> {
        let packet = self.socket.receive(record, 0).await.map_err(|_| Fault::Died)?;
        match packet.length {
            0 => Err(Fault::Died),
            length if packet.whole => Ok(length),
            _ => Err(Fault::Nonsense),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // It may be gone already.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}
