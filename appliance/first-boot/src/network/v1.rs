//! `network-config` version 1: a list of things with subnets in them. Proxmox VE and Hetzner write it.

use super::v2::{resolvers, search_domains};
use super::values::{MTU, VLAN_TAGS, address, destination, machine, prefix_length, why_no_address};
use super::{Dhcp, Interface, InterfaceName, Kind, Mac, Network, Pattern, Route};
use crate::document::{At, Fields, Reading};

pub(super) fn read(reading: &mut Reading, mut fields: Fields<'_>) -> Option<Network> {
    let mut network = Network::default();
    let Some(config) = fields.take("config") else {
        reading.wrong(&fields.at, "`config` is missing; a list of interfaces is expected");
        return None;
    };
    let mut free_routes = Vec::new();
    for at in reading.list(&config, false) {
        let Some(fields) = reading.fields(&at) else { continue };
        thing(reading, fields, &mut network, &mut free_routes);
    }
    place_routes(reading, &mut network, free_routes);
    reading.rest(fields);
    Some(network)
}

fn thing<'n>(
    reading: &mut Reading,
    mut fields: Fields<'n>,
    network: &mut Network,
    free_routes: &mut Vec<(At<'n>, Route)>,
) {
    let Some(kind) = fields.take("type") else {
        reading
            .wrong(&fields.at, "`type` is missing; `physical`, `vlan`, `nameserver` or `route` is expected");
        return;
    };
    match kind.node.text() {
        Some("physical") => network.interfaces.extend(physical(reading, fields)),
        Some("vlan") => network.interfaces.extend(vlan(reading, fields)),
        Some("nameserver") => nameserver(reading, fields, network),
        Some("route") => {
            let at = fields.at.clone();
            free_routes.extend(route(reading, fields).map(|route| (at, route)));
        }
        // It is there in any case.
        Some("loopback") => {}
        _ => reading.wrong(
            &kind,
            "Postern makes none of these; `physical`, `vlan`, `nameserver` or `route` is expected",
        ),
    }
}

fn physical(reading: &mut Reading, mut fields: Fields<'_>) -> Option<Interface> {
    let name = name(reading, &mut fields)?;
    let mac = fields.take("mac_address").and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new));
    // With both given, version 1 means: this address, and from now on this name.
    let kind = match mac {
        Some(_) => Kind::Ethernet { mac, name: None, driver: None, set_name: Some(name.clone()) },
        None => Kind::Ethernet { mac, name: Pattern::new(name.as_str()), driver: None, set_name: None },
    };
    Some(inside(reading, fields, Interface::new(name.as_str(), kind)))
}

fn vlan(reading: &mut Reading, mut fields: Fields<'_>) -> Option<Interface> {
    let name = name(reading, &mut fields)?;
    let tag = fields.take("vlan_id").and_then(|at| reading.number(&at, VLAN_TAGS));
    let parent = fields.take("vlan_link").and_then(|at| reading.text(&at));
    let mac = fields.take("mac_address").and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new));
    let (Some(tag), Some(parent)) = (tag, parent) else {
        reading.wrong(
            &fields.at,
            "a VLAN needs `vlan_id` (1 to 4094) and `vlan_link` (the interface that it is on)",
        );
        return None;
    };
    let tag = u16::try_from(tag).ok()?;
    let kind = Kind::Vlan { tag, parent: parent.to_owned(), name: name.clone(), mac };
    Some(inside(reading, fields, Interface::new(name.as_str(), kind)))
}

fn name(reading: &mut Reading, fields: &mut Fields<'_>) -> Option<InterfaceName> {
    let Some(at) = fields.take("name") else {
        reading.wrong(&fields.at, "`name` is missing; the name of an interface is expected");
        return None;
    };
    reading.parsed(&at, InterfaceName::EXPECTED, InterfaceName::new)
}

fn inside(reading: &mut Reading, mut fields: Fields<'_>, mut interface: Interface) -> Interface {
    interface.mtu = fields.take("mtu").and_then(|at| reading.number(&at, MTU));
    let accepts = fields.take("accept-ra").and_then(|at| reading.switch(&at));
    if let Some(at) = fields.take("subnets") {
        for at in reading.list(&at, false) {
            if let Some(fields) = reading.fields(&at) {
                subnet(reading, fields, &mut interface);
            }
        }
    }
    if let Some(accepts) = accepts {
        interface.accept_ra = accepts;
    }
    reading.rest(fields);
    interface
}

fn subnet(reading: &mut Reading, mut fields: Fields<'_>, interface: &mut Interface) {
    let Some(kind) = fields.take("type") else {
        reading
            .wrong(&fields.at, "`type` is missing; `dhcp4`, `static`, `ipv6_slaac` or the like is expected");
        return;
    };
    match kind.node.text() {
        Some("dhcp" | "dhcp4") => interface.dhcp4 = Some(Dhcp::default()),
        Some("dhcp6" | "ipv6_dhcpv6-stateful") => {
            interface.dhcp6 = Some(Dhcp::default());
            interface.accept_ra = true;
        }
        // A router's advertisement says whether DHCPv6 is asked for the rest.
        Some("ipv6_slaac" | "ipv6_dhcpv6-stateless") => interface.accept_ra = true,
        Some("static" | "static6") => fixed(reading, &mut fields, interface),
        Some("manual") => {}
        _ => reading.wrong(
            &kind,
            "`dhcp4`, `dhcp6`, `ipv6_slaac`, `ipv6_dhcpv6-stateless`, `ipv6_dhcpv6-stateful`, `static`, `static6` or \
             `manual` is expected",
        ),
    }
    if let Some(at) = fields.take("dns_nameservers") {
        interface.resolvers.extend(resolvers(reading, &at));
    }
    if let Some(at) = fields.take("dns_search") {
        interface.search.extend(search_domains(reading, &at));
    }
    if let Some(at) = fields.take("routes") {
        for at in reading.list(&at, false) {
            if let Some(fields) = reading.fields(&at) {
                interface.routes.extend(route(reading, fields));
            }
        }
    }
    // `ipv4: true` and the like repeat what the type says.
    for key in ["ipv4", "ipv6", "control"] {
        fields.take(key);
    }
    reading.rest(fields);
}

fn fixed(reading: &mut Reading, fields: &mut Fields<'_>, interface: &mut Interface) {
    let mask = fields.take("netmask").and_then(|at| mask(reading, &at));
    match fields.take("address") {
        None => reading.wrong(&fields.at, "`address` is missing; such as `192.0.2.7/24` is expected"),
        Some(at) => {
            let expected = "an IP address such as `192.0.2.7/24` (or with `netmask` beside it)";
            let Some(net) = reading.parsed(&at, expected, |text| address(text, mask)) else { return };
            match why_no_address(&net) {
                Some(why) => reading.wrong(&at, format!("{net} cannot be an interface's address: {why}")),
                None => interface.addresses.push(net),
            }
        }
    }
    if let Some(gateway) = fields.take("gateway").and_then(|at| machine(reading, &at, "router")) {
        interface.routes.push(Route::default_via(gateway));
    }
    // It follows from address and prefix.
    fields.take("broadcast");
}

fn mask(reading: &mut Reading, at: &At<'_>) -> Option<u8> {
    reading.parsed(at, "a netmask such as `255.255.255.0` or `24`", prefix_length)
}

fn route(reading: &mut Reading, mut fields: Fields<'_>) -> Option<Route> {
    let mask = fields.take("netmask").and_then(|at| mask(reading, &at));
    let via = fields.take("gateway").and_then(|at| machine(reading, &at, "router"));
    let to = fields.take("destination").or_else(|| fields.take("network"));
    let metric = fields.take("metric").and_then(|at| reading.number(&at, 0..=u32::MAX));
    let (Some(to), Some(via)) = (to, via) else {
        reading.wrong(&fields.at, "a route needs `destination` (a network) and `gateway` (a router)");
        return None;
    };
    let to = reading
        .parsed(&to, "a network such as `198.51.100.0/24`", |text| destination(text, mask, Some(via)))?;
    reading.rest(fields);
    Some(Route { to, via: Some(via), metric, on_link: false, mtu: None })
}

fn nameserver(reading: &mut Reading, mut fields: Fields<'_>, network: &mut Network) {
    let found = fields.take("address").map(|at| resolvers(reading, &at)).unwrap_or_default();
    let search = fields.take("search").map(|at| search_domains(reading, &at)).unwrap_or_default();
    let of = fields.take("interface");
    reading.rest(fields);
    let named = of.as_ref().and_then(|at| reading.text(at));
    match named.and_then(|name| network.interfaces.iter_mut().find(|interface| interface.id == name)) {
        Some(interface) => {
            interface.resolvers.extend(found);
            interface.search.extend(search);
        }
        None => {
            network.resolvers.extend(found);
            network.search.extend(search);
        }
    }
}

/// A route that stands alone goes over the interface whose network its router is in.
fn place_routes(reading: &mut Reading, network: &mut Network, routes: Vec<(At<'_>, Route)>) {
    for (at, route) in routes {
        let knows = |interface: &&mut Interface| {
            route.via.is_some_and(|via| interface.addresses.iter().any(|net| net.contains(&via)))
        };
        match network.interfaces.iter_mut().find(knows) {
            Some(interface) => interface.routes.push(route),
            None => reading.wrong(&at, "no interface has an address in the network of its `gateway`"),
        }
    }
}
