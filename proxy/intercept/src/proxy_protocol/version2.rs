//! Version 2 (specification §2.2): sixteen fixed octets, the addresses, extensions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, ProxyError, extensions};
use crate::networks::canonical;

/// How each header begins.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const FIXED: usize = 16;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Two addresses and two ports.
const IPV4_BLOCK: u8 = 12;
const IPV6_BLOCK: u8 = 36;

/// Appends the header for a connection from `source` to `destination`. If one is IPv4 and the other IPv6, both go as
/// IPv6, the IPv4 one mapped.
pub fn write_v2(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    let (source, destination) = (canonical(source), canonical(destination));
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            write_fixed(out, PROXY, TCP_OVER_IPV4, IPV4_BLOCK);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            write_fixed(out, PROXY, TCP_OVER_IPV6, IPV6_BLOCK);
            out.extend_from_slice(&as_ipv6(from).octets());
            out.extend_from_slice(&as_ipv6(to).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// Appends the header for a connection of the proxy's own, such as a probe of the server.
pub fn write_v2_local(out: &mut Vec<u8>) {
    write_fixed(out, LOCAL, 0, 0);
}

/// The length of the whole header, once its fixed part is there.
pub(super) fn length(header: &[u8]) -> Result<Option<usize>, ProxyError> {
    if let Some(&octet) = header.get(12)
        && ![VERSION | LOCAL, VERSION | PROXY].contains(&octet)
    {
        return Err(ProxyError::Unknown(octet));
    }
    let Some(&[high, low]) = header.get(14..FIXED) else { return Ok(None) };
    Ok(Some(FIXED + usize::from(u16::from_be_bytes([high, low]))))
}

/// Reads a whole header, fixed part checked by [`length`].
pub(super) fn parse(header: &[u8]) -> Result<Header, ProxyError> {
    let (fixed, block) = header.split_at_checked(FIXED).ok_or(ProxyError::NotAHeader)?;
    // The rest of a LOCAL header is to be discarded, family included.
    if fixed[12] == VERSION | LOCAL {
        return Ok(Header::Local);
    }
    let (proxied, extensions_at) = match fixed[13] {
        TCP_OVER_IPV4 => (ipv4(block), FIXED + usize::from(IPV4_BLOCK)),
        TCP_OVER_IPV6 => (ipv6(block), FIXED + usize::from(IPV6_BLOCK)),
        // Unspecified, UNIX or UDP: valid, and no client that speaks SMTP. The specification has the receiver fall back
        // on the real addresses; nothing of the block is believed, so nothing of it is checked.
        octet if octet >> 4 <= 3 && octet & 0x0f <= 2 => return Ok(Header::Local),
        octet => return Err(ProxyError::Unknown(octet)),
    };
    let proxied = proxied.ok_or(ProxyError::AddressesMissing)?;
    extensions::check(header, extensions_at)?;
    Ok(proxied)
}

fn ipv4(block: &[u8]) -> Option<Header> {
    let (from, rest) = block.split_first_chunk::<4>()?;
    let (to, rest) = rest.split_first_chunk::<4>()?;
    proxied(Ipv4Addr::from(*from).into(), Ipv4Addr::from(*to).into(), rest)
}

fn ipv6(block: &[u8]) -> Option<Header> {
    let (from, rest) = block.split_first_chunk::<16>()?;
    let (to, rest) = rest.split_first_chunk::<16>()?;
    proxied(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), rest)
}

fn proxied(from: IpAddr, to: IpAddr, ports: &[u8]) -> Option<Header> {
    let (&[a, b, c, d], _) = ports.split_first_chunk::<4>()?;
    Some(Header::Proxied {
        source: canonical(SocketAddr::new(from, u16::from_be_bytes([a, b]))),
        destination: canonical(SocketAddr::new(to, u16::from_be_bytes([c, d]))),
    })
}

fn write_fixed(out: &mut Vec<u8>, command: u8, family: u8, length: u8) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[VERSION | command, family, 0, length]);
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
