//! A link with a small MTU behind the next hop: the router there says so with ICMP, to an address that is not the
//! appliance's, and it must reach the appliance's socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use crate::lab::{Host, INBOUND, Lab, PATIENCE, accept, at, gateway, settings};

/// More than any socket buffers.
const LARGE: usize = 8 << 20;

/// A host behind `router`, over a link that takes 1280 octets in that direction.
fn behind(router: &Host, appliance: &Host, gateways: [&str; 2]) -> Option<Host> {
    let far = Host::new()?;
    router.cable("far", &far);
    router.configure("far", &["203.0.113.1/24", "2001:db8:3::1/64"]);
    far.configure("cable", &["203.0.113.9/24", "2001:db8:3::9/64"]);
    router.ip("link set far mtu 1280");
    router.set("ipv4/ip_forward", "1");
    router.set("ipv6/conf/all/forwarding", "1");
    far.ip("route add default via 203.0.113.1");
    far.ip("route add default via 2001:db8:3::1");
    appliance.ip(format!("route add 203.0.113.0/24 via {}", gateways[0]));
    appliance.ip(format!("route add 2001:db8:3::/64 via {}", gateways[1]));
    Some(far)
}

fn transfer(mut from: TcpStream, mut to: TcpStream) {
    from.set_write_timeout(Some(PATIENCE)).unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let sending = thread::spawn(move || from.write_all(&vec![b'x'; LARGE]).unwrap());
    let mut octets = vec![0; LARGE];
    to.read_exact(&mut octets).unwrap();
    sending.join().unwrap();
}

#[test]
fn a_client_behind_a_small_link_gets_large_answers() {
    let Some(lab) = Lab::new() else { return };
    let Some(far) = behind(&lab.client, &lab.appliance, ["192.0.2.9", "2001:db8:1::9"]) else { return };
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    // It would find the size out by trying, and hide whether the error arrives.
    lab.appliance.set("ipv4/tcp_mtu_probing", "0");
    for server in ["198.51.100.25", "2001:db8:2::25"] {
        let client = far.connect(at(server, 25));
        transfer(accept(&listener).0, client);
    }
}

#[test]
fn a_server_behind_a_small_link_gets_large_messages_under_the_clients_address() {
    let Some(lab) = Lab::new() else { return };
    let Some(far) = behind(&lab.server, &lab.appliance, ["198.51.100.25", "2001:db8:2::25"]) else { return };
    let server = far.listen(25);
    lab.apply(settings(gateway(true))).unwrap();
    lab.appliance.set("ipv4/tcp_mtu_probing", "0");
    for (source, target) in [("192.0.2.9", "203.0.113.9"), ("2001:db8:1::9", "2001:db8:3::9")] {
        let leg = lab.appliance.connect_transparently(source, at(target, 25));
        transfer(leg, accept(&server).0);
    }
}
