//! Mail to the world that waits in the queue: by MX records, which are looked up anew, from one exchanger to the next, and no faster than
//! a throttle lets it.

use std::net::{IpAddr, Ipv4Addr};

use postern_tests::gateway::{self, LIMIT, names, smtp, submit, without_dns};
use postern_tests::lab::{INSIDE, LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::Postern;
use postern_tests::scripted::{self, Step, say};
use postern_tests::servers::{Kind, Server};

/// Further addresses of the world's machine.
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Here nobody listens.
const DEAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

fn lab() -> Lab {
    let lab = Lab::new();
    without_dns(&lab);
    for more in [SECOND, DEAD] {
        lab.world.ip(&format!("address add {more}/24 dev cable"));
    }
    lab
}

/// An exchanger that takes the recipients and goes away before it has the content.
fn breaking(lab: &Lab, address: impl Into<IpAddr>) -> scripted::Server {
    let address = smtp(address);
    let script = vec![
        say("220 breaking.test ESMTP\r\n"),
        Step::Expect("EHLO"),
        say("250 breaking.test\r\n"),
        Step::Expect("MAIL"),
        say("250 2.1.0 ok\r\n"),
        Step::Expect("RCPT"),
        say("250 2.1.5 ok\r\n"),
        Step::Expect("DATA"),
    ];
    lab.world.run(move || scripted::Server::start_at(address, vec![script], None))
}

fn exchanger(lab: &Lab, address: impl Into<IpAddr>) -> Server {
    let address = smtp(address);
    lab.world.run(move || Server::storing(Kind::Postfix, address, None))
}

/// Sends mail from inside; it is promised, and no server has it.
fn promised(lab: &Lab, postern: &Postern, recipient: &str) -> Mail {
    let mail = Mail::new("a@hidden.test", &[recipient], "to be sent later\n");
    let handed = submit(&lab.inside, smtp(INSIDE.v4), &mail);
    assert!(handed.accepted, "{}\n{}", handed.output, postern.log());
    mail
}

/// Runs a command of the program where it can reach the running one.
fn queue(lab: &Lab, postern: Postern, words: &'static [&'static str]) -> (Postern, String) {
    lab.postern.run(move || {
        let said = postern.ask(words).output;
        (postern, said)
    })
}

fn arrives(postern: &Postern, server: &Server, count: usize) {
    let there = || (server.mailbox().read().len() >= count).then_some(());
    let arrived = ports::wait_until(LIMIT * 2, there);
    assert!(arrived.is_some(), "{} of {count}\n{}", server.mailbox().read().len(), postern.log());
}

#[test]
fn what_waits_goes_to_the_next_exchanger_when_the_first_is_away_and_to_the_first_when_it_is_there() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = lab();
    let zone = format!("@ MX 10 a\n@ MX 20 b\n@ MX 30 c\na A {DEAD}\nb A {SECOND}\nc A {}\n", WORLD.v4);
    let (_names, resolver) = names(&lab, &[("fallback.test", zone)]);
    let postern = gateway::start(&lab, &resolver);
    let gone = [breaking(&lab, SECOND), breaking(&lab, WORLD.v4)];
    let first = promised(&lab, &postern, "b@fallback.test");
    let (postern, list) = queue(&lab, postern, &["queue", "list"]);
    assert!(list.contains("b@fallback.test"), "{list}\n{}", postern.log());
    lab.world.run(move || drop(gone));

    let second_best = exchanger(&lab, SECOND);
    let (postern, said) = queue(&lab, postern, &["queue", "retry", "--all"]);
    assert!(said.contains("retry: 1 of 1"), "{said}");
    arrives(&postern, &second_best, 1);
    second_best.mailbox().wait_for_message(first.message_id());
    drop(second_best);

    // The better one is back, and is asked first.
    let gone = breaking(&lab, SECOND);
    let second = promised(&lab, &postern, "b@fallback.test");
    lab.world.run(move || drop(gone));
    let (best, second_best) = (exchanger(&lab, DEAD), exchanger(&lab, SECOND));
    let (postern, _) = queue(&lab, postern, &["queue", "retry", "--all"]);
    arrives(&postern, &best, 1);
    best.mailbox().wait_for_message(second.message_id());
    assert!(second_best.mailbox().read().is_empty(), "{}", second_best.log());
}

#[test]
fn a_throttled_domain_gets_one_message_at_a_time_and_the_others_are_not_held_up_by_it() {
    needs!(LAB, KNOT, POSTFIX);
    const EACH: usize = 4;
    let lab = lab();
    let zone = |address: Ipv4Addr| format!("@ MX 10 mx\nmx A {address}\n");
    let zones = [("slow.test", zone(WORLD.v4)), ("quick.test", zone(SECOND))];
    let (_names, resolver) = names(&lab, &zones);
    // One a minute: the second one is far away.
    let throttle = "[queue]\nthrottles = [{ domain = \"slow.test\", connections = 2, per_minute = 1 }]\n";
    let postern = gateway::start(&lab, &format!("{resolver}{throttle}"));
    let gone = [breaking(&lab, WORLD.v4), breaking(&lab, SECOND)];
    for _ in 0..EACH {
        promised(&lab, &postern, "b@slow.test");
        promised(&lab, &postern, "b@quick.test");
    }
    lab.world.run(move || drop(gone));
    let (slow, quick) = (exchanger(&lab, WORLD.v4), exchanger(&lab, SECOND));
    let (postern, _) = queue(&lab, postern, &["queue", "retry", "--all"]);
    arrives(&postern, &quick, EACH);
    arrives(&postern, &slow, 1);
    let (postern, list) = queue(&lab, postern, &["queue", "list", "--domain", "slow.test"]);
    let waiting = list.matches("to <b@slow.test>").count();
    assert_eq!(waiting + slow.mailbox().read().len(), EACH, "{list}\n{}", postern.log());
    assert!(waiting > 0, "all went at once: {}", slow.log());
}
