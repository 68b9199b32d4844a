//! Messages out of an mbox file (RFC 4155, and what programs make of it): each begins with a line `From `, an address and a
//! date, at the top of the file or behind an empty line. Lines `>From ` in it were quoted by whoever wrote the file, and lose one `>`.

use std::io::{self, BufRead, Read as _};

/// Octets of a message that are kept; the rest of it is read over.
pub const MAX_MESSAGE: usize = 8 << 20;
/// Octets of a line that are looked at in one piece: longer ones are read piece by piece.
const MAX_LINE: u64 = 64 << 10;

/// Whether a file that begins so is an mbox.
pub fn is_mbox(beginning: &[u8]) -> bool {
    beginning.starts_with(b"From ")
}

/// The messages of an mbox, one after the other, without the lines that part them.
#[derive(Debug)]
pub struct Messages<R> {
    lines: R,
    /// The separator of the next message has been read.
    begun: bool,
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    /// Reads from the file's beginning.
    pub fn new(lines: R) -> Self {
        Self { lines, begun: false, ended: false }
    }

    fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        // A line may be the next separator only where the one before it was empty.
        let (mut at_start, mut after_empty) = (true, !self.begun);
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                self.ended = true;
                return Ok((self.begun || !message.is_empty()).then_some(message));
            }
            if at_start && after_empty && is_separator(&line) {
                // The rest of a separator that is longer than a piece is no part of a message.
                while !line.ends_with(b"\n") {
                    line.clear();
                    if self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                        break;
                    }
                }
                if std::mem::replace(&mut self.begun, true) {
                    return Ok(Some(message));
                }
                (at_start, after_empty) = (true, false);
                continue;
            }
            let quoted = at_start && is_quoted(&line);
            let kept = if quoted { &line[1..] } else { &line[..] };
            message.extend_from_slice(&kept[..kept.len().min(MAX_MESSAGE - message.len())]);
            after_empty = at_start && matches!(&line[..], b"\n" | b"\r\n");
            at_start = line.ends_with(b"\n");
        }
    }
}

/// `From `, and a time of day: who writes "From" at the beginning of a paragraph writes none behind it.
fn is_separator(line: &[u8]) -> bool {
    let dated = |three: &[u8]| three[0].is_ascii_digit() && three[1] == b':' && three[2].is_ascii_digit();
    line.starts_with(b"From ") && line.windows(3).any(dated)
}

/// `>From `, with any number of `>`.
fn is_quoted(line: &[u8]) -> bool {
    let rest = line.iter().position(|octet| *octet != b'>').map_or(&line[..0], |at| &line[at..]);
    line.starts_with(b">") && rest.starts_with(b"From ")
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let message = self.message();
        self.ended |= message.is_err();
        message.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mbox: &[u8]) -> Vec<String> {
        Messages::new(mbox).map(|message| String::from_utf8(message.unwrap()).unwrap()).collect()
    }

    #[test]
    fn messages_are_parted_at_dated_lines_behind_empty_ones_alone() {
        let mbox = b"From a@example.org Sat Jan  1 10:00:00 2026\nSubject: one\n\nFrom here on\n>From there\n>>From\n\n\
            From b Sun Jan  2 11:00 2026\r\nSubject: two\r\n\r\nx\nFrom c Mon Jan  3 12:00:00 2026\ny";
        let expected = [
            "Subject: one\n\nFrom here on\nFrom there\n>>From\n\n",
            "Subject: two\r\n\r\nx\nFrom c Mon Jan  3 12:00:00 2026\ny",
        ];
        assert_eq!(messages(mbox), expected);
        assert!(is_mbox(mbox) && !is_mbox(b"From: a@example.org\n"));
    }

    #[test]
    fn what_is_empty_cut_off_or_endless_is_bounded() {
        assert_eq!(messages(b""), Vec::<String>::new());
        assert_eq!(messages(b"From a 10:00"), [""]);
        assert_eq!(messages(b"no separator\n"), ["no separator\n"]);
        let endless = [b"From a 10:00\n\n".as_slice(), &vec![b'x'; MAX_MESSAGE + 100]].concat();
        assert_eq!(messages(&endless).iter().map(String::len).collect::<Vec<_>>(), [MAX_MESSAGE]);
    }
}
