//! Where the kernel has flowtables, what is open and forwarded goes by a shorter way. Where it has none, all else is the same.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use firewall::{Gateway, Mode, Settings};

use crate::lab::{FAMILIES, Host, INBOUND, Lab, accept, at, gateway, settings, speak};

/// Whether this kernel has them.
fn has_flowtables(host: &Host) -> bool {
    host.run(|| {
        let mut nft = Command::new("nft");
        nft.args(["--check", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut nft = nft.spawn().unwrap();
        let text = "table inet probe {\n flowtable f { hook ingress priority 0; devices = { \"lo\" }; }\n}\n";
        nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        nft.wait().unwrap().success()
    })
}

/// The tracked connections of a family that go by one.
fn offloaded(host: &Host, family: &str) -> usize {
    let tracked = host.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")).unwrap();
    tracked.lines().filter(|line| line.starts_with(family) && line.contains("OFFLOAD")).count()
}

#[test]
fn what_passes_takes_the_short_way_of_a_kernel_that_has_one_and_what_is_opened_after_it_is_armed_does_not() {
    let Some(lab) = Lab::new() else { return };
    let (listener, server) = (lab.appliance.listen_transparent(INBOUND), lab.server.listen(25));
    let has = has_flowtables(&lab.appliance);
    for (family, tracked_as) in FAMILIES.into_iter().zip(["ipv4", "ipv6"]) {
        let applied = lab.apply(settings(gateway(false))).unwrap();
        let listing = lab.appliance.output("nft", "list table inet postern");
        assert_eq!(
            (listing.contains("flowtable passing"), listing.contains("flow add @passing")),
            (has, has)
        );
        lab.with(applied, |applied| applied.verify()).1.unwrap();

        let target = at(family.server, 25);
        let mut open = lab.client.connect(target);
        let (mut at_server, ..) = accept(&server);
        (0..3).for_each(|_| speak(&open, &at_server));
        if has {
            assert_eq!(offloaded(&lab.appliance, tracked_as), 1);
        }
        // The same rules again, then others: what is open stays open, and what is new is taken.
        lab.apply(settings(gateway(false))).unwrap();
        speak(&open, &at_server);
        lab.apply(settings(gateway(true))).unwrap();
        speak(&open, &at_server);
        let diverted = lab.client.connect(target);
        let (at_gate, ..) = accept(&listener);
        (0..3).for_each(|_| speak(&diverted, &at_gate));
        // Its end gets through to both sides.
        open.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        at_server.read_to_end(&mut rest).unwrap();
        drop(at_server);
        open.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

#[test]
fn a_flowtable_follows_the_interfaces_and_the_mode() {
    let Some(lab) = Lab::new() else { return };
    let has = has_flowtables(&lab.appliance);
    lab.appliance.ip("link add third type veth peer name fourth");
    let of_third = || settings(Gateway { inside: "third".into(), ..gateway(false) });
    let front = || Settings { mode: Mode::Front { transparent_source: false }, ..settings(gateway(false)) };
    for (rules, interface) in [
        (of_third(), Some("third")),
        (settings(gateway(false)), Some("inside")),
        (front(), None),
        (of_third(), Some("third")),
    ] {
        let applied = lab.apply(rules).unwrap();
        let listing = lab.appliance.output("nft", "list table inet postern");
        let devices = listing.lines().find(|line| line.contains("devices = "));
        let expected = interface.filter(|_| has);
        assert_eq!(devices.is_some(), expected.is_some(), "{listing}");
        if let (Some(devices), Some(interface)) = (devices, expected) {
            assert!(devices.contains(interface) && devices.matches(',').count() == 1, "{devices}");
        }
        lab.with(applied, |applied| applied.verify()).1.unwrap();
    }
    lab.remove();
}
