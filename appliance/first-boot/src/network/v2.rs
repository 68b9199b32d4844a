//! `network-config` version 2 (netplan's form): ethernets and VLANs.

use std::net::IpAddr;

use super::values::{MTU, VLAN_TAGS, address, destination, machine, why_no_address};
use super::{Dhcp, Interface, InterfaceName, Kind, Mac, Network, Pattern, Route, SearchDomain};
use crate::document::{At, Fields, Reading};

/// Kinds of interfaces that a mail gate is not given.
const NOT_MADE: [&str; 8] =
    ["bonds", "bridges", "wifis", "modems", "tunnels", "vrfs", "dummy-devices", "nm-devices"];

/// Takes what only interfaces of one kind have.
type ReadKind = fn(&mut Reading, &str, &mut Fields<'_>) -> Option<Kind>;

pub(super) fn read(reading: &mut Reading, mut fields: Fields<'_>) -> Option<Network> {
    let mut network = Network::default();
    for key in NOT_MADE {
        if let Some(at) = fields.take(key) {
            reading.wrong(&at, "Postern makes none of these; `ethernets` and `vlans` are expected");
        }
    }
    if let Some(at) = fields.take("renderer") {
        reading.ignored(&at, "systemd-networkd is the only one there is");
    }
    let groups: [(&str, ReadKind); 2] = [("ethernets", ethernet), ("vlans", vlan)];
    for (key, kind) in groups {
        let Some(at) = fields.take(key) else { continue };
        let Some(mut named) = reading.fields(&at) else { continue };
        for (entry, at) in named.take_all() {
            network.interfaces.extend(interface(reading, &entry.key, &at, kind));
        }
    }
    reading.rest(fields);
    Some(network)
}

fn interface(reading: &mut Reading, id: &str, at: &At<'_>, kind: ReadKind) -> Option<Interface> {
    let mut fields = reading.fields(at)?;
    let kind = kind(reading, id, &mut fields)?;
    let mut interface = Interface::new(id, kind);
    dynamic(reading, &mut interface, &mut fields);
    if let Some(at) = fields.take("addresses") {
        addresses(reading, &mut interface, &at);
    }
    for key in ["gateway4", "gateway6"] {
        let gateway = fields.take(key).and_then(|at| gateway(reading, &at, key == "gateway4"));
        interface.routes.extend(gateway.map(Route::default_via));
    }
    if let Some(at) = fields.take("routes") {
        interface.routes.extend(reading.list(&at, false).iter().filter_map(|at| route(reading, at)));
    }
    if let Some(at) = fields.take("nameservers") {
        (interface.resolvers, interface.search) = nameservers(reading, &at);
    }
    interface.mtu = fields.take("mtu").and_then(|at| reading.number(&at, MTU));
    interface.optional = fields.take("optional").and_then(|at| reading.switch(&at)).unwrap_or(false);
    reading.rest(fields);
    Some(interface)
}

fn dynamic(reading: &mut Reading, interface: &mut Interface, fields: &mut Fields<'_>) {
    let mut dhcp = |key: &str, overrides: &str| {
        let on = fields.take(key).and_then(|at| reading.switch(&at)).unwrap_or(false);
        let how = fields.take(overrides).and_then(|at| dhcp_overrides(reading, &at)).unwrap_or_default();
        on.then_some(how)
    };
    interface.dhcp4 = dhcp("dhcp4", "dhcp4-overrides");
    interface.dhcp6 = dhcp("dhcp6", "dhcp6-overrides");
    let accepts = fields.take("accept-ra").and_then(|at| reading.switch(&at));
    let by_dhcp = interface.dhcp4.is_some() || interface.dhcp6.is_some();
    interface.accept_ra = accepts.unwrap_or(by_dhcp);
}

fn ethernet(reading: &mut Reading, id: &str, fields: &mut Fields<'_>) -> Option<Kind> {
    let set_name = fields
        .take("set-name")
        .and_then(|at| reading.parsed(&at, InterfaceName::EXPECTED, InterfaceName::new));
    let (mac, name, driver) = match fields.take("match") {
        Some(at) => {
            let mut by = reading.fields(&at)?;
            let mac = by.take("macaddress").and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new));
            let name = by.take("name").and_then(|at| pattern(reading, &at));
            let driver = by.take("driver").and_then(|at| pattern(reading, &at));
            reading.rest(by);
            if mac.is_none() && name.is_none() && driver.is_none() {
                reading.wrong(
                    &at,
                    "nothing in it says which interface; `macaddress`, `name` or `driver` is expected",
                );
                return None;
            }
            (mac, name, driver)
        }
        None => {
            let Some(id) = InterfaceName::new(id) else {
                reading.wrong(
                    &fields.at,
                    format!("without `match` its key must be {}", InterfaceName::EXPECTED),
                );
                return None;
            };
            (None, Pattern::new(id.as_str()), None)
        }
    };
    Some(Kind::Ethernet { mac, name, driver, set_name })
}

fn pattern(reading: &mut Reading, at: &At<'_>) -> Option<Pattern> {
    reading.parsed(at, Pattern::EXPECTED, Pattern::new)
}

fn vlan(reading: &mut Reading, id: &str, fields: &mut Fields<'_>) -> Option<Kind> {
    let tag = fields.take("id").and_then(|at| reading.number(&at, VLAN_TAGS));
    let parent = fields.take("link").and_then(|at| reading.text(&at));
    let mac = fields.take("macaddress").and_then(|at| reading.parsed(&at, Mac::EXPECTED, Mac::new));
    let name = InterfaceName::new(id);
    if name.is_none() {
        reading.wrong(&fields.at, format!("its key must be {}", InterfaceName::EXPECTED));
    }
    if tag.is_none() || parent.is_none() {
        reading.wrong(&fields.at, "a VLAN needs `id` (1 to 4094) and `link` (the interface that it is on)");
    }
    Some(Kind::Vlan { tag: u16::try_from(tag?).ok()?, parent: parent?.to_owned(), name: name?, mac })
}

fn dhcp_overrides(reading: &mut Reading, at: &At<'_>) -> Option<Dhcp> {
    let mut fields = reading.fields(at)?;
    let mut switch = |key| fields.take(key).and_then(|at| reading.switch(&at)).unwrap_or(true);
    let (use_dns, use_routes) = (switch("use-dns"), switch("use-routes"));
    let metric = fields.take("route-metric").and_then(|at| reading.number(&at, 0..=u32::MAX));
    reading.rest(fields);
    Some(Dhcp { use_dns, use_routes, metric })
}

fn addresses(reading: &mut Reading, interface: &mut Interface, at: &At<'_>) {
    for at in reading.list(at, false) {
        // netplan has `address: {lifetime: 0, label: "x"}`, too.
        if let crate::document::Value::Map(entries) = &at.node.value
            && let [entry] = entries.as_slice()
        {
            reading.wrong(
                &at,
                format!(
                    "options of an address are not known; `{}` alone is expected",
                    crate::note::shown(&entry.key)
                ),
            );
            continue;
        }
        let expected = "an address with the length of its prefix, such as `192.0.2.7/24`";
        let with_prefix = |text: &str| text.contains('/').then(|| address(text, None)).flatten();
        let Some(net) = reading.parsed(&at, expected, with_prefix) else { continue };
        match why_no_address(&net) {
            Some(why) => reading.wrong(&at, format!("{net} cannot be an interface's address: {why}")),
            None => interface.addresses.push(net),
        }
    }
}

fn gateway(reading: &mut Reading, at: &At<'_>, v4: bool) -> Option<IpAddr> {
    let gateway = machine(reading, at, "router")?;
    if gateway.is_ipv4() != v4 {
        reading.wrong(at, format!("{gateway} is of the other family"));
        return None;
    }
    Some(gateway)
}

fn route(reading: &mut Reading, at: &At<'_>) -> Option<Route> {
    let mut fields = reading.fields(at)?;
    let via = match fields.take("via") {
        Some(at) => Some(machine(reading, &at, "router")?),
        None => None,
    };
    let Some(to) = fields.take("to") else {
        reading.wrong(at, "`to` is missing; a network such as `198.51.100.0/24` or `default` is expected");
        return None;
    };
    let to = reading.parsed(&to, "a network such as `198.51.100.0/24`, or `default`", |text| {
        destination(text, None, via)
    })?;
    let metric = fields.take("metric").and_then(|at| reading.number(&at, 0..=u32::MAX));
    let mtu = fields.take("mtu").and_then(|at| reading.number(&at, MTU));
    let on_link = fields.take("on-link").and_then(|at| reading.switch(&at)).unwrap_or(false);
    // A route of another kind or into another table is something else than asked for.
    for key in ["type", "table", "scope", "from"] {
        if let Some(at) = fields.take(key) {
            reading.wrong(&at, "routes of other kinds and tables are not made");
        }
    }
    reading.rest(fields);
    if via.is_none() && to.prefix_len() == 0 {
        reading.wrong(at, "`via` is missing; the IP address of a router is expected");
        return None;
    }
    Some(Route { to, via, metric, on_link, mtu })
}

fn nameservers(reading: &mut Reading, at: &At<'_>) -> (Vec<IpAddr>, Vec<SearchDomain>) {
    let Some(mut fields) = reading.fields(at) else { return Default::default() };
    let resolvers = fields.take("addresses").map(|at| resolvers(reading, &at)).unwrap_or_default();
    let search = fields.take("search").map(|at| search_domains(reading, &at)).unwrap_or_default();
    reading.rest(fields);
    (resolvers, search)
}

/// DNS servers, as list or alone.
pub(super) fn resolvers(reading: &mut Reading, at: &At<'_>) -> Vec<IpAddr> {
    let list = reading.list(at, true);
    list.iter().filter_map(|at| machine(reading, at, "DNS server")).collect()
}

/// Search domains, as list or alone.
pub(super) fn search_domains(reading: &mut Reading, at: &At<'_>) -> Vec<SearchDomain> {
    let list = reading.list(at, true);
    list.iter().filter_map(|at| reading.parsed(at, SearchDomain::EXPECTED, SearchDomain::new)).collect()
}
