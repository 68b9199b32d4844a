//! MTA-STS policies in time: they outlive their record, their host and a restart of Postern, and they end.

use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::gateway::without_dns;
use postern_tests::lab::{LAB, Lab};
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::postern::Postern;

use super::situations::{Message, policy};
use super::world::{Exchanger, World};
use super::{OPENSSL, postern, sent};

const ZONE: &str = "plain.test";
/// How long the brief policy holds.
const BRIEF: u64 = 3;

/// What the domains publish.
enum Says {
    /// That they have this policy.
    Policy(u8),
    /// Nothing: somebody hides it, and names a server of his own.
    Nothing,
}

fn records(says: &Says) -> String {
    let mut text = String::new();
    let exchanger = match says {
        Says::Policy(_) => Exchanger::Public,
        Says::Nothing => Exchanger::Below,
    };
    for label in ["lasting", "brief"] {
        text.push_str(&format!("{label} MX 10 mx.{label}\nmx.{label} A {}\n", exchanger.address()));
        if let Says::Policy(id) = says {
            text.push_str(&format!(
                "_mta-sts.{label} TXT \"v=STSv1; id={id};\"\nmta-sts.{label} A 192.0.2.9\n"
            ));
        }
    }
    text
}

/// It forgets what the DNS said, and nothing else.
fn restarted(lab: &Lab, mut postern: Postern) -> Postern {
    lab.postern.run(move || {
        postern.restart(Signal::SIGTERM);
        postern
    })
}

#[test]
fn a_policy_outlives_its_record_its_host_and_a_restart_but_not_its_time() {
    needs!(LAB, KNOT, OPENSSL);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    let text = records(&Says::Policy(1));
    let names = lab
        .postern
        .run(move || NameServer::start(&[Zone { name: ZONE, signing: Signing::Unsigned, records: &text }]));
    world.publish("lasting.plain.test", &policy("enforce", "mx.lasting.plain.test", 86_400));
    world.publish("brief.plain.test", &policy("enforce", "mx.brief.plain.test", BRIEF));
    let postern = postern(&lab, &world, &names, "");
    let send = |domain: &str| sent(&lab, &world, domain, Message::Plain);
    for domain in ["lasting.plain.test", "brief.plain.test"] {
        let (accepted, output) = send(domain);
        assert!(accepted, "{domain}: {output}\n{}", postern.log());
    }
    assert_eq!(world.policies.asked().len(), 2);

    names.change(ZONE, &records(&Says::Nothing));
    for domain in ["lasting", "brief"] {
        world.policies.withdraw(&format!("mta-sts.{domain}.plain.test"));
    }
    // Until it is over.
    ports::wait_until(Duration::from_secs(BRIEF + 1), || None::<()>);
    let postern = restarted(&lab, postern);
    let (accepted, output) = send("lasting.plain.test");
    assert!(!accepted && output.contains("4.7.5"), "the forger got it: {output}");
    let (accepted, output) = send("brief.plain.test");
    assert!(accepted, "its time is over: {output}\n{}", postern.log());

    // The domain's own word that it wants none any more.
    names.change(ZONE, &records(&Says::Policy(2)));
    world.publish("lasting.plain.test", &policy("none", "mx.lasting.plain.test", 86_400));
    let postern = restarted(&lab, postern);
    assert!(send("lasting.plain.test").0);
    names.change(ZONE, &records(&Says::Nothing));
    let postern = restarted(&lab, postern);
    let (accepted, output) = send("lasting.plain.test");
    assert!(accepted, "{output}\n{}", postern.log());
}
