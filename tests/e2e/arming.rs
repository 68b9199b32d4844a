//! What is taken on its way, and when: servers are armed once there is a certificate for them that the world trusts (DECISIONS
//! 20), and hidden servers that verify by themselves are not deceived (DECISIONS 18).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::clients::{Client, How, deliver};
use postern_tests::lab::{HIDDEN, LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::mailbox::Stored;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::Postern;
use postern_tests::postfix::{self, Postfix};
use postern_tests::validator::{UNBOUND, Validator};

const LIMIT: Duration = Duration::from_secs(60);

fn smtp(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 25)
}

/// A name server in Postern's machine, and the config that makes Postern ask it.
fn names(lab: &Lab, zone: &'static str, records: String) -> (NameServer, String) {
    let server = lab
        .postern
        .run(move || NameServer::start(&[Zone { name: zone, signing: Signing::Nsec, records: &records }]));
    let config = format!(
        "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        server.address(),
        server.anchor()
    );
    (server, config)
}

/// A Postern before a hidden server that it may arm by itself.
fn gateway(lab: &Lab, more: String) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"hidden.test\"]\nservers = [\"{}\"]\n{more}",
        smtp(HIDDEN.v4.into())
    );
    lab.postern.run(move || Postern::gateway(&config))
}

fn certificates(certificate: &Certificate) -> String {
    format!("[tls]\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n", certificate.chain, certificate.key)
}

/// What the status says of the server's port 25, once it says anything: whether it is armed, and why.
fn arming(postern: &Postern) -> Option<(bool, String)> {
    let status = asked(postern);
    let one = status["arming"]
        .as_array()?
        .iter()
        .find(|one| one["server"] == smtp(HIDDEN.v4.into()).to_string())?;
    Some((one["armed"].as_bool()?, one["why"].as_str()?.to_owned()))
}

fn asked(postern: &Postern) -> serde_json::Value {
    let answer = postern.get("/api/v1/status");
    let text = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn wait_for_arming(postern: &Postern, armed: bool, why: &str) {
    let said = |(is, text): &(bool, String)| *is == armed && text.contains(why);
    let found = ports::wait_until(LIMIT, || arming(postern).filter(said));
    assert!(found.is_some(), "{:?}\n{}", arming(postern), postern.log());
}

/// Mail from the world; how the hidden server has stored it.
fn send_in(lab: &Lab, server: &Postfix, log: &dyn Fn() -> String) -> Stored {
    let mail = Mail::new("a@world.test", &["b@hidden.test"], "armed or not\n");
    let sent = mail.clone();
    let result = lab.world.run(move || deliver(Client::Wire, smtp(HIDDEN.v4.into()), &sent, &How::default()));
    assert!(result.accepted, "{}\n{}", result.output, log());
    server.mailbox().wait_for_message(mail.message_id())
}

fn hidden(lab: &Lab) -> Postfix {
    lab.inside.run(|| {
        Postfix::start(&postfix::Options { address: Some(smtp(HIDDEN.v4.into())), ..Default::default() })
    })
}

#[test]
fn a_server_is_left_alone_until_there_is_a_certificate_for_its_name() {
    needs!(LAB, POSTFIX, KNOT);
    let lab = Lab::new();
    let authority = Authority::new();
    let (_names, resolver) = names(&lab, "hidden.test", format!("@ MX 10 mx\nmx A {}\n", HIDDEN.v4));
    let config = format!("{resolver}[outbound]\nca_file = {:?}\n", authority.file());
    let server = hidden(&lab);
    let mut postern = gateway(&lab, config);

    wait_for_arming(&postern, false, "no certificate for mx.hidden.test");
    let stored = send_in(&lab, &server, &|| postern.log());
    assert!(!stored.added.contains("mx.postern.test"), "it was not left alone: {}", stored.added);
    assert!(stored.added.contains(&WORLD.v4.to_string()), "{}", stored.added);
    let status = asked(&postern)["state"]["sentence"].to_string();
    assert!(status.contains("passes unread"), "{status}");

    // The administrator brings one.
    let certificate = authority.certify(&["mx.hidden.test"]);
    let text = std::fs::read_to_string(postern.config()).unwrap();
    std::fs::write(postern.config(), format!("{text}{}", certificates(&certificate))).unwrap();
    postern.reload();
    wait_for_arming(&postern, true, "certificate for mx.hidden.test");
    let stored = ports::wait_until(LIMIT, || {
        let stored = send_in(&lab, &server, &|| postern.log());
        stored.added.contains("mx.postern.test").then_some(stored)
    });
    let stored = stored.unwrap_or_else(|| panic!("it is not taken:\n{}", postern.log()));
    assert!(stored.added.contains(&WORLD.v4.to_string()), "the client's address: {}", stored.added);

    // What was right at the last look is so at the next start, before the first look.
    postern.process().signal(nix::sys::signal::Signal::SIGTERM);
    let ended = postern.process().wait(LIMIT);
    assert!(ended.is_some_and(|status| status.success()), "{}", postern.log());
    let file = std::fs::read_to_string(postern.state().join("armed")).unwrap();
    assert!(file.contains(&smtp(HIDDEN.v4.into()).to_string()), "{file}");
    let rules = lab.postern.run({
        let config = postern.config().to_owned();
        move || {
            let mut command = std::process::Command::new(postern_tests::postern::program());
            command.arg("--config").arg(config).args(["firewall", "render"]);
            postern_tests::child::run(&command, LIMIT).output
        }
    });
    assert!(rules.contains("armed4") && rules.contains("198.51.100.25 . 25"), "{rules}");
}

#[test]
fn a_certificate_that_is_not_the_published_one_does_not_arm() {
    needs!(LAB, POSTFIX, KNOT);
    let lab = Lab::new();
    let authority = Authority::new();
    let certificate = authority.certify(&["mx.hidden.test"]);
    for (digest, armed, why) in
        [("ab".repeat(32), false, "TLSA"), (certificate.key_digest(), true, "matches what is published")]
    {
        let records = format!("@ MX 10 mx\nmx A {}\n_25._tcp.mx TLSA 3 1 1 {digest}\n", HIDDEN.v4);
        let (_names, resolver) = names(&lab, "hidden.test", records);
        let config =
            format!("{resolver}[outbound]\nca_file = {:?}\n{}", authority.file(), certificates(&certificate));
        let postern = gateway(&lab, config);
        wait_for_arming(&postern, armed, why);
    }
}

#[test]
fn an_inner_server_that_verifies_by_dane_is_deferred_or_passed_through_as_configured() {
    needs!(LAB, POSTFIX, KNOT, UNBOUND);
    let lab = Lab::new();
    let authority = Authority::new();
    let certificate = authority.certify(&["mx.far.test"]);
    let records =
        format!("@ MX 10 mx\nmx A {}\n_25._tcp.mx TLSA 3 1 1 {}\n", WORLD.v4, certificate.key_digest());
    let (_names, resolver) = names(&lab, "far.test", records.clone());
    // The inner server has a resolver of its own, which vouches for what it says.
    let inner_names = lab.inside.run(move || {
        NameServer::start(&[Zone { name: "far.test", signing: Signing::Nsec, records: &records }])
    });
    lab.inside.etc("resolv.conf", "nameserver 127.0.0.1\noptions edns0 trust-ad\n");
    let (_inner_names, _validator) = lab.inside.run(move || {
        let validator = Validator::start(&inner_names);
        (inner_names, validator)
    });
    let world = lab.world.run(move || {
        Postfix::start(&postfix::Options {
            address: Some(smtp(WORLD.v4.into())),
            certificate: Some(certificate),
            extra: vec!["smtpd_peername_lookup = no".into(), "myhostname = mx.far.test".into()],
            ..Default::default()
        })
    });

    for what_to_do in ["defer", "splice"] {
        let config = format!(
            "arm = \"now\"\n{resolver}[outbound]\nca_file = {:?}\non_inner_verification = {what_to_do:?}\n",
            authority.file()
        );
        let postern = gateway(&lab, config);
        let sender = dane_sender(&lab);
        let mail = Mail::new("a@hidden.test", &["b@far.test"], "by DANE\n");
        let (sent, address) = (mail.clone(), sender.address());
        let result = lab.inside.run(move || deliver(Client::Wire, address, &sent, &How::default()));
        assert!(result.accepted, "{}\n{}", result.output, sender.log());
        let said =
            |word: &str| sender.log().lines().any(|line| line.contains("status=") && line.contains(word));
        assert!(
            ports::wait_until(LIMIT, || said("status=deferred").then_some(())).is_some(),
            "it was deceived:\n{}\n{}",
            sender.log(),
            postern.log()
        );

        let verifies = || {
            let status = asked(&postern);
            status["verifying"].as_array().filter(|all| !all.is_empty()).map(|_| ())
        };
        assert!(ports::wait_until(LIMIT, verifies).is_some(), "{}\n{}", sender.log(), postern.log());
        // A reload does not make it begin anew.
        postern.reload();
        let reloaded = || postern.log().contains("reloaded;").then_some(());
        assert!(ports::wait_until(LIMIT, reloaded).is_some(), "{}", postern.log());
        assert!(verifies().is_some(), "{}", postern.log());
        if what_to_do == "splice" {
            let through = ports::wait_until(LIMIT, || said("status=sent").then_some(()));
            assert!(through.is_some(), "{}\n{}", sender.log(), postern.log());
            let stored = world.mailbox().wait_for_message(mail.message_id());
            assert!(!stored.added.contains("mx.postern.test"), "it passes unread: {}", stored.added);
            assert!(sender.log().contains("Verified TLS connection established to mx.far.test"));
        } else {
            assert!(!said("status=sent"), "{}", sender.log());
        }
    }
}

fn dane_sender(lab: &Lab) -> Postfix {
    lab.inside.run(|| {
        Postfix::start(&postfix::Options {
            // Found by DNS, which the settings below give the say to.
            next_hop: Some(smtp(WORLD.v4.into())),
            extra: [
                "smtpd_peername_lookup = no",
                "relayhost = ",
                "smtp_dns_support_level = dnssec",
                "smtp_host_lookup = dns",
                "smtp_tls_security_level = dane",
                "smtp_tls_loglevel = 1",
                "inet_protocols = ipv4",
                "queue_run_delay = 3s",
                "minimal_backoff_time = 3s",
                "maximal_backoff_time = 3s",
                // Postfix goes on to clear text or other servers where it may; here there is one.
                "smtp_destination_concurrency_failed_cohort_limit = 0",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Default::default()
        })
    })
}
