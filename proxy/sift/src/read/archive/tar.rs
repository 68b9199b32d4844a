//! tar (POSIX.1-1988 ustar, with the long names of GNU and pax).

use crate::read::charset;

const BLOCK: usize = 512;
/// Octets of a long name, or of what pax says of a file, that are read.
const MAX_NOTE: usize = 64 << 10;

/// A file in it.
pub(super) struct Member<'a> {
    pub(super) name: String,
    pub(super) octets: &'a [u8],
}

/// The files in it, in their order.
pub(super) struct Members<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Members<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, broken: false }
    }

    /// A header could not be read, or there is less than it says.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn next(&mut self) -> Option<Member<'a>> {
        let mut long_name = None;
        loop {
            let header = self.rest.get(..BLOCK).filter(|header| header.iter().any(|octet| *octet != 0))?;
            let Some(size) = octal(header.get(124..136)?) else {
                self.broken = true;
                return None;
            };
            let behind = self.rest.get(BLOCK..)?;
            let octets = behind.get(..size).unwrap_or(behind);
            self.broken |= octets.len() < size;
            let padded = size.div_ceil(BLOCK).checked_mul(BLOCK);
            self.rest = padded.and_then(|padded| behind.get(padded..)).unwrap_or_default();
            match header.get(156) {
                Some(b'L') => long_name = Some(text(octets.get(..MAX_NOTE).unwrap_or(octets))),
                Some(b'x') => long_name = path(octets.get(..MAX_NOTE).unwrap_or(octets)).or(long_name),
                Some(b'0' | 0 | b'7') => {
                    let name = long_name.unwrap_or_else(|| own_name(header));
                    return Some(Member { name, octets });
                }
                // Folders, links, devices, and what is said of all files.
                _ => long_name = None,
            }
        }
    }
}

fn own_name(header: &[u8]) -> String {
    let name = text(header.get(..100).unwrap_or_default());
    let prefix = match header.get(257..262) {
        Some(b"ustar") => text(header.get(345..500).unwrap_or_default()),
        _ => String::new(),
    };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

/// `path` of records such as `20 path=dir/file.txt`.
fn path(records: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(records, b" path=")? + b" path=".len();
    let value = records.get(at..)?;
    Some(text(value.get(..memchr::memchr(b'\n', value)?)?))
}

fn text(field: &[u8]) -> String {
    let end = memchr::memchr(0, field).unwrap_or(field.len());
    charset::unlabelled(field.get(..end).unwrap_or_default()).into_owned()
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(|c| c == ' ' || c == '\0');
    if text.is_empty() { Some(0) } else { usize::from_str_radix(text, 8).ok() }
}
