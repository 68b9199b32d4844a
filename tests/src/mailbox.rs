//! What a server stored: a Maildir, read back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports;

/// How long mail may take from the server's 250 to its mailbox.
pub const STORE_LIMIT: Duration = Duration::from_secs(30);

/// One stored message, with lines that end in CRLF again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// All of it, with what the server put on top.
    pub whole: Vec<u8>,
    /// What the server put on top: everything up to its own Received field, that included.
    pub added: String,
    /// What came over the wire.
    pub content: Vec<u8>,
}

impl Stored {
    fn read(bytes: &[u8]) -> Self {
        let whole = with_crlf(bytes);
        let end = end_of_first_received(&whole);
        let (added, content) = whole.split_at(end);
        Self { added: String::from_utf8_lossy(added).into_owned(), content: content.to_vec(), whole }
    }

    /// What came over the wire, as the Received field of one more hop and what that hop got; the field is empty if there
    /// is none on top. Signatures of that hop are left out.
    pub fn one_hop_before(&self) -> (String, &[u8]) {
        let unsigned = self.signed().1;
        let starts = unsigned.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:"));
        let end = if starts { end_of_first_received(unsigned) } else { 0 };
        let (field, rest) = unsigned.split_at(end);
        (String::from_utf8_lossy(field).into_owned(), rest)
    }

    /// What came over the wire, as the DKIM signatures on top, each unfolded, and the rest.
    pub fn signed(&self) -> (Vec<String>, &[u8]) {
        let (mut signatures, mut rest) = (Vec::<String>::new(), &*self.content);
        let starts =
            |text: &[u8]| text.get(..15).is_some_and(|name| name.eq_ignore_ascii_case(b"dkim-signature:"));
        while starts(rest) {
            let mut lines = rest.split_inclusive(|&byte| byte == b'\n');
            let mut length = lines.next().map_or(0, <[u8]>::len);
            length += lines
                .take_while(|line| line.starts_with(b" ") || line.starts_with(b"\t"))
                .map(<[u8]>::len)
                .sum::<usize>();
            let (field, behind) = rest.split_at(length);
            signatures.push(String::from_utf8_lossy(field).replace("\r\n", ""));
            rest = behind;
        }
        (signatures, rest)
    }
}

/// A Maildir.
#[derive(Clone, Debug)]
pub struct Maildir(PathBuf);

impl Maildir {
    /// The Maildir in this folder, which need not exist yet.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// What is in it, in no particular order.
    pub fn read(&self) -> Vec<Stored> {
        let mut messages = Vec::new();
        gather(&self.0.join("new"), &mut messages);
        messages
    }

    /// Waits until there are `count` messages or more.
    ///
    /// # Panics
    ///
    /// If that takes more than [`STORE_LIMIT`].
    pub fn wait_for(&self, count: usize) -> Vec<Stored> {
        ports::wait_until(STORE_LIMIT, || Some(self.read()).filter(|messages| messages.len() >= count))
            .unwrap_or_else(|| {
                panic!("{} messages in {} instead of {count}", self.read().len(), self.0.display())
            })
    }

    /// Waits for the message with this Message-ID.
    ///
    /// # Panics
    ///
    /// If it does not arrive.
    pub fn wait_for_message(&self, message_id: &str) -> Stored {
        let field = format!("\r\nMessage-ID: {message_id}\r\n");
        let is_wanted = |stored: &Stored| {
            // In the header, which is short: bodies may be large.
            let header = stored.whole.get(..stored.whole.len().min(8192)).unwrap_or_default();
            String::from_utf8_lossy(header).contains(&field)
        };
        ports::wait_until(STORE_LIMIT, || self.read().into_iter().find(is_wanted))
            .unwrap_or_else(|| panic!("no {message_id} in {}", self.0.display()))
    }

    /// Waits for the one message that is to arrive.
    ///
    /// # Panics
    ///
    /// If none arrives, or more than one.
    pub fn wait_for_one(&self) -> Stored {
        let mut messages = self.wait_for(1);
        assert_eq!(messages.len(), 1, "messages in {}", self.0.display());
        messages.remove(0)
    }
}

fn gather(folder: &Path, messages: &mut Vec<Stored>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if let Ok(bytes) = fs::read(entry.path()) {
            messages.push(Stored::read(&bytes));
        }
    }
}

/// Line ends as they were on the wire; a CR that is already there stays.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 40);
    let mut previous = 0;
    for &byte in bytes {
        if byte == b'\n' && previous != b'\r' {
            lines.push(b'\r');
        }
        lines.push(byte);
        previous = byte;
    }
    lines
}

/// The length of all fields up to and including the first Received field with its continuation lines; 0 if none.
fn end_of_first_received(whole: &[u8]) -> usize {
    let mut at = 0;
    let mut inside = false;
    for line in whole.split_inclusive(|&byte| byte == b'\n') {
        let continued = line.starts_with(b" ") || line.starts_with(b"\t");
        if inside && !continued {
            return at;
        }
        if line == b"\r\n" {
            return 0;
        }
        inside |= line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:"));
        at += line.len();
    }
    if inside { at } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_added_is_split_off() {
        let stored = Stored::read(b"Return-Path: <a@a.test>\nReceived: from x\n\tby y\nSubject: s\n\nbody\n");
        assert_eq!(stored.added, "Return-Path: <a@a.test>\r\nReceived: from x\r\n\tby y\r\n");
        assert_eq!(stored.content, b"Subject: s\r\n\r\nbody\r\n");
        assert_eq!(
            Stored::read(b"Subject: s\n\nReceived: no\n").content,
            b"Subject: s\r\n\r\nReceived: no\r\n"
        );
    }
}
