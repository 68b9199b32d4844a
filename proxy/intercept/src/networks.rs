//! Addresses and the networks they belong to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// Bits that an IPv4 address has in front of it when it is written as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;
/// The 64 upper bits of an IPv6 address: the smallest network that one customer gets, and whose lower half he may fill
/// as he likes (RFC 4291 §2.5.4).
const IPV6_NETWORK: u128 = !0 << 64;

/// A set of networks, as an administrator lists them. It is scanned from end to end: such lists are short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// The set that contains nothing.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there is no network in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` lies in one of the networks; an IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The networks.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.0.iter().copied()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().map(unmapped).collect())
    }
}

/// A network that is written as IPv4-mapped IPv6 would never match: addresses are made canonical before.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let (Some(address), Some(bits)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_BITS))
    else {
        return network;
    };
    Ipv4Net::new(address, bits).map_or(network, IpNet::V4)
}

/// The network whose members share one allowance where clients are counted: the address itself for IPv4, the /64 for
/// IPv6. A sender who owns a /64 could otherwise come from a new address each time.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address without IPv4-mapped IPv6: what a dual-stack socket calls `[::ffff:192.0.2.1]:25` is `192.0.2.1:25`.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        // As it came: a link-local address means nothing without its scope.
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        list.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn an_address_is_found_in_either_spelling() {
        let networks =
            networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48", "::ffff:198.51.100.0/120"]);
        for (address, within) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1:ffff::1", true),
            ("2001:db8:2::1", false),
            ("198.51.100.200", true),
            ("::ffff:198.51.100.200", true),
            ("198.51.101.1", false),
            // IPv4-compatible, deprecated, and no IPv4 address.
            ("::10.0.0.1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), within, "{address}");
        }
        assert!(!Networks::none().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn all_of_ipv6_does_not_mean_ipv4() {
        assert!(!networks(&["::/0"]).contains("::ffff:192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn limits_count_ipv4_by_address_and_ipv6_by_64_bits() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            assert_eq!(network_of(address.parse().unwrap()), network.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn canonical_keeps_the_port_and_the_scope() {
        for (given, expected) in [
            ("[::ffff:192.0.2.1]:25", "192.0.2.1:25"),
            ("[fe80::1%3]:25", "[fe80::1%3]:25"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let expected: SocketAddr = expected.parse().unwrap();
            assert_eq!(canonical(given.parse().unwrap()), expected);
        }
    }
}
