//! The PROXY header in front of a connection: the same in any pieces, not one octet of the client's taken with it, and what
//! Postern writes itself is read back.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use intercept::canonical;
use intercept::proxy_protocol::{Header, MAX_V2, ProxyError, Reader, write_v2};
use libfuzzer_sys::fuzz_target;
use postern_fuzz::Pieces;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let read_once = read(pieces);
    assert_eq!(read_once, read(Pieces::whole(pieces.bytes())));
    assert_eq!(read_once, read(Pieces::single(pieces.bytes())));
    if let Ok(Some((header, length))) = read_once {
        assert!(length <= MAX_V2);
        check_canonical(header);
    }
    let mut rest = pieces.bytes();
    if let (Some(source), Some(destination)) = (take_address(&mut rest), take_address(&mut rest)) {
        check_written(source, destination, rest, pieces);
    }
});

/// The header, and how many octets it was; `None` if it goes on.
fn read(pieces: Pieces<'_>) -> Result<Option<(Header, usize)>, ProxyError> {
    let (mut reader, mut used) = (Reader::new(), 0);
    for piece in pieces.iter() {
        let mut input = piece;
        let header = reader.read(&mut input)?;
        used += piece.len() - input.len();
        match header {
            Some(header) => return Ok(Some((header, used))),
            None => assert!(input.is_empty()),
        }
    }
    Ok(None)
}

/// One address is one value, whichever family it came as: bans and limits go by it.
fn check_canonical(header: Header) {
    if let Header::Proxied { source, destination } = header {
        assert_eq!((source, destination), (canonical(source), canonical(destination)));
    }
}

fn check_written(source: SocketAddr, destination: SocketAddr, behind: &[u8], pieces: Pieces<'_>) {
    let mut wire = Vec::new();
    write_v2(&mut wire, source, destination);
    let length = wire.len();
    wire.extend_from_slice(behind);
    let header = Header::Proxied { source: canonical(source), destination: canonical(destination) };
    assert_eq!(read(pieces.of(&wire)), Ok(Some((header, length))));
}

fn take_address(bytes: &mut &[u8]) -> Option<SocketAddr> {
    let (&family, rest) = bytes.split_first()?;
    let (address, rest): (IpAddr, _) = if family % 2 == 0 {
        let (octets, rest) = rest.split_first_chunk::<4>()?;
        ((*octets).into(), rest)
    } else {
        let (octets, rest) = rest.split_first_chunk::<16>()?;
        ((*octets).into(), rest)
    };
    let (port, rest) = rest.split_first_chunk()?;
    *bytes = rest;
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}
