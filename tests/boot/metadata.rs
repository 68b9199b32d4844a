//! The image in a cloud: firmware that names it, no seed volume, and on the network an imitation of that cloud's metadata
//! service, the same that the crate `first-boot` is tested with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postern_tests::child::Child;
use postern_tests::lab::{Host, LAB};
use postern_tests::machine::{BOOT_LIMIT, Firmware, HARDWARE, MACHINE, Medium, Network, Setup, disk};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::ports;
use postern_tests::scratch::Scratch;
use tokio::sync::oneshot;

use self::service::{Behaviour, Reply, Request, Service};
use crate::{CONFIG, WORKS, first_line};

#[path = "../../appliance/first-boot/tests/whole/imitations.rs"]
mod imitations;
#[allow(dead_code, reason = "here they answer as they should")]
#[allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#[path = "../../appliance/first-boot/tests/whole/service.rs"]
mod service;

/// Gives out addresses as a cloud's network does.
const DHCP: &[Need] = &[Need::Program("dnsmasq")];
const TAP: &str = "tap-cloud";
/// The cloud's router, and the one address that it gives out.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);
/// The address that the service's documents name, where they name one.
const NAMED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);
/// The cloud's router for IPv6, which announces its network, and the address that the machine makes itself in it, out of its hardware's
/// (RFC 4862).
const ROUTER_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
const MADE_ITSELF: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0x5054, 0xff, 0xfe00, 1);
/// Where all of these services are.
const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// The network of a cloud. Dropping it ends what runs there.
struct Cloud {
    host: Host,
    _dhcp: Option<Child>,
    _service: oneshot::Sender<()>,
}

impl Cloud {
    fn new(scratch: &Scratch, has_dhcp: bool, answers: fn(&Request) -> Reply) -> Self {
        let host = Host::new("cloud");
        host.ip(&format!("tuntap add {TAP} mode tap"));
        host.ip(&format!("address add {ROUTER}/24 dev {TAP}"));
        host.ip(&format!("address add {ROUTER_6}/64 dev {TAP} nodad"));
        // On the link, too, for machines that have nothing but an address of RFC 3927.
        host.ip(&format!("address add {}/16 dev {TAP}", SERVICE.ip()));
        host.ip(&format!("link set {TAP} up"));
        let dhcp = has_dhcp.then(|| {
            let (command, output) = (dhcp(scratch), scratch.join("dhcp"));
            host.run(move || Child::spawn("dnsmasq", &command, &output))
        });
        let service = host.run(move || serve(answers));
        Self { host, _dhcp: dhcp, _service: service }
    }
}

fn dhcp(scratch: &Scratch) -> Command {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]);
    command.args(["--log-facility=-", "--bind-dynamic", &format!("--interface={TAP}")]);
    command.arg(format!("--dhcp-leasefile={}", scratch.join("leases").display()));
    command.arg(format!("--dhcp-range={LEASED},{LEASED},255.255.255.0,1h"));
    command.arg(format!("--dhcp-option=option:router,{ROUTER}"));
    command.args(["--enable-ra", &format!("--dhcp-range={ROUTER_6},ra-only,64,1h")]);
    command
}

/// Starts the service in a thread of this one's network namespace; it ends with what is returned.
fn serve(answers: fn(&Request) -> Reply) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel();
    let (begun, beginning) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let _service = Service::start_at(SERVICE, Behaviour::Answers(answers)).await;
            begun.send(()).expect("somebody who waits");
            // The other end is dropped, which is the word to stop.
            let _ = stopped.await;
        });
    });
    beginning.recv_timeout(Duration::from_secs(60)).expect("a service");
    stop
}

/// By DHCP, and by itself: nobody named the network, so that the machine takes what there is.
const TAKEN: [IpAddr; 2] = [IpAddr::V4(LEASED), IpAddr::V6(MADE_ITSELF)];

/// Boots the image there, until it serves mail at these addresses under the name that the service gave.
fn is_configured(
    name: &str,
    system: &str,
    has_dhcp: bool,
    answers: fn(&Request) -> Reply,
    addresses: &[IpAddr],
) {
    let scratch = Scratch::new(name);
    let cloud = Cloud::new(&scratch, has_dhcp, answers);
    let (medium, system) = (Medium::Disk(disk(&scratch, "disk.qcow2")), system.to_owned());
    let (mut machine, _scratch) = cloud.host.run(move || {
        let setup = Setup {
            firmware: Firmware::Bios,
            medium: &medium,
            second_disk: None,
            seed: None,
            network: Network::Taps(&[TAP]),
            tpm: None,
            system: Some(&system),
        };
        (setup.start(&scratch), scratch)
    });
    for address in addresses.iter().copied() {
        let left = BOOT_LIMIT.saturating_sub(machine.age());
        let said = ports::wait_until(left, || {
            thread::sleep(Duration::from_secs(1));
            cloud.host.run(move || first_line(SocketAddr::new(address, 25), Duration::from_secs(10)))
        });
        let greets = said.is_some_and(|line| line.starts_with("220 mx1.example.net"));
        assert!(greets, "{address}:\n{}", machine.serial());
    }
    machine.expect(&[WORKS, "mx1.example.net", &addresses[0].to_string()]);
    let serial = machine.serial();
    assert!(!serial.contains("[FAILED]"), "{serial}");
    eprintln!("{name}: mail is taken after {} s", machine.age().as_secs());
}

/// Another body in the answer to what was asked rightly.
fn with(reply: Reply, body: String) -> Reply {
    if reply.status == 200 { Reply { body, ..reply } } else { reply }
}

/// An address by DHCP, a token, and the settings as they are.
#[test]
fn ec2_gives_the_settings() {
    needs!(MACHINE, LAB, DHCP);
    is_configured("ec2", "type=1,manufacturer=Amazon EC2,product=t3.micro", true, ec2, &TAKEN);
}

fn ec2(request: &Request) -> Reply {
    let reply = imitations::ec2(request);
    if request.path == "/latest/user-data" { with(reply, CONFIG.to_owned()) } else { reply }
}

/// First an address by DHCP, then the one that the service names; the settings as a block of a cloud-config.
#[test]
fn openstack_gives_settings_and_network() {
    needs!(MACHINE, LAB, DHCP);
    let system = "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova";
    is_configured("openstack", system, true, openstack, &[NAMED.into()]);
}

fn openstack(request: &Request) -> Reply {
    let reply = imitations::openstack(request);
    match request.path.as_str() {
        "/openstack/latest/user_data" => with(
            reply,
            "#cloud-config\nfqdn: mx1.example.net\npostern:\n  backend:\n  - domains: [example.net]\n    \
             servers: [\"10.0.2.2:2599\"]\n"
                .to_owned(),
        ),
        "/openstack/latest/network_data.json" => with(
            reply,
            format!(
                r#"{{"links": [{{"id": "tap0", "type": "ovs", "ethernet_mac_address": "{}", "mtu": 1450}}],
                    "networks": [{{"id": "network0", "type": "ipv4", "link": "tap0", "ip_address": "{NAMED}",
                    "netmask": "255.255.255.0", "routes": [{{"network": "0.0.0.0", "netmask": "0.0.0.0",
                    "gateway": "{ROUTER}"}}]}}], "services": []}}"#,
                HARDWARE[0]
            ),
        ),
        _ => reply,
    }
}

/// No DHCP: asked from a link-local address, and the network is what the service names.
#[test]
fn digital_ocean_gives_settings_and_network_without_dhcp() {
    needs!(MACHINE, LAB);
    is_configured(
        "digital-ocean",
        "type=1,manufacturer=DigitalOcean,product=Droplet",
        false,
        digital_ocean,
        &[NAMED.into()],
    );
}

fn digital_ocean(request: &Request) -> Reply {
    let reply = imitations::digital_ocean(request);
    match request.path.as_str() {
        "/metadata/v1/user-data" => with(reply, CONFIG.to_owned()),
        "/metadata/v1.json" => with(
            reply,
            format!(
                r#"{{"droplet_id": 2756294, "hostname": "mx1", "dns": {{"nameservers": ["{ROUTER}"]}}, "interfaces":
                    {{"public": [{{"ipv4": {{"ip_address": "{NAMED}", "netmask": "255.255.255.0", "gateway": "{ROUTER}"}},
                    "mac": "{}", "type": "public"}}]}}}}"#,
                HARDWARE[0]
            ),
        ),
        _ => reply,
    }
}

/// The settings in base64, which the service says of them.
#[test]
fn gcp_gives_the_settings() {
    needs!(MACHINE, LAB, DHCP);
    is_configured("gcp", "type=1,manufacturer=Google,product=Google Compute Engine", true, gcp, &TAKEN);
}

fn gcp(request: &Request) -> Reply {
    let reply = imitations::gcp(request);
    let is_settings = request.path.ends_with("/attributes/user-data");
    if is_settings { with(reply, BASE64.encode(CONFIG)) } else { reply }
}

/// Known by the tag of its chassis; the settings in base64 within the one document.
#[test]
fn azure_gives_the_settings() {
    needs!(MACHINE, LAB, DHCP);
    let system = "type=3,manufacturer=Microsoft Corporation,asset=7783-7084-3265-9085-8269-3286-77";
    is_configured("azure", system, true, azure, &TAKEN);
}

fn azure(request: &Request) -> Reply {
    let data = BASE64.encode(CONFIG);
    let body = format!(
        r#"{{"compute": {{"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "name": "vm", "osProfile": {{"computerName": "mx1"}},
            "userData": "{data}"}}, "network": {{"interface": []}}}}"#
    );
    with(imitations::azure(request), body)
}

/// The network as version 1 of cloud-init's, with DHCP for IPv4.
#[test]
fn hetzner_gives_settings_and_network() {
    needs!(MACHINE, LAB, DHCP);
    is_configured("hetzner", "type=1,manufacturer=Hetzner,product=vServer", true, hetzner, &[LEASED.into()]);
}

fn hetzner(request: &Request) -> Reply {
    let reply = imitations::hetzner(request);
    match request.path.as_str() {
        "/hetzner/v1/metadata" => {
            let body = reply.body.replace("96:00:00:08:19:da", HARDWARE[0]);
            with(reply, body)
        }
        "/hetzner/v1/userdata" => with(reply, CONFIG.to_owned()),
        _ => reply,
    }
}
