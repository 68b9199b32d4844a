//! Each mail server hidden behind the gateway, and each in the world: mail in both directions, over both families.

use std::net::IpAddr;

use postern_tests::certificate::Authority;
use postern_tests::gateway::{self, LIMIT, both_families, names, smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::postern::Postern;
use postern_tests::servers::{Kind, Server, Trust};

/// A gateway between two kinds of server.
struct Between {
    lab: Lab,
    authority: Authority,
    postern: Postern,
    hidden: Kind,
    far: Kind,
    _names: postern_tests::nameserver::NameServer,
}

impl Between {
    fn start(hidden: Kind, far: Kind) -> Self {
        let lab = Lab::new();
        without_dns(&lab);
        let authority = Authority::new();
        let (names, resolver) = names(&lab, &both_families());
        let postern =
            gateway::start(&lab, &format!("{resolver}[outbound]\nca_file = {:?}\n", authority.file()));
        Self { lab, authority, postern, hidden, far, _names: names }
    }

    /// Whether both of a server and the one it speaks to can do TLS.
    fn both_have_tls(&self) -> bool {
        self.hidden.has_tls() && self.far.has_tls()
    }

    /// From a server of the world to the hidden one.
    fn inward(&self, address: IpAddr, client: IpAddr) {
        let certificate = self.hidden.has_tls().then(|| self.authority.certify(&["hidden.test"]));
        let kind = self.hidden;
        let hidden = self.lab.inside.run(move || Server::storing(kind, smtp(address), certificate));
        let (kind, trust) = (self.far, if self.far.has_tls() { Trust::Anybody } else { Trust::Plain });
        let sender = self.lab.world.run(move || Server::relaying(kind, smtp(address), &trust));
        let mail = Mail::new("a@world.test", &["b@hidden.test"], "a line\n.a dot\n..\n\nthe end\n");
        let handed = submit(&self.lab.world, sender.address(), &mail);
        assert!(handed.accepted, "{}", handed.output);
        let (sent, line) = sender.outcome(&mail, LIMIT);
        assert!(sent, "{line}\n{}", self.postern.log());

        let stored = hidden.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&client.to_string()), "{}", stored.added);
        // Where the server counts and limits by addresses, it is the client's that it knows.
        assert!(hidden.log().contains(&client.to_string()), "{}", hidden.log());
        for own in OUTSIDE.both().into_iter().chain(postern_tests::lab::INSIDE.both()) {
            // Postern's own looks at the server are in its log; mail never comes from there.
            assert!(!stored.added.contains(&own.to_string()), "{own} is seen:\n{}", stored.added);
        }
        let (of_postern, rest) = stored.one_hop_before();
        let by_whom = format!("from {} (", self.far.name());
        assert!(of_postern.starts_with(&format!("Received: {by_whom}")), "{of_postern}");
        assert!(of_postern.contains(&client.to_string()), "{of_postern}");
        assert_eq!(of_postern.contains("using TLSv1.3"), self.far.has_tls(), "{of_postern}");
        let text = String::from_utf8_lossy(rest).into_owned();
        let (of_sender, rest) = text.split_at(text.find("From: <").unwrap_or_default());
        assert!(of_sender.contains(self.far.name()) && !of_sender.contains("\r\n\r\n"), "{text}");
        assert_eq!(rest, String::from_utf8_lossy(&mail.content));
    }

    /// From a hidden server to one of the world.
    fn outward(&self, address: IpAddr, own: IpAddr, recipient: &str) {
        let certificate = self.far.has_tls().then(|| self.authority.certify(&["mx.v4.test", "mx.v6.test"]));
        let kind = self.far;
        let world = self.lab.world.run(move || Server::storing(kind, smtp(address), certificate));
        let kind = self.hidden;
        let trust = match self.both_have_tls() {
            true => Trust::Authorities(self.postern.state().join("interception-ca.pem")),
            false => Trust::Plain,
        };
        let sender = self.lab.inside.run(move || Server::relaying(kind, smtp(address), &trust));
        let mail = Mail::new("a@hidden.test", &[recipient], "a line\n.a dot\n..\n\nthe end\n");
        let handed = submit(&self.lab.inside, sender.address(), &mail);
        assert!(handed.accepted, "{}", handed.output);
        let (sent, line) = sender.outcome(&mail, LIMIT);
        assert!(sent, "{line}\n{}", self.postern.log());

        let stored = world.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains(&own.to_string()), "{}", stored.added);
        assert!(stored.added.contains("mx.postern.test"), "{}", stored.added);
        let (of_postern, rest) = stored.one_hop_before();
        assert!(of_postern.starts_with("Received: by mx.postern.test (Postern) with "), "{of_postern}");
        assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&mail.content));
        let (whole, log) = (String::from_utf8_lossy(&stored.whole).into_owned(), world.log());
        for inside in HIDDEN.both().map(|address| address.to_string()) {
            assert!(!whole.contains(&inside), "{inside} is told to the world:\n{whole}");
            assert!(!log.contains(&inside), "{inside} is seen by the world:\n{log}");
        }
    }

    fn all_ways(&self) {
        self.inward(HIDDEN.v4.into(), WORLD.v4.into());
        self.inward(HIDDEN.v6.into(), WORLD.v6.into());
        self.outward(WORLD.v4.into(), OUTSIDE.v4.into(), "b@v4.test");
        self.outward(WORLD.v6.into(), OUTSIDE.v6.into(), "b@v6.test");
    }
}

#[test]
fn an_exim_receives_from_and_sends_to_an_exim() {
    needs!(LAB, KNOT, Kind::Exim.needs());
    Between::start(Kind::Exim, Kind::Exim).all_ways();
}

#[test]
fn an_exim_receives_from_and_sends_to_a_postfix() {
    needs!(LAB, KNOT, Kind::Exim.needs(), Kind::Postfix.needs());
    Between::start(Kind::Exim, Kind::Postfix).all_ways();
}

#[test]
fn an_opensmtpd_receives_from_and_sends_to_an_exim() {
    needs!(LAB, KNOT, Kind::OpenSmtpd.needs(), Kind::Exim.needs());
    Between::start(Kind::OpenSmtpd, Kind::Exim).all_ways();
}

#[test]
fn a_postfix_receives_from_and_sends_to_an_opensmtpd() {
    needs!(LAB, KNOT, Kind::Postfix.needs(), Kind::OpenSmtpd.needs());
    Between::start(Kind::Postfix, Kind::OpenSmtpd).all_ways();
}
