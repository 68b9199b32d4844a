//! What guard and gate say to each other over their socket pair: records of fixed size, numbers in little-endian.
//!
//! The gate may say four things ([`Verb`]), and the guard believes none of it: the gate reads the network. The guard
//! hands over what only root can make ([`Order`]), with descriptors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Octets of a [`Verb`].
pub const VERB: usize = 32;
/// Octets of an [`Order`].
pub const ORDER: usize = 64;

const VERB_MARK: [u8; 6] = *b"postV\x01";
const ORDER_MARK: [u8; 8] = *b"postO\0\0\x01";

/// What the gate may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Nothing of what comes from this network is let through, for so many seconds (at least 1).
    Ban {
        /// The network, host bits zero.
        network: IpNet,
        /// How long.
        seconds: u32,
    },
    /// The config becomes the text that comes along, as a descriptor of sealed memory.
    Config {
        /// By which the answer is known.
        number: u32,
    },
    /// The rule set is put up again as it should be.
    Reapply,
    /// A ban ends before its time.
    Unban(
        /// The network, as it was banned.
        IpNet,
    ),
}

/// What the guard tells the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All that is needed for a start was handed over.
    Begin {
        /// The guard's process.
        guard: u32,
        /// How often the gate was started anew.
        restarts: u32,
    },
    /// What became of [`Verb::Config`].
    Config {
        /// Of the verb.
        number: u32,
        /// 0: it is in place.
        outcome: u32,
        /// More of why not.
        detail: u32,
    },
    /// The config is to be read again.
    Reload,
    /// Listening sockets, as descriptors.
    Sockets {
        /// The address as the config has it.
        address: SocketAddr,
        /// How many.
        count: u8,
    },
    /// A sift worker: its socket and a pidfd, as descriptors.
    Worker {
        /// Which place it takes.
        slot: u32,
        /// Its process.
        pid: u32,
        /// How often this place was filled anew.
        restarts: u32,
    },
}

/// Why octets are no message. Whoever sent them is broken or taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first octets are those of something else.
    #[error("it is of another kind or version")]
    Kind,
    /// It is not as long as it must be.
    #[error("it has the wrong length")]
    Length,
    /// A field has a value that it cannot have.
    #[error("a field is out of range")]
    Value,
}

impl Verb {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; VERB] {
        let (verb, network, seconds) = match self {
            Self::Ban { network, seconds } => (1, Some(network), seconds),
            Self::Unban(network) => (2, Some(network), 0),
            Self::Reapply => (3, None, 0),
            Self::Config { number } => (4, None, number),
        };
        let (family, prefix, address) = match network {
            Some(IpNet::V4(net)) => (4, net.prefix_len(), sixteen(net.addr())),
            Some(IpNet::V6(net)) => (6, net.prefix_len(), net.addr().octets()),
            None => (0, 0, [0; 16]),
        };
        let mut out = Writer::<VERB>::new(&VERB_MARK);
        out.put(&[verb, family, prefix, 0, 0, 0]);
        out.put(&seconds.to_le_bytes());
        out.put(&address);
        out.bytes
    }

    /// Reads exactly one; the only octets that mean a verb are those that [`Verb::to_bytes`] makes of it.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; VERB] = bytes.try_into().map_err(|_| Malformed::Length)?;
        let mut rest = bytes.strip_prefix(&VERB_MARK).ok_or(Malformed::Kind)?;
        let [verb, family, prefix, _, _, _] = take(&mut rest)?;
        let seconds = u32::from_le_bytes(take(&mut rest)?);
        let address = take(&mut rest)?;
        let network = || network(family, prefix, address).ok_or(Malformed::Value);
        let read = match verb {
            1 if seconds > 0 => Self::Ban { network: network()?, seconds },
            2 => Self::Unban(network()?),
            3 => Self::Reapply,
            4 => Self::Config { number: seconds },
            _ => return Err(Malformed::Value),
        };
        // Fields that must be zero, host bits, a second way to say the same: all of it is refused here.
        if read.to_bytes() == *bytes { Ok(read) } else { Err(Malformed::Value) }
    }
}

impl Order {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; ORDER] {
        let mut out = Writer::<ORDER>::new(&ORDER_MARK);
        match self {
            Self::Begin { guard, restarts } => {
                out.put(&[1, 0, 0, 0]);
                out.numbers([guard, restarts, 0]);
            }
            Self::Reload => out.put(&[2]),
            Self::Sockets { address, count } => {
                let (family, octets, scope) = match address {
                    SocketAddr::V4(v4) => (4, sixteen(*v4.ip()), 0),
                    SocketAddr::V6(v6) => (6, v6.ip().octets(), v6.scope_id()),
                };
                out.put(&[3, count, family, 0]);
                out.numbers([address.port().into(), scope, 0]);
                out.put(&octets);
            }
            Self::Worker { slot, pid, restarts } => {
                out.put(&[4, 0, 0, 0]);
                out.numbers([slot, pid, restarts]);
            }
            Self::Config { number, outcome, detail } => {
                out.put(&[5, 0, 0, 0]);
                out.numbers([number, outcome, detail]);
            }
        }
        out.bytes
    }

    /// Reads exactly one, as strictly as [`Verb::read`].
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; ORDER] = bytes.try_into().map_err(|_| Malformed::Length)?;
        let mut rest = bytes.strip_prefix(&ORDER_MARK).ok_or(Malformed::Kind)?;
        let [kind, count, family, _] = take(&mut rest)?;
        let mut number = || take(&mut rest).map(u32::from_le_bytes);
        let (first, second, third) = (number()?, number()?, number()?);
        let octets = take(&mut rest)?;
        let read = match kind {
            1 => Self::Begin { guard: first, restarts: second },
            2 => Self::Reload,
            3 => {
                let port = u16::try_from(first).map_err(|_| Malformed::Value)?;
                let address = socket_address(family, octets, port, second).ok_or(Malformed::Value)?;
                Self::Sockets { address, count }
            }
            4 => Self::Worker { slot: first, pid: second, restarts: third },
            5 => Self::Config { number: first, outcome: second, detail: third },
            _ => return Err(Malformed::Value),
        };
        if read.to_bytes() == *bytes { Ok(read) } else { Err(Malformed::Value) }
    }
}

/// Fills a record from its beginning; what is left is zero.
struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    fn new(mark: &[u8]) -> Self {
        let mut writer = Self { bytes: [0; N], length: 0 };
        writer.put(mark);
        writer
    }

    fn put(&mut self, part: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.length);
        room.zip(part).for_each(|(to, from)| *to = *from);
        self.length += part.len();
    }

    fn numbers(&mut self, numbers: [u32; 3]) {
        numbers.iter().for_each(|number| self.put(&number.to_le_bytes()));
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(Malformed::Length)?;
    *rest = after;
    Ok(*taken)
}

fn sixteen(address: Ipv4Addr) -> [u8; 16] {
    let mut octets = [0; 16];
    octets.iter_mut().zip(address.octets()).for_each(|(to, from)| *to = from);
    octets
}

fn address(family: u8, octets: [u8; 16]) -> Option<IpAddr> {
    match family {
        4 => octets.first_chunk::<4>().map(|first| IpAddr::from(*first)),
        6 => Some(Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn network(family: u8, prefix: u8, octets: [u8; 16]) -> Option<IpNet> {
    let network = match address(family, octets)? {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, prefix).ok()?),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new(v6, prefix).ok()?),
    };
    (network.trunc() == network).then_some(network)
}

fn socket_address(family: u8, octets: [u8; 16], port: u16, scope: u32) -> Option<SocketAddr> {
    Some(match address(family, octets)? {
        IpAddr::V4(v4) => (v4, port).into(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_message_is_read_back() {
        for verb in [
            Verb::Ban { network: net("192.0.2.7/32"), seconds: 900 },
            Verb::Ban { network: net("2001:db8:1:2::/64"), seconds: u32::MAX },
            Verb::Unban(net("198.51.100.0/24")),
            Verb::Reapply,
            Verb::Config { number: 7 },
        ] {
            assert_eq!(Verb::read(&verb.to_bytes()), Ok(verb));
        }
        for order in [
            Order::Begin { guard: 1, restarts: 2 },
            Order::Reload,
            Order::Sockets { address: "[fe80::1%3]:25".parse().unwrap(), count: 64 },
            Order::Sockets { address: "192.0.2.1:587".parse().unwrap(), count: 1 },
            Order::Worker { slot: 3, pid: 4, restarts: u32::MAX },
            Order::Config { number: 7, outcome: 8, detail: 13 },
        ] {
            assert_eq!(Order::read(&order.to_bytes()), Ok(order));
        }
    }

    #[test]
    fn four_verbs_and_nothing_else_are_understood() {
        let ban = Verb::Ban { network: net("192.0.2.7/32"), seconds: 900 }.to_bytes();
        for length in (0..VERB).chain([VERB + 1, ORDER]) {
            let mut other = ban.to_vec();
            other.resize(length, 0);
            assert_eq!(Verb::read(&other), Err(Malformed::Length));
        }
        let changed = |place: usize, value: u8| {
            let mut bytes = ban;
            bytes[place] = value;
            Verb::read(&bytes)
        };
        assert_eq!(changed(0, b'P'), Err(Malformed::Kind));
        for (place, value) in [
            // Another verb, family or prefix; a pad; octets behind an IPv4 address.
            (6, 0),
            (6, 2),
            (6, 3),
            (6, 4),
            (7, 0),
            (7, 5),
            (8, 33),
            (8, 24),
            (9, 1),
            (11, 1),
            (20, 1),
            (31, 1),
        ] {
            assert_eq!(changed(place, value), Err(Malformed::Value), "{value} at {place}");
        }
        let mut no_time = ban;
        no_time[12..16].fill(0);
        assert_eq!(Verb::read(&no_time), Err(Malformed::Value));
    }
}
