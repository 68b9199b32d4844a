//! A message that proves itself: a field names it and says what must follow, so that the sink needs to know nothing.

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

/// The field; what was added above it on the way does not count.
const FIELD: &[u8] = b"X-Load: ";
/// The field is looked for in this much of a message, in octets.
const TOP: usize = 16 * 1024;
/// A line as an attachment in base64 has them, without its end.
const LINE: usize = 76;

/// What follows the field: the same octets in every message of a run.
#[derive(Debug)]
pub(crate) struct Rest {
    octets: Vec<u8>,
    digest: u64,
}

impl Rest {
    /// About `size` octets: two fields and lines that end in CRLF and begin with no dot.
    pub(crate) fn new(size: usize) -> Self {
        let mut octets = b"From: a@source.test\r\nSubject: load\r\n\r\n".to_vec();
        octets.reserve(size + LINE + 2);
        let mut turn = 0_usize;
        while octets.len() < size {
            octets.extend(
                (0..LINE).map(|column| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijk+/"[(turn + column * 7) % 39]),
            );
            octets.extend_from_slice(b"\r\n");
            turn += 1;
        }
        let digest = xxh3_64(&octets);
        Self { octets, digest }
    }

    /// The octets.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The field that goes before it in the message called `id`.
    pub(crate) fn field(&self, id: u64) -> String {
        format!("X-Load: {id:016x} {:x} {:016x}\r\n", self.octets.len(), self.digest)
    }
}

/// The name of a message that arrived as it was sent; `None` if it did not, or was never one of ours.
pub(crate) fn verify(message: &[u8]) -> Option<u64> {
    let top = message.get(..TOP).unwrap_or(message);
    let at = memmem::find_iter(top, FIELD)
        .find(|&at| at == 0 || top.get(..at).is_some_and(|above| above.ends_with(b"\r\n")))?;
    let after = message.get(at + FIELD.len()..)?;
    let end = memmem::find(after, b"\r\n")?;
    let mut words =
        str::from_utf8(after.get(..end)?).ok()?.split(' ').map(|word| u64::from_str_radix(word, 16));
    let (id, length, digest) = (words.next()?.ok()?, words.next()?.ok()?, words.next()?.ok()?);
    let rest = after.get(end + 2..)?;
    (rest.len() as u64 == length && xxh3_64(rest) == digest).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let rest = Rest::new(1000);
        [b"Received: by x\r\n", rest.field(7).as_bytes(), rest.octets()].concat()
    }

    #[test]
    fn a_message_with_fields_on_top_is_known_again() {
        assert_eq!(verify(&message()), Some(7));
    }

    #[test]
    fn a_message_that_lacks_an_octet_or_has_another_one_is_damaged() {
        let mut shorter = message();
        shorter.truncate(shorter.len() - 2);
        assert_eq!(verify(&shorter), None);
        let mut other = message();
        *other.last_mut().unwrap() = b'!';
        assert_eq!(verify(&other), None);
        assert_eq!(verify(b"Subject: something else\r\n\r\n"), None);
    }

    #[test]
    fn no_line_begins_with_a_dot_and_the_size_is_what_was_asked_for() {
        let rest = Rest::new(10_240);
        assert!(rest.octets().split(|&octet| octet == b'\n').all(|line| !line.starts_with(b".")));
        assert!((10_240..10_240 + LINE + 2).contains(&rest.octets().len()));
    }
}
