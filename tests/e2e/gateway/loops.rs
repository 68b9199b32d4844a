//! Mail that goes round, and mail that only seems to.

use postern_tests::gateway::{self, LIMIT, names, smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix;
use postern_tests::postfix::Postfix;
use postern_tests::scripted::Client as Scripted;

/// A Postfix that stores what is for `domain`, but sends what is for one recipient on to another, and what is for others to
/// `next_hop`.
fn forwarding(
    address: Option<std::net::SocketAddr>,
    domain: &str,
    alias: (&str, &str),
    next_hop: std::net::SocketAddr,
) -> postfix::Options {
    postfix::Options {
        address,
        extra: vec![
            format!("virtual_mailbox_domains = {domain}"),
            format!("virtual_alias_maps = inline:{{ {{ {} = {} }} }}", alias.0, alias.1),
            "virtual_alias_domains =".into(),
            "default_transport = smtp".into(),
            format!("relayhost = [{}]:{}", next_hop.ip(), next_hop.port()),
            "smtp_dns_support_level = disabled".into(),
            "smtpd_peername_lookup = no".into(),
        ],
        ..Default::default()
    }
}

#[test]
fn a_forward_that_goes_out_and_comes_in_again_is_no_loop() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let (_names, resolver) = names(&lab, &[("far.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let postern = gateway::start(&lab, &resolver);
    let (hidden, far) = (smtp(HIDDEN.v4), smtp(WORLD.v4));
    let options = forwarding(Some(hidden), "hidden.test", ("moved@hidden.test", "friend@far.test"), far);
    let inside = lab.inside.run(move || Postfix::start(&options));
    let options = forwarding(Some(far), "far.test", ("friend@far.test", "home@hidden.test"), hidden);
    let outside = lab.world.run(move || Postfix::start(&options));
    let mail = Mail::new("a@world.test", &["moved@hidden.test"], "there and back again\n");
    let sent = submit(&lab.world, hidden, &mail);
    assert!(sent.accepted, "{}\n{}", sent.output, postern.log());
    let stored = inside.mailbox().wait_for_message(mail.message_id());
    let whole = String::from_utf8_lossy(&stored.whole).into_owned();
    assert_eq!(whole.matches("by mx.postern.test (Postern)").count(), 3, "in, out and in again:\n{whole}");
    assert!(whole.contains("for <home@hidden.test>"), "{whole}\n{}", outside.log());
}

#[test]
fn mail_that_goes_round_through_two_posterns_is_stopped_long_before_its_hops_are_too_many() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let (hidden, far) = (smtp(HIDDEN.v4), smtp(WORLD.v4));
    let (_names, resolver) = names(&lab, &[("far.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let first = gateway::start(&lab, &resolver);
    let options = forwarding(Some(hidden), "hidden.test", ("round@hidden.test", "round@far.test"), far);
    let _inside = lab.inside.run(move || Postfix::start(&options));

    // The second one stands in front of its server, which sends through it.
    let way_back = format!("@ MX 10 mx\nmx A {}\n", HIDDEN.v4);
    let zones = move || {
        NameServer::start(&[Zone { name: "hidden.test", signing: Signing::Unsigned, records: &way_back }])
    };
    let names_there = lab.world.run(zones);
    let mut options = forwarding(None, "far.test", ("round@far.test", "round@hidden.test"), far);
    // Otherwise it takes the other server of its machine for itself.
    options.extra.push("inet_interfaces = 127.0.0.1".into());
    let outside = lab.world.run(move || Postfix::start(&options));
    let config = format!(
        "{}[outbound]\nnetworks = [\"{}\"]\n[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        backend(&["far.test"], outside.address(), ""),
        WORLD.v4,
        names_there.address(),
        names_there.anchor(),
    );
    let second = lab.world.run(move || {
        let hostname = "mx.second.test";
        Postern::start(&Options { config, hostname, smtp: Some(far), ..Default::default() })
    });

    let mail = Mail::new("a@world.test", &["round@hidden.test"], "round and round\n");
    let sent = submit(&lab.world, hidden, &mail);
    assert!(sent.accepted, "{}\n{}", sent.output, first.log());
    let refused = || {
        let log = outside.log();
        log.lines().find(|line| line.contains("the message loops for this recipient")).map(str::to_owned)
    };
    let line = ports::wait_until(LIMIT, refused);
    let line = line.unwrap_or_else(|| panic!("{}\n{}\n{}", outside.log(), first.log(), second.log()));
    assert!(line.contains("status=bounced") && line.contains("554 5.4.6"), "{line}");
    // In for the first and for the second time, but not for the third.
    let passed = first.log().matches("mail accepted").count();
    assert_eq!(passed, 4, "twice in and twice out:\n{}", first.log());
}

#[test]
fn two_posterns_that_have_each_other_for_their_server_come_to_an_end_with_their_questions() {
    needs!(LAB);
    let lab = Lab::new();
    without_dns(&lab);
    let (near, far) = (smtp(OUTSIDE.v4), smtp(WORLD.v4));
    let start = |host: &postern_tests::lab::Host, own, other, hostname| {
        let config = backend(&["round.test"], other, "");
        host.run(move || Postern::start(&Options { config, hostname, smtp: Some(own), ..Default::default() }))
    };
    let first = start(&lab.postern, near, far, "mx.first.test");
    let second = start(&lab.world, far, near, "mx.second.test");
    let told = lab.inside.run(move || {
        let mut client = Scripted::greeted(near, None);
        client.says("MAIL FROM:<a@any.test>", "250 ");
        client.says("RCPT TO:<b@round.test>", "451")
    });
    assert!(told.contains("does it send its mail back here?"), "{told}");
    // Each that was asked has put its identifier into the answer.
    let asked = told.matches('(').count();
    assert!((10..=110).contains(&asked), "{asked} times: {told}\n{}\n{}", first.log(), second.log());
    // And the next one is answered as well: nothing is left over.
    let again = lab.inside.run(move || {
        let mut client = Scripted::greeted(near, None);
        client.says("MAIL FROM:<a@any.test>", "250 ");
        client.says("RCPT TO:<c@round.test>", "451")
    });
    assert!(again.contains("does it send its mail back here?"), "{again}");
}
