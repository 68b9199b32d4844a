//! What interfaces are to be like: read from the four forms that platforms speak, checked, rendered for systemd-networkd.
//!
//! - [`read_config`] reads `network-config` of version 1 and 2, [`read_openstack`] OpenStack's `network_data.json`,
//!   [`read_digital_ocean`] the interfaces of DigitalOcean's `v1.json`.
//! - [`Network`] is what all of them mean; it is what is stored. Everything in it that becomes text in a file is a type that
//!   cannot break out of its line.
//! - [`render()`] makes files of it, the same for the same network.

mod check;
mod digital_ocean;
mod openstack;
mod render;
mod v1;
mod v2;
mod values;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use digital_ocean::read as read_digital_ocean;
pub use openstack::read as read_openstack;
pub use render::{PREFIX, RenderedFile, render, render_provisional};
pub use values::{InterfaceName, Mac, Pattern, SearchDomain};

pub(crate) use values::is_domain_name;

use crate::document::{Node, Problem, Reading};
use crate::note::Note;

/// Interfaces of one machine; the appliance needs two.
pub const MAX_INTERFACES: usize = 32;
/// Addresses of one interface, and routes over it, and resolvers and search domains that it brings.
pub const MAX_PER_INTERFACE: usize = 64;

/// All interfaces, and what belongs to none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// In the order in which they were written.
    pub interfaces: Vec<Interface>,
    /// DNS servers that belong to no interface.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Search domains that belong to no interface.
    #[serde(default)]
    pub search: Vec<SearchDomain>,
}

impl Network {
    /// Every DNS server that was given, each once.
    pub fn all_resolvers(&self) -> Vec<IpAddr> {
        let mut all = Vec::new();
        let of_interfaces = self.interfaces.iter().flat_map(|interface| &interface.resolvers);
        for resolver in of_interfaces.chain(&self.resolvers) {
            if !all.contains(resolver) {
                all.push(*resolver);
            }
        }
        all
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What the document calls it; VLANs name their parent by it.
    pub id: String,
    /// A port, or a VLAN on one.
    pub kind: Kind,
    /// IPv4 by DHCP.
    #[serde(default)]
    pub dhcp4: Option<Dhcp>,
    /// IPv6 by DHCPv6.
    #[serde(default)]
    pub dhcp6: Option<Dhcp>,
    /// Whether routers may configure it (SLAAC, RFC 4862).
    #[serde(default)]
    pub accept_ra: bool,
    /// Fixed addresses, with the length of their network's prefix.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Routes over it, default routes among them.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// DNS servers.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Search domains.
    #[serde(default)]
    pub search: Vec<SearchDomain>,
    /// In octets.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether the boot may go on without it.
    #[serde(default)]
    pub optional: bool,
}

impl Interface {
    fn new(id: impl Into<String>, kind: Kind) -> Self {
        Self {
            id: id.into(),
            kind,
            dhcp4: None,
            dhcp6: None,
            accept_ra: false,
            addresses: Vec::new(),
            routes: Vec::new(),
            resolvers: Vec::new(),
            search: Vec::new(),
            mtu: None,
            optional: false,
        }
    }
}

/// A port, or a VLAN on one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A port, found by what is given; at least one of the first three is.
    Ethernet {
        /// By its address.
        mac: Option<Mac>,
        /// By its name, with `*`, `?` and `[...]`.
        name: Option<Pattern>,
        /// By its driver.
        driver: Option<Pattern>,
        /// What it is called from then on.
        set_name: Option<InterfaceName>,
    },
    /// A VLAN (802.1Q).
    Vlan {
        /// Its tag, 1 to 4094.
        tag: u16,
        /// The `id` of the interface that it is on.
        parent: String,
        /// What it is called.
        name: InterfaceName,
        /// Its address, if it is not the parent's.
        mac: Option<Mac>,
    },
}

/// How DHCP's answers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// Its DNS servers.
    pub use_dns: bool,
    /// Its routes, the default route among them.
    pub use_routes: bool,
    /// Their metric, if it is not the system's.
    pub metric: Option<u32>,
}

impl Default for Dhcp {
    fn default() -> Self {
        Self { use_dns: true, use_routes: true, metric: None }
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// To where; a prefix of length 0 is the default route.
    pub to: IpNet,
    /// The router; without one the destination is on the link.
    pub via: Option<IpAddr>,
    /// The smaller, the better.
    pub metric: Option<u32>,
    /// The router is on the link although no address says so.
    pub on_link: bool,
    /// In octets.
    pub mtu: Option<u32>,
}

impl Route {
    /// The default route of the router's family.
    fn default_via(via: IpAddr) -> Self {
        Self { to: values::everything(via), via: Some(via), metric: None, on_link: false, mtu: None }
    }
}

/// What reading a network ends in: it and what was passed over, or all that is wrong.
pub type NetworkResult = Result<(Network, Vec<Note>), Vec<Problem>>;

/// Reads `network-config`, version 1 or 2, as it stands in a seed (with or without `network:` around it).
///
/// # Errors
///
/// A value cannot be so, or something is asked for that Postern does not make: all of it, each with its key's path.
pub fn read_config(node: &Node, file: &'static str) -> NetworkResult {
    let mut reading = Reading::new(file);
    let network = config(&mut reading, node);
    finish(reading, network)
}

fn finish(mut reading: Reading, network: Option<Network>) -> NetworkResult {
    let network = network.map(|mut network| {
        check::check(&mut network, &mut reading);
        network
    });
    reading.finish(network)
}

fn config(reading: &mut Reading, node: &Node) -> Option<Network> {
    let top = reading.top(node);
    let mut outer = reading.fields(&top)?;
    let Some(inner) = outer.take("network") else { return versioned(reading, outer) };
    let fields = reading.fields(&inner)?;
    reading.rest(outer);
    versioned(reading, fields)
}

fn versioned(reading: &mut Reading, mut fields: crate::document::Fields<'_>) -> Option<Network> {
    if fields.at.node.get("config").and_then(Node::text) == Some("disabled") {
        reading.wrong(
            &fields.at,
            "`config: disabled`: the network cannot be switched off; a gate without one is of no use",
        );
        return None;
    }
    let Some(version) = fields.take("version") else {
        reading.wrong(&fields.at, "`version` is missing; 1 or 2 is expected");
        return None;
    };
    match reading.number(&version, 1..=2)? {
        1 => v1::read(reading, fields),
        _ => v2::read(reading, fields),
    }
}
