//! What is found out about a body, and how: in one pass, in pieces of any size, in constant memory.

/// The outer form of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets in all.
    pub octets: u64,
    /// Lines; what stands behind the last line end is one, too.
    pub lines: u64,
    /// Octets of the longest line, without its CRLF or LF. RFC 5322 §2.1.1 allows 998.
    pub longest_line: u64,
    /// NUL octets.
    pub nuls: u64,
    /// Octets above 127.
    pub eight_bit: u64,
    /// Octets before the empty line that ends the header; all, if there is none.
    pub header_octets: u64,
    /// Lines of the header that begin a field: those that do not continue one (RFC 5322 §2.2.3).
    pub header_fields: u64,
}

impl Facts {
    pub(crate) const fn to_numbers(self) -> [u64; 7] {
        let Self { octets, lines, longest_line, nuls, eight_bit, header_octets, header_fields } = self;
        [octets, lines, longest_line, nuls, eight_bit, header_octets, header_fields]
    }

    pub(crate) const fn from_numbers(numbers: [u64; 7]) -> Self {
        let [octets, lines, longest_line, nuls, eight_bit, header_octets, header_fields] = numbers;
        Self { octets, lines, longest_line, nuls, eight_bit, header_octets, header_fields }
    }

    /// Whether some body could have these facts.
    pub(crate) fn is_possible(&self) -> bool {
        self.lines <= self.octets
            && (self.lines == 0) == (self.octets == 0)
            && self.longest_line <= self.octets
            && self.nuls.checked_add(self.eight_bit).is_some_and(|both| both <= self.octets)
            && self.header_octets <= self.octets
            && self.header_fields <= self.header_octets
            && self.header_fields <= self.lines
    }
}

/// Reads a body piece by piece.
#[derive(Clone, Debug)]
pub struct Reading {
    facts: Facts,
    /// Octets of the line that is not over yet, a CR at its end included.
    line: u64,
    /// The last octet of that line is a CR.
    after_cr: bool,
    /// The empty line has not come yet.
    in_header: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { facts: Facts::default(), line: 0, after_cr: false, in_header: true }
    }
}

impl Reading {
    /// The next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.facts.octets += piece.len() as u64;
        self.facts.nuls += count(piece, |octet| octet == 0);
        self.facts.eight_bit += count(piece, |octet| octet > 127);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            self.grow_line(piece.get(start..end).unwrap_or_default());
            self.end_line();
            start = end + 1;
        }
        self.grow_line(piece.get(start..).unwrap_or_default());
    }

    /// There is no more.
    pub fn finish(mut self) -> Facts {
        if self.line > 0 {
            self.facts.lines += 1;
            self.facts.longest_line = self.facts.longest_line.max(self.line);
        }
        if self.in_header {
            self.facts.header_octets = self.facts.octets;
        }
        self.facts
    }

    fn grow_line(&mut self, part: &[u8]) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { return };
        let begins_field = !matches!(first, b' ' | b'\t' | b'\r');
        if self.in_header && self.line == 0 && begins_field {
            self.facts.header_fields += 1;
        }
        self.line += part.len() as u64;
        self.after_cr = *last == b'\r';
    }

    fn end_line(&mut self) {
        let text = self.line - u64::from(self.after_cr);
        self.facts.lines += 1;
        self.facts.longest_line = self.facts.longest_line.max(text);
        if self.in_header {
            if text == 0 {
                self.in_header = false;
            } else {
                self.facts.header_octets += self.line + 1;
            }
        }
        self.line = 0;
        self.after_cr = false;
    }
}

fn count(piece: &[u8], wanted: impl Fn(u8) -> bool) -> u64 {
    piece.iter().map(|&octet| u64::from(wanted(octet))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], step: usize) -> Facts {
        let mut reading = Reading::default();
        body.chunks(step).for_each(|piece| reading.feed(piece));
        reading.finish()
    }

    #[test]
    fn a_message_is_counted_the_same_in_pieces_of_any_size() {
        let body = b"Subject: x\r\n y\r\nTo: b\r\n\r\nlong\xc3\xa4 line\r\n\0\r\nend";
        for step in 1..=body.len() {
            assert_eq!(
                read(body, step),
                Facts {
                    octets: 44,
                    lines: 7,
                    longest_line: 11,
                    nuls: 1,
                    eight_bit: 2,
                    header_octets: 23,
                    header_fields: 2
                },
                "in pieces of {step}"
            );
        }
    }

    #[test]
    fn odd_bodies_have_possible_facts() {
        for (body, lines, header_octets, header_fields) in [
            (&b""[..], 0, 0, 0),
            (b"\r\n", 1, 0, 0),
            (b"\n\n", 2, 0, 0),
            (b"A: b", 1, 4, 1),
            (b"A: b\n\nC: d", 3, 5, 1),
            (b"\r\r\n", 1, 3, 0),
            (b" folded first\r\n", 1, 15, 0),
        ] {
            let facts = read(body, 1);
            assert!(facts.is_possible(), "{facts:?}");
            assert_eq!(
                (facts.lines, facts.header_octets, facts.header_fields),
                (lines, header_octets, header_fields),
                "{body:?}"
            );
        }
    }
}
