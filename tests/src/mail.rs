//! One mail, as every client of the tests is given it.

use std::sync::atomic::{AtomicU64, Ordering};

/// An envelope and a message.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The address of MAIL FROM, without brackets; empty is the null sender.
    pub from: String,
    /// The addresses of RCPT TO, without brackets.
    pub to: Vec<String>,
    /// The whole message as it would be sent before dot-stuffing: header, empty line and body; lines end in CRLF.
    pub content: Vec<u8>,
    /// What follows MAIL FROM:<...>, where the client lets us choose it, e.g. `BODY=8BITMIME SMTPUTF8`.
    pub mail_parameters: String,
    /// What follows each RCPT TO:<...>, where the client lets us choose it, e.g. `NOTIFY=SUCCESS`.
    pub rcpt_parameters: String,
}

impl Mail {
    /// A mail with a header of the usual fields and this body, whose lines may end in LF or in CRLF.
    pub fn new(from: &str, to: &[&str], body: &str) -> Self {
        let header = format!(
            "From: <{from}>\r\nTo: <{}>\r\nSubject: A test\r\nDate: Sat, 21 Nov 2026 19:10:05 +0000\r\n\
             Message-ID: <{}@postern.test>\r\n\r\n",
            to.join(">, <"),
            unique(),
        );
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        Self::raw(from, to, format!("{header}{body}"))
    }

    /// A mail whose whole content is given.
    pub fn raw(from: &str, to: &[&str], content: impl Into<Vec<u8>>) -> Self {
        Self {
            from: from.to_owned(),
            to: to.iter().map(|&to| to.to_owned()).collect(),
            content: content.into(),
            mail_parameters: String::new(),
            rcpt_parameters: String::new(),
        }
    }

    /// A mail of about `size` bytes whose body is hard to compress and easy to compare: numbered lines.
    pub fn large(from: &str, to: &[&str], size: usize) -> Self {
        let mut body = String::with_capacity(size + 80);
        let mut line: u64 = 0;
        while body.len() < size {
            line += 1;
            let noise = line.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            body.push_str(&format!("{line:010} {noise:016x}{:016x}{noise:016X}\n", noise.rotate_left(23)));
        }
        Self::new(from, to, &body)
    }

    /// The content with lines that end in LF, as a Unix program wants a file.
    pub fn unix_content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.content.len());
        for (at, &byte) in self.content.iter().enumerate() {
            if byte != b'\r' || self.content.get(at + 1) != Some(&b'\n') {
                content.push(byte);
            }
        }
        content
    }

    /// The value of Message-ID, with its brackets; empty if there is none.
    pub fn message_id(&self) -> &str {
        let end = self.content.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(self.content.len());
        let header =
            self.content.get(..end).and_then(|header| std::str::from_utf8(header).ok()).unwrap_or("");
        header.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or("")
    }
}

/// A word that no other mail of this run has.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}.{:x}.{count}", since_1970.as_nanos(), std::process::id())
}

/// Dot-stuffs content and ends it (RFC 5321 §4.5.2); a last line without CRLF gains one.
pub fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 64);
    let mut line_start = true;
    for &byte in content {
        if line_start && byte == b'.' {
            stuffed.push(b'.');
        }
        line_start = byte == b'\n';
        stuffed.push(byte);
    }
    if !stuffed.ends_with(b"\r\n") && !stuffed.is_empty() {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_the_line_ends_that_are_asked_for() {
        let mail = Mail::new("a@a.test", &["b@b.test", "c@c.test"], "one\ntwo\r\n");
        assert!(mail.content.ends_with(b"\r\n\r\none\r\ntwo\r\n"));
        assert!(mail.unix_content().ends_with(b"\n\none\ntwo\n"));
        assert!(mail.message_id().ends_with("@postern.test>"));
    }

    #[test]
    fn dots_are_stuffed() {
        assert_eq!(dot_stuffed(b".a\r\n..\r\nb.c"), b"..a\r\n...\r\nb.c\r\n.\r\n");
        assert_eq!(dot_stuffed(b""), b".\r\n");
    }
}
