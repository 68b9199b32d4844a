//! A hosted policy moves to `enforce` when large receivers have reported two weeks without a failure, and not before; a domain that
//! leaves the config takes its policy back first; and what is published is looked at without anybody asking.

use std::fs;
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::pebble::{self, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::{LATER, Options, Postern, backend};
use postern_tests::sink::Sink;
use serde_json::Value;

use crate::hosted::{BENCH, SINK, found, settings};

const LIMIT: Duration = Duration::from_secs(90);
/// The first look at what is published is a minute after the start.
const A_LOOK: Duration = Duration::from_secs(150);
/// Two that are believed, and one that anybody could be.
const LARGE: &str = "large.test";
const HUGE: &str = "huge.test";
const SMALL: &str = "small.test";
/// Who sends reports does so from here.
const REPORTER: &str = "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n";

/// Sends reports of one sender, one a day, as its program would: Postern's port, sender, first and last day before today, failed
/// sessions.
const SEND: &str = r#"
import datetime, gzip, json, smtplib, sys
from email.message import EmailMessage
port, sender, first, last, failed = sys.argv[1:]
midnight = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
with smtplib.SMTP("127.0.0.1", int(port)) as client:
    for ago in range(int(first), int(last) - 1, -1):
        begin = midnight - datetime.timedelta(days=ago)
        end = begin + datetime.timedelta(days=1, seconds=-1)
        stamp = lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ")
        report = {
            "organization-name": sender, "contact-info": "tls@" + sender, "report-id": stamp(begin) + "_bench.test",
            "date-range": {"start-datetime": stamp(begin), "end-datetime": stamp(end)},
            "policies": [{
                "policy": {"policy-type": "sts", "policy-domain": "bench.test"},
                "summary": {"total-successful-session-count": 3, "total-failure-session-count": int(failed)},
            }],
        }
        mail = EmailMessage()
        mail["From"], mail["To"] = "tls@" + sender, "reports@mx.postern.test"
        mail["Subject"] = "Report Domain: bench.test Submitter: " + sender
        mail["Message-ID"] = "<%d.%s.%s@%s>" % (ago, failed, begin.timestamp(), sender)
        mail.set_content("A report.\n")
        mail.add_attachment(gzip.compress(json.dumps(report).encode()), maintype="application", subtype="tlsrpt+gzip",
                            filename="%s!bench.test!%d!%d.json.gz" % (sender, begin.timestamp(), end.timestamp()))
        client.send_message(mail)
"#;

fn report(postern: &Postern, sender: &str, (first, last): (u32, u32), failed: u32) {
    let port = postern.smtp().port();
    let mut command = Command::new("/usr/bin/python3");
    command.args([
        "-c",
        SEND,
        &port.to_string(),
        sender,
        &first.to_string(),
        &last.to_string(),
        &failed.to_string(),
    ]);
    let ended = child::run(&command, LIMIT);
    assert!(ended.success, "{}\n{}", ended.output, postern.log());
    // Each is read and kept.
    let told = || {
        let said = postern.ask(&["--json", "reports", "received", "bench.test"]).output;
        let report: Value = serde_json::from_str(&said).ok()?;
        let senders = report["domains"][0]["tls"].as_array()?;
        let own = senders.iter().find(|one| one["sender"] == sender)?;
        (own["reports"].as_u64()? >= u64::from(first - last + 1)).then_some(())
    };
    assert!(ports::wait_until(LIMIT, told).is_some(), "{}", postern.log());
}

fn world(bench: &str) -> (NameServer, Pebble, Sink) {
    let unsigned = |name, records| Zone { name, signing: Signing::Unsigned, records };
    let names = NameServer::start(&[
        Zone { name: "postern.test", signing: Signing::Nsec, records: "mx A 127.0.0.1\n" },
        unsigned("bench.test", bench),
        unsigned(LARGE, REPORTER),
        unsigned(HUGE, REPORTER),
        unsigned(SMALL, REPORTER),
    ]);
    (names, Pebble::start(&pebble::Options::default()), Sink::start(&[]))
}

fn start(names: &NameServer, pebble: &Pebble, sink: &Sink) -> Postern {
    let more = format!("{}[reports]\ntrusted = [\"{LARGE}\", \"{HUGE}\"]\n", settings(names));
    let config = backend(&["bench.test"], sink.address(), &more);
    let (acme, judge) = (pebble.acme("http-01", ""), "enabled = true\n".into());
    Postern::start(&Options { config, acme, judge, http: pebble.http(), ..Options::default() })
}

/// The policy as its host gives it out.
fn policy(pebble: &Pebble) -> String {
    let mut curl = Command::new("curl");
    let port = pebble.tls().port();
    curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(pebble.root());
    curl.args(["--resolve", &format!("mta-sts.bench.test:{port}:127.0.0.1")]);
    curl.arg(format!("https://mta-sts.bench.test:{port}/.well-known/mta-sts.txt"));
    child::run(&curl, LIMIT).output
}

fn wait_for_mode(pebble: &Pebble, postern: &Postern, mode: &str) {
    let line = format!("mode: {mode}");
    let has_it = || policy(pebble).contains(&line).then_some(());
    assert!(ports::wait_until(LIMIT, has_it).is_some(), "{}\n{}", policy(pebble), postern.log());
}

/// What `dns` says of the policy.
fn note(postern: &Postern) -> String {
    let said = postern.ask_within(&["dns", "bench.test"], LIMIT).output;
    said.lines().filter(|line| line.contains("MTA-STS: ")).map(str::to_owned).collect::<Vec<_>>().join("\n")
}

#[test]
fn two_weeks_without_a_failure_reported_by_two_large_receivers_enforce_the_policy() {
    needs!(SINK, KNOT, PEBBLE);
    let (names, pebble, sink) = world(BENCH);
    let postern = start(&names, &pebble, &sink);
    wait_for_mode(&pebble, &postern, "testing");
    // Who is not believed can report what it wants, also failures.
    report(&postern, LARGE, (14, 1), 0);
    report(&postern, HUGE, (13, 1), 0);
    report(&postern, SMALL, (20, 1), 2);
    postern.reload();
    let counts = || note(&postern).contains("huge.test 13; large.test 14").then_some(());
    assert!(ports::wait_until(LIMIT, counts).is_some(), "{}\n{}", note(&postern), postern.log());
    assert!(!note(&postern).contains(SMALL), "{}", note(&postern));
    wait_for_mode(&pebble, &postern, "testing");
    // The day that was wanting.
    report(&postern, HUGE, (15, 15), 0);
    postern.reload();
    wait_for_mode(&pebble, &postern, "enforce");
    let says_so = || note(&postern).contains("enforced since").then_some(());
    assert!(ports::wait_until(LIMIT, says_so).is_some(), "{}", note(&postern));
    // Senders learn of it by the record, which has followed. Before it has, nobody here may ask: what is answered is remembered.
    let written = "TXT records were written owner=_mta-sts.bench.test";
    let has_followed = || (postern.log().matches(written).count() >= 2).then_some(());
    assert!(ports::wait_until(LIMIT, has_followed).is_some(), "{}", postern.log());
    let is_right = || {
        let found = found(&postern, "mta-sts");
        (!found.is_empty() && found.iter().all(|(_, state)| state == "right")).then_some(())
    };
    assert!(
        ports::wait_until(LIMIT, is_right).is_some(),
        "{:?}\n{}",
        found(&postern, "mta-sts"),
        postern.log()
    );
    // Whoever stands between reporters and the server does not get it back to `testing` by failures; a person learns of them.
    report(&postern, LARGE, (0, 0), 9);
    postern.reload();
    let is_told = || problems(&postern).contains("the MTA-STS policy is enforced").then_some(());
    assert!(ports::wait_until(LIMIT, is_told).is_some(), "{}\n{}", problems(&postern), postern.log());
    wait_for_mode(&pebble, &postern, "enforce");
    // A domain that goes is forgotten by senders first.
    let text = fs::read_to_string(postern.config()).expect("a config");
    fs::write(postern.config(), text.replace("\"bench.test\"", "\"other.test\"")).expect("a config");
    postern.reload();
    wait_for_mode(&pebble, &postern, "none");
}

/// What somebody should look after.
fn problems(postern: &Postern) -> String {
    let answer = postern.get("/api/v1/status");
    let body = answer.split_once("\r\n\r\n").map_or(&*answer, |(_, body)| body);
    let status: Value = serde_json::from_str(body).unwrap_or_default();
    format!("{} {}", status["state"], status["problems"])
}

/// What is found wrong once may have been changed just before, and be remembered: it is told of when it is so hours later.
#[test]
fn a_record_that_was_changed_is_told_of_without_a_question() {
    needs!(SINK, KNOT, PEBBLE, LATER);
    let (names, pebble, sink) = world(&format!("{BENCH}_mta-sts TXT \"v=STSv1; id=1;\"\n"));
    let mut postern = start(&names, &pebble, &sink);
    let is_wrong =
        |postern: &Postern| postern.log().contains("published records were looked at wrong=1 ").then_some(());
    assert!(ports::wait_until(A_LOOK, || is_wrong(&postern)).is_some(), "{}", postern.log());
    let says = "TXT _mta-sts.bench.test is not as it should be";
    assert!(!problems(&postern).contains(says), "{}", problems(&postern));
    postern.stop();
    postern.start_later(2);
    let is_told = || {
        let problems = problems(&postern);
        problems.contains(says).then_some(problems)
    };
    let told = ports::wait_until(A_LOOK, is_told);
    let told = told.unwrap_or_else(|| panic!("{}\n{}", problems(&postern), postern.log()));
    assert!(told.contains("The id is another one"), "{told}");
    // What was never there is no news.
    assert!(!told.contains("_dmarc.bench.test"), "{told}");
}
