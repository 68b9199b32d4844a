//! The servers and the names of the world.

use std::net::Ipv4Addr;
use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate, tlsa};
use postern_tests::gateway::smtp;
use postern_tests::lab::{Lab, WORLD};
use postern_tests::nameserver::{NameServer, Signing, Zone};
use postern_tests::policy_host::{Answer, PolicyHost};
use postern_tests::scripted::{Personality, Server, Step, say};

use super::situations;

/// A server that is greeted, takes everything and promises nothing else.
pub(super) const MODEST: Personality = Personality {
    name: "modest",
    greeting: "220 mx.world.test ESMTP\r\n",
    ehlo: "250-mx.world.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
    ehlo_tls: "250-mx.world.test\r\n250 8BITMIME\r\n",
    helo: "250 mx.world.test\r\n",
    answers: &[
        ("MAIL FROM:", "250 2.1.0 ok\r\n"),
        ("RCPT TO:", "250 2.1.5 ok\r\n"),
        ("DATA", "354 go ahead\r\n"),
        ("RSET", "250 2.0.0 ok\r\n"),
        ("STARTTLS", "220 2.0.0 go ahead\r\n"),
        ("QUIT", "221 2.0.0 bye\r\n"),
    ],
    unknown: "500 5.5.1 what\r\n",
    accepted: "250 2.0.0 taken\r\n",
    thinks: Duration::ZERO,
    idle: (Duration::from_secs(300), "421 4.4.2 bye\r\n"),
};

const WITHOUT_STARTTLS: Personality =
    Personality { name: "stripped", ehlo: "250-mx.world.test\r\n250 8BITMIME\r\n", ..MODEST };

const NO_TLS_NOW: Personality = Personality {
    name: "no TLS at the moment",
    answers: &[
        ("MAIL FROM:", "250 2.1.0 ok\r\n"),
        ("RCPT TO:", "250 2.1.5 ok\r\n"),
        ("DATA", "354 go ahead\r\n"),
        ("STARTTLS", "454 4.7.0 TLS is not available\r\n"),
        ("QUIT", "221 2.0.0 bye\r\n"),
    ],
    ..MODEST
};

const PROMISING: Personality = Personality {
    name: "promising",
    ehlo_tls: "250-mx.world.test\r\n250-REQUIRETLS\r\n250 8BITMIME\r\n",
    ..MODEST
};

/// Who listens at an address of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exchanger {
    /// With a certificate that no public authority signed.
    Own,
    /// The same, and it offers REQUIRETLS.
    OwnPromising,
    /// With a certificate of a trusted authority for all names.
    Public,
    /// The same, and it offers REQUIRETLS.
    PublicPromising,
    /// Of a trusted authority, for another name.
    PublicElsewhere,
    /// Of a trusted authority, too old.
    PublicExpired,
    /// Below an authority of its own, which it shows.
    Below,
    /// The same for another name.
    BelowElsewhere,
    /// The same, too old.
    BelowExpired,
    /// Below that authority, which it does not show.
    BelowHidden,
    /// It has no STARTTLS, or somebody has taken it away.
    Stripped,
    /// It ends the handshake with an alert.
    Alert,
    /// It says that it has no TLS at the moment.
    NotNow,
}

use Exchanger::*;

pub(super) const ALL: [Exchanger; 13] = [
    Own,
    OwnPromising,
    Public,
    PublicPromising,
    PublicElsewhere,
    PublicExpired,
    Below,
    BelowElsewhere,
    BelowExpired,
    BelowHidden,
    Stripped,
    Alert,
    NotNow,
];

/// Everything that lives in the world.
pub(super) struct World {
    /// The authority that Postern trusts.
    pub(super) trusted: Authority,
    /// An authority that nobody trusts.
    pub(super) stranger: Authority,
    /// The authority that TLSA records name.
    named: Authority,
    certificates: Vec<(Exchanger, Certificate)>,
    pub(super) policies: PolicyHost,
    _servers: Vec<Server>,
}

impl World {
    pub(super) fn new(lab: &Lab) -> Self {
        let (trusted, stranger, named) = (Authority::new(), Authority::new(), Authority::new());
        let hosts = situations::hosts();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let certificates: Vec<(Exchanger, Certificate)> = ALL
            .iter()
            .map(|&exchanger| {
                let certificate = match exchanger {
                    Own | OwnPromising => stranger.expired(&["own.elsewhere.example"]),
                    Public | PublicPromising | Stripped | Alert | NotNow => trusted.certify(&hosts),
                    PublicElsewhere => trusted.certify(&["public.elsewhere.example"]),
                    PublicExpired => trusted.expired(&hosts),
                    Below => named.certify(&hosts).showing(&named),
                    BelowHidden => named.certify(&hosts),
                    BelowElsewhere => named.certify(&["below.elsewhere.example"]).showing(&named),
                    BelowExpired => named.expired(&hosts).showing(&named),
                };
                (exchanger, certificate)
            })
            .collect();
        for exchanger in ALL {
            lab.world.ip(&format!("address add {}/24 dev cable", exchanger.address()));
        }
        let tls: Vec<_> = certificates
            .iter()
            .map(|(exchanger, certificate)| (*exchanger, certificate.server_tls()))
            .collect();
        let servers = lab.world.run(move || {
            let start = |(exchanger, tls): (Exchanger, _)| {
                Server::start_at(smtp(exchanger.address()), vec![exchanger.script()], Some(tls))
            };
            tls.into_iter().map(start).collect()
        });
        let policies = lab.world.run(|| PolicyHost::start((WORLD.v4, 443).into()));
        let world = Self { trusted, stranger, named, certificates, policies, _servers: servers };
        world.publish_policies();
        world
    }

    pub(super) fn certificate(&self, exchanger: Exchanger) -> &Certificate {
        let found = self.certificates.iter().find(|(known, _)| *known == exchanger);
        &found.expect("it has one").1
    }

    /// TLSA data for an exchanger's certificate, or with usage 2 for the authority above it.
    pub(super) fn tlsa(&self, exchanger: Exchanger, usage: u8, selector: u8, matching: u8) -> String {
        let file = match usage {
            2 => self.named.file(),
            _ => self.certificate(exchanger).chain.clone(),
        };
        tlsa(&file, usage, selector, matching)
    }

    /// Serves a policy, well.
    pub(super) fn publish(&self, domain: &str, policy: &str) {
        self.serve(domain, Answer::policy(policy));
    }

    /// Serves what is no policy, or one in another way.
    pub(super) fn serve(&self, domain: &str, answer: Answer) {
        let name = format!("mta-sts.{domain}");
        self.policies.serve(&name, &self.trusted.certify(&[&name]), answer);
    }

    fn publish_policies(&self) {
        for (domain, answer) in situations::policies() {
            self.serve(&domain, answer);
        }
        let name = "mta-sts.strange-host.plain.test";
        let policy = situations::policy("enforce", "mx.strange-host.plain.test", 86_400);
        self.policies.serve(name, &self.stranger.certify(&[name]), Answer::policy(&policy));
    }

    /// The world's DNS.
    pub(super) fn names(&self, lab: &Lab) -> NameServer {
        let zones = situations::zones(self);
        lab.postern.run(move || {
            let zones: Vec<Zone<'_>> = zones
                .iter()
                .map(|(name, signing, records)| Zone { name, signing: *signing, records })
                .collect();
            NameServer::start(&zones)
        })
    }
}

/// A zone: its name, how it is signed, its records.
pub(super) type ZoneText = (&'static str, Signing, String);

impl Exchanger {
    /// Where it listens.
    pub(super) fn address(self) -> Ipv4Addr {
        let number = ALL.iter().position(|&known| known == self).expect("it is one of them");
        Ipv4Addr::new(192, 0, 2, 20 + u8::try_from(number).expect("few"))
    }

    fn script(self) -> Vec<Step> {
        match self {
            Stripped => vec![Step::Converse(WITHOUT_STARTTLS)],
            NotNow => vec![Step::Converse(NO_TLS_NOW)],
            OwnPromising | PublicPromising => vec![Step::Converse(PROMISING)],
            Alert => {
                // handshake_failure, fatal (RFC 5246 §7.2).
                let alert = vec![21, 3, 3, 0, 2, 2, 40];
                vec![
                    say(MODEST.greeting),
                    Step::Expect("EHLO"),
                    say(MODEST.ehlo),
                    Step::AnyLine,
                    say("220 2.0.0 go ahead\r\n"),
                    // The beginning of the ClientHello.
                    Step::Octets(5),
                    Step::Say(alert),
                    Step::UntilClosed,
                ]
            }
            _ => vec![Step::Converse(MODEST)],
        }
    }
}
