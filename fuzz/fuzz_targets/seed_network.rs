//! The four forms in which platforms describe a network: what is taken is kept and read back the same, and the files that are made
//! of it have nothing in them but sections and keys of systemd's, a line each.
#![no_main]

use first_boot::document::{Node, read_json, read_yaml};
use first_boot::network::{
    MAX_INTERFACES, MAX_PER_INTERFACE, Network, NetworkResult, PREFIX, read_config, read_digital_ocean,
    read_openstack, render,
};
use libfuzzer_sys::fuzz_target;

/// Every key that the files may have.
const KEYS: [&str; 31] = [
    "MACAddress",
    "Type",
    "Kind",
    "Name",
    "OriginalName",
    "Driver",
    "MTUBytes",
    "RequiredForOnline",
    "DHCP",
    "IPv6AcceptRA",
    "LinkLocalAddressing",
    "DNS",
    "Domains",
    "VLAN",
    "Address",
    "Destination",
    "Gateway",
    "GatewayOnLink",
    "Scope",
    "Metric",
    "UseDNS",
    "UseRoutes",
    "UseGateway",
    "RouteMetric",
    "UseRoutePrefix",
    "Id",
    "Match",
    "Link",
    "Network",
    "Route",
    "NetDev",
];

fuzz_target!(|input: &[u8]| {
    let Some((&form, text)) = input.split_first() else { return };
    let read: fn(&Node) -> NetworkResult = match form {
        b'O' => |node| read_openstack(node, "network_data.json"),
        b'D' => |node| read_digital_ocean(node, "v1.json"),
        _ => |node| read_config(node, "network-config"),
    };
    // What is JSON may be tried as YAML as well.
    for node in [read_yaml(text), read_json(text)].into_iter().flatten() {
        match read(&node) {
            Ok((network, notes)) => {
                check(&network);
                assert!(notes.iter().all(|note| !note.words.contains(char::is_control)));
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                assert!(problems.iter().all(|problem| !problem.to_string().contains(char::is_control)));
            }
        }
    }
});

fn check(network: &Network) {
    assert!((1..=MAX_INTERFACES).contains(&network.interfaces.len()));
    assert!(network.interfaces.iter().all(|interface| interface.addresses.len() <= MAX_PER_INTERFACE));
    let json = match serde_json::to_string(network) {
        Ok(json) => json,
        Err(error) => panic!("cannot be kept: {error}"),
    };
    assert_eq!(serde_json::from_str::<Network>(&json).ok().as_ref(), Some(network));
    let files = render(network);
    for (at, file) in files.iter().enumerate() {
        assert!(file.name.starts_with(&format!("10-{PREFIX}")) && file.name.len() < 64, "{}", file.name);
        assert!(!file.name.contains(['/', '\0', '\n']));
        assert!(!files[..at].iter().any(|before| before.name == file.name), "{}", file.name);
        for line in file.text.lines() {
            check_line(line);
        }
    }
}

fn check_line(line: &str) {
    assert!(!line.contains(char::is_control), "{line:?}");
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    if let Some(section) = line.strip_prefix('[') {
        let name = section.strip_suffix(']').unwrap_or_default();
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{line}");
        return;
    }
    let (key, value) = line.split_once('=').unwrap_or_default();
    assert!(KEYS.contains(&key) && !value.is_empty(), "{line}");
}
