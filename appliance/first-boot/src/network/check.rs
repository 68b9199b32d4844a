//! What only the whole network tells: names that are taken twice, VLANs on nothing, routers that cannot be reached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::values::{MTU_OF_IPV6, is_link_local};
use super::{Interface, Kind, MAX_INTERFACES, MAX_PER_INTERFACE, Network};
use crate::document::Reading;

/// Notes everything that is wrong. Where a router is outside of all of an interface's networks, it is taken to be on the link,
/// as the providers that hand out single addresses (`/32`) mean it.
pub(super) fn check(network: &mut Network, reading: &mut Reading) {
    let mut wrong = |path: String, wrong: String| reading.problem(None, path, wrong);
    if network.interfaces.is_empty() {
        wrong(String::new(), "no interface is in it; at least one is expected".to_owned());
    }
    if network.interfaces.len() > MAX_INTERFACES {
        wrong(String::new(), format!("it has more than {MAX_INTERFACES} interfaces"));
    }
    twice(network, &mut wrong);
    for interface in &mut network.interfaces {
        single(interface, &mut wrong);
    }
    let ids: BTreeSet<&str> = network.interfaces.iter().map(|interface| interface.id.as_str()).collect();
    for interface in &network.interfaces {
        let Kind::Vlan { parent, .. } = &interface.kind else { continue };
        if !ids.contains(parent.as_str()) {
            let parent = crate::note::shown(parent);
            wrong(path(interface, "link"), format!("there is no interface `{parent}` for it to be on"));
        }
        if is_vlan(network, parent) {
            wrong(path(interface, "link"), "a VLAN on a VLAN is not made".to_owned());
        }
    }
    let outside = network.interfaces.len().max(1) * MAX_PER_INTERFACE;
    if network.resolvers.len() > outside || network.search.len() > outside {
        wrong(String::new(), "too many DNS servers or search domains".to_owned());
    }
}

fn path(interface: &Interface, key: &str) -> String {
    format!("{}.{key}", crate::note::shown(&interface.id))
}

fn is_vlan(network: &Network, id: &str) -> bool {
    network.interfaces.iter().any(|other| other.id == id && matches!(other.kind, Kind::Vlan { .. }))
}

fn twice(network: &Network, wrong: &mut impl FnMut(String, String)) {
    let (mut ids, mut names, mut matches, mut addresses) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for interface in &network.interfaces {
        if !ids.insert(interface.id.as_str()) {
            wrong(crate::note::shown(&interface.id), "there are two interfaces of this name".to_owned());
        }
        let (found_by, name) = match &interface.kind {
            Kind::Ethernet { mac, name, driver, set_name } => {
                let text = |pattern: &Option<super::Pattern>| pattern.as_ref().map(ToString::to_string);
                (Some((mac.map(|mac| mac.to_string()), text(name), text(driver))), set_name.as_ref())
            }
            Kind::Vlan { name, .. } => (None, Some(name)),
        };
        if found_by.is_some_and(|found_by| !matches.insert(found_by)) {
            wrong(path(interface, "match"), "another interface is found by the same".to_owned());
        }
        if name.is_some_and(|name| !names.insert(name.as_str())) {
            wrong(path(interface, "set-name"), "another interface gets the same name".to_owned());
        }
        for address in &interface.addresses {
            if !addresses.insert(address.addr()) {
                wrong(path(interface, "addresses"), format!("{} is there twice", address.addr()));
            }
        }
    }
}

fn single(interface: &mut Interface, wrong: &mut impl FnMut(String, String)) {
    let counts = [
        ("addresses", interface.addresses.len()),
        ("routes", interface.routes.len()),
        ("nameservers.addresses", interface.resolvers.len()),
        ("nameservers.search", interface.search.len()),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count > MAX_PER_INTERFACE) {
        wrong(path(interface, key), format!("there are more than {MAX_PER_INTERFACE}"));
    }
    let ipv6 = interface.dhcp6.is_some()
        || interface.accept_ra
        || interface.addresses.iter().any(|net| net.addr().is_ipv6());
    if let Some(mtu) = interface.mtu.filter(|mtu| ipv6 && *mtu < MTU_OF_IPV6) {
        wrong(path(interface, "mtu"), format!("{mtu} is too small for IPv6, which needs {MTU_OF_IPV6}"));
    }
    for index in 0..interface.routes.len() {
        route(interface, index, wrong);
    }
}

fn route(interface: &mut Interface, index: usize, wrong: &mut impl FnMut(String, String)) {
    let route = interface.routes[index];
    let key = format!("routes[{index}]");
    let Some(via) = route.via else { return };
    if via.is_ipv4() != route.to.addr().is_ipv4() {
        wrong(path(interface, &key), format!("{} cannot be reached over {via}: other family", route.to));
        return;
    }
    if interface.addresses.iter().any(|net| net.addr() == via) {
        wrong(path(interface, &key), format!("{via} is this machine itself and cannot be its router"));
    }
    if !route.on_link && !is_reachable(interface, via) {
        interface.routes[index].on_link = true;
    }
}

/// Whether an address says that the router is on the link. What DHCP and routers will say is not known yet.
fn is_reachable(interface: &Interface, via: IpAddr) -> bool {
    let dynamic = if via.is_ipv4() {
        interface.dhcp4.is_some()
    } else {
        interface.dhcp6.is_some() || interface.accept_ra
    };
    dynamic || is_link_local(via) || interface.addresses.iter().any(|net| net.contains(&via))
}
