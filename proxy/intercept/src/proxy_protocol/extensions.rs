//! The extensions of version 2 (specification §2.2, "TLV"). None of them is used: the name that the client asked for and
//! the TLS that the proxy ended are told again, or are not Postern's to trust. They are walked through so that a damaged
//! header is noticed, and a checksum is verified, as who knows of checksums must.

use super::ProxyError;

/// Type and length in front of each value.
const HEAD: usize = 3;
const CHECKSUM_TYPE: u8 = 3;
const CHECKSUM_LENGTH: usize = 4;

/// Checks all extensions of the whole `header`, of which the first begins at `at`.
pub(super) fn check(header: &[u8], mut at: usize) -> Result<(), ProxyError> {
    let mut checksum_at = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + HEAD) else { return Err(ProxyError::Extension) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value_at = at + HEAD;
        at = value_at + length;
        if at > header.len() {
            return Err(ProxyError::Extension);
        }
        // A second checksum would be computed with the first one in it or without: nobody says.
        if kind == CHECKSUM_TYPE && (length != CHECKSUM_LENGTH || checksum_at.replace(value_at).is_some()) {
            return Err(ProxyError::Extension);
        }
    }
    checksum_at.map_or(Ok(()), |at| verify(header, at))
}

/// The checksum is that of the header with zeros in its place.
fn verify(header: &[u8], at: usize) -> Result<(), ProxyError> {
    let (before, rest) = header.split_at(at);
    let (stated, after) = rest.split_first_chunk::<CHECKSUM_LENGTH>().ok_or(ProxyError::Extension)?;
    let octets = before.iter().chain(&[0; CHECKSUM_LENGTH]).chain(after);
    if crc32c(octets) == u32::from_be_bytes(*stated) { Ok(()) } else { Err(ProxyError::Checksum) }
}

/// CRC-32C (RFC 9260, Appendix A) bit by bit: once a connection, over a few dozen octets, a table would not pay.
pub(super) fn crc32c<'a>(octets: impl IntoIterator<Item = &'a u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !octets.into_iter().fold(!0, |sum, &octet| {
        (0..8).fold(
            sum ^ u32::from(octet),
            |sum, _| {
                if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 }
            },
        )
    })
}
