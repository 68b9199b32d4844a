//! The hidden server cannot be reached but through Postern, and the appliance offers only what it says.

use std::io::Write as _;

use firewall::{Gateway, Port, Service};

use crate::lab::{FAMILIES, INBOUND, Lab, OUTBOUND, accept, at, gateway, settings, speak};

/// Ports that something might listen on, on any host.
const SCANNED: [u16; 12] = [22, 25, 53, 80, 110, 143, 443, 465, 587, 2525, INBOUND, OUTBOUND];

#[test]
fn the_hidden_server_cannot_be_reached_around_postern() {
    let Some(lab) = Lab::new() else { return };
    let servers: Vec<_> = SCANNED.into_iter().map(|port| (port, lab.server.listen(port))).collect();
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(Gateway { forward: vec![Port::tcp(443)], ..gateway(true) })).unwrap();
    for (port, server) in &servers {
        let target = at("198.51.100.25", *port);
        match port {
            25 => speak(&lab.client.connect(target), &accept(&listener).0),
            443 => speak(&lab.client.connect(target), &accept(server).0),
            _ => lab.client.cannot_reach(None, target),
        }
    }
    lab.client.cannot_reach(None, at("2001:db8:2::25", 80));
}

#[test]
fn with_nobody_listening_an_armed_server_is_not_reached_at_all() {
    let Some(lab) = Lab::new() else { return };
    let _server = lab.server.listen(25);
    lab.apply(settings(gateway(true))).unwrap();
    for family in FAMILIES {
        lab.client.cannot_reach(None, at(family.server, 25));
    }
    assert!(lab.dropped("closed") > 0);
}

#[test]
fn without_the_policy_route_an_armed_server_is_not_reached_at_all() {
    let Some(lab) = Lab::new() else { return };
    let _server = lab.server.listen(25);
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    let mut open = lab.client.connect(at("198.51.100.25", 25));
    let _accepted = accept(&listener);
    lab.appliance.ip("rule del priority 2525");
    // Otherwise packets find the socket of their connection without asking the routes.
    lab.appliance.set("ipv4/tcp_early_demux", "0");
    open.write_all(b"EHLO client.example\r\n").unwrap();
    lab.client.cannot_reach(None, at("198.51.100.25", 25));
    assert!(lab.dropped("undelivered") > 0);
}

#[test]
fn who_pretends_to_be_inside_gets_nowhere() {
    let Some(lab) = Lab::new() else { return };
    let _server = lab.server.listen(25);
    lab.apply(settings(gateway(false))).unwrap();
    lab.client.ip("address add 198.51.100.77/32 dev cable");
    lab.client.ip("address add 2001:db8:2::77/128 dev cable nodad");
    lab.client.cannot_reach(Some("198.51.100.77"), at("198.51.100.25", 25));
    let v4 = lab.dropped("spoofed");
    lab.client.cannot_reach(Some("2001:db8:2::77"), at("2001:db8:2::25", 25));
    assert!(0 < v4 && v4 < lab.dropped("spoofed"));
}

#[test]
fn the_appliance_offers_its_services_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let listeners: Vec<_> = SCANNED
        .into_iter()
        .map(|port| match port {
            INBOUND | OUTBOUND => (port, lab.appliance.listen_transparent(port)),
            _ => (port, lab.appliance.listen(port)),
        })
        .collect();
    let service = |port, from: &[&str]| Service {
        port: Port::tcp(port),
        at: None,
        from: from.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let services = vec![service(25, &[]), service(443, &["198.51.100.0/24", "2001:db8:2::/64"])];
    lab.apply(firewall::Settings { services, ..settings(gateway(true)) }).unwrap();
    for (port, listener) in &listeners {
        let (outside, inside) = (at("192.0.2.1", *port), at("198.51.100.1", *port));
        match port {
            25 => speak(&lab.client.connect(outside), &accept(listener).0),
            _ => lab.client.cannot_reach(None, outside),
        }
        match port {
            25 | 443 => speak(&lab.server.connect(inside), &accept(listener).0),
            _ => lab.server.cannot_reach(None, inside),
        }
    }
    let (_, smtp) = &listeners[1];
    speak(&lab.client.connect(at("2001:db8:1::1", 25)), &accept(smtp).0);
    lab.client.cannot_reach(None, at("2001:db8:1::1", 22));
    assert!(lab.dropped("not_offered") > 0);
}
