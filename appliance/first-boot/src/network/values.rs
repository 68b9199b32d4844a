//! Names and numbers of networks, checked once, so that they can be written into a file of lines.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::document::{At, Reading};

/// MTUs: IPv4's least (RFC 791) to what a frame can be. IPv6 needs 1280, which is checked where IPv6 is used.
pub(super) const MTU: RangeInclusive<u32> = 68..=65_535;
/// The least that IPv6 works with (RFC 8200 §5).
pub(super) const MTU_OF_IPV6: u32 = 1280;
/// VLAN tags; 0 and 4095 are reserved (802.1Q).
pub(super) const VLAN_TAGS: RangeInclusive<u32> = 1..=4094;
/// Octets of an interface's name (IFNAMSIZ less its NUL).
const MAX_NAME: usize = 15;
/// Octets of a pattern.
const MAX_PATTERN: usize = 64;
/// Octets of a domain name (RFC 1035).
const MAX_DOMAIN: usize = 253;

macro_rules! checked_text {
    ($name:ident, $expected:expr) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                Self::new(&text).ok_or_else(|| format!("not {}", $expected))
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> Self {
                checked.to_string()
            }
        }

        impl $name {
            pub(super) const EXPECTED: &'static str = $expected;
        }
    };
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads `52:54:00:12:34:56`, also with dashes. No group address, and not all zero: no interface has one.
    pub fn new(text: &str) -> Option<Self> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part =
                parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *octet = u8::from_str_radix(part, 16).ok()?;
        }
        let is_one = parts.next().is_none() && octets[0] & 1 == 0 && octets != [0; 6];
        is_one.then_some(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

checked_text!(Mac, "the address of one Ethernet interface, such as `52:54:00:12:34:56`");

/// The name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Narrower than the kernel: letters, digits, `.`, `_` and `-`, a letter first. `all` and `default` are the kernel's own
    /// (sysctl), `lo` is taken.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= MAX_NAME
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !["all", "default", "lo"].contains(&text);
        fits.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

checked_text!(
    InterfaceName,
    "a name for an interface: at most 15 letters, digits, `.`, `_` and `-`, a letter first, not `lo`, `all` or `default`"
);

/// What an interface's name or driver looks like, with `*`, `?` and `[...]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// One word of the characters that names and patterns are made of. A `!` at its start would turn networkd's match round.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_PATTERN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-*?[]!^".contains(&b))
            && !text.starts_with('!');
        fits.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

checked_text!(Pattern, "a name, which may contain `*`, `?` and `[...]`");

/// A domain that short names are looked up in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SearchDomain(String);

impl SearchDomain {
    /// A domain name, or `~.`-less: routing domains (`~example`) are the resolver's business.
    pub fn new(text: &str) -> Option<Self> {
        is_domain_name(text).then(|| Self(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl fmt::Display for SearchDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

checked_text!(SearchDomain, "a domain name such as `example.net`");

/// Whether it is labels of letters, digits and hyphens.
pub(crate) fn is_domain_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_DOMAIN && text.split('.').all(label)
}

/// The prefix that every address of the family is in.
pub(super) fn everything(of: IpAddr) -> IpNet {
    match of {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// `255.255.255.0` or `24` or `ffff:ffff::` as the length of a prefix.
pub(super) fn prefix_length(text: &str) -> Option<u8> {
    if let Ok(length) = text.parse::<u8>() {
        return (length <= 128).then_some(length);
    }
    ipnet::ip_mask_to_prefix(text.parse().ok()?).ok()
}

/// An address with its prefix: `192.0.2.7/24`, or the prefix given beside it.
pub(super) fn address(text: &str, beside: Option<u8>) -> Option<IpNet> {
    if let Some((address, mask)) = text.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        return IpNet::new(address, prefix_length(mask)?).ok();
    }
    let address: IpAddr = text.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    IpNet::new(address, beside.unwrap_or(whole)).ok()
}

/// Why no interface can have this address; `None` if one can.
pub(super) fn why_no_address(net: &IpNet) -> Option<&'static str> {
    let address = net.addr();
    match net {
        _ if address.is_unspecified() => Some("it is no address of a machine"),
        _ if address.is_multicast() => Some("it is a multicast address"),
        _ if address.is_loopback() => Some("it is a loopback address"),
        _ if net.prefix_len() == 0 => Some("a network of prefix length 0 is the whole world"),
        IpNet::V4(net) if net.addr() == Ipv4Addr::BROADCAST => Some("it is the broadcast address"),
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.network() => {
            Some("it is the address of the network itself")
        }
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.broadcast() => {
            Some("it is the broadcast address of its network")
        }
        _ => None,
    }
}

/// Whether it can be asked or routed to.
pub(super) fn is_a_machine(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !broadcast
}

/// A router or DNS server.
pub(super) fn machine(reading: &mut Reading, at: &At<'_>, what: &str) -> Option<IpAddr> {
    reading.parsed(at, &format!("the IP address of a {what}"), |text| {
        text.parse().ok().filter(|ip| is_a_machine(*ip))
    })
}

/// Where a route leads: a network, an address, or `default`.
pub(super) fn destination(text: &str, beside: Option<u8>, family: Option<IpAddr>) -> Option<IpNet> {
    if text == "default" {
        return Some(everything(family.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))));
    }
    // `0.0.0.0` and `::` without a prefix are the default route in version 1.
    let all = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let beside = if all { Some(beside.unwrap_or(0)) } else { beside };
    address(text, beside).map(|net| net.trunc())
}

/// Whether a router of IPv6 has an address that is on every link.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(address) => is_fe80(address),
        IpAddr::V4(address) => address.is_link_local(),
    }
}

fn is_fe80(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_a_file_or_the_kernel_are_none() {
        for name in ["eth0", "outside", "ens3.100", "a"] {
            assert!(InterfaceName::new(name).is_some(), "{name}");
        }
        for name in ["", "0", "../x", "a b", "a\nb", "a/b", "lo", "all", "sixteen-letters-", ".", "é"] {
            assert!(InterfaceName::new(name).is_none(), "{name}");
        }
        assert!(
            Pattern::new("en*").is_some() && Pattern::new("!en*").is_none() && Pattern::new("a\n").is_none()
        );
        for domain in ["a b", "a..b", "~example", "x\n[Route]", ""] {
            assert!(SearchDomain::new(domain).is_none(), "{domain}");
        }
    }

    #[test]
    fn hardware_addresses_are_those_of_one_machine() {
        assert_eq!(Mac::new("52-54-00-AB-cd-56").unwrap().to_string(), "52:54:00:ab:cd:56");
        for mac in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "+1:0:0:0:0:0",
        ] {
            assert!(Mac::new(mac).is_none(), "{mac}");
        }
        assert!(serde_json::from_str::<Mac>("\"x\\ny\"").is_err());
    }

    #[test]
    fn masks_and_prefixes() {
        assert_eq!(prefix_length("255.255.255.0"), Some(24));
        assert_eq!(prefix_length("ffff:ffff:ffff:ffff::"), Some(64));
        assert_eq!(prefix_length("64"), Some(64));
        for text in ["255.0.255.0", "129", "-1", "x"] {
            assert_eq!(prefix_length(text), None, "{text}");
        }
        assert_eq!(address("192.0.2.7", Some(24)).unwrap().to_string(), "192.0.2.7/24");
        assert_eq!(address("192.0.2.7/255.255.255.0", None).unwrap().to_string(), "192.0.2.7/24");
        assert_eq!(address("192.0.2.7", Some(64)), None);
        assert_eq!(destination("default", None, Some("::1".parse().unwrap())).unwrap().to_string(), "::/0");
        assert_eq!(destination("0.0.0.0", None, None).unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(destination("10.1.2.3", Some(8), None).unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn addresses_that_no_machine_can_have() {
        for text in [
            "0.0.0.0/8",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "ff02::1/64",
            "::1/128",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "10.0.0.1/0",
        ] {
            assert!(why_no_address(&text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["192.0.2.0/31", "192.0.2.255/32", "2001:db8::/64", "169.254.1.1/16"] {
            assert!(why_no_address(&text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
