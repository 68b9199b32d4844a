//! Names and addresses of machines as a config writes them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smtp::Domain;

/// A domain name, but not an IPv4 address: no top-level domain is a number.
pub(super) fn domain_name(text: &str) -> Option<Domain> {
    let domain: Domain = text.parse().ok()?;
    let last = domain.as_str().rsplit('.').next()?;
    (!last.bytes().all(|b| b.is_ascii_digit())).then_some(domain)
}

/// A machine: by address or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By address.
    Address(IpAddr),
    /// By name, which the system's resolver is asked for at start and at reload.
    Name(Domain),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// The machine.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl ServerAddress {
    /// Reads `10.0.0.10`, `10.0.0.10:25`, `mail.inside:25`, `[2001:db8::1]:25` and the same without port; an IPv6
    /// address without brackets has no port.
    pub fn new(text: &str, default_port: u16) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Self { host: Host::Address(address.into()), port: default_port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port_number(port)?),
            _ => (text, default_port),
        };
        if let Some(inner) = host.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self { host: Host::Address(address.into()), port });
        }
        let host = match host.parse::<std::net::Ipv4Addr>() {
            Ok(address) => Host::Address(address.into()),
            Err(_) => Host::Name(domain_name(host)?),
        };
        Some(Self { host, port })
    }

    /// The socket addresses that it stands for now, in the resolver's order.
    ///
    /// # Errors
    ///
    /// The system's resolver knows no address for the name.
    pub async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, self.port)]),
            Host::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_every_form_of_the_config() {
        for (text, read) in [
            ("10.0.0.10", "10.0.0.10:25"),
            ("10.0.0.10:2525", "10.0.0.10:2525"),
            ("mail.inside:26", "mail.inside:26"),
            ("Mail.Inside", "mail.inside:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("2001:db8::1", "[2001:db8::1]:25"),
        ] {
            assert_eq!(ServerAddress::new(text, 25).unwrap().to_string(), read, "{text}");
        }
        for text in
            ["", ":25", "10.0.0.300", "10.0.0.1:0", "10.0.0.1:99999", "[10.0.0.1]:25", "a b", "-x.y", "[::1"]
        {
            assert_eq!(ServerAddress::new(text, 25), None, "{text}");
        }
    }

    #[test]
    fn a_domain_is_lower_case_without_a_dot_at_its_end() {
        assert_eq!(domain_name("Example.NET.").unwrap().as_str(), "example.net");
        assert_eq!(domain_name("bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        for text in ["", ".", "a..b", "10.0.0.1", "a b.example", &"a.".repeat(130)] {
            assert_eq!(domain_name(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let server = ServerAddress::new("[::1]:2525", 25).unwrap();
        assert_eq!(server.look_up().await.unwrap(), ["[::1]:2525".parse().unwrap()]);
    }
}
