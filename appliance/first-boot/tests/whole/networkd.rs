//! The files are systemd-networkd's: the machine's own one loads them in a network namespace and does what they say.
//!
//! Needs root, `unshare`, `ip` and systemd-networkd; says SKIP where it lacks them. VLANs are left to the tests of the whole
//! image: not every kernel here has them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use first_boot::document::read_yaml;
use first_boot::network::{read_config, render};

const NETWORKD: &str = "/lib/systemd/systemd-networkd";
/// Two cables, networkd for some seconds, and what came of it. sysfs is read-only, as in containers: no udev to wait for.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases
chown -R systemd-network /run/systemd/netif
cp "$1"/* /run/systemd/network/
mount -t sysfs -o ro sysfs /sys
ip link set lo up
ip link add eth0 address 52:54:00:12:34:56 type veth peer name far0
ip link add eth1 address 52:54:00:ab:cd:ef type veth peer name far1
ip link set far0 up
ip link set far1 up
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console timeout 60 "$2" >/run/log 2>&1 &
for i in $(seq 100); do
    ip -4 route show | grep -q 203.0.113 && ip -6 route show | grep -q default && break
    sleep 0.1
done
ip -o addr show
ip -4 route show
ip -6 route show
ip -o link show
cat /run/log
kill %1
"#;

const NETWORK: &str = "version: 2
ethernets:
  outside:
    match: {macaddress: '52:54:00:12:34:56'}
    addresses: [192.0.2.10/24, '2001:db8:1::10/64']
    mtu: 1400
    routes:
    - {to: default, via: 192.0.2.1}
    - {to: '::/0', via: 'fe80::1', metric: 77}
    - {to: 10.9.0.0/16}
    - {to: 203.0.113.0/24, via: 198.51.100.1}
    nameservers: {addresses: [192.0.2.53], search: [example.net]}
    optional: true
  inside:
    match: {name: eth1, driver: veth}
    dhcp4: true
    dhcp4-overrides: {use-dns: false, use-routes: false, route-metric: 200}
    dhcp6: true
    dhcp6-overrides: {use-dns: false, use-routes: false, route-metric: 200}
    addresses: [10.0.0.1/24]
";

/// Past the test harness, which keeps to itself what a test prints that passes; and into the list that `tests/run` counts.
fn skip(reason: &str) {
    let line = format!("SKIP: networkd loads the files: {reason}\n");
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "{line} (and POSTERN_NO_SKIP is set)");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("POSTERN_SKIPS") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

fn missing() -> Option<&'static str> {
    let runs = |words: &[&str]| {
        let status =
            Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !Path::new(NETWORKD).exists() {
        Some("systemd-networkd is not installed")
    } else if !runs(&["ip", "-V"]) {
        Some("ip is not installed")
    } else if !runs(&["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]) {
        Some("namespaces need root")
    } else {
        None
    }
}

#[test]
fn networkd_loads_the_files_and_does_what_they_say() {
    if let Some(reason) = missing() {
        return skip(reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let (network, notes) = read_config(&read_yaml(NETWORK.as_bytes()).unwrap(), "network-config").unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    for file in render(&network) {
        std::fs::write(folder.path().join(file.name), file.text).unwrap();
    }
    // What runs in there is somebody else: it must be able to read the files.
    let script = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT, "sh"];
    let output = Command::new("unshare").args(script).arg(folder.path()).arg(NETWORKD).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in [
        "inet 192.0.2.10/24",
        "inet6 2001:db8:1::10/64",
        "inet 10.0.0.1/24",
        "default via 192.0.2.1 dev eth0",
        "default via fe80::1 dev eth0 proto static metric 77",
        "10.9.0.0/16 dev eth0 proto static scope link",
        // Out of the interface's networks: reached all the same.
        "203.0.113.0/24 via 198.51.100.1 dev eth0 proto static onlink",
    ] {
        assert!(said.contains(expected), "{expected} is missing in:\n{said}");
    }
    assert!(said.lines().any(|line| line.contains("eth0") && line.contains("mtu 1400")), "{said}");
    for complaint in ["Unknown key", "Unknown section", "Failed to parse", "Invalid", "Assignment outside"] {
        let found = said.lines().find(|line| line.contains(complaint) && line.contains("postern-"));
        assert_eq!(found, None, "{complaint}");
    }
}
