//! Version 1 (specification §2.1): one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, ProxyError};
use crate::networks::canonical;

/// How each line begins.
pub(super) const START: &[u8] = b"PROXY ";

/// Reads a line that ends with its first LF.
pub(super) fn parse(line: &[u8]) -> Result<Header, ProxyError> {
    let text =
        line.strip_prefix(START).and_then(|rest| rest.strip_suffix(b"\r\n")).ok_or(ProxyError::Malformed)?;
    // Whatever stands behind UNKNOWN is to be ignored, and need not be text.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(Header::Local);
    }
    let text = str::from_utf8(text).map_err(|_| ProxyError::Malformed)?;
    fields(text).ok_or(ProxyError::Malformed)
}

/// `family source destination source-port destination-port`, one space between each.
fn fields(text: &str) -> Option<Header> {
    let mut fields = text.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match fields.next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (address(fields.next()?)?, address(fields.next()?)?);
    let (source_port, destination_port) = (port(fields.next()?)?, port(fields.next()?)?);
    if fields.next().is_some() {
        return None;
    }
    Some(Header::Proxied {
        source: canonical(SocketAddr::new(source, source_port)),
        destination: canonical(SocketAddr::new(destination, destination_port)),
    })
}

/// Digits only, without a leading zero.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}
