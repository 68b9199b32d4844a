//! Which addresses a stranger's DNS may send us to: not into our own networks. Whoever publishes an MX record chooses where
//! Postern connects to, and an address of the inside would make it knock on doors that are closed to him.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(upper: [u16; 4], bits: u8) -> Ipv6Net {
    let [a, b, c, d] = upper;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), bits)
}

/// Those of the IANA's special-purpose registry (RFC 6890) that lead into this machine or its networks, or nowhere. The
/// ranges for documentation are left out: nobody lives there.
const CLOSED_V4: [Ipv4Net; 12] = [
    v4(0, 0, 0, 0, 8),      // "this network": the kernel takes 0.0.0.0 for this machine
    v4(10, 0, 0, 0, 8),     // private, RFC 1918
    v4(100, 64, 0, 0, 10),  // shared with the provider, RFC 6598
    v4(127, 0, 0, 0, 8),    // loopback
    v4(169, 254, 0, 0, 16), // link-local, and the metadata of clouds
    v4(172, 16, 0, 0, 12),  // private
    v4(192, 0, 0, 0, 24),   // protocol assignments
    v4(192, 88, 99, 0, 24), // 6to4 relays, deprecated
    v4(192, 168, 0, 0, 16), // private
    v4(198, 18, 0, 0, 15),  // benchmarks
    v4(224, 0, 0, 0, 4),    // multicast
    v4(240, 0, 0, 0, 4),    // reserved, and broadcast
];

const CLOSED_V6: [Ipv6Net; 8] = [
    v6([0, 0, 0, 0], 96),         // unspecified, loopback, IPv4-compatible
    v6([0x64, 0xff9b, 1, 0], 48), // translation inside, RFC 8215
    v6([0x100, 0, 0, 0], 64),     // discarded
    v6([0x2001, 0, 0, 0], 32),    // Teredo
    v6([0xfc00, 0, 0, 0], 7),     // unique local
    v6([0xfe80, 0, 0, 0], 10),    // link-local
    v6([0xfec0, 0, 0, 0], 10),    // site-local, deprecated
    v6([0xff00, 0, 0, 0], 8),     // multicast
];

/// IPv6 networks whose addresses have an IPv4 address in them that is connected to in the end.
const TRANSLATED: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0], 16);

/// Whether an address is one of the Internet's.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => {
            !CLOSED_V6.iter().any(|closed| closed.contains(&v6)) && embedded(v6).is_none_or(is_public_v4)
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4.iter().any(|closed| closed.contains(&address))
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    if TRANSLATED.contains(&address) {
        return Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
    }
    SIX_TO_FOUR.contains(&address).then(|| Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_inside_are_no_public_ones_however_they_are_written() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "fd00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "223.255.255.255",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2001:db8::1",
            "2002:c000:201::1",
            "2a00::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
