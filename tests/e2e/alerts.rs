//! Somebody is told: alerts by mail, the log by syslog over TLS, rules for Prometheus that it can read.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::certificate::Authority;
use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};
use postern_tests::rsyslog::{RSYSLOG, Rsyslog};
use postern_tests::sink::Sink;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// A server that is away is told of after a minute, and of its return after five.
const A_MINUTE_AND_MORE: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_server_that_is_away_is_told_of_by_mail_once_also_over_a_restart() {
    needs!(POSTFIX);
    let office = Postfix::start(&postfix::Options::default());
    let config = [
        backend(&["office.test"], office.address(), ""),
        backend(&["bench.test"], ports::free(), ""),
        "[log]\nalerts = [\"ann@office.test\"]\n".to_owned(),
    ];
    let mut postern = Postern::start(&Options { config: config.concat(), ..Default::default() });
    let mailbox = office.mailbox();
    let told = || {
        let mail = mailbox.read();
        (!mail.is_empty()).then_some(mail)
    };
    let mail = ports::wait_until(A_MINUTE_AND_MORE, told).unwrap_or_default();
    let text =
        mail.first().map(|mail| String::from_utf8_lossy(&mail.content).into_owned()).unwrap_or_default();
    for wanted in [
        "Subject: [mx.postern.test] No server of backend",
        "Check that the server runs and that its port can be reached from here.",
        "Auto-Submitted: auto-",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}\n{}", postern.log());
    }
    postern.restart(Signal::SIGTERM);
    // Longer than it takes until what is new is told.
    let again = ports::wait_until(Duration::from_secs(80), || (mailbox.read().len() > 1).then_some(()));
    assert!(again.is_none(), "{:?}", mailbox.read());
}

#[test]
fn the_log_goes_to_a_syslog_server_and_waits_while_that_is_away() {
    needs!(SINK, RSYSLOG);
    let authority = Authority::new();
    let certificate = authority.certify(&["127.0.0.1", "localhost"]);
    let mut server = Rsyslog::start(&authority, &certificate);
    let sink = Sink::start(&[]);
    let config = format!(
        "{}[log]\nsyslog = \"tls://{}\"\nsyslog_ca_file = {:?}\n",
        backend(&["bench.test"], sink.address(), ""),
        server.address(),
        authority.file()
    );
    let postern = Postern::start(&Options { config, ..Default::default() });
    let send = || {
        let mail = Mail::new("a@source.test", &["b@bench.test"], "x\n");
        assert!(deliver(Client::Wire, postern.smtp(), &mail, &How::default()).accepted);
    };
    let accepted = |server: &Rsyslog| {
        let received = server.received();
        let lines = received.lines().filter(|line| line.contains("mail accepted"));
        lines
            .filter(|line| line.starts_with("22 ") && line.contains(" mx.postern.test postern mail "))
            .count()
    };
    send();
    let first = || (accepted(&server) == 1).then_some(());
    assert!(ports::wait_until(SOON, first).is_some(), "{}\n{}", server.received(), postern.log());
    server.stop();
    send();
    send();
    server.start_again();
    // What was written into a connection that was just closed may be lost; the next line is not.
    let rest = || (accepted(&server) >= 2).then_some(());
    assert!(ports::wait_until(SOON, rest).is_some(), "{}\n{}", server.received(), postern.log());
    assert!(!server.received().contains("b@bench.test"), "no addresses of people: {}", server.received());
}

#[test]
fn a_syslog_server_of_an_unknown_authority_gets_nothing() {
    needs!(SINK, RSYSLOG);
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Rsyslog::start(&authority, &authority.certify(&["127.0.0.1"]));
    let sink = Sink::start(&[]);
    let config = format!(
        "{}[log]\nsyslog = \"tls://{}\"\nsyslog_ca_file = {:?}\n",
        backend(&["bench.test"], sink.address(), ""),
        server.address(),
        other.file()
    );
    let postern = Postern::start(&Options { config, ..Default::default() });
    let refused = || postern.log().contains("the log cannot be sent").then_some(());
    assert!(ports::wait_until(SOON, refused).is_some(), "{}", postern.log());
    assert_eq!(server.received(), "");
}

#[test]
fn prometheus_takes_the_alert_rules() {
    needs!(&[Need::Program("promtool")]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring/alerts.yml");
    let mut command = Command::new("promtool");
    command.args(["check", "rules"]).arg(rules);
    let checked = child::run(&command, SOON);
    assert!(checked.success, "{}", checked.output);
}
