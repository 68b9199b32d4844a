//! The text that is loaded, for people to read when it changes; and `nft` takes each of them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use firewall::{Gateway, Mode, Port, Redirect, RuleSet, Service, Settings};

use crate::lab::{Lab, at};

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn service(port: &str, address: Option<&str>, from: &[&str]) -> Service {
    Service {
        port: port.parse().unwrap(),
        at: address.map(|address| address.parse().unwrap()),
        from: networks(from),
    }
}

fn front() -> Settings {
    Settings {
        mode: Mode::Front { transparent_source: false },
        services: vec![service("tcp/587", None, &[]), service("tcp/465", None, &[])],
        redirects: vec![Redirect { public: 25, at: None, listening: 2525 }],
        protected: Vec::new(),
    }
}

fn gateway() -> Settings {
    let target = at("198.51.100.25", 25);
    let gateway = Gateway {
        outside: "eth0".into(),
        inside: "eth1".into(),
        inbound_port: 20025,
        outbound_port: 20026,
        targets: BTreeSet::from([target]),
        armed: BTreeSet::from([target]),
        originators: networks(&["198.51.100.25/32"]),
        bypass: Vec::new(),
        forward: Vec::new(),
    };
    let services = vec![service("tcp/25", None, &[])];
    Settings { mode: Mode::Gateway(gateway), services, redirects: Vec::new(), protected: Vec::new() }
}

fn everything() -> Settings {
    let gateway = Gateway {
        outside: "ens18.7".into(),
        inside: "ens19".into(),
        inbound_port: 20025,
        outbound_port: 20026,
        targets: ["198.51.100.25", "198.51.100.26", "2001:db8:2::25"]
            .into_iter()
            .flat_map(|address| [25, 465, 587].map(|port| at(address, port)))
            .collect(),
        armed: BTreeSet::from([at("198.51.100.25", 25), at("2001:db8:2::25", 25)]),
        originators: networks(&["198.51.100.24/29", "198.51.100.26/32", "2001:db8:2::/64"]),
        bypass: networks(&["203.0.113.0/25", "203.0.113.128/25", "2001:db8:9::1/128"]),
        forward: vec![Port::tcp(443), "udp/443".parse().unwrap()],
    };
    let v4 = Some("192.0.2.1");
    Settings {
        mode: Mode::Gateway(gateway),
        services: vec![
            service("tcp/25", None, &[]),
            service("tcp/587", v4, &[]),
            service("tcp/8443", None, &["198.51.100.0/24", "2001:db8:2::/64"]),
            service("tcp/8443", v4, &["203.0.113.7/32", "2001:db8:5::/64"]),
            service("udp/161", None, &["198.51.100.7/32"]),
        ],
        redirects: vec![
            Redirect { public: 25, at: None, listening: 2525 },
            Redirect { public: 465, at: Some("2001:db8:1::1".parse().unwrap()), listening: 4650 },
            Redirect { public: 465, at: Some("192.0.2.1".parse().unwrap()), listening: 4650 },
        ],
        protected: networks(&["192.0.2.1/32"]),
    }
}

fn text(settings: Settings) -> String {
    RuleSet::new(settings).unwrap().render()
}

#[test]
fn a_front_as_text() {
    insta::assert_snapshot!(text(front()));
}

#[test]
fn a_front_with_transparent_source_as_text() {
    let mode = Mode::Front { transparent_source: true };
    insta::assert_snapshot!(text(Settings { mode, redirects: Vec::new(), ..front() }));
}

#[test]
fn a_gateway_as_text() {
    insta::assert_snapshot!(text(gateway()));
}

#[test]
fn a_gateway_with_everything_as_text() {
    insta::assert_snapshot!(text(everything()));
}

#[test]
fn the_order_of_settings_does_not_change_the_text() {
    let mut other = everything();
    other.services.reverse();
    other.redirects.reverse();
    let Mode::Gateway(gateway) = &mut other.mode else { panic!("{other:?}") };
    gateway.originators.reverse();
    gateway.bypass.reverse();
    gateway.forward.reverse();
    assert_eq!(text(other), text(everything()));
}

#[test]
fn nft_takes_every_text() {
    let Some(lab) = Lab::new() else { return };
    for settings in [front(), gateway(), everything()] {
        let text = text(settings);
        let output = lab.appliance.run(move || {
            let mut nft = Command::new("nft")
                .args(["-c", "-f", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            nft.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{output:?}");
    }
}
