//! The same table through Postfix's own client for DANE, behind a validating Unbound: both must come to the same.

use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::gateway::without_dns;
use postern_tests::lab::{LAB, Lab};
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::scratch::Scratch;
use postern_tests::validator::{UNBOUND, Validator};

use super::OPENSSL;
use super::situations::{self, Expect};
use super::world::World;

/// For one domain; some of its names have answers that nobody believes.
const LIMIT: Duration = Duration::from_secs(60);
const FINGER: &[Need] = &[Need::Program("posttls-finger")];

/// What a sender would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Would {
    /// Deliver to a server that DANE proved.
    Verified,
    /// Deliver without a proof.
    Unproved,
    /// Keep the mail.
    Defer,
}

/// Where the two differ: the domain, what Postfix would do, and why.
const DIFFERENCES: [(&str, Would, &str); 2] = [
    (
        "signedhost.plain.test",
        Would::Defer,
        "Postfix holds a server to its TLSA records also where the MX records that name it are not signed; RFC 7672 §2.2.1 leaves that \
         open, and who forges MX records would name another server",
    ),
    (
        "second.secure.test",
        Would::Defer,
        "posttls-finger looks at the first server that answers; smtp(8) goes on to the next one, as Postern does",
    ),
];

impl Would {
    fn of(expect: &Expect) -> Self {
        match expect {
            Expect::Delivered("dane", _) => Self::Verified,
            Expect::Delivered(..) => Self::Unproved,
            Expect::Deferred(_) | Expect::Refused(..) => Self::Defer,
        }
    }

    /// From what posttls-finger writes.
    fn read(output: &str) -> Self {
        if output.contains("Verified TLS connection established") {
            return Self::Verified;
        }
        // What is said of a certificate that nobody asked to be verified begins otherwise.
        let refused = output.contains("posttls-finger: server certificate verification failed");
        match output.contains("TLS connection established") {
            true if !refused => Self::Unproved,
            _ => Self::Defer,
        }
    }
}

fn finger(lab: &Lab, domain: &str) -> String {
    let domain = domain.to_owned();
    lab.postern.run(move || {
        let scratch = Scratch::new("finger");
        scratch.write("main.cf", "compatibility_level = 3.6\nsmtp_dns_support_level = dnssec\n");
        let mut command = Command::new("posttls-finger");
        command.env("MAIL_CONFIG", scratch.path());
        command.args(["-t", "5", "-T", "10", "-l", "dane", "-L", "summary,verbose", &domain]);
        child::run(&command, LIMIT).output
    })
}

#[test]
fn postfix_comes_to_the_same_by_dane() {
    needs!(LAB, KNOT, OPENSSL, POSTFIX, UNBOUND, FINGER);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    let names = world.names(&lab);
    lab.postern.etc("resolv.conf", "nameserver 127.0.0.1\noptions edns0 trust-ad\n");
    let (_names, _validator) = lab.postern.run(move || {
        let validator = Validator::start(&names);
        (names, validator)
    });
    let mut differing = Vec::new();
    let (mut asked, mut explained) = (0, 0);
    for situation in situations::all().iter().filter(|situation| situation.is_of_dane) {
        let output = finger(&lab, &situation.domain);
        let (would, ours) = (Would::read(&output), Would::of(&situation.expect));
        asked += 1;
        let known = DIFFERENCES.iter().find(|(domain, ..)| *domain == situation.domain);
        let expected = known.map_or(ours, |(_, would, _)| *would);
        explained += usize::from(known.is_some() && would != ours);
        if would != expected {
            differing.push(format!(
                "{} ({}): {would:?}, here {ours:?}\n{output}",
                situation.what, situation.domain
            ));
        }
    }
    assert!(differing.is_empty(), "{} of {asked}:\n{}", differing.len(), differing.join("\n"));
    assert!(asked >= 40, "{asked}");
    assert_eq!(explained, DIFFERENCES.len(), "what is explained is so");
}
