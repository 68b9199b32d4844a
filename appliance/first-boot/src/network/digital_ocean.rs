//! The interfaces in DigitalOcean's `v1.json`: addresses are fixed, there is no DHCP.

use super::v2::resolvers;
use super::values::{address, machine, prefix_length, why_no_address};
use super::{Interface, InterfaceName, Kind, Mac, Network, NetworkResult, Route, finish};
use crate::document::{At, Node, Reading};

/// Reads `interfaces` and `dns` of it; the rest is not the network's.
///
/// # Errors
///
/// As [`read_config`](super::read_config).
pub fn read(node: &Node, file: &'static str) -> NetworkResult {
    let mut reading = Reading::new(file);
    let network = whole(&mut reading, node);
    finish(reading, network)
}

fn whole(reading: &mut Reading, node: &Node) -> Option<Network> {
    let top = reading.top(node);
    let mut fields = reading.fields(&top)?;
    let mut network = Network::default();
    let Some(at) = fields.take("interfaces") else {
        reading.wrong(&top, "`interfaces` is missing");
        return None;
    };
    let mut kinds = reading.fields(&at)?;
    for kind in ["public", "private"] {
        let Some(at) = kinds.take(kind) else { continue };
        for (index, at) in reading.list(&at, false).iter().enumerate() {
            let name = if index == 0 { kind.to_owned() } else { format!("{kind}{index}") };
            network.interfaces.extend(interface(reading, at, &name, kind == "public"));
        }
    }
    reading.rest(kinds);
    if let Some(at) = fields.take("dns") {
        let mut dns = reading.fields(&at)?;
        network.resolvers = dns.take("nameservers").map(|at| resolvers(reading, &at)).unwrap_or_default();
    }
    Some(network)
}

fn interface(reading: &mut Reading, at: &At<'_>, name: &str, is_public: bool) -> Option<Interface> {
    let mut fields = reading.fields(at)?;
    let mac = fields.take("mac").and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new));
    if mac.is_none() {
        reading.wrong(at, "`mac` is missing; without it the port cannot be found");
        return None;
    }
    let set_name = InterfaceName::new(name);
    let mut interface = Interface::new(name, Kind::Ethernet { mac, name: None, driver: None, set_name });
    for key in ["ipv4", "ipv6", "anchor_ipv4"] {
        let Some(at) = fields.take(key) else { continue };
        // The anchor's router is for floating addresses only, the private network's for nothing.
        fixed(reading, &at, is_public && key != "anchor_ipv4", &mut interface);
    }
    for key in ["type", "anchor_ipv6"] {
        fields.take(key);
    }
    reading.rest(fields);
    Some(interface)
}

fn fixed(reading: &mut Reading, at: &At<'_>, with_route: bool, interface: &mut Interface) {
    let Some(mut fields) = reading.fields(at) else { return };
    let mask = fields.take("netmask").or_else(|| fields.take("cidr"));
    let mask = mask.and_then(|at| reading.parsed(&at, "a netmask", prefix_length));
    let Some(ip) = fields.take("ip_address") else {
        reading.wrong(at, "`ip_address` is missing");
        return;
    };
    let Some(net) = reading.parsed(&ip, "an IP address", |text| address(text, mask)) else { return };
    match why_no_address(&net) {
        Some(why) => reading.wrong(&ip, format!("{net} cannot be an interface's address: {why}")),
        None => interface.addresses.push(net),
    }
    let gateway = fields.take("gateway").filter(|_| with_route);
    if let Some(gateway) = gateway.and_then(|at| machine(reading, &at, "router")) {
        interface.routes.push(Route::default_via(gateway));
    }
    reading.rest(fields);
}
