//! What a gateway takes on its way, and what it lets by.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::thread;

use crate::lab::{FAMILIES, INBOUND, Lab, OUTBOUND, accept, at, gateway, settings, speak};

#[test]
fn a_connection_to_an_armed_server_arrives_at_the_listener_under_both_original_addresses() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    for family in FAMILIES {
        let client = lab.client.connect(at(family.server, 25));
        let (accepted, peer, local) = accept(&listener);
        assert_eq!((peer, local), (client.local_addr().unwrap(), at(family.server, 25)));
        speak(&client, &accepted);
    }
}

#[test]
fn with_syn_cookies_a_connection_arrives_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    // Always, not only under attack: no socket knows of the connection until its third packet.
    lab.appliance.set("ipv4/tcp_syncookies", "2");
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    for family in FAMILIES {
        let client = lab.client.connect(at(family.server, 25));
        let (accepted, ..) = accept(&listener);
        speak(&client, &accepted);
    }
}

#[test]
fn what_is_not_armed_is_spliced_and_lives_on_when_it_is_armed_and_the_other_way_round() {
    let Some(lab) = Lab::new() else { return };
    let (listener, server) = (lab.appliance.listen_transparent(INBOUND), lab.server.listen(25));
    let mut applied = lab.apply(settings(gateway(false))).unwrap();
    for family in FAMILIES {
        let target = at(family.server, 25);
        let spliced = lab.client.connect(target);
        let (at_server, peer, _) = accept(&server);
        assert_eq!(peer, spliced.local_addr().unwrap());
        speak(&spliced, &at_server);

        let armed;
        (applied, armed) = lab.with(applied, move |applied| applied.set_armed(&BTreeSet::from([target])));
        armed.unwrap();
        speak(&spliced, &at_server);
        let diverted = lab.client.connect(target);
        let (at_gate, ..) = accept(&listener);
        speak(&diverted, &at_gate);

        let disarmed;
        (applied, disarmed) = lab.with(applied, |applied| applied.set_armed(&BTreeSet::new()));
        disarmed.unwrap();
        speak(&diverted, &at_gate);
        speak(&spliced, &at_server);
        let next = lab.client.connect(target);
        let (at_server, ..) = accept(&server);
        speak(&next, &at_server);
    }
    lab.with(applied, |applied| applied.verify()).1.unwrap();
}

#[test]
fn only_targets_can_be_armed() {
    let Some(lab) = Lab::new() else { return };
    let applied = lab.apply(settings(gateway(false))).unwrap();
    let stranger = BTreeSet::from([at("198.51.100.26", 25)]);
    let (applied, armed) = lab.with(applied, move |applied| applied.set_armed(&stranger));
    assert!(armed.unwrap_err().to_string().contains("198.51.100.26:25 is armed but is no server"));
    lab.with(applied, |applied| applied.verify()).1.unwrap();
}

#[test]
fn peers_to_bypass_reach_an_armed_server_unread() {
    let Some(lab) = Lab::new() else { return };
    let (listener, server) = (lab.appliance.listen_transparent(INBOUND), lab.server.listen(25));
    let bypass = vec!["192.0.2.66/32".parse().unwrap()];
    lab.apply(settings(firewall::Gateway { bypass, ..gateway(true) })).unwrap();
    let trusted = lab.client.connect_from("192.0.2.66", at("198.51.100.25", 25));
    speak(&trusted, &accept(&server).0);
    let other = lab.client.connect_from("192.0.2.9", at("198.51.100.25", 25));
    speak(&other, &accept(&listener).0);
}

#[test]
fn mail_of_inside_servers_arrives_at_the_other_listener() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.appliance.listen_transparent(OUTBOUND);
    let originators = ["198.51.100.25/32", "2001:db8:2::/64"].map(|net| net.parse().unwrap()).into();
    lab.apply(settings(firewall::Gateway { originators, ..gateway(true) })).unwrap();
    for family in FAMILIES {
        for port in firewall::MAIL_PORTS {
            let target = at(family.client, port);
            let server = lab.server.connect(target);
            let (accepted, peer, local) = accept(&listener);
            assert_eq!((peer, local), (server.local_addr().unwrap(), target));
            speak(&server, &accepted);
        }
    }
}

#[test]
fn mail_of_inside_servers_to_trusted_peers_and_what_is_no_mail_goes_by() {
    let Some(lab) = Lab::new() else { return };
    let originators = vec!["198.51.100.25/32".parse().unwrap()];
    let bypass = vec!["192.0.2.66/32".parse().unwrap()];
    lab.apply(settings(firewall::Gateway { originators, bypass, ..gateway(true) })).unwrap();
    for (address, port) in [("192.0.2.66", 25), ("192.0.2.66", 587), ("192.0.2.9", 443)] {
        let world = lab.client.listen(port);
        let server = lab.server.connect(at(address, port));
        let (accepted, peer, _) = accept(&world);
        assert_eq!(peer, server.local_addr().unwrap());
        speak(&server, &accepted);
    }
}

#[test]
fn mail_of_inside_hosts_that_are_no_originators_is_dropped_on_port_25_alone() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(settings(gateway(true))).unwrap();
    let (mail, submission) = (lab.client.listen(25), lab.client.listen(587));
    lab.server.cannot_reach(None, at("192.0.2.9", 25));
    assert!(lab.dropped("strangers") > 0);
    speak(&lab.server.connect(at("192.0.2.9", 587)), &accept(&submission).0);
    drop(mail);
}

#[test]
fn postern_reaches_the_server_under_the_clients_address_and_is_not_diverted() {
    let Some(lab) = Lab::new() else { return };
    let server = lab.server.listen(25);
    // The client's own connection to the same target is open at the same time.
    let listener = lab.appliance.listen_transparent(INBOUND);
    lab.apply(settings(gateway(true))).unwrap();
    for family in FAMILIES {
        let client = lab.client.connect(at(family.server, 25));
        let at_gate = accept(&listener).0;
        let leg = lab.appliance.connect_transparently(family.client, at(family.server, 25));
        let (at_server, peer, _) = accept(&server);
        assert_eq!(peer, leg.local_addr().unwrap());
        assert_eq!(peer.ip(), at(family.client, 0).ip());
        speak(&leg, &at_server);
        speak(&client, &at_gate);
    }
}

#[test]
fn postern_reaches_server_and_world_from_its_own_address() {
    let Some(lab) = Lab::new() else { return };
    let (server, world) = (lab.server.listen(25), lab.client.listen(25));
    lab.apply(settings(gateway(true))).unwrap();
    for family in FAMILIES {
        let leg = lab.appliance.connect(at(family.server, 25));
        speak(&leg, &accept(&server).0);
        let leg = lab.appliance.connect(at(family.client, 25));
        speak(&leg, &accept(&world).0);
    }
}

#[test]
fn rules_applied_again_and_again_disturb_neither_open_nor_new_connections() {
    let Some(lab) = Lab::new() else { return };
    let (listener, server) = (lab.appliance.listen_transparent(INBOUND), lab.server.listen(587));
    let [v4, v6] = FAMILIES.map(|family| family.server);
    let mut both = gateway(true);
    both.targets.extend([at(v4, 587), at(v6, 587)]);
    lab.apply(settings(both.clone())).unwrap();
    let diverted = lab.client.connect(at(v4, 25));
    let at_gate = accept(&listener).0;
    let spliced = lab.client.connect(at(v6, 587));
    let at_server = accept(&server).0;
    let open: [(TcpStream, TcpStream); 2] = [(diverted, at_gate), (spliced, at_server)];
    thread::scope(|scope| {
        let applying = scope.spawn(|| {
            for _ in 0..10 {
                lab.apply(settings(both.clone())).unwrap();
            }
        });
        while !applying.is_finished() {
            open.iter().for_each(|(one, other)| speak(one, other));
            let diverted = lab.client.connect(at(v6, 25));
            speak(&diverted, &accept(&listener).0);
            let spliced = lab.client.connect(at(v4, 587));
            speak(&spliced, &accept(&server).0);
        }
        applying.join().unwrap();
    });
    open.iter().for_each(|(one, other)| speak(one, other));
    for counter in ["closed", "undelivered", "midstream", "not_forwarded", "not_offered"] {
        assert_eq!(lab.dropped(counter), 0, "{counter}");
    }
}
