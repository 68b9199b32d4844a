//! Where mail of hidden servers goes: by MX records, through a relay, to smarthosts that they chose themselves.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::clients::{Client, How, Security, deliver};
use postern_tests::gateway::{self, LIMIT, names, smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, INSIDE, LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::{DOVECOT, POSTFIX};
use postern_tests::ports;
use postern_tests::postfix::{self, Postfix};
use postern_tests::scripted::{self, Step, Tls, say};
use postern_tests::servers::{Kind, Server, Trust};

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

fn in_the_world(lab: &Lab, address: impl Into<IpAddr>) -> Server {
    let address = smtp(address);
    lab.world.run(move || Server::storing(Kind::Postfix, address, None))
}

/// A hidden Postfix that sends everything there.
fn sender(lab: &Lab, next_hop: impl Into<IpAddr>) -> Postfix {
    let next_hop = smtp(next_hop);
    let server = lab.inside.run(move || Server::relaying(Kind::Postfix, next_hop, &Trust::Plain));
    let Server::Postfix(postfix) = server else { unreachable!("it was asked for") };
    postfix
}

/// What a hidden server says became of a mail, a line for each of its recipients.
fn sent_by(lab: &Lab, sender: &Postfix, mail: &Mail) -> Vec<String> {
    let handed = submit(&lab.inside, sender.address(), mail);
    assert!(handed.accepted, "{}", handed.output);
    sender.outcome(mail.message_id(), mail.to.len(), LIMIT)
}

/// The recipient that Postern's field on top of what a server got names.
fn arrived_for(server: &Server, mail: &Mail, count: usize) -> Vec<String> {
    let mut recipients = Vec::new();
    for stored in server.mailbox().wait_for(count) {
        let (field, rest) = stored.one_hop_before();
        assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&mail.content));
        let named = field.split_once("for <").and_then(|(_, rest)| rest.split_once('>'));
        recipients.push(named.map_or_else(String::new, |(name, _)| name.to_owned()));
    }
    recipients.sort();
    recipients
}

#[test]
fn recipients_of_four_domains_in_one_transaction_each_reach_their_own_exchanger() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = lab();
    let (_names, resolver) = names(
        &lab,
        &[
            ("one.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4)),
            ("two.test", format!("@ MX 10 mx\nmx A {SECOND}\n")),
            // The better one is the second.
            ("better.test", format!("@ MX 20 a\n@ MX 10 b\na A {}\nb A {SECOND}\n", WORLD.v4)),
            // The better one is down; the other one answers over IPv4 alone.
            (
                "fallback.test",
                format!("@ MX 10 a\n@ MX 20 b\na A {DEAD}\nb AAAA {}\nb A {}\n", WORLD.v6, WORLD.v4),
            ),
        ],
    );
    let postern = gateway::start(&lab, &resolver);
    let (first, second) = (in_the_world(&lab, WORLD.v4), in_the_world(&lab, SECOND));
    let sender = sender(&lab, INSIDE.v4);
    let all = ["b@one.test", "b@two.test", "b@better.test", "b@fallback.test"];
    let mail = Mail::new("a@hidden.test", &all, "to four places\n");
    let outcome = sent_by(&lab, &sender, &mail);
    assert!(outcome.iter().all(|line| line.contains("status=sent")), "{outcome:#?}\n{}", postern.log());
    let replies: std::collections::BTreeSet<_> =
        outcome.iter().filter_map(|line| line.split_once("status=")).map(|(_, reply)| reply).collect();
    assert_eq!(replies.len(), 1, "one transaction has one reply: {outcome:#?}");
    assert_eq!(arrived_for(&first, &mail, 2), ["b@fallback.test", "b@one.test"]);
    assert_eq!(arrived_for(&second, &mail, 2), ["b@better.test", "b@two.test"]);
}

#[test]
fn mail_for_an_address_that_is_no_exchanger_any_more_goes_to_the_one_that_is() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = lab();
    let (_names, resolver) = names(&lab, &[("rotating.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let postern = gateway::start(&lab, &resolver);
    let (now, before) = (in_the_world(&lab, WORLD.v4), in_the_world(&lab, SECOND));
    let sender = sender(&lab, SECOND);
    let mail = Mail::new("a@hidden.test", &["b@rotating.test"], "to where it was yesterday\n");
    let outcome = sent_by(&lab, &sender, &mail);
    assert!(outcome[0].contains("status=sent"), "{outcome:?}\n{}", postern.log());
    assert_eq!(arrived_for(&now, &mail, 1), ["b@rotating.test"]);
    assert!(before.mailbox().read().is_empty(), "{}", before.log());
    assert!(before.log().contains("connect from"), "its capabilities were asked for: {}", before.log());
}

#[test]
fn one_relay_with_a_password_takes_everything_and_a_wrong_password_keeps_the_mail_waiting() {
    needs!(LAB, POSTFIX, DOVECOT);
    let lab = lab();
    lab.postern.etc("hosts", &format!("127.0.0.1 localhost\n{} relay.world.test\n", WORLD.v4));
    let authority = Authority::new();
    let certificate = Some(authority.certify(&["relay.world.test"]));
    let relay = lab.world.run(move || {
        Postfix::start(&postfix::Options {
            certificate,
            require_tls: true,
            auth: Some(("postern", "right")),
            address: Some(SocketAddr::new(WORLD.v4.into(), 587)),
            extra: vec!["smtpd_peername_lookup = no".into()],
            ..Default::default()
        })
    });
    let postern = gateway::start(
        &lab,
        &format!(
            "[outbound]\nrelay = \"relay.world.test:587\"\nuser = \"postern\"\npassword = \"wrong\"\nca_file = {:?}\n",
            authority.file()
        ),
    );
    let sender = sender(&lab, INSIDE.v4);
    let mail = Mail::new("a@hidden.test", &["b@anywhere.test", "c@elsewhere.test"], "through the relay\n");
    let outcome = sent_by(&lab, &sender, &mail);
    for line in &outcome {
        assert!(line.contains("status=deferred") && line.contains("451 4.4.1"), "{line}");
        assert!(line.contains("the relay refuses the configured user"), "{line}");
    }
    assert!(relay.mailbox().read().is_empty());

    // Set right, without a restart.
    let config = fs::read_to_string(postern.config()).expect("its config");
    fs::write(postern.config(), config.replace("\"wrong\"", "\"right\"")).expect("its config");
    postern.reload();
    let log = || postern.log();
    let reloaded = || log().contains("reloaded").then_some(());
    assert!(ports::wait_until(LIMIT, reloaded).is_some(), "{}", log());
    let second = Mail::new("a@hidden.test", &["b@anywhere.test", "c@elsewhere.test"], "and again\n");
    let outcome = sent_by(&lab, &sender, &second);
    assert!(outcome.iter().all(|line| line.contains("status=sent")), "{outcome:#?}\n{}", log());
    let stored = relay.mailbox().wait_for_message(second.message_id());
    assert!(stored.added.contains("using TLSv1.3"), "{}", stored.added);
    let logins = relay.log().matches("sasl_username=postern").count();
    assert!(logins > 0, "{}", relay.log());

    // A server that knows nothing of that, on its way to where nobody answers.
    let unaware = self::sender(&lab, DEAD);
    let third = Mail::new("a@hidden.test", &["b@anywhere.test"], "on its way to a closed port\n");
    let outcome = sent_by(&lab, &unaware, &third);
    assert!(outcome[0].contains("status=sent"), "{outcome:#?}\n{}", log());
    relay.mailbox().wait_for_message(third.message_id());
}

#[test]
fn a_relay_that_is_not_who_it_says_it_is_gets_neither_password_nor_mail() {
    needs!(LAB, POSTFIX, DOVECOT);
    let lab = lab();
    lab.postern.etc("hosts", &format!("127.0.0.1 localhost\n{} relay.world.test\n", WORLD.v4));
    let authority = Authority::new();
    let certificate = Some(authority.certify(&["other.world.test"]));
    let relay = lab.world.run(move || {
        Postfix::start(&postfix::Options {
            certificate,
            auth: Some(("postern", "right")),
            address: Some(SocketAddr::new(WORLD.v4.into(), 587)),
            extra: vec!["smtpd_peername_lookup = no".into()],
            ..Default::default()
        })
    });
    let postern = gateway::start(
        &lab,
        &format!(
            "[outbound]\nrelay = \"relay.world.test:587\"\nuser = \"postern\"\npassword = \"right\"\nca_file = {:?}\n",
            authority.file()
        ),
    );
    let sender = sender(&lab, INSIDE.v4);
    let mail = Mail::new("a@hidden.test", &["b@anywhere.test"], "through the relay\n");
    let outcome = sent_by(&lab, &sender, &mail);
    assert!(outcome[0].contains("status=deferred") && outcome[0].contains("TLS failed"), "{outcome:?}");
    assert!(!relay.log().contains("sasl_username"), "{}", relay.log());
    assert!(relay.mailbox().read().is_empty(), "{}", postern.log());
}

#[test]
fn a_smarthost_of_the_servers_own_takes_mail_for_anybody_if_it_is_who_it_should_be() {
    needs!(LAB, KNOT, POSTFIX, DOVECOT, Client::Curl.needs());
    let lab = lab();
    lab.postern.etc("hosts", &format!("127.0.0.1 localhost\n{} relay.world.test\n", WORLD.v4));
    let (_names, resolver) = names(&lab, &[]);
    let authority = Authority::new();
    let config = format!(
        "{resolver}[outbound]\nrelays = [\"relay.world.test:25\"]\nca_file = {:?}\n",
        authority.file()
    );
    let postern = gateway::start(&lab, &config);
    let sender = sender(&lab, WORLD.v4);
    let far = smtp(WORLD.v4);

    let wrong = Some(authority.certify(&["other.world.test"]));
    let world = lab.world.run(move || Server::storing(Kind::Postfix, far, wrong));
    let mail = Mail::new("a@hidden.test", &["b@no.such.domain"], "for anybody\n");
    let outcome = sent_by(&lab, &sender, &mail);
    assert!(outcome[0].contains("status=deferred"), "{outcome:?}");
    assert!(outcome[0].contains("TLS is weaker than the policy verify demands"), "{outcome:?}");
    assert!(world.mailbox().read().is_empty());
    drop(world);

    let right = Some(authority.certify(&["relay.world.test"]));
    let world = lab.world.run(move || Server::storing(Kind::Postfix, far, right));
    let mail = Mail::new("a@hidden.test", &["b@no.such.domain", "c@nor.such"], "for anybody\n");
    let outcome = sent_by(&lab, &sender, &mail);
    assert!(outcome.iter().all(|line| line.contains("status=sent")), "{outcome:#?}\n{}", postern.log());
    assert!(world.mailbox().wait_for_message(mail.message_id()).added.contains("using TLSv1.3"));
}

#[test]
fn under_a_servers_own_address_a_far_side_is_greeted_with_the_name_that_it_gave_before() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = lab();
    let (_names, resolver) = names(&lab, &[("far.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let postern = gateway::start(&lab, &format!("{resolver}[outbound]\nsource = \"server\"\nhide = false\n"));
    let (far, sender) = (in_the_world(&lab, WORLD.v4), sender(&lab, WORLD.v4));
    let greeted_by = || {
        let mail = Mail::new("a@hidden.test", &["b@far.test"], "from whom?\n");
        let outcome = sent_by(&lab, &sender, &mail);
        assert!(outcome[0].contains("status=sent"), "{outcome:?}\n{}", postern.log());
        let stored = far.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&format!("[{}]", HIDDEN.v4)), "{}", stored.added);
        stored.added
    };
    // Nothing is known of it yet.
    let first = greeted_by();
    assert!(first.contains("from mx.postern.test "), "{first}");
    // The session before ends a moment after its mail has arrived.
    let own = || Some(greeted_by()).filter(|added| added.contains("from postfix.test "));
    assert!(ports::wait_until(LIMIT, own).is_some(), "{}\n{}", far.log(), postern.log());
}

/// A server of the world's that takes an envelope, is gone when the content is to come, and does not come back.
fn gone_before_the_content(lab: &Lab, address: Ipv4Addr, tls: Option<Tls>) -> scripted::Server {
    let offer = "250-far.test\r\n250-STARTTLS\r\n250 PIPELINING\r\n";
    let in_clear = "250-far.test\r\n250 PIPELINING\r\n";
    let mut script = vec![say("220 far.test ESMTP\r\n"), Step::Expect("EHLO")];
    if tls.is_some() {
        script.extend([say(offer), Step::Expect("STARTTLS"), say("220 go on\r\n"), Step::Tls]);
        script.push(Step::Expect("EHLO"));
    }
    script.extend([say(in_clear), Step::Expect("MAIL"), Step::Expect("RCPT")]);
    script.extend([say("250 ok\r\n250 ok\r\n"), Step::Expect("DATA")]);
    let address = smtp(address);
    lab.world.run(move || scripted::Server::start_at(address, vec![script, Vec::new()], tls))
}

/// In the place of a server that is gone.
fn back_again(lab: &Lab, gone: scripted::Server, certificate: Option<Certificate>) -> Server {
    let address = gone.address();
    lab.world.run(move || {
        drop(gone);
        let free = || std::net::TcpStream::connect(address).is_err().then_some(());
        assert!(ports::wait_until(LIMIT, free).is_some(), "{address} is still in use");
        Server::storing(Kind::Postfix, address, certificate)
    })
}

#[test]
fn what_waits_in_the_queue_for_the_world_is_looked_up_anew_and_what_waits_for_a_relay_goes_there() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = lab();
    lab.postern.etc("hosts", &format!("127.0.0.1 localhost\n{SECOND} relay.world.test\n"));
    let (_names, resolver) = names(&lab, &[("far.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let authority = Authority::new();
    let certificate = || authority.certify(&["relay.world.test"]);
    let config = format!(
        "{resolver}[outbound]\nrelays = [\"relay.world.test:25\"]\nca_file = {:?}\n",
        authority.file()
    );
    let postern = gateway::start(&lab, &config);
    let far = gone_before_the_content(&lab, WORLD.v4, None);
    let relay = gone_before_the_content(&lab, SECOND, Some(certificate().server_tls()));
    let mails = [(WORLD.v4, "b@far.test"), (SECOND, "b@no.such.domain")].map(|(next_hop, recipient)| {
        let mail = Mail::new("a@hidden.test", &[recipient], "to somebody who is gone\n");
        let sender = sender(&lab, next_hop);
        let outcome = sent_by(&lab, &sender, &mail);
        assert!(outcome[0].contains("status=sent"), "{outcome:?}\n{}", postern.log());
        mail
    });
    let stands = [back_again(&lab, far, None), back_again(&lab, relay, Some(certificate()))];
    for (server, mail) in stands.iter().zip(mails) {
        // The first attempt is made after a minute, give or take a quarter.
        let stored = || server.mailbox().read().into_iter().next();
        let stored = ports::wait_until(LIMIT * 3, stored);
        let stored = stored.unwrap_or_else(|| panic!("{}\n{}", server.log(), postern.log()));
        let (field, rest) = stored.one_hop_before();
        assert!(field.contains(&format!("for <{}>", mail.to[0])), "{field}");
        assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&mail.content));
    }
    let delivered = || (postern.log().matches("delivered from the queue").count() == 2).then_some(());
    assert!(ports::wait_until(LIMIT, delivered).is_some(), "{}", postern.log());
}

#[test]
fn a_password_for_somebody_elses_submission_port_passes_through_tls_alone() {
    needs!(LAB, KNOT, POSTFIX, DOVECOT, Client::Curl.needs());
    let lab = lab();
    let (_names, resolver) = names(&lab, &[]);
    let authority = Authority::new();
    let postern = gateway::start(&lab, &format!("{resolver}[outbound]\nca_file = {:?}\n", authority.file()));
    let trusted = postern.state().join("interception-ca.pem");
    let address = SocketAddr::new(WORLD.v4.into(), 587);
    let options = postfix::Options {
        auth: Some(("somebody", "secret")),
        address: Some(address),
        extra: vec!["smtpd_peername_lookup = no".into()],
        ..Default::default()
    };
    let mail = Mail::new("a@hidden.test", &["b@anywhere.test"], "with a password\n");
    let send = |security: Security, password: &'static str| {
        let how = How { security, auth: Some(("somebody", password)) };
        let sent = mail.clone();
        lab.inside.run(move || deliver(Client::Curl, address, &sent, &how))
    };

    // Without TLS over there no password goes there.
    let plain = options.clone();
    let world = lab.world.run(move || Postfix::start(&plain));
    let refused = send(Security::Plain, "secret");
    assert!(!refused.accepted && refused.output.contains("421 4.4.1"), "{}", refused.output);
    assert!(!world.log().contains("sasl_username"), "{}", world.log());
    drop(world);

    let certificate = Some(authority.certify(&[&WORLD.v4.to_string(), "mail.world.test"]));
    let world = lab
        .world
        .run(move || Postfix::start(&postfix::Options { certificate, require_tls: true, ..options }));
    let wrong = send(Security::StartTls(trusted.clone()), "guessed");
    assert!(!wrong.accepted && wrong.output.contains("535"), "{}", wrong.output);
    let right = send(Security::StartTls(trusted), "secret");
    assert!(right.accepted, "{}\n{}", right.output, postern.log());
    let stored = world.mailbox().wait_for_message(mail.message_id());
    assert!(stored.added.contains("using TLSv1.3"), "{}", stored.added);
    assert!(world.log().contains("sasl_username=somebody"), "{}", world.log());
}
