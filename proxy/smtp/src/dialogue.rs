//! The sending side of a session: which commands await their reply, and the replies matched to them (law 3).

use std::collections::VecDeque;

use crate::reply::{Reply, ReplyError, ReplyReader};

/// What was sent to a server and awaits its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: the server speaks first.
    Greeting,
    /// EHLO.
    Ehlo,
    /// HELO, to a server that knows no EHLO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// XCLIENT.
    Xclient,
    /// XFORWARD.
    Xforward,
    /// AUTH, or a response to its challenge.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT for the recipient with this index.
    Rcpt(usize),
    /// DATA.
    Data,
    /// Content and its end, or the last chunk of BDAT.
    Content,
    /// A chunk of BDAT that is not the last.
    Chunk,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// The server fell out of step: its connection is to be closed and never used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// 421, whatever was asked (RFC 5321 §3.8).
    #[error("the server closes the session: {0}")]
    Closing(Reply),
    /// Bytes in clear behind the reply to STARTTLS: somebody injected them (law 2).
    #[error("bytes in clear behind the reply to STARTTLS")]
    InjectedBeforeTls,
    /// No reply by the grammar.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply to nothing that was asked.
    #[error("a reply that nothing asked for: {0}")]
    Unasked(Reply),
}

/// One connection's commands and replies.
#[derive(Debug)]
pub struct Dialogue {
    reader: ReplyReader,
    awaited: VecDeque<Sent>,
}

impl Default for Dialogue {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialogue {
    /// At the start of a connection, where the server's greeting is awaited.
    pub fn new() -> Self {
        Self { reader: ReplyReader::new(), awaited: VecDeque::from([Sent::Greeting]) }
    }

    /// Notes that a command was sent.
    pub fn sent(&mut self, command: Sent) {
        self.awaited.push_back(command);
    }

    /// Whether every command has its reply.
    pub fn is_settled(&self) -> bool {
        self.awaited.is_empty() && !self.reader.is_within_a_reply()
    }

    /// The command whose reply comes next.
    pub fn awaits(&self) -> Option<Sent> {
        self.awaited.front().copied()
    }

    /// Takes the next reply from the front of `input`, with the command that it answers. `None`: `input` is used up.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`]: close the connection.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Sent, Reply)>, OutOfStep> {
        if self.awaited.is_empty() && !input.is_empty() && !self.reader.is_within_a_reply() {
            // Whatever comes now answers nothing; only a 421 is worth reading.
            return Err(match self.reader.read(input)? {
                Some(reply) if reply.code().get() == 421 => OutOfStep::Closing(reply),
                Some(reply) => OutOfStep::Unasked(reply),
                None => return Ok(None),
            });
        }
        let Some(reply) = self.reader.read(input)? else { return Ok(None) };
        if reply.code().get() == 421 {
            return Err(OutOfStep::Closing(reply));
        }
        let Some(command) = self.awaited.pop_front() else { return Err(OutOfStep::Unasked(reply)) };
        if command == Sent::StartTls && reply.code().is_positive() && !input.is_empty() {
            return Err(OutOfStep::InjectedBeforeTls);
        }
        Ok(Some((command, reply)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_matched_to_their_commands() {
        let mut dialogue = Dialogue::new();
        let mut input = &b"220 hi\r\n"[..];
        assert_eq!(dialogue.read(&mut input).unwrap().unwrap().0, Sent::Greeting);
        [Sent::Mail, Sent::Rcpt(0), Sent::Rcpt(1)].into_iter().for_each(|sent| dialogue.sent(sent));
        let mut input = &b"250 ok\r\n550 no\r\n25"[..];
        assert_eq!(dialogue.read(&mut input).unwrap().unwrap().0, Sent::Mail);
        assert_eq!(dialogue.read(&mut input).unwrap().unwrap().0, Sent::Rcpt(0));
        assert_eq!(dialogue.read(&mut input), Ok(None));
        assert!(!dialogue.is_settled());
        let mut input = &b"0 ok\r\n"[..];
        assert_eq!(dialogue.read(&mut input).unwrap().unwrap().0, Sent::Rcpt(1));
        assert!(dialogue.is_settled());
    }

    #[test]
    fn a_reply_that_comes_early_is_out_of_step() {
        let mut dialogue = Dialogue::new();
        let mut input = &b"220 hi\r\n250 early\r\n"[..];
        dialogue.read(&mut input).unwrap();
        assert!(matches!(dialogue.read(&mut input), Err(OutOfStep::Unasked(_))));
    }

    #[test]
    fn a_closing_server_is_told_apart() {
        let mut dialogue = Dialogue::new();
        assert!(matches!(dialogue.read(&mut &b"421 busy\r\n"[..]), Err(OutOfStep::Closing(_))));
        let mut idle = Dialogue::new();
        idle.read(&mut &b"220 hi\r\n"[..]).unwrap();
        assert!(matches!(idle.read(&mut &b"421 4.4.2 idle\r\n"[..]), Err(OutOfStep::Closing(_))));
    }

    #[test]
    fn bytes_behind_starttls_are_an_injection() {
        let mut dialogue = Dialogue::new();
        dialogue.read(&mut &b"220 hi\r\n"[..]).unwrap();
        dialogue.sent(Sent::StartTls);
        let injected = dialogue.read(&mut &b"220 go\r\n250 AUTH PLAIN\r\n"[..]);
        assert_eq!(injected, Err(OutOfStep::InjectedBeforeTls));
    }
}
