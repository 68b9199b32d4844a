//! Far sides whose certificates are expired, for other names, or signed by nobody: what becomes of the mail under each
//! policy, and what the hidden server is shown.

use std::net::SocketAddr;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::gateway::{self, LIMIT, names, smtp, submit, without_dns};
use postern_tests::lab::{LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::scratch::Scratch;
use postern_tests::servers::{Kind, Server, Trust};
use postern_tests::witness::{Points, look};

const OPENSSL: &[Need] = &[Need::Program("openssl")];

/// A far side, and what is wrong with it.
struct Far {
    fault: &'static str,
    certificate: Certificate,
    /// What a sender hears that may send to proven far sides only; nothing, where this is one.
    says: Option<&'static str>,
    /// Whether the hidden server is shown a certificate of the appliance's authority.
    vouched_for: bool,
}

fn fars(authority: &Authority, scratch: &Scratch) -> Vec<Far> {
    vec![
        Far {
            fault: "expired",
            certificate: authority.expired(&["mx.far.test"]),
            says: Some("expired"),
            vouched_for: false,
        },
        // It leads to a trusted root for the name that it bears, and that is what the hidden server may know.
        Far {
            fault: "another name",
            certificate: authority.certify(&["mx.other.test"]),
            says: Some("name"),
            vouched_for: true,
        },
        // For whom the mail is, is proved; that the host is one of its own, is what DNS says.
        Far {
            fault: "the recipient's domain in place of the host's name",
            certificate: authority.certify(&["far.test"]),
            says: None,
            vouched_for: true,
        },
        Far {
            fault: "self-signed",
            certificate: Certificate::self_signed_rsa(scratch, "mx.far.test"),
            says: Some("as self-signed ones often are"),
            vouched_for: false,
        },
    ]
}

/// The lab, with a hidden server that encrypts where it can and one that does not.
fn send(lab: &Lab, far: SocketAddr) -> (Mail, (bool, String)) {
    let sender = lab.inside.run(move || Server::relaying(Kind::Postfix, far, &Trust::Anybody));
    let mail = Mail::new("a@hidden.test", &["b@far.test"], "to a doubtful place\n");
    let handed = submit(&lab.inside, sender.address(), &mail);
    assert!(handed.accepted, "{}", handed.output);
    let outcome = sender.outcome(&mail, LIMIT);
    (mail, outcome)
}

fn expect_shown(far: &Far, direct: &Points, shown: &Points) {
    let same = |point: &str| assert_eq!(direct[point], shown[point], "{}: {point}", far.fault);
    same("certificate: names");
    assert_ne!(direct["certificate: key"], shown["certificate: key"], "{}", far.fault);
    let issuer = shown["certificate: issuer"].trim_start_matches("issuer=");
    let subject = shown["certificate: subject"].trim_start_matches("subject=");
    assert_eq!(issuer.contains("Postern"), far.vouched_for, "{}: {shown:#?}", far.fault);
    if !far.vouched_for {
        assert_eq!(issuer, subject, "{}: signed by itself", far.fault);
        same("certificate: dates");
    }
}

#[test]
fn a_far_side_that_cannot_be_proved_gets_mail_unless_proof_is_demanded() {
    needs!(LAB, KNOT, POSTFIX, OPENSSL);
    let lab = Lab::new();
    without_dns(&lab);
    let (authority, scratch) = (Authority::new(), Scratch::new("rsa"));
    let (_names, resolver) = names(&lab, &[("far.test", format!("@ MX 10 mx\nmx A {}\n", WORLD.v4))]);
    let address = smtp(WORLD.v4);
    for policy in ["opportunistic", "verify"] {
        let outbound = format!("[outbound]\ntls = \"{policy}\"\nca_file = {:?}\n", authority.file());
        let postern = gateway::start(&lab, &format!("{resolver}{outbound}"));
        for far in fars(&authority, &scratch) {
            let certificate = Some(far.certificate.clone());
            let world = lab.world.run(move || Server::storing(Kind::Postfix, address, certificate));
            let (direct, shown) =
                (lab.world.run(move || look(address)), lab.inside.run(move || look(address)));
            expect_shown(&far, &direct, &shown);
            let (mail, (sent, line)) = send(&lab, address);
            let says = far.says.filter(|_| policy == "verify");
            assert_eq!(sent, says.is_none(), "{}: {line}\n{}", far.fault, postern.log());
            if let Some(says) = says {
                assert!(
                    line.contains("status=deferred") && line.contains("451 4.7.5"),
                    "{}: {line}",
                    far.fault
                );
                assert!(line.contains(says), "{}: {line}", far.fault);
                assert!(world.mailbox().read().is_empty(), "{}", world.log());
            } else {
                world.mailbox().wait_for_message(mail.message_id());
            }
        }
    }
}
