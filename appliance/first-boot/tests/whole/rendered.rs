//! What becomes of each form of network description: the files, word for word, and what is said of the rest.

use std::fmt::Write as _;

use first_boot::document::{Node, read_json, read_yaml};
use first_boot::network::{
    NetworkResult, read_config, read_digital_ocean, read_openstack, render, render_provisional,
};

/// Files and notes as one text; all that is wrong instead, if something is.
fn told(read: NetworkResult) -> String {
    let mut text = String::new();
    match read {
        Ok((network, notes)) => {
            let again: first_boot::network::Network =
                serde_json::from_str(&serde_json::to_string(&network).unwrap()).unwrap();
            assert_eq!(again, network, "what is stored is what was read");
            for file in render(&network) {
                let body = file
                    .text
                    .strip_prefix("# Made by `postern first-boot` at each boot; changes here are lost.\n")
                    .unwrap();
                writeln!(text, "==> {} <==\n{body}", file.name).unwrap();
            }
            notes.iter().for_each(|note| writeln!(text, "{note}").unwrap());
        }
        Err(problems) => problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap()),
    }
    text
}

fn yaml(text: &str) -> Node {
    read_yaml(text.as_bytes()).unwrap()
}

fn config(text: &str) -> String {
    told(read_config(&yaml(text), "network-config"))
}

#[test]
fn one_interface_by_dhcp() {
    insta::assert_snapshot!(config("version: 2\nethernets:\n  eth0:\n    dhcp4: true\n    dhcp6: true\n"));
}

#[test]
fn two_interfaces_of_a_gateway_with_fixed_addresses() {
    insta::assert_snapshot!(config(
        "network:\n  version: 2\n  ethernets:\n    outside:\n      match: {macaddress: '52:54:00:12:34:56'}\n      \
         set-name: outside\n      addresses: [192.0.2.10/24, '2001:db8:1::10/64']\n      routes:\n      - {to: default, via: 192.0.2.1}\n      \
         - {to: '::/0', via: 'fe80::1'}\n      nameservers: {addresses: [192.0.2.53, '2001:db8:1::53'], search: [example.net]}\n    \
         inside:\n      match: {macaddress: '52-54-00-AB-CD-EF'}\n      set-name: inside\n      addresses: [10.0.0.1/24]\n      \
         routes:\n      - {to: 10.1.0.0/16, via: 10.0.0.254, metric: 50}\n      mtu: 9000\n      optional: true\n"
    ));
}

#[test]
fn a_vlan_on_a_port_without_an_address() {
    insta::assert_snapshot!(config(
        "version: 2\nethernets:\n  eth0: {}\nvlans:\n  mail:\n    id: 25\n    link: eth0\n    addresses: [192.0.2.10/24]\n    \
         gateway4: 192.0.2.1\n"
    ));
}

#[test]
fn dhcp_with_wishes_a_pattern_and_a_driver() {
    insta::assert_snapshot!(config(
        "version: 2\nethernets:\n  any:\n    match: {name: 'en*', driver: virtio_net}\n    dhcp4: true\n    dhcp4-overrides: {use-dns: \
         false, route-metric: 200, use-ntp: false}\n    dhcp6: true\n    dhcp6-overrides: {use-routes: false}\n    accept-ra: true\n    \
         wakeonlan: true\n"
    ));
}

#[test]
fn a_provider_that_gives_a_single_address_and_a_router_outside() {
    insta::assert_snapshot!(config(
        "version: 2\nethernets:\n  eth0:\n    addresses: [203.0.113.7/32]\n    gateway4: 198.51.100.1\n"
    ));
}

#[test]
fn version_1_as_proxmox_writes_it() {
    insta::assert_snapshot!(config(
        "version: 1\nconfig:\n    - type: physical\n      name: eth0\n      mac_address: 'bc:24:11:aa:bb:cc'\n      subnets:\n      \
         - type: static\n        address: '192.168.1.10'\n        netmask: '255.255.255.0'\n        gateway: '192.168.1.1'\n      \
         - type: ipv6_slaac\n    - type: physical\n      name: eth1\n      mac_address: 'bc:24:11:aa:bb:cd'\n      subnets:\n      \
         - type: dhcp4\n    - type: nameserver\n      address:\n      - '192.168.1.1'\n      search:\n      - 'home.example'\n"
    ));
}

#[test]
fn version_1_with_routes_and_a_vlan() {
    insta::assert_snapshot!(config(
        "version: 1\nconfig:\n- type: loopback\n  name: lo\n- type: physical\n  name: eth0\n  mtu: 1400\n  subnets:\n  - type: manual\n\
         - type: vlan\n  name: eth0.100\n  vlan_id: 100\n  vlan_link: eth0\n  subnets:\n  - type: static\n    address: 10.9.0.2/24\n    \
         dns_nameservers: [10.9.0.53]\n    dns_search: example.org\n    routes:\n    - {network: 10.10.0.0, netmask: 255.255.0.0, gateway: \
         10.9.0.1}\n- type: route\n  destination: 10.20.0.0/16\n  gateway: 10.9.0.9\n  metric: 7\n"
    ));
}

#[test]
fn openstack_with_a_vlan_and_both_families() {
    let json = r#"{
      "links": [
        {"id": "tap1a81968a-79", "type": "ovs", "vif_id": "1a81", "ethernet_mac_address": "fa:16:3e:ed:9a:59", "mtu": 1450},
        {"id": "vlan0", "type": "vlan", "vlan_link": "tap1a81968a-79", "vlan_id": 101, "vlan_mac_address": "fa:16:3e:ed:9a:60"}
      ],
      "networks": [
        {"id": "network0", "type": "ipv4_dhcp", "link": "tap1a81968a-79", "network_id": "x"},
        {"id": "network1", "type": "ipv6_slaac", "link": "tap1a81968a-79", "ip_address": "2001:db8::3257", "netmask": "ffff:ffff:ffff:ffff::",
         "routes": []},
        {"id": "network2", "type": "ipv4", "link": "vlan0", "ip_address": "10.184.0.244", "netmask": "255.255.240.0",
         "routes": [{"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "10.184.0.1"},
                    {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.184.0.1"}],
         "services": [{"type": "dns", "address": "10.184.0.53"}]}
      ],
      "services": [{"type": "dns", "address": "8.8.8.8"}, {"type": "ntp", "address": "10.0.0.1"}]
    }"#;
    insta::assert_snapshot!(told(read_openstack(&read_json(json.as_bytes()).unwrap(), "network_data.json")));
}

#[test]
fn digital_ocean_with_a_private_network() {
    let json = r#"{"droplet_id": 1, "dns": {"nameservers": ["67.207.67.2", "67.207.67.3"]}, "interfaces": {
        "private": [{"ipv4": {"ip_address": "10.132.255.113", "netmask": "255.255.0.0", "gateway": "10.132.0.1"},
                     "mac": "04:01:2a:0f:2a:02", "type": "private"}],
        "public": [{"ipv4": {"ip_address": "104.131.20.105", "netmask": "255.255.192.0", "gateway": "104.131.0.1"},
                    "ipv6": {"ip_address": "2604:A880:0800:0010::17D:2001", "cidr": 64, "gateway": "2604:A880:0800:0010::1"},
                    "anchor_ipv4": {"ip_address": "10.17.0.9", "netmask": "255.255.0.0", "gateway": "10.17.0.1"},
                    "mac": "04:01:2a:0f:2a:01", "type": "public"}]}}"#;
    insta::assert_snapshot!(told(read_digital_ocean(&read_json(json.as_bytes()).unwrap(), "v1.json")));
}

#[test]
fn while_nothing_is_known() {
    let [file] = &render_provisional(false)[..] else { panic!("one file") };
    insta::assert_snapshot!(format!("==> {} <==\n{}", file.name, file.text));
    assert!(render_provisional(true)[0].text.contains("LinkLocalAddressing=yes"));
}

#[test]
fn values_that_cannot_be_are_refused_with_their_path() {
    insta::assert_snapshot!(config(
        "version: 2\nethernets:\n  eth0:\n    mtu: 20\n    addresses: [192.0.2.300/24, 192.0.2.7, 192.0.2.255/24, 127.0.0.1/8, {192.0.2.9/24: \
         {label: x}}]\n    gateway4: '2001:db8::1'\n    routes:\n    - {to: 10.0.0.0/8}\n    - {via: 192.0.2.1}\n    - {to: 10.0.0.0/8, via: 192.0.2.1, table: \
         5}\n    nameservers: {addresses: [0.0.0.0], search: ['a b']}\n    dhcp4: perhaps\n  \"x\\ny\": {dhcp4: true}\n  nothing:\n    match: {}\n\
         vlans:\n  v1: {id: 4095, link: eth0}\nbonds:\n  bond0: {}\n"
    ));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    insta::assert_snapshot!(config(
        "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:01'}, set-name: x, addresses: [192.0.2.1/24]}\n  b: {match: \
         {macaddress: '52:54:00:00:00:01'}, set-name: x, addresses: [192.0.2.1/24], gateway4: 192.0.2.1, mtu: 1000, dhcp6: true}\n\
         vlans:\n  v1: {id: 1, link: gone}\n  v2: {id: 2, link: v1}\n"
    ));
}

#[test]
fn what_is_no_network_config_is_said() {
    for (text, said) in [
        ("", "nothing is no map"),
        ("version: 2", "no interface is in it"),
        ("ethernets: {}", "`version` is missing"),
        ("version: 7", "from 1 to 2"),
        ("network: {config: disabled}", "cannot be switched off"),
        ("version: 1", "`config` is missing"),
        ("version: 1\nconfig: [{type: bond, name: b}]", "none of these"),
        ("version: 1\nconfig: [{type: physical}]", "config[0]: `name` is missing"),
        (
            "version: 1\nconfig: [{type: physical, name: eth0, subnets: [{type: static}]}]",
            "subnets[0]: `address` is missing",
        ),
    ] {
        assert!(config(text).contains(said), "{text}: {}", config(text));
    }
    let many: String = (0..40).map(|n| format!("  e{n}: {{dhcp4: true}}\n")).collect();
    assert!(config(&format!("version: 2\nethernets:\n{many}")).contains("more than 32 interfaces"));
}

#[test]
fn nothing_in_what_is_stored_can_break_out_of_its_line() {
    let (network, _) =
        read_config(&yaml("version: 2\nethernets:\n  eth0: {dhcp4: true}\n"), "network-config").unwrap();
    let json = serde_json::to_string(&network).unwrap();
    let evil = json.replace("\"name\":\"eth0\"", "\"name\":\"eth0\\nX=y\"");
    assert_ne!(json, evil);
    assert!(serde_json::from_str::<first_boot::network::Network>(&evil).is_err());
}
