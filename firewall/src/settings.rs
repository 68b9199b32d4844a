//! What a rule set is made from, and what is wrong with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The ports of mail that goes out: SMTP, submission over TLS, submission (RFC 5321, RFC 8314, RFC 6409).
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// Entries of a set that comes from a config. A larger one is a mistake, and would take the kernel long to load.
pub(crate) const MAX_ENTRIES: usize = 4096;
/// `IFNAMSIZ` less the NUL.
const MAX_INTERFACE_NAME: usize = 15;
/// Bits that an IPv4 address has in front of it when it is written as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// What a rule set is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the appliance stands in the network.
    pub mode: Mode,
    /// What the appliance itself offers. Everything else that comes to it is dropped.
    pub services: Vec<Service>,
    /// Public ports that lead to listening sockets on other ports.
    pub redirects: Vec<Redirect>,
    /// Networks that may not be banned, beside those that follow from `mode`: the appliance's own addresses, the
    /// administrators' networks.
    pub protected: Vec<IpNet>,
}

/// How the appliance stands in the network.
#[derive(Clone, Debug)]
pub enum Mode {
    /// One interface; senders come to the appliance's own address.
    Front {
        /// Connections to servers have the client's address: their replies, which are for addresses that are not the
        /// appliance's, must be brought back to it.
        transparent_source: bool,
    },
    /// It routes between outside and inside and takes the mail ports on their way, in both directions.
    Gateway(Gateway),
    /// Like the gateway, without an IP hop. Not in this version.
    Bridge,
}

/// A gateway's settings.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The interface towards the world.
    pub outside: String,
    /// The interface towards the servers.
    pub inside: String,
    /// The port of the transparent listener for connections from outside.
    pub inbound_port: u16,
    /// The port of the transparent listener for connections from inside.
    pub outbound_port: u16,
    /// Where the hidden servers take mail. Connections from outside to these are let through, or intercepted if armed.
    pub targets: BTreeSet<SocketAddr>,
    /// Those of `targets` that are intercepted.
    pub armed: BTreeSet<SocketAddr>,
    /// Inside hosts whose connections to [`MAIL_PORTS`] outside are intercepted.
    pub originators: Vec<IpNet>,
    /// Hosts and networks, on whichever side, whose mail is passed on unread, in both directions.
    pub bypass: Vec<IpNet>,
    /// Ports of inside hosts, beside `targets`, that can be reached from outside.
    pub forward: Vec<Port>,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port, read and written as `tcp/443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The protocol.
    pub transport: Transport,
    /// The number, not 0.
    pub number: u16,
}

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Self {
        Self { transport: Transport::Tcp, number }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport.name(), self.number)
    }
}

impl FromStr for Port {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::Port(text.to_owned());
        let (transport, number) = text.split_once('/').ok_or_else(invalid)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(invalid()),
        };
        let number = number.parse().ok().filter(|number| *number != 0).ok_or_else(invalid)?;
        Ok(Self { transport, number })
    }
}

/// A port of the appliance's that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The port.
    pub port: Port,
    /// On this address alone; `None`: on all.
    pub at: Option<IpAddr>,
    /// From these networks alone; empty: from everywhere.
    pub from: Vec<IpNet>,
}

/// A public TCP port whose connections end at another one, which can then be reached in no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redirect {
    /// The port that senders connect to.
    pub public: u16,
    /// On this address alone; `None`: on all of the appliance's.
    pub at: Option<IpAddr>,
    /// The port that Postern listens on.
    pub listening: u16,
}

/// What is wrong with [`Settings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Bridge mode is not there yet.
    #[error("bridge mode comes with a later version: use `gateway` or `front`")]
    Bridge,
    /// No interface can have this name.
    #[error(
        "`{0}` cannot be an interface: at most 15 visible characters, none of them a slash, quote, backslash or asterisk"
    )]
    Interface(String),
    /// The listeners for both directions share a port.
    #[error("both directions have the listening port {0}: they need one each")]
    ListeningPorts(u16),
    /// It cannot be armed, because connections to it are not let in.
    #[error("{0} is armed but is no server of a backend")]
    NoTarget(SocketAddr),
    /// No such port.
    #[error("`{0}` is no port: write `tcp/443` or `udp/443`")]
    Port(String),
    /// One public port leads to two places.
    #[error("port {0} is redirected twice")]
    RedirectedTwice(u16),
    /// Outside and inside are one interface.
    #[error("`{0}` cannot be outside and inside")]
    SameInterface(String),
    /// A set that is larger than any config has reason to make it.
    #[error("{count} {what}: at most {MAX_ENTRIES} can be loaded")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// An address that stands for all addresses.
    #[error("{0} is not the address of a server")]
    Unspecified(SocketAddr),
}

impl Settings {
    /// The same settings with addresses in their one form and networks disjoint and in order.
    pub(crate) fn checked(mut self) -> Result<Self, Invalid> {
        match &mut self.mode {
            Mode::Bridge => return Err(Invalid::Bridge),
            Mode::Front { .. } => {}
            Mode::Gateway(gateway) => gateway.check()?,
        }
        for service in &mut self.services {
            service.at = service.at.and_then(specified);
            service.from = disjoint(&service.from);
            few("networks of a service", service.from.len())?;
            if service.port.number == 0 {
                return Err(Invalid::Port(service.port.to_string()));
            }
        }
        self.services.sort();
        self.services.dedup();
        few("services", self.services.len())?;
        self.check_redirects()?;
        self.protected = disjoint(&self.protected);
        Ok(self)
    }

    fn check_redirects(&mut self) -> Result<(), Invalid> {
        for redirect in &mut self.redirects {
            redirect.at = redirect.at.and_then(specified);
            if let Some(zero) = [redirect.public, redirect.listening].into_iter().find(|port| *port == 0) {
                return Err(Invalid::Port(Port::tcp(zero).to_string()));
            }
        }
        self.redirects.sort();
        self.redirects.dedup();
        few("redirects", self.redirects.len())?;
        let clash = |one: &&Redirect| {
            let same = |other: &&Redirect| (other.public, other.at) == (one.public, one.at);
            self.redirects.iter().filter(same).count() > 1
        };
        match self.redirects.iter().find(clash) {
            Some(redirect) => Err(Invalid::RedirectedTwice(redirect.public)),
            None => Ok(()),
        }
    }
}

impl Gateway {
    fn check(&mut self) -> Result<(), Invalid> {
        for name in [&self.outside, &self.inside] {
            let fitting = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'"' | b'\\' | b'*');
            let special = name.is_empty() || name == "." || name == "..";
            if special || name.len() > MAX_INTERFACE_NAME || !name.bytes().all(fitting) {
                return Err(Invalid::Interface(name.clone()));
            }
        }
        if self.inside == self.outside {
            return Err(Invalid::SameInterface(self.inside.clone()));
        }
        for port in [self.inbound_port, self.outbound_port] {
            if port == 0 {
                return Err(Invalid::Port(Port::tcp(port).to_string()));
            }
        }
        if self.inbound_port == self.outbound_port {
            return Err(Invalid::ListeningPorts(self.inbound_port));
        }
        self.targets = endpoints(&self.targets)?;
        self.armed = self.armable(&self.armed)?;
        self.originators = disjoint(&self.originators);
        self.bypass = disjoint(&self.bypass);
        self.forward.sort();
        self.forward.dedup();
        few("servers", self.targets.len())?;
        few("originators", self.originators.len())?;
        few("networks to bypass", self.bypass.len())?;
        few("ports to forward", self.forward.len())
    }

    /// The endpoints in their one form, if each of them is a target.
    pub(crate) fn armable(&self, armed: &BTreeSet<SocketAddr>) -> Result<BTreeSet<SocketAddr>, Invalid> {
        let armed = endpoints(armed)?;
        match armed.difference(&self.targets).next() {
            Some(stranger) => Err(Invalid::NoTarget(*stranger)),
            None => Ok(armed),
        }
    }
}

pub(crate) fn few(what: &'static str, count: usize) -> Result<(), Invalid> {
    if count > MAX_ENTRIES { Err(Invalid::TooMany { what, count }) } else { Ok(()) }
}

fn endpoints(written: &BTreeSet<SocketAddr>) -> Result<BTreeSet<SocketAddr>, Invalid> {
    let one = |endpoint: &SocketAddr| match endpoint.ip().is_unspecified() || endpoint.port() == 0 {
        true => Err(Invalid::Unspecified(*endpoint)),
        // Without scope and flow label, which rules do not know.
        false => Ok(SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port())),
    };
    written.iter().map(one).collect()
}

fn specified(address: IpAddr) -> Option<IpAddr> {
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

/// The fewest networks that hold the same addresses, in order: an interval set refuses those that overlap.
pub(crate) fn disjoint(networks: &[IpNet]) -> Vec<IpNet> {
    let mut networks = IpNet::aggregate(&networks.iter().map(canonical).collect());
    networks.sort();
    networks
}

/// The network without host bits, and IPv4 where it is written as IPv4-mapped IPv6.
pub(crate) fn canonical(network: &IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_BITS => v6.addr().to_ipv4_mapped(),
        _ => None,
    };
    let v4 = mapped.and_then(|address| Ipv4Net::new(address, network.prefix_len() - MAPPED_BITS).ok());
    v4.map_or_else(|| network.trunc(), |v4| IpNet::V4(v4.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["tcp/443", "udp/53"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        for text in ["443", "tcp/0", "tcp/65536", "sctp/5", "tcp/", "tcp/443 accept"] {
            assert_eq!(text.parse::<Port>().unwrap_err(), Invalid::Port(text.to_owned()));
        }
    }

    #[test]
    fn networks_become_disjoint_and_mapped_ones_become_ipv4() {
        let written: Vec<IpNet> =
            ["198.51.100.7/24", "::ffff:203.0.113.9/128", "2001:db8::1/64", "198.51.100.0/25"]
                .map(|text| text.parse().unwrap())
                .into();
        let disjoint: Vec<_> = disjoint(&written).iter().map(IpNet::to_string).collect();
        assert_eq!(disjoint, ["198.51.100.0/24", "203.0.113.9/32", "2001:db8::/64"]);
    }
}
