//! Lines that end in CRLF and in nothing else (RFC 5321 §2.3.8), with a bound.

use memchr::memchr3;

/// What was wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A CR that no LF follows.
    #[error("a carriage return without a line feed")]
    BareCarriageReturn,
    /// An LF that follows no CR.
    #[error("a line feed without a carriage return")]
    BareLineFeed,
    /// A NUL.
    #[error("a NUL")]
    Nul,
    /// Longer than the reader's bound.
    #[error("a line that is too long")]
    TooLong,
}

/// Cuts a byte stream into lines. It keeps at most one unfinished line of at most its bound.
#[derive(Debug)]
pub struct LineReader {
    kept: Vec<u8>,
    /// The line handed out last lies in `kept` and goes at the next call.
    handed_out: bool,
    limit: usize,
}

impl LineReader {
    /// A reader of lines of up to `limit` octets, CRLF not counted.
    pub fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), handed_out: false, limit }
    }

    /// Whether no unfinished line is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() || self.handed_out
    }

    /// Takes the next whole line from the front of `input`, without its CRLF. `None`: `input` is used up.
    ///
    /// # Errors
    ///
    /// [`LineError`]; what follows cannot be told apart any more, the connection is to be closed.
    pub fn read<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<&'s [u8]>, LineError> {
        if self.handed_out {
            self.kept = Vec::new();
            self.handed_out = false;
        }
        if self.kept.last() == Some(&b'\r') {
            match input.split_first() {
                None => return Ok(None),
                Some((b'\n', rest)) => {
                    *input = rest;
                    self.kept.pop();
                    self.handed_out = true;
                    return Ok(Some(&self.kept));
                }
                Some(_) => return Err(LineError::BareCarriageReturn),
            }
        }
        let bytes = *input;
        let Some(at) = memchr3(b'\r', b'\n', 0, bytes) else {
            return self.keep(input, bytes.len());
        };
        match bytes[at] {
            0 => Err(LineError::Nul),
            b'\n' => Err(LineError::BareLineFeed),
            _ => match bytes.get(at + 1) {
                None => self.keep(input, bytes.len()),
                Some(b'\n') => self.finish(input, at),
                Some(_) => Err(LineError::BareCarriageReturn),
            },
        }
    }

    fn finish<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        at: usize,
    ) -> Result<Option<&'s [u8]>, LineError> {
        let bytes = *input;
        if self.kept.len() + at > self.limit {
            return Err(LineError::TooLong);
        }
        *input = &bytes[at + 2..];
        if self.kept.is_empty() {
            return Ok(Some(&bytes[..at]));
        }
        self.kept.extend_from_slice(&bytes[..at]);
        self.handed_out = true;
        Ok(Some(&self.kept))
    }

    fn keep<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        length: usize,
    ) -> Result<Option<&'s [u8]>, LineError> {
        let bytes = *input;
        // One more than the limit may be the CR of the end.
        let carriage_return = usize::from(bytes.last() == Some(&b'\r'));
        if self.kept.len() + length > self.limit + carriage_return {
            return Err(LineError::TooLong);
        }
        self.kept.extend_from_slice(bytes);
        *input = &[];
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], size: usize, limit: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let mut reader = LineReader::new(limit);
        let mut lines = Vec::new();
        for piece in bytes.chunks(size) {
            let mut input = piece;
            while let Some(line) = reader.read(&mut input)? {
                lines.push(line.to_vec());
            }
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_the_same_in_any_pieces() {
        for size in 1..12 {
            assert_eq!(lines(b"one\r\n\r\nthree\r\nrest", size, 5).unwrap(), [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for size in 1..6 {
            assert_eq!(lines(b"a\nb\r\n", size, 99), Err(LineError::BareLineFeed));
            assert_eq!(lines(b"a\rb\r\n", size, 99), Err(LineError::BareCarriageReturn));
            assert_eq!(lines(b"a\r\r\n", size, 99), Err(LineError::BareCarriageReturn));
            assert_eq!(lines(b"a\0b\r\n", size, 99), Err(LineError::Nul));
            assert_eq!(lines(b"sixsix\r\n", size, 5), Err(LineError::TooLong));
            assert_eq!(lines(b"fives\r\n", size, 5).unwrap(), [b"fives"]);
        }
    }
}
