//! Files for systemd-networkd and systemd-udevd (systemd.network(5), systemd.netdev(5), systemd.link(5); versions 252 and 257).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Dhcp, Interface, Kind, Network, Route};

/// Every file's name begins with a number and this, so that old ones can be found.
pub const PREFIX: &str = "postern-";
const HEAD: &str = "# Made by `postern first-boot` at each boot; changes here are lost.\n";
/// Octets of an interface's name that go into its file's name.
const MAX_SLUG: usize = 24;

/// A file below `/run/systemd/network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The files of a network that was checked, in the order of its interfaces.
pub fn render(network: &Network) -> Vec<RenderedFile> {
    let mut files = Vec::new();
    for (index, interface) in network.interfaces.iter().enumerate() {
        let base = format!("10-{PREFIX}{index:02}-{}", slug(&interface.id));
        let mut file =
            |kind: &str, text: String| files.push(RenderedFile { name: format!("{base}.{kind}"), text });
        match &interface.kind {
            Kind::Ethernet { set_name: Some(name), .. } => {
                file("link", format!("{HEAD}[Match]\n{}\n[Link]\nName={name}\n", found_by(interface, false)));
            }
            Kind::Ethernet { .. } => {}
            Kind::Vlan { tag, name, mac, .. } => {
                let mac = mac.map(|mac| format!("MACAddress={mac}\n")).unwrap_or_default();
                file("netdev", format!("{HEAD}[NetDev]\nName={name}\nKind=vlan\n{mac}\n[VLAN]\nId={tag}\n"));
            }
        }
        file("network", network_file(network, interface));
    }
    files
}

/// What holds while nothing is known: DHCP and SLAAC on every physical interface. `link_local` adds an address of RFC 3927, with
/// which a metadata service can be asked where there is no DHCP.
pub fn render_provisional(link_local: bool) -> Vec<RenderedFile> {
    let link_local = if link_local { "yes" } else { "ipv6" };
    // `!*`: of no kind, which is what physical interfaces and those of hypervisors are.
    let text = format!(
        "{HEAD}[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\
         LinkLocalAddressing={link_local}\n"
    );
    vec![RenderedFile { name: format!("80-{PREFIX}dhcp.network"), text }]
}

/// Letters, digits and hyphens of a name; two of the same are told apart by the number before.
fn slug(id: &str) -> String {
    let kept = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
    kept.take(MAX_SLUG).collect::<String>().to_ascii_lowercase()
}

fn found_by(interface: &Interface, renamed: bool) -> String {
    match &interface.kind {
        Kind::Vlan { name, .. } => format!("Name={name}\nKind=vlan\n"),
        Kind::Ethernet { mac, name, driver, set_name } => {
            let mut text = String::new();
            if let Some(mac) = mac {
                // A VLAN has its parent's address, too.
                let _ = writeln!(text, "MACAddress={mac}\nType=ether\nKind=!vlan");
            }
            // Once it is renamed, its old name matches no longer.
            match (name, set_name) {
                (Some(_), Some(new)) if renamed => {
                    let _ = writeln!(text, "Name={new}");
                }
                (Some(name), _) => {
                    let _ = writeln!(text, "{}={name}", if renamed { "Name" } else { "OriginalName" });
                }
                (None, _) => {}
            }
            if let Some(driver) = driver {
                let _ = writeln!(text, "Driver={driver}");
            }
            text
        }
    }
}

fn network_file(network: &Network, interface: &Interface) -> String {
    let mut text = format!("{HEAD}[Match]\n{}", found_by(interface, true));
    if interface.mtu.is_some() || interface.optional {
        text.push_str("\n[Link]\n");
    }
    if let Some(mtu) = interface.mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
    if interface.optional {
        text.push_str("RequiredForOnline=no\n");
    }
    network_section(&mut text, network, interface);
    for address in &interface.addresses {
        let _ = write!(text, "\n[Address]\nAddress={address}\n");
    }
    for route in &interface.routes {
        route_section(&mut text, route);
    }
    dhcp4_section(&mut text, interface.dhcp4.unwrap_or_default());
    dhcp6_sections(&mut text, interface.dhcp6.unwrap_or_default());
    text
}

fn network_section(text: &mut String, network: &Network, interface: &Interface) {
    let dhcp = match (interface.dhcp4.is_some(), interface.dhcp6.is_some()) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    // Said in any case: unset, it would depend on whether the machine forwards, which gateway mode changes later.
    let accept = if interface.accept_ra { "yes" } else { "no" };
    let _ = write!(text, "\n[Network]\nDHCP={dhcp}\nIPv6AcceptRA={accept}\nLinkLocalAddressing=ipv6\n");
    for resolver in &interface.resolvers {
        let _ = writeln!(text, "DNS={resolver}");
    }
    if !interface.search.is_empty() {
        let domains: Vec<String> = interface.search.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "Domains={}", domains.join(" "));
    }
    for other in &network.interfaces {
        if let Kind::Vlan { parent, name, .. } = &other.kind
            && *parent == interface.id
        {
            let _ = writeln!(text, "VLAN={name}");
        }
    }
}

fn route_section(text: &mut String, route: &Route) {
    let _ = write!(text, "\n[Route]\nDestination={}\n", route.to);
    if let Some(via) = route.via {
        let _ = writeln!(text, "Gateway={via}");
        if route.on_link {
            text.push_str("GatewayOnLink=yes\n");
        }
    } else if matches!(route.to.addr(), IpAddr::V4(_)) {
        text.push_str("Scope=link\n");
    }
    if let Some(metric) = route.metric {
        let _ = writeln!(text, "Metric={metric}");
    }
    if let Some(mtu) = route.mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
}

fn dhcp4_section(text: &mut String, dhcp: Dhcp) {
    let mut lines = Vec::new();
    if !dhcp.use_dns {
        lines.push("UseDNS=no".to_owned());
    }
    if !dhcp.use_routes {
        lines.extend(["UseRoutes=no".to_owned(), "UseGateway=no".to_owned()]);
    }
    lines.extend(dhcp.metric.map(|metric| format!("RouteMetric={metric}")));
    section(text, "DHCPv4", &lines);
}

/// DHCPv6 brings no routes: routers' advertisements do.
fn dhcp6_sections(text: &mut String, dhcp: Dhcp) {
    let dns = if dhcp.use_dns { Vec::new() } else { vec!["UseDNS=no".to_owned()] };
    section(text, "DHCPv6", &dns);
    let mut lines = dns;
    if !dhcp.use_routes {
        lines.extend(["UseGateway=no".to_owned(), "UseRoutePrefix=no".to_owned()]);
    }
    lines.extend(dhcp.metric.map(|metric| format!("RouteMetric={metric}")));
    section(text, "IPv6AcceptRA", &lines);
}

/// A section, if anything is in it.
fn section(text: &mut String, name: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(text, "\n[{name}]\n{}\n", lines.join("\n"));
    }
}
