//! The PROXY protocol, versions 1 and 2 (HAProxy's specification, `doc/proxy-protocol.txt`): the header by which a load
//! balancer tells whom a connection is really from.
//!
//! Who sends one says of himself who he is. A header is therefore read only from networks that are listed for it, and is
//! demanded from them: nothing here guesses whether there is one. The reader takes exactly the header, so that what the
//! client said behind it is still where it was.

mod extensions;
mod version1;
mod version2;

use std::net::SocketAddr;

use memchr::memchr;

pub use version2::{write_v2, write_v2_local};

/// The longest header of version 1, CRLF included (specification §2.1). Without a bound a peer could keep a line going
/// and fill memory.
pub const MAX_V1: usize = 107;
/// The longest header of version 2, extensions included. Its length field allows 64 KiB, which thousands of
/// connections could make Postern keep before anything is known of them. The specification says that a header fits
/// one segment; this is the segment of the smallest MTU that IPv6 permits (1280, RFC 8200 §5). It has room for every
/// extension registered so far at once, but for a client's whole certificate; 536, IPv4's smallest, has not.
pub const MAX_V2: usize = 1220;

/// What a header said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is the proxy's own (LOCAL: a health check), or the proxy cannot say whom it is from (UNKNOWN, or
    /// other than TCP over IP): the connection's real addresses count.
    Local,
    /// The connection is somebody else's. No address is IPv4-mapped IPv6.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// Why a connection that had to begin with a header does not. It must be closed without a word: to treat the proxy as
/// the client would give it the client's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Version 2: the block is shorter than the addresses it has to hold.
    #[error("a PROXY header without room for its addresses")]
    AddressesMissing,
    /// Version 2: the checksum is not that of the header.
    #[error("a PROXY header whose checksum is wrong")]
    Checksum,
    /// Version 2: an extension that reaches beyond the header, or a checksum that is none.
    #[error("a PROXY header with a damaged extension")]
    Extension,
    /// Version 1: the line is not the one that the specification prescribes.
    #[error("a malformed PROXY line")]
    Malformed,
    /// It begins like neither version.
    #[error("no PROXY header where one is required")]
    NotAHeader,
    /// Over [`MAX_V1`] or [`MAX_V2`].
    #[error("a PROXY header that is too long")]
    TooLong,
    /// A version, command, family or transport that the specification does not know; the value of its octet.
    #[error("a PROXY header with the unknown value {0:#04x}")]
    Unknown(u8),
}

/// Reads one header from the start of a connection, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Reader {
    /// At most [`MAX_V2`] octets, and only what has arrived.
    kept: Vec<u8>,
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input`, none beyond the header's end. `None` means that `input` is used up and the
    /// header goes on. What cannot become a header is refused with its first wrong byte.
    ///
    /// # Errors
    ///
    /// The connection must be closed; the reader must not be used again.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ProxyError> {
        match self.kept.first().or_else(|| input.first()) {
            None => Ok(None),
            Some(b'P') => self.read_v1(input),
            Some(b'\r') => self.read_v2(input),
            Some(_) => Err(ProxyError::NotAHeader),
        }
    }

    /// Whether nothing of a header has come yet.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn read_v1(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ProxyError> {
        let line_feed = memchr(b'\n', input);
        let wanted = line_feed.map_or(input.len(), |at| at + 1);
        if self.kept.len() + wanted > MAX_V1 {
            self.keep(input, MAX_V1 - self.kept.len());
            starts_like(&self.kept, version1::START)?;
            return Err(ProxyError::TooLong);
        }
        self.keep(input, wanted);
        starts_like(&self.kept, version1::START)?;
        match line_feed {
            None => Ok(None),
            Some(_) => version1::parse(&std::mem::take(&mut self.kept)).map(Some),
        }
    }

    fn read_v2(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ProxyError> {
        self.keep(input, version2::FIXED.saturating_sub(self.kept.len()));
        starts_like(&self.kept, &version2::SIGNATURE)?;
        let Some(length) = version2::length(&self.kept)? else { return Ok(None) };
        if length > MAX_V2 {
            return Err(ProxyError::TooLong);
        }
        self.keep(input, length - self.kept.len());
        if self.kept.len() < length {
            return Ok(None);
        }
        version2::parse(&std::mem::take(&mut self.kept)).map(Some)
    }

    fn keep(&mut self, input: &mut &[u8], wanted: usize) {
        let (taken, rest) = input.split_at(wanted.min(input.len()));
        self.kept.extend_from_slice(taken);
        *input = rest;
    }
}

/// Whether what came so far is the beginning of `start`, or begins with it.
fn starts_like(kept: &[u8], start: &[u8]) -> Result<(), ProxyError> {
    let both = kept.len().min(start.len());
    if kept[..both] == start[..both] { Ok(()) } else { Err(ProxyError::NotAHeader) }
}

#[cfg(test)]
mod tests;
