//! An imitation of each of the six metadata services, as strict as the real one: what lacks its header, its token or its version
//! is refused. The booted image meets the same ones (`tests/boot/metadata.rs`).

use super::service::{Reply, Request};

/// The user data of all of them.
pub(crate) const DATA: &str = "#cloud-config\nhostname: mx1\n";

/// IMDSv2: a token by PUT, which every other question must carry.
pub(crate) fn ec2(request: &Request) -> Reply {
    const TOKEN: &str = "AQAEAM-strict-token==";
    match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => {
            let seconds = request
                .field("x-aws-ec2-metadata-token-ttl-seconds")
                .and_then(|text| text.parse::<u32>().ok());
            if seconds.is_some_and(|seconds| (1..=21_600).contains(&seconds)) {
                Reply::text(TOKEN)
            } else {
                Reply::status(400)
            }
        }
        ("GET", _) if request.field("x-aws-ec2-metadata-token") != Some(TOKEN) => Reply::status(401),
        ("GET", "/latest/meta-data/instance-id") => Reply::text("i-0123456789abcdef0"),
        ("GET", "/latest/meta-data/local-hostname") => Reply::text("ip-10-0-0-7.ec2.internal example.net"),
        ("GET", "/latest/user-data") => Reply::text(DATA),
        ("GET", _) => Reply::status(404),
        _ => Reply::status(405),
    }
}

pub(crate) fn gcp(request: &Request) -> Reply {
    if request.field("metadata-flavor") != Some("Google") || request.field("x-forwarded-for").is_some() {
        return Reply::status(403);
    }
    let reply = match request.path.strip_prefix("/computeMetadata/v1/instance/") {
        Some("id") => Reply::text("5414354837268435"),
        Some("hostname") => Reply::text("mx1.c.project.internal"),
        Some("attributes/user-data") => Reply::text("I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogbXgxCg=="),
        Some("attributes/user-data-encoding") => Reply::text("base64"),
        _ => Reply::status(404),
    };
    reply.with_field("Metadata-Flavor", "Google")
}

pub(crate) fn azure(request: &Request) -> Reply {
    if request.field("metadata") != Some("true") || request.field("x-forwarded-for").is_some() {
        return Reply::status(400);
    }
    match request.path.as_str() {
        "/metadata/instance?api-version=2021-08-01" => Reply::text(
            r#"{"compute": {"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "name": "vm", "osProfile": {"computerName": "mx1"},
                "userData": "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogbXgxCg=="}, "network": {"interface": []}}"#,
        ),
        _ => Reply::status(400),
    }
}

pub(crate) fn openstack(request: &Request) -> Reply {
    match request.path.as_str() {
        "/openstack/latest/meta_data.json" => Reply::text(
            r#"{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "mx1.novalocal", "meta": {}}"#,
        ),
        "/openstack/latest/user_data" => Reply::text(DATA),
        "/openstack/latest/network_data.json" => Reply::text(
            r#"{"links": [{"id": "tap0", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01", "mtu": 1450}],
                "networks": [{"id": "network0", "type": "ipv4_dhcp", "link": "tap0"}], "services": []}"#,
        ),
        _ => Reply::status(404),
    }
}

pub(crate) fn hetzner(request: &Request) -> Reply {
    match request.path.as_str() {
        "/hetzner/v1/metadata" => Reply::text(
            "availability-zone: fsn1-dc14\nhostname: mx1\ninstance-id: 42\nnetwork-config:\n  config:\n  - mac_address: 96:00:00:08:19:da\n    \
             name: eth0\n    subnets:\n    - ipv4: true\n      type: dhcp\n    - address: 2001:db8:5::1/64\n      gateway: fe80::1\n      ipv6: \
             true\n      type: static\n    type: physical\n  version: 1\npublic-keys: []\nvendor_data: \"\"\n",
        ),
        "/hetzner/v1/userdata" => Reply::text(DATA),
        _ => Reply::status(404),
    }
}

pub(crate) fn digital_ocean(request: &Request) -> Reply {
    match request.path.as_str() {
        "/metadata/v1.json" => Reply::text(
            r#"{"droplet_id": 2756294, "hostname": "mx1", "dns": {"nameservers": ["67.207.67.2"]}, "interfaces": {"public": [
                {"ipv4": {"ip_address": "104.131.20.105", "netmask": "255.255.192.0", "gateway": "104.131.0.1"},
                 "mac": "04:01:2a:0f:2a:01", "type": "public"}]}}"#,
        ),
        "/metadata/v1/user-data" => Reply::text(DATA),
        _ => Reply::status(404),
    }
}
