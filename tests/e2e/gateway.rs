//! Postern in the path: a gateway between a world and an inside, each a network namespace with real mail servers in it.

use std::net::IpAddr;
use std::path::PathBuf;

use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::gateway::{self, LIMIT, both_families, names, smtp};
use postern_tests::lab::{HIDDEN, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::postfix::{self, Postfix};

mod difference;
mod far_sides;
mod faults;
mod loops;
mod outbound;
mod peers;
mod queued;
mod reach;
mod reports;

fn hidden(lab: &Lab, address: IpAddr, options: postfix::Options) -> Postfix {
    lab.inside.run(move || Postfix::start(&postfix::Options { address: Some(smtp(address)), ..options }))
}

#[test]
fn mail_from_the_world_reaches_the_hidden_server_which_sees_the_clients_own_address() {
    needs!(LAB, POSTFIX);
    let lab = Lab::new();
    let postern = gateway::start(&lab, "");
    for (address, client) in [(HIDDEN.v4.into(), IpAddr::from(WORLD.v4)), (HIDDEN.v6.into(), WORLD.v6.into())]
    {
        let server = hidden(&lab, address, postfix::Options::default());
        let mail = Mail::new("a@world.test", &["b@hidden.test"], "through the gateway\n");
        let sent = mail.clone();
        let result = lab.world.run(move || deliver(Client::Wire, smtp(address), &sent, &How::default()));
        assert!(result.accepted, "{}\n{}", result.output, postern.log());
        let stored = server.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&client.to_string()), "{}", stored.added);
        assert!(
            result.output.contains("postfix.test ESMTP Postfix"),
            "the server's own banner: {}",
            result.output
        );
    }
}

fn in_the_world(lab: &Lab, address: IpAddr, options: postfix::Options) -> Postfix {
    lab.world.run(move || {
        let extra = [options.extra.clone(), vec!["smtpd_peername_lookup = no".into()]].concat();
        Postfix::start(&postfix::Options { address: Some(smtp(address)), extra, ..options })
    })
}

/// A hidden server that sends everything to one server of the world.
fn sender(lab: &Lab, far: IpAddr, tls: Option<(&'static str, PathBuf)>) -> Postfix {
    lab.inside.run(move || {
        Postfix::start(&postfix::Options {
            next_hop: Some(smtp(far)),
            next_hop_tls: tls,
            extra: vec!["smtp_dns_support_level = disabled".into()],
            ..Default::default()
        })
    })
}

/// Sends through a hidden server; what it says became of the mail.
fn send_out(lab: &Lab, sender: &Postfix, recipient: &str) -> (Mail, String) {
    let mail = Mail::new("a@hidden.test", &[recipient], "out into the world\n");
    let (sent, address) = (mail.clone(), sender.address());
    let result = lab.inside.run(move || deliver(Client::Wire, address, &sent, &How::default()));
    assert!(result.accepted, "{}", result.output);
    let outcome = sender.outcome(mail.message_id(), 1, LIMIT).remove(0);
    (mail, outcome)
}

#[test]
fn mail_to_the_world_is_intercepted_and_leaves_from_the_appliances_address() {
    needs!(LAB, POSTFIX, KNOT);
    let lab = Lab::new();
    let (_names, resolver) = names(&lab, &both_families());
    let postern = gateway::start(&lab, &resolver);
    for (far, own, recipient) in [
        (IpAddr::from(WORLD.v4), IpAddr::from(OUTSIDE.v4), "b@v4.test"),
        (WORLD.v6.into(), OUTSIDE.v6.into(), "b@v6.test"),
    ] {
        let world = in_the_world(&lab, far, postfix::Options::default());
        let sender = sender(&lab, far, None);
        let (mail, outcome) = send_out(&lab, &sender, recipient);
        assert!(outcome.contains("status=sent"), "{outcome}\n{}", postern.log());
        let stored = world.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&own.to_string()), "{}", stored.added);
        assert!(stored.added.contains("from mx.postern.test"), "{}", stored.added);
        let all = String::from_utf8_lossy(&stored.whole).into_owned();
        for inside in [HIDDEN.v4.to_string(), HIDDEN.v6.to_string(), "client.test".into()] {
            assert!(!all.contains(&inside), "{inside} is told to the world:\n{all}");
        }
    }
}

#[test]
fn a_hidden_server_that_verifies_takes_a_genuine_far_side_and_no_other() {
    needs!(LAB, POSTFIX, KNOT);
    let lab = Lab::new();
    let authority = Authority::new();
    let (_names, resolver) = names(&lab, &both_families());
    let trusted = format!("{resolver}[outbound]\nca_file = {:?}\n", authority.file());
    let postern = gateway::start(&lab, &trusted);
    let own_authority = postern.state().join("interception-ca.pem");
    let far = IpAddr::from(WORLD.v4);

    // The far side is what it says it is: the hidden server, which trusts Postern's authority alone, sends.
    let certificate = authority.certify(&["mx.v4.test"]);
    let world =
        in_the_world(&lab, far, postfix::Options { certificate: Some(certificate), ..Default::default() });
    for level in ["may", "encrypt", "verify"] {
        let sender = sender_by_name(&lab, level, own_authority.clone());
        let (mail, outcome) = send_out(&lab, &sender, "b@v4.test");
        assert!(outcome.contains("status=sent"), "{level}: {outcome}\n{}", postern.log());
        let stored = world.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains("using TLSv1.3"), "{level}: {}", stored.added);
        let trust = "Verified TLS connection established to mx.v4.test";
        assert!(level != "verify" || sender.log().contains(trust), "{level}: {}", sender.log());
    }
    drop(world);

    // A far side with a certificate of its own making: whoever verifies is not deceived, whoever does not sends.
    let strange = Authority::new();
    let certificate = Some(strange.certify(&["mx.v4.test"]));
    let world = in_the_world(&lab, far, postfix::Options { certificate, ..Default::default() });
    let verifying = sender_by_name(&lab, "verify", own_authority.clone());
    let (_, outcome) = send_out(&lab, &verifying, "b@v4.test");
    assert!(outcome.contains("status=deferred") && outcome.contains("not verified"), "{outcome}");
    let trusting = sender_by_name(&lab, "may", own_authority);
    let (mail, outcome) = send_out(&lab, &trusting, "b@v4.test");
    assert!(outcome.contains("status=sent"), "{outcome}");
    world.mailbox().wait_for_message(mail.message_id());
}

/// A hidden server that knows the far side by its name.
fn sender_by_name(lab: &Lab, level: &'static str, authorities: PathBuf) -> Postfix {
    lab.inside.etc("hosts", &format!("127.0.0.1 localhost\n{} mx.v4.test\n", WORLD.v4));
    lab.inside.run(move || {
        Postfix::start(&postfix::Options {
            next_hop: Some(smtp(WORLD.v4)),
            next_hop_tls: Some((level, authorities)),
            extra: vec!["smtp_dns_support_level = disabled".into(), "relayhost = [mx.v4.test]:25".into()],
            ..Default::default()
        })
    })
}
