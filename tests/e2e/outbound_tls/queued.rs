//! Mail that waits in the queue goes under the same policies, as they are when it goes.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use postern_tests::gateway::{LIMIT, smtp, without_dns};
use postern_tests::lab::{LAB, Lab};
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scripted::{Server, Step, say};

use super::situations::{Message, WRONG};
use super::world::{Exchanger, MODEST, World};
use super::{OPENSSL, postern, postern_metric, sent};

const ZONE: &str = "secure.test";
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);

/// Takes recipients behind TLS, and goes away before the content.
fn breaking_off() -> Vec<Step> {
    vec![
        say(MODEST.greeting),
        Step::Expect("EHLO"),
        say(MODEST.ehlo),
        Step::Expect("STARTTLS"),
        say("220 2.0.0 go ahead\r\n"),
        Step::Tls,
        Step::Expect("EHLO"),
        say(MODEST.ehlo_tls),
        Step::Expect("MAIL"),
        say("250 2.1.0 ok\r\n"),
        Step::Expect("RCPT"),
        say("250 2.1.5 ok\r\n"),
        Step::Expect("DATA"),
    ]
}

/// All domains at one server; `right` has its key published, the others another's.
fn records(world: &World, right: &[&str]) -> String {
    let own = world.tlsa(Exchanger::Own, 3, 1, 1);
    let domain = |label: &str| {
        let tlsa = if right.contains(&label) { own.as_str() } else { WRONG };
        format!("{label} MX 10 mx.{label}\nmx.{label} A {HERE}\n_25._tcp.mx.{label} TLSA {tlsa}\n")
    };
    LABELS.map(domain).concat()
}

const LABELS: [&str; 3] = ["steady", "changed", "regardless"];

#[test]
fn what_waits_goes_only_where_the_policy_of_the_day_lets_it() {
    needs!(LAB, KNOT, OPENSSL);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    lab.world.ip(&format!("address add {HERE}/24 dev cable"));
    let text = records(&world, &LABELS);
    let names = lab
        .postern
        .run(move || NameServer::start(&[Zone { name: ZONE, signing: Signing::Nsec, records: &text }]));
    let tls = world.certificate(Exchanger::Own).server_tls();
    let breaking = tls.clone();
    let gone = lab.world.run(move || Server::start_at(smtp(HERE), vec![breaking_off()], Some(breaking)));
    let mut postern = postern(&lab, &world, &names, "");
    for label in LABELS {
        let message = if label == "regardless" { Message::TlsNotRequired } else { Message::Plain };
        let (accepted, output) = sent(&lab, &world, &format!("{label}.{ZONE}"), message);
        assert!(accepted, "{label}: {output}\n{}", postern.log());
    }
    lab.world.run(move || drop(gone));

    names.change(ZONE, &records(&world, &["steady"]));
    postern = lab.postern.run(move || {
        postern.restart(Signal::SIGTERM);
        postern
    });
    let good =
        lab.world.run(move || Server::start_at(smtp(HERE), vec![vec![Step::Converse(MODEST)]], Some(tls)));
    let (postern, said) = lab.postern.run(move || {
        let said = postern.ask(&["queue", "retry", "--all"]).output;
        (postern, said)
    });
    assert!(said.contains("retry: 3 of 3"), "{said}");
    let waits = |domain: &str| postern.get("/api/v1/queue").contains(&format!("@{domain}.{ZONE}"));
    for label in ["steady", "regardless"] {
        let delivered = ports::wait_until(LIMIT, || (!waits(label)).then_some(()));
        assert!(delivered.is_some(), "{label}\n{}", postern.log());
    }
    assert!(waits("changed"), "{}", postern.log());
    let log = postern.log();
    assert!(log.contains("none of its domain's TLSA records"), "{log}");
    for result in ["success", "tlsa-invalid"] {
        let labels = format!("policy=\"tlsa\",result=\"{result}\"");
        assert!(postern_metric(&lab, &postern, &labels) > 0.0, "{labels}\n{log}");
    }
    assert!(good.accepted() >= 2);
    lab.world.run(move || drop(good));
}
