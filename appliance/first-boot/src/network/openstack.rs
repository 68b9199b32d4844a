//! OpenStack's `network_data.json`: links, the networks on them, services.

use std::collections::BTreeMap;

use super::v2::resolvers;
use super::values::{MTU, VLAN_TAGS, address, destination, machine, prefix_length, why_no_address};
use super::{Dhcp, Interface, InterfaceName, Kind, Mac, Network, NetworkResult, Route, finish};
use crate::document::{At, Fields, Node, Reading, Value};

/// Types of links that are plain ports to the machine, whatever they are outside of it (Nova's VIF models).
const PORTS: [&str; 13] = [
    "phy",
    "ethernet",
    "vif",
    "ovs",
    "bridge",
    "tap",
    "dvs",
    "hyperv",
    "hw_veb",
    "hostdev_physical",
    "vhostuser",
    "macvtap",
    "cascading",
];

/// Reads it.
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
    for at in take_list(reading, &mut fields, "links") {
        network.interfaces.extend(link(reading, &at));
    }
    for at in take_list(reading, &mut fields, "networks") {
        on_link(reading, &at, &mut network);
    }
    for at in take_list(reading, &mut fields, "services") {
        network.resolvers.extend(service(reading, &at));
    }
    reading.rest(fields);
    Some(network)
}

fn take_list<'n>(reading: &mut Reading, fields: &mut Fields<'n>, key: &str) -> Vec<At<'n>> {
    fields.take(key).map(|at| reading.list(&at, false)).unwrap_or_default()
}

fn link(reading: &mut Reading, at: &At<'_>) -> Option<Interface> {
    let mut fields = reading.fields(at)?;
    let id = fields.take("id").and_then(|at| reading.text(&at));
    let Some(id) = id else {
        reading.wrong(at, "`id` is missing");
        return None;
    };
    let mac = |key: &str, fields: &mut Fields<'_>, reading: &mut Reading| {
        fields.take(key).and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new))
    };
    let kind = fields.take("type");
    let kind = match kind.as_ref().and_then(|at| at.node.text()) {
        Some("vlan") => {
            let tag = fields.take("vlan_id").and_then(|at| reading.number(&at, VLAN_TAGS));
            let parent = fields.take("vlan_link").and_then(|at| reading.text(&at));
            let mac = mac("vlan_mac_address", &mut fields, reading);
            let (Some(tag), Some(parent)) = (tag, parent) else {
                reading.wrong(at, "a VLAN needs `vlan_id` and `vlan_link`");
                return None;
            };
            let name = InterfaceName::new(&format!("vlan{tag}"))?;
            Kind::Vlan { tag: u16::try_from(tag).ok()?, parent: parent.to_owned(), name, mac }
        }
        Some(port) if PORTS.contains(&port) => {
            let mac = mac("ethernet_mac_address", &mut fields, reading);
            if mac.is_none() {
                reading.wrong(at, "`ethernet_mac_address` is missing; without it the port cannot be found");
                return None;
            }
            Kind::Ethernet { mac, name: None, driver: None, set_name: None }
        }
        _ => {
            reading.wrong(
                kind.as_ref().unwrap_or(at),
                "Postern makes no link of this type; a port or `vlan` is expected",
            );
            return None;
        }
    };
    let mut interface = Interface::new(id, kind);
    interface.mtu = fields.take("mtu").and_then(|at| reading.number(&at, MTU));
    for key in ["vif_id", "name"] {
        fields.take(key);
    }
    reading.rest(fields);
    Some(interface)
}

fn on_link(reading: &mut Reading, at: &At<'_>, network: &mut Network) {
    let Some(mut fields) = reading.fields(at) else { return };
    let link = fields.take("link").and_then(|at| reading.text(&at));
    let Some(interface) = network.interfaces.iter_mut().find(|interface| Some(interface.id.as_str()) == link)
    else {
        reading.wrong(at, "`link` names no link that could be read");
        return;
    };
    let Some(kind) = fields.take("type") else {
        reading.wrong(at, "`type` is missing; `ipv4`, `ipv4_dhcp`, `ipv6` or the like is expected");
        return;
    };
    match kind.node.text() {
        Some("ipv4_dhcp") => interface.dhcp4 = Some(Dhcp::default()),
        Some("ipv6_dhcp" | "ipv6_dhcpv6-stateful") => {
            interface.dhcp6 = Some(Dhcp::default());
            interface.accept_ra = true;
        }
        Some("ipv6_slaac" | "ipv6_dhcpv6-stateless") => interface.accept_ra = true,
        Some("ipv4" | "ipv6") => fixed(reading, at, &mut fields, interface),
        _ => reading.wrong(&kind, "this type of network is not known"),
    }
    for at in take_list(reading, &mut fields, "routes") {
        interface.routes.extend(route(reading, &at));
    }
    if let Some(gateway) = fields.take("gateway").and_then(|at| machine(reading, &at, "router")) {
        interface.routes.push(Route::default_via(gateway));
    }
    if let Some(at) = fields.take("dns_nameservers") {
        interface.resolvers.extend(resolvers(reading, &at));
    }
    for at in take_list(reading, &mut fields, "services") {
        interface.resolvers.extend(service(reading, &at));
    }
    // Names of OpenStack's own, and what a port whose address is given by DHCP repeats.
    for key in ["id", "network_id", "ip_address", "netmask"] {
        fields.take(key);
    }
    reading.rest(fields);
}

fn fixed(reading: &mut Reading, at: &At<'_>, fields: &mut Fields<'_>, interface: &mut Interface) {
    let mask = fields.take("netmask").and_then(|at| mask(reading, &at));
    let Some(ip) = fields.take("ip_address") else {
        reading.wrong(at, "`ip_address` is missing");
        return;
    };
    let Some(net) = reading.parsed(&ip, "an IP address", |text| address(text, mask)) else { return };
    match why_no_address(&net) {
        Some(why) => reading.wrong(&ip, format!("{net} cannot be an interface's address: {why}")),
        None => interface.addresses.push(net),
    }
}

fn mask(reading: &mut Reading, at: &At<'_>) -> Option<u8> {
    reading.parsed(at, "a netmask such as `255.255.255.0`", prefix_length)
}

fn route(reading: &mut Reading, at: &At<'_>) -> Option<Route> {
    let mut fields = reading.fields(at)?;
    let mask = fields.take("netmask").and_then(|at| mask(reading, &at));
    let via = fields.take("gateway").and_then(|at| machine(reading, &at, "router"));
    let to = fields
        .take("network")
        .and_then(|at| reading.parsed(&at, "a network", |text| destination(text, mask, via)));
    // `services` of a route repeat those of its network.
    fields.take("services");
    reading.rest(fields);
    match (to, via) {
        (Some(to), Some(via)) => Some(Route { to, via: Some(via), metric: None, on_link: false, mtu: None }),
        _ => {
            reading.wrong(at, "a route needs `network`, `netmask` and `gateway`");
            None
        }
    }
}

/// The address of a DNS server, if it is one.
fn service(reading: &mut Reading, at: &At<'_>) -> Vec<std::net::IpAddr> {
    let known: BTreeMap<&str, &Node> = match &at.node.value {
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.as_str(), &entry.node)).collect(),
        _ => BTreeMap::new(),
    };
    match (known.get("type").and_then(|node| node.text()), known.get("address")) {
        (Some("dns"), Some(node)) => {
            let at = At { node, path: format!("{}.address", at.path) };
            machine(reading, &at, "DNS server").into_iter().collect()
        }
        _ => {
            reading.ignored(at, "a service other than `dns`");
            Vec::new()
        }
    }
}
