use proptest::prelude::*;

use super::*;
use crate::networks::canonical;

/// What HAProxy 2.6 sends with `send-proxy-v2 proxy-v2-options crc32c,ssl,cert-cn,unique-id,authority`.
const FROM_HAPROXY_V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x26\x7f\0\0\x01\x7f\0\0\x01\x9c\x5a\x6e\xd3\
    \x03\0\x04\x6b\x17\x61\x23\x05\0\x087F000001\x20\0\x05\0\0\0\0\0";
const FROM_HAPROXY_V6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x36\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xc1\x2c\x6e\xd3\
    \x03\0\x04\x35\x96\x34\xa4\x05\0\0\x20\0\x05\0\0\0\0\0";

/// The header, and how many bytes it was; `None` if it goes on. Fed in pieces of `size`.
fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Option<(Header, usize)>, ProxyError> {
    let mut reader = Reader::new();
    let mut used = 0;
    for piece in bytes.chunks(size) {
        let mut input = piece;
        let header = reader.read(&mut input)?;
        used += piece.len() - input.len();
        match header {
            Some(header) => return Ok(Some((header, used))),
            None => assert!(input.is_empty(), "an unfinished header leaves nothing unread"),
        }
    }
    Ok(None)
}

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&version2::SIGNATURE[..], &[version_and_command, family], &length, block].concat()
}

fn accepted() -> Vec<(Vec<u8>, Header)> {
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest_address = format!("[{longest}]:65535");
    let v1 = |line: &str, header| (format!("{line}\r\n").into_bytes(), header);
    let tcp4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 0, 25];
    let header4 = proxied("192.0.2.1:56324", "198.51.100.2:25");
    vec![
        v1("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443", proxied("192.168.0.1:56324", "192.168.0.11:443")),
        v1(
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
            proxied("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        v1("PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 0 25", proxied("[2001:db8::1]:0", "[2001:db8::2]:25")),
        v1(
            &format!("PROXY TCP6 {longest} {longest} 65535 65535"),
            proxied(&longest_address, &longest_address),
        ),
        v1("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 25", proxied("192.0.2.1:1", "192.0.2.2:25")),
        v1("PROXY UNKNOWN", Header::Local),
        v1("PROXY UNKNOWN ", Header::Local),
        v1("PROXY UNKNOWN \0 \r anything", Header::Local),
        v1(&format!("PROXY UNKNOWN {longest} {longest} 65535 65535"), Header::Local),
        (FROM_HAPROXY_V4.to_vec(), proxied("127.0.0.1:40026", "127.0.0.1:28371")),
        (FROM_HAPROXY_V6.to_vec(), proxied("[::1]:49452", "[::1]:28371")),
        (v2(0x21, 0x11, &tcp4), header4),
        (v2(0x21, 0x11, &[&tcp4[..], b"\x04\0\0\x02\0\x03mx.\xe0\0\x01x"].concat()), header4),
        (v2(0x20, 0, b""), Header::Local),
        (v2(0x20, 0x11, &tcp4), Header::Local),
        (v2(0x20, 0xff, b"whatever"), Header::Local),
        (v2(0x21, 0, b""), Header::Local),
        (v2(0x21, 0, b"not an extension"), Header::Local),
        (v2(0x21, 0x12, &tcp4), Header::Local),
        (v2(0x21, 0x31, &[0; 216]), Header::Local),
        (v2(0x20, 0, &[7; MAX_V2 - version2::FIXED]), Header::Local),
    ]
}

#[test]
fn a_header_is_read_in_any_pieces_and_nothing_behind_it_is_touched() {
    for (header, meaning) in accepted() {
        let wire = [&header[..], b"EHLO client.example\r\n"].concat();
        for size in 1..=wire.len() {
            assert_eq!(
                read_in_pieces(&wire, size),
                Ok(Some((meaning, header.len()))),
                "{header:?} by {size}"
            );
        }
    }
}

#[test]
fn a_header_is_read_when_it_is_split_anywhere() {
    for (header, meaning) in accepted() {
        for at in 0..header.len() {
            let (mut first, mut second) = header.split_at(at);
            let mut reader = Reader::new();
            assert_eq!(reader.read(&mut first), Ok(None), "{header:?} at {at}");
            assert_eq!(reader.is_empty(), at == 0);
            assert_eq!(reader.read(&mut second), Ok(Some(meaning)), "{header:?} at {at}");
            assert!(first.is_empty() && second.is_empty());
        }
    }
}

#[test]
fn what_is_no_header_is_refused_in_any_pieces() {
    use ProxyError::{AddressesMissing, Checksum, Extension, Malformed, NotAHeader, TooLong, Unknown};
    let mut wrong_sum = FROM_HAPROXY_V4.to_vec();
    wrong_sum[20] ^= 1;
    let extended = |extensions: &[u8]| v2(0x21, 0x11, &[&[0; 12], extensions].concat());
    for (wire, error) in [
        (b"EHLO client.example\r\n".to_vec(), NotAHeader),
        (b"\0".to_vec(), NotAHeader),
        (b"POST / HTTP/1.1\r\n".to_vec(), NotAHeader),
        (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), NotAHeader),
        (b"PROXY\r\n".to_vec(), NotAHeader),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), NotAHeader),
        (b"PROXY \r\n".to_vec(), Malformed),
        (b"PROXY TCP4\r\n".to_vec(), Malformed),
        (b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 -0 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        (b"PROXY UNKNOWNX\r\n".to_vec(), Malformed),
        (b"PROXY TCP4 \xff 192.0.2.2 1 2\r\n".to_vec(), Malformed),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; MAX_V1 - 15], b"\r\n"].concat(), TooLong),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 4000]].concat(), TooLong),
        (v2(0x11, 0x11, &[0; 12]), Unknown(0x11)),
        (v2(0x22, 0x11, &[0; 12]), Unknown(0x22)),
        (v2(0x21, 0x41, &[0; 12]), Unknown(0x41)),
        (v2(0x21, 0x13, &[0; 12]), Unknown(0x13)),
        (v2(0x21, 0x11, &[0; 11]), AddressesMissing),
        (v2(0x21, 0x21, &[0; 35]), AddressesMissing),
        (v2(0x20, 0, &[0; MAX_V2 - version2::FIXED + 1]), TooLong),
        (v2(0x21, 0x11, &[0xff; 0xffff]), TooLong),
        (extended(b"\x04"), Extension),
        (extended(b"\x04\0"), Extension),
        (extended(b"\x04\0\x02x"), Extension),
        (extended(b"\x04\xff\xff"), Extension),
        (extended(b"\x03\0\x03abc"), Extension),
        (extended(b"\x03\0\x04abcd\x03\0\x04abcd"), Extension),
        (wrong_sum, Checksum),
    ] {
        for size in 1..=wire.len().min(200) {
            assert_eq!(read_in_pieces(&wire, size), Err(error), "{wire:?} by {size}");
        }
    }
}

#[test]
fn a_header_that_never_ends_is_refused_at_the_bound() {
    let mut reader = Reader::new();
    assert_eq!(reader.read(&mut &b"PROXY UNKNOWN "[..]), Ok(None));
    let mut taken = 14;
    while let Ok(header) = reader.read(&mut &b"x"[..]) {
        assert_eq!(header, None);
        taken += 1;
        assert!(taken <= MAX_V1);
    }
    assert!(reader.kept.len() <= MAX_V1);
}

#[test]
fn the_checksum_is_the_standard_one() {
    assert_eq!(extensions::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn headers_are_written_as_the_specification_has_them() {
    let mut out = b"before".to_vec();
    write_v2(&mut out, "192.0.2.1:56324".parse().unwrap(), "[::ffff:198.51.100.2]:25".parse().unwrap());
    assert_eq!(out[6..], v2(0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 0, 25]));
    out.clear();
    write_v2_local(&mut out);
    assert_eq!(out, v2(0x20, 0, b""));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        source: SocketAddr,
        destination: SocketAddr,
        behind: Vec<u8>,
        size in 1_usize..80,
    ) {
        let mut wire = Vec::new();
        write_v2(&mut wire, source, destination);
        let length = wire.len();
        wire.extend_from_slice(&behind);
        // Flow label and scope do not travel.
        let bare = |address: SocketAddr| canonical(SocketAddr::new(address.ip(), address.port()));
        let header = Header::Proxied { source: bare(source), destination: bare(destination) };
        prop_assert_eq!(read_in_pieces(&wire, size), Ok(Some((header, length))));
    }

    #[test]
    fn a_line_of_version_1_is_read_back(source: SocketAddr, destination: SocketAddr) {
        prop_assume!(source.is_ipv4() == destination.is_ipv4());
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!(
            "PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port(),
        );
        let bare = |address: SocketAddr| canonical(SocketAddr::new(address.ip(), address.port()));
        let header = Header::Proxied { source: bare(source), destination: bare(destination) };
        prop_assert_eq!(read_in_pieces(line.as_bytes(), 7), Ok(Some((header, line.len()))));
    }

    #[test]
    fn garbage_means_the_same_in_any_pieces(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..40,
    ) {
        let wire = [start, &rest].concat();
        prop_assert_eq!(read_in_pieces(&wire, size), read_in_pieces(&wire, wire.len().max(1)));
    }
}
