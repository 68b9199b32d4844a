use std::time::Duration;

use first_boot::{Note, Report};

use super::*;
use crate::config::Mode;
use crate::report::{
    AddressesState, CertificateSource, CertificateState, Level, ListenerState, RoleState, RolesState, State,
    Status,
};

fn status(level: Level, sentence: &str, advice: &str) -> Status {
    let listener = |port| ListenerState {
        address: std::net::SocketAddr::from(([0, 0, 0, 0], port)),
        protocol: "smtp".to_owned(),
        problem: None,
    };
    Status {
        arming: Vec::new(),
        authority: None,
        verifying: Vec::new(),
        version: "0.1.0".to_owned(),
        hostname: "mx1.example.net".to_owned(),
        now: 0,
        started: 0,
        state: State { level, sentence: sentence.to_owned(), advice: advice.to_owned() },
        problems: Vec::new(),
        sessions_now: 0,
        bytes_in_flight: 0,
        strains: Vec::new(),
        events_dropped: 0,
        periods: Vec::new(),
        listeners: vec![listener(25), listener(587)],
        backends: Vec::new(),
        certificates: vec![CertificateState {
            names: vec!["mx1.example.net".to_owned()],
            expires: 1_800_000_000,
            source: CertificateSource::SelfSigned,
            fingerprint: fingerprint(&vec![1, 2, 3].into()),
            renews: None,
        }],
        addresses: AddressesState::default(),
        certifying: Default::default(),
        queue: Default::default(),
        learning: crate::report::LearningState::default(),
        roles: RolesState {
            words: "separate processes".to_owned(),
            processes: vec![RoleState { role: "gate".to_owned(), pid: 7, restarts: 0, works: true }],
        },
        without_tls: Vec::new(),
        not_reached: Vec::new(),
    }
}

fn interface(name: &str, up: bool, addresses: &[&str]) -> InterfaceFacts {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    InterfaceFacts { name: name.to_owned(), up, addresses }
}

fn facts(service: Service) -> Facts {
    Facts {
        version: "0.1.0".to_owned(),
        hostname: "mx1.example.net".to_owned(),
        mode: Some(Mode::Gateway),
        interfaces: vec![
            interface("inside", true, &["10.0.0.1/24"]),
            interface("outside", true, &["192.0.2.10/24", "2001:db8:1::10/64"]),
        ],
        first_boot: None,
        service,
        authority: Some(fingerprint(&vec![4, 5, 6].into())),
    }
}

fn report(line: &str, notes: Vec<Note>) -> Option<Report> {
    Some(Report { line: line.to_owned(), notes, ..Report::default() })
}

/// The screen, which fits, whatever is on it.
fn shown(facts: &Facts) -> String {
    let text = screen(facts);
    assert!(text.lines().count() < ROWS, "{} rows:\n{text}", text.lines().count());
    for line in text.lines() {
        assert!(line.len() <= COLUMNS && line.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{line:?}");
    }
    text
}

#[test]
fn when_mail_flows() {
    let status = status(Level::Good, "Mail flows.", "");
    let mut facts = facts(Service::Answers(Box::new(status), None));
    facts.first_boot =
        report("network as configured; a config is there", vec![Note::done("the NoCloud volume is taken")]);
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn when_nobody_can_log_in_yet() {
    let status = Box::new(status(Level::Good, "Mail flows.", ""));
    let text = shown(&facts(Service::Answers(status, Some("7KQ4-M2XD-0VRE-93TN".to_owned()))));
    assert!(text.contains("Code        7KQ4-M2XD-0VRE-93TN makes you the page's administrator"), "{text}");
}

#[test]
fn when_a_backend_is_down_and_a_role_is_not_ready() {
    let mut status = status(
        Level::Bad,
        "No server of backend exchange can be reached, for 5m now: connection refused.",
        "Senders to example.net are told to try later and lose nothing. Check that the server runs and that its port can be reached from \
         here.",
    );
    status.roles.processes[0].works = false;
    insta::assert_snapshot!(shown(&facts(Service::Answers(Box::new(status), None))));
}

#[test]
fn when_nobody_gave_a_config() {
    let mut facts = facts(Service::Unconfigured);
    (facts.mode, facts.authority, facts.hostname) = (None, None, "postern".to_owned());
    facts.interfaces = vec![interface("ens3", true, &["198.51.100.7/24"]), interface("ens4", false, &[])];
    facts.first_boot = report(
        "network by DHCP; there is no config yet; something was refused",
        vec![Note::refused(
            "no seed was found: give the machine a volume labelled CIDATA (docs/first-boot.md)",
        )],
    );
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn while_a_cloud_is_asked() {
    let mut facts = facts(Service::Unconfigured);
    (facts.mode, facts.authority) = (None, None);
    let asking = Some("EC2".to_owned());
    facts.first_boot = report("network by DHCP", Vec::new()).map(|report| Report { asking, ..report });
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn when_a_seed_was_refused() {
    let mut facts =
        facts(Service::Silent("cannot reach Postern on 127.0.0.1:8080: connection refused".to_owned()));
    facts.first_boot = report(
        "network as configured; a config is there; 3 things were refused",
        vec![
            Note::done("the NoCloud volume is taken (instance-id i-1)"),
            Note::ignored("user-data:9:1: made_up: no key that Postern knows here"),
            Note::refused(
                "user-data:5:1: backend[0].tsl: is no key here; expected one of `name`, `domains`, `servers`; did you mean `tls`?",
            ),
            Note::refused("user-data:3:1: runcmd: nothing from a seed is executed"),
        ],
    );
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn nothing_from_outside_reaches_the_terminal_and_nothing_makes_it_scroll() {
    let evil = "\x1b[2J\x1b]0;x\x07\u{9b}31m\r\n\u{202e}äöü\t\u{0}".repeat(50);
    let mut status = status(Level::Bad, &evil, &evil);
    status.certificates[0].names = vec![evil.clone()];
    status.certificates[0].fingerprint = evil.clone();
    status.listeners[0].problem = Some(evil.clone());
    let mut facts = facts(Service::Answers(Box::new(status), None));
    facts.hostname = evil.clone();
    facts.authority = Some(evil.clone());
    let many = (0..40).map(|n| interface(&format!("{n}{evil}"), n % 2 == 0, &["192.0.2.1/24"]));
    facts.interfaces = many.collect();
    facts.interfaces[3].name = "x".repeat(15);
    let notes = (0..60).map(|_| Note::refused(evil.clone())).collect();
    facts.first_boot = report(&evil, notes);
    for service in [Service::Wrong(evil.clone()), Service::Silent(evil.clone()), Service::Unconfigured] {
        shown(&Facts { service, ..facts.clone() });
    }
    let text = shown(&facts);
    assert!(text.contains("... "), "what has no room is counted:\n{text}");
}

#[test]
fn a_fingerprint_is_written_as_openssl_does() {
    // printf '\1\2\3' | sha256sum
    let expected =
        "03:90:58:C6:F2:C0:CB:49:2C:53:3B:0A:4D:14:EF:77:CC:0F:78:AB:CC:CE:D5:28:7D:84:A1:A2:01:1C:FB:81";
    assert_eq!(fingerprint(&vec![1, 2, 3].into()), expected);
}

#[tokio::test]
async fn facts_are_those_of_this_machine() {
    use clap::Parser as _;
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("postern.toml");
    let line = |file: &std::path::Path| {
        CommandLine::try_parse_from(["postern", "--config", file.to_str().unwrap(), "console", "--once"])
            .unwrap()
    };
    assert!(matches!(facts::gather(&line(&file)).await.service, Service::Unconfigured));
    std::fs::write(&file, "hostname = 5\n").unwrap();
    let found = facts::gather(&line(&file)).await;
    assert!(matches!(&found.service, Service::Wrong(why) if why.contains("hostname")), "{found:?}");
    assert!(!found.hostname.is_empty() && found.interfaces.iter().all(|interface| interface.name != "lo"));
    let (address, _stop) = crate::admin::tests::start(
        crate::admin::tests::FakeEngine { all_down: false, self_signed: true },
        false,
    )
    .await;
    std::fs::write(
        &file,
        format!(
            "hostname = \"mx1.example.net\"\n[[backend]]\ndomains = [\"example.net\"]\nservers = [\"10.0.0.10\"]\n[admin]\nlisten = \"{address}\"\n"
        ),
    )
    .unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(10), facts::gather(&line(&file))).await.unwrap();
    let Service::Answers(status, None) = answered.service else { panic!("{answered:?}") };
    assert_eq!(status.certificates[0].fingerprint.len(), 95);
    assert_eq!(answered.mode, Some(Mode::Front));
}
