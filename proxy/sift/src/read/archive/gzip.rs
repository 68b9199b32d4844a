//! gzip (RFC 1952): one stream, or several one behind the other.

use std::io::Read as _;

use flate2::bufread::{GzDecoder, MultiGzDecoder};

use crate::read::charset;

/// What was packed.
pub(in crate::read) struct Unpacked {
    pub(in crate::read) octets: Vec<u8>,
    /// As the header has it; empty if it has none.
    pub(super) name: String,
    pub(in crate::read) broken: bool,
    /// There is more than was asked for.
    pub(super) more: bool,
}

/// Unpacks at most `most` octets.
pub(in crate::read) fn unpack(packed: &[u8], most: usize) -> Unpacked {
    let mut octets = Vec::new();
    let mut decoder = MultiGzDecoder::new(packed);
    let broken = decoder.by_ref().take(most as u64).read_to_end(&mut octets).is_err();
    let more = !broken && octets.len() >= most && matches!(decoder.read(&mut [0]), Ok(1..));
    let header = GzDecoder::new(packed);
    let name =
        header.header().and_then(|header| header.filename()).map(charset::unlabelled).unwrap_or_default();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    Unpacked { octets, name, broken, more }
}
