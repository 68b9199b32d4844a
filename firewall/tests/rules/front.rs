//! Front mode: redirects, and servers that see the client's address.

use firewall::{Mode, Port, Redirect, Service, Settings};
use socket2::SockRef;

use crate::lab::{FAMILIES, Lab, accept, at, speak};

fn front(transparent_source: bool, redirects: Vec<Redirect>) -> Settings {
    let services = vec![Service { port: Port::tcp(587), at: None, from: Vec::new() }];
    Settings { mode: Mode::Front { transparent_source }, services, redirects, protected: Vec::new() }
}

#[test]
fn a_public_port_leads_to_the_listener_which_cannot_be_reached_directly() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.appliance.listen(2525);
    let everywhere = Redirect { public: 25, at: None, listening: 2525 };
    let at_v4 = Redirect { public: 465, at: Some("192.0.2.1".parse().unwrap()), listening: 2525 };
    let at_v6 = Redirect { public: 465, at: Some("2001:db8:1::1".parse().unwrap()), listening: 2525 };
    lab.apply(front(false, vec![everywhere, at_v4, at_v6])).unwrap();
    for family in FAMILIES {
        for port in [25, 465] {
            let client = lab.client.connect(at(family.appliance, port));
            let (accepted, peer, _) = accept(&listener);
            assert_eq!(peer, client.local_addr().unwrap());
            let socket = SockRef::from(&accepted);
            let original = if peer.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
            assert_eq!(original.unwrap().as_socket(), Some(at(family.appliance, port)));
            speak(&client, &accepted);
        }
        lab.client.cannot_reach(None, at(family.appliance, 2525));
    }
}

#[test]
fn a_server_that_sees_the_clients_address_is_heard() {
    let Some(lab) = Lab::new() else { return };
    let server = lab.server.listen(25);
    lab.apply(front(true, Vec::new())).unwrap();
    for family in FAMILIES {
        let leg = lab.appliance.connect_transparently(family.client, at(family.server, 25));
        let (accepted, peer, _) = accept(&server);
        assert_eq!(peer, leg.local_addr().unwrap());
        speak(&leg, &accepted);
    }
}

#[test]
fn the_front_offers_its_services_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let (open, _closed) = (lab.appliance.listen(587), lab.appliance.listen(22));
    lab.apply(front(false, Vec::new())).unwrap();
    for family in FAMILIES {
        speak(&lab.client.connect(at(family.appliance, 587)), &accept(&open).0);
        lab.client.cannot_reach(None, at(family.appliance, 22));
    }
}
