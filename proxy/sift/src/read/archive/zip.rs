//! The directory of a zip archive (APPNOTE 6.3), or where that is missing, what its members say of themselves.

use std::borrow::Cow;
use std::io::{self, Read as _};

use memchr::memmem;

use crate::read::charset;

/// Octets of a name that are looked at.
const MAX_NAME: usize = 1024;
/// Members that are listed.
const MAX_LISTED: usize = 2000;
/// The end of the directory lies within so many octets of the end: its own 22, and a comment.
const END_WITHIN: usize = 22 + 0xffff;

const MEMBER: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

/// What is in an archive.
#[derive(Debug)]
pub(in crate::read) struct Members<'a> {
    pub(in crate::read) list: Vec<Member<'a>>,
    /// There is no directory, or it names what is not there.
    pub(in crate::read) broken: bool,
    /// There are more.
    pub(in crate::read) left_out: bool,
}

/// A member.
#[derive(Clone, Debug)]
pub(in crate::read) struct Member<'a> {
    pub(in crate::read) name: Cow<'a, str>,
    /// As it lies there; all that follows, where its length is not known.
    pub(in crate::read) packed: &'a [u8],
    /// Octets unpacked, as it claims.
    pub(in crate::read) size: u64,
    pub(in crate::read) method: Method,
    pub(in crate::read) encrypted: bool,
}

/// How a member is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::read) enum Method {
    Stored,
    Deflated,
    /// Another one, that mail programs open seldom.
    Other,
}

impl Member<'_> {
    /// Adds at most `most` octets of it to `octets`; none of a method that is not known.
    pub(in crate::read) fn unpack(&self, most: usize, octets: &mut Vec<u8>) -> io::Result<usize> {
        match self.method {
            Method::Stored => self.packed.take(most as u64).read_to_end(octets),
            Method::Deflated => {
                flate2::bufread::DeflateDecoder::new(self.packed).take(most as u64).read_to_end(octets)
            }
            Method::Other => Ok(0),
        }
    }
}

/// Lists the members; `None` where there are none to be found.
pub(in crate::read) fn members(octets: &[u8]) -> Option<Members<'_>> {
    let listed = by_directory(octets).filter(|found| !found.list.is_empty() || octets.starts_with(END));
    listed.or_else(|| by_members(octets))
}

fn by_directory(octets: &[u8]) -> Option<Members<'_>> {
    let from = octets.len().saturating_sub(END_WITHIN);
    let end = from + memmem::rfind(octets.get(from..)?, END)?;
    let size = usize::try_from(number(octets, end + 12, 4)?).ok()?;
    let offset = usize::try_from(number(octets, end + 16, 4)?).ok()?;
    // What was put before the archive moves it; then the directory still ends where its end begins.
    let start = end.checked_sub(size).filter(|start| has(octets, *start, ENTRY)).unwrap_or(offset);
    let before = start.saturating_sub(offset);
    let mut found = Members { list: Vec::new(), broken: false, left_out: false };
    let mut at = start;
    while has(octets, at, ENTRY) {
        if found.list.len() >= MAX_LISTED {
            found.left_out = true;
            break;
        }
        let length = |from| number(octets, from, 2).and_then(|number| usize::try_from(number).ok());
        let (name, extra, comment) = (length(at + 28)?, length(at + 30)?, length(at + 32)?);
        let local = before + usize::try_from(number(octets, at + 42, 4)?).ok()?;
        let entry = Header { octets, at: at + 8, name: at + 46 };
        match entry.member(local, number(octets, at + 20, 4)?, number(octets, at + 24, 4)?, name) {
            Some(member) => found.list.push(member),
            None => found.broken = true,
        }
        at += 46 + name + extra + comment;
    }
    Some(found)
}

/// What directory and member have in common, from the flags on.
struct Header<'a> {
    octets: &'a [u8],
    at: usize,
    name: usize,
}

impl<'a> Header<'a> {
    fn member(&self, local: usize, packed: u64, size: u64, name: usize) -> Option<Member<'a>> {
        if !has(self.octets, local, MEMBER) {
            return None;
        }
        let own_name = usize::try_from(number(self.octets, local + 26, 2)?).ok()?;
        let own_extra = usize::try_from(number(self.octets, local + 28, 2)?).ok()?;
        let data = self.octets.get(local + 30 + own_name + own_extra..)?;
        let packed = usize::try_from(packed).ok()?;
        self.described(data.get(..packed).unwrap_or(data), size, name)
    }

    fn described(&self, packed: &'a [u8], size: u64, name: usize) -> Option<Member<'a>> {
        let flags = number(self.octets, self.at, 2)?;
        let method = match number(self.octets, self.at + 2, 2)? {
            0 => Method::Stored,
            8 => Method::Deflated,
            _ => Method::Other,
        };
        let name = self.octets.get(self.name..self.name + name)?;
        let name = charset::unlabelled(name.get(..MAX_NAME).unwrap_or(name));
        Some(Member { name, packed, size, method, encrypted: flags & 1 != 0 })
    }
}

/// One member after the other, without a directory.
fn by_members(octets: &[u8]) -> Option<Members<'_>> {
    let mut found = Members { list: Vec::new(), broken: true, left_out: false };
    let mut rest = 0;
    for at in memmem::find_iter(octets, MEMBER) {
        if at < rest {
            continue;
        }
        if found.list.len() >= MAX_LISTED {
            found.left_out = true;
            break;
        }
        let Some(member) = without_directory(octets, at) else { continue };
        rest = at + 30;
        found.list.push(member);
    }
    (!found.list.is_empty()).then_some(found)
}

fn without_directory(octets: &[u8], at: usize) -> Option<Member<'_>> {
    let header = Header { octets, at: at + 6, name: at + 30 };
    let (packed, size) = (number(octets, at + 18, 4)?, number(octets, at + 22, 4)?);
    let name = usize::try_from(number(octets, at + 26, 2)?).ok()?;
    let extra = usize::try_from(number(octets, at + 28, 2)?).ok()?;
    let data = octets.get(at + 30 + name + extra..)?;
    // Its length may come behind it; deflate knows its own end.
    let packed = match usize::try_from(packed).ok()? {
        0 => data,
        packed => data.get(..packed).unwrap_or(data),
    };
    header.described(packed, size, name)
}

fn has(octets: &[u8], at: usize, mark: &[u8]) -> bool {
    octets.get(at..).is_some_and(|rest| rest.starts_with(mark))
}

/// A number in little-endian.
fn number(octets: &[u8], at: usize, length: usize) -> Option<u64> {
    let octets = octets.get(at..at.checked_add(length)?)?;
    Some(octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}
