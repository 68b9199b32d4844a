//! Whom the guard never bans, by its own reading of the config and the interfaces. It asks no name server: a server that
//! the config names only by name is kept from bans by the gate.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;

use super::ban_desk::Never;
use crate::config::{Config, Host, Mode, ServerAddress};

/// As things are now; addresses come and go with DHCP.
pub(in crate::roles) fn never(config: &Config) -> Never {
    let interfaces: Vec<InterfaceAddress> = match getifaddrs() {
        Ok(interfaces) => interfaces.collect(),
        Err(error) => {
            tracing::warn!(%error, "this machine's addresses are not known");
            Vec::new()
        }
    };
    let own = interfaces.iter().filter_map(|one| address(one.address.as_ref()?)).collect();
    let mut inside = configured(config);
    if config.network.mode != Mode::Front {
        let within = interfaces.iter().filter(|one| one.interface_name == config.network.inside);
        inside.extend(within.filter_map(on_link));
    }
    Never { own, inside }
}

fn configured(config: &Config) -> Vec<IpNet> {
    let backends = config.backends.iter();
    let servers = backends.flat_map(|backend| backend.servers.iter().chain([&backend.submission]));
    let relays = config.outbound.relays.iter();
    let mut inside: Vec<IpNet> = servers.chain(relays).filter_map(literal).collect();
    inside.extend(config.outbound.networks.iter().flatten());
    inside.extend(config.listeners.iter().flat_map(|listener| &listener.proxy_protocol_from));
    inside.extend(&config.admin.networks);
    inside.extend(config.resolver.servers.iter().map(|server| IpNet::from(server.ip())));
    inside
}

fn literal(server: &ServerAddress) -> Option<IpNet> {
    match &server.host {
        Host::Address(address) => Some(IpNet::from(address.to_canonical())),
        Host::Name(_) => None,
    }
}

/// The network that an interface is in.
fn on_link(interface: &InterfaceAddress) -> Option<IpNet> {
    let address = address(interface.address.as_ref()?)?;
    let mask = self::address(interface.netmask.as_ref()?)?;
    IpNet::with_netmask(address, mask).ok().map(|network| network.trunc())
}

fn address(socket: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = socket.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| socket.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn servers_proxies_administrators_and_this_machine_are_known() {
        let text = "hostname = \"mx1.example.net\"\n\
             [[listener]]\naddress = \"127.0.0.1:2525\"\nproxy_protocol_from = [\"192.0.2.0/28\"]\n\
             [[backend]]\ndomains = [\"example.net\"]\nservers = [\"198.51.100.10\", \"mail.example.net\"]\n\
             submission = \"[2001:db8::587]:587\"\n\
             [outbound]\nnetworks = [\"10.0.0.0/8\"]\n[admin]\nnetworks = [\"203.0.113.5/32\"]\n";
        let config = crate::config::parse(text, Path::new("/etc/postern/postern.toml")).unwrap();
        let never = never(&config);
        for network in [
            "127.0.0.1/32",
            "192.0.2.3/32",
            "198.51.100.10/32",
            "2001:db8::587/128",
            "10.9.9.9/32",
            "203.0.113.5/32",
        ] {
            assert!(never.refuses(network.parse().unwrap()).is_some(), "{network}");
        }
        assert_eq!(never.refuses("198.51.100.11/32".parse().unwrap()), None);
        assert!(never.own.contains(&"127.0.0.1".parse().unwrap()), "{:?}", never.own);
    }
}
