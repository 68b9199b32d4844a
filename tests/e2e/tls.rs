//! TLS on both legs as the outside sees it: which certificate, which suites, and how far down the ladder it may go.

use std::fs;
use std::process::Command;
use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend, trace_id};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::{Client as Scripted, Step};
use postern_tests::sink::Sink;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
const LIMIT: Duration = Duration::from_secs(30);
/// testssl tries every suite there ever was.
const SCAN_LIMIT: Duration = Duration::from_secs(200);

fn mail() -> Mail {
    Mail::new("a@source.test", &["b@bench.test"], "x\n")
}

/// Postern in front of a server that takes everything and has no TLS.
fn in_front_of_a_sink(sink: &Sink, certificates: &[&Certificate]) -> Postern {
    let table = |one: &&Certificate| format!("{{ chain = {:?}, key = {:?} }}", one.chain, one.key);
    let tables: Vec<String> = certificates.iter().map(table).collect();
    Postern::start(&Options {
        config: backend(&["bench.test"], sink.address(), ""),
        tls: format!("certificates = [{}]", tables.join(", ")),
        ..Default::default()
    })
}

/// Whether a client that asks for this name and believes this authority is content.
fn is_believed(postern: &Postern, authority: &Authority, name: &str) -> bool {
    let mut client = Scripted::greeted(postern.smtp(), Some(authority.client_tls(name)));
    client.says("STARTTLS", "220 ");
    client.try_run(&[Step::Tls]).is_ok()
}

#[test]
fn the_name_that_the_client_asks_for_chooses_the_certificate() {
    needs!(SINK);
    let authority = Authority::new();
    let first = authority.certify(&["mx.postern.test"]);
    let second = authority.certify(&["mx.other.test", "*.third.test"]);
    let sink = Sink::start(&[]);
    let postern = in_front_of_a_sink(&sink, &[&first, &second]);
    for name in ["mx.postern.test", "mx.other.test", "mx.third.test"] {
        assert!(is_believed(&postern, &authority, name), "{name}");
    }
    assert!(!is_believed(&postern, &authority, "mx.unknown.test"));
}

#[test]
fn a_reload_changes_the_certificate_and_open_sessions_go_on() {
    needs!(SINK);
    let (old, new) = (Authority::new(), Authority::new());
    let scratch = Scratch::new("served");
    let put = |from: &Certificate| Certificate {
        chain: scratch.write("chain.pem", fs::read(&from.chain).unwrap()),
        key: scratch.write("key.pem", fs::read(&from.key).unwrap()),
        both: scratch.join("chain.pem"),
    };
    let served = put(&old.certify(&["mx.postern.test"]));
    let sink = Sink::start(&[]);
    let postern = in_front_of_a_sink(&sink, &[&served]);
    let mut open = Scripted::greeted(postern.smtp(), Some(old.client_tls("mx.postern.test")));
    open.secure();
    open.says("MAIL FROM:<a@source.test>", "250 ");
    put(&new.certify(&["mx.postern.test"]));
    postern.reload();
    let changed = || is_believed(&postern, &new, "mx.postern.test").then_some(());
    assert!(ports::wait_until(LIMIT, changed).is_some(), "{}", postern.log());
    assert!(!is_believed(&postern, &old, "mx.postern.test"));
    open.says("RCPT TO:<b@bench.test>", "250 ");
    open.says("DATA", "354 ");
    open.says("Subject: x\r\n\r\nx\r\n.", "250 ");
    open.says("QUIT", "221 ");
}

#[test]
fn a_reload_with_a_broken_certificate_keeps_the_old_one() {
    needs!(SINK);
    let authority = Authority::new();
    let served = authority.certify(&["mx.postern.test"]);
    let sink = Sink::start(&[]);
    let postern = in_front_of_a_sink(&sink, &[&served]);
    fs::write(&served.chain, "no certificate\n").unwrap();
    postern.reload();
    let told = || postern.log().contains("not reloaded").then_some(());
    assert!(ports::wait_until(LIMIT, told).is_some(), "{}", postern.log());
    assert!(is_believed(&postern, &authority, "mx.postern.test"));
}

/// The suites that sslscan found, and the protocols that it found enabled.
fn sslscan(postern: &Postern) -> (Vec<String>, Vec<String>) {
    let mut command = Command::new("sslscan");
    // Heartbleed and renegotiation are waited for in silence, seconds each.
    command.args(["--no-colour", "--no-heartbleed", "--no-renegotiation", "--no-groups", "--starttls-smtp"]);
    let ended = child::run(command.arg(postern.smtp().to_string()), LIMIT);
    assert!(ended.success, "{}", ended.output);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = ended.output.lines().map(words).collect();
    let first_is =
        |line: &[String], wanted: &[&str]| line.first().is_some_and(|w| wanted.contains(&w.as_str()));
    let suites = lines.iter().filter(|line| first_is(line, &["Preferred", "Accepted"]));
    let enabled = lines.iter().filter(|line| line.len() == 2 && line[1] == "enabled");
    (suites.filter_map(|line| line.get(4).cloned()).collect(), enabled.map(|line| line[0].clone()).collect())
}

#[test]
fn sslscan_sees_nothing_without_forward_secrecy() {
    needs!(SINK, &[Need::Program("sslscan"), Need::Program("openssl")]);
    let scratch = Scratch::new("rsa");
    let authority = Authority::new();
    let elliptic = authority.certify(&["mx.postern.test"]);
    let rsa = Certificate::self_signed_rsa(&scratch, "mx.postern.test");
    let sink = Sink::start(&[]);
    for (certificate, kind) in [(&elliptic, "ECDHE-ECDSA-"), (&rsa, "ECDHE-RSA-")] {
        let (suites, enabled) = sslscan(&in_front_of_a_sink(&sink, &[certificate]));
        assert_eq!(enabled, ["TLSv1.2", "TLSv1.3"]);
        let is_good = |suite: &str| {
            let authenticated = suite.contains("GCM") || suite.contains("POLY1305");
            authenticated && (suite.starts_with("TLS_") || suite.starts_with(kind))
        };
        assert_eq!(suites.len(), 6, "{suites:?}");
        assert!(suites.iter().all(|suite| is_good(suite)), "{suites:?}");
    }
}

#[test]
fn testssl_sees_nothing_without_forward_secrecy() {
    needs!(SINK, &[Need::Program("testssl"), Need::Program("openssl")]);
    let scratch = Scratch::new("rsa");
    let rsa = Certificate::self_signed_rsa(&scratch, "mx.postern.test");
    let sink = Sink::start(&[]);
    let postern = in_front_of_a_sink(&sink, &[&rsa]);
    let report = scratch.join("report.csv");
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "-t", "smtp", "-p", "-s", "-f"]);
    let ended = child::run(command.arg("--csvfile").arg(&report).arg(postern.smtp().to_string()), SCAN_LIMIT);
    let report = fs::read_to_string(&report).unwrap_or_default();
    // "id","fqdn/ip","port","severity","finding",...
    let finding = |id: &str| {
        let line = report.lines().find(|line| line.starts_with(&format!("\"{id}\",")));
        line.and_then(|line| line.split("\",\"").nth(4)).unwrap_or_default().to_owned()
    };
    for id in ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT"]
    {
        assert!(finding(id).starts_with("not offered"), "{id}: {:?}\n{}", finding(id), ended.output);
    }
    for id in ["cipherlist_LOW", "cipherlist_3DES_IDEA"] {
        assert!(finding(id).starts_with("not offered"), "{id}: {:?}\n{}", finding(id), ended.output);
    }
    assert!(finding("TLS1_2").starts_with("offered"), "{}", ended.output);
    let suites = finding(if report.contains("\"FS_ciphers\"") { "FS_ciphers" } else { "PFS_ciphers" });
    assert_eq!(suites.split_whitespace().count(), 6, "{suites:?}\n{}", ended.output);
}

/// The refusal of a recipient because no server could be used, and what the trace says of it.
fn refused(postern: &Postern) -> String {
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "250 ");
    let refusal = client.says("RCPT TO:<b@bench.test>", "451 4.4.1 ");
    client.says("QUIT", "221 ");
    assert!(postern.ask(&["trace", "--id", trace_id(&refusal)]).success, "{refusal}");
    refusal
}

/// Postern with these lines in its backend, in front of a Postfix with a certificate for `localhost`, if with any.
fn with_backend(authority: Option<&Authority>, lines: &str) -> (Postfix, Postern) {
    let certificate = authority.map(|authority| authority.certify(&["localhost"]));
    let hidden = Postfix::start(&postfix::Options { certificate, ..Default::default() });
    let config = backend(&["bench.test"], hidden.address(), lines);
    (hidden, Postern::start(&Options { config, ..Default::default() }))
}

#[test]
fn encrypt_refuses_a_server_without_tls() {
    needs!(POSTFIX);
    let (hidden, postern) = with_backend(None, "tls = \"encrypt\"");
    let refusal = refused(&postern);
    assert!(refusal.contains("TLS is weaker than the policy encrypt demands"), "{refusal}");
    assert!(!hidden.log().contains("client="), "{}", hidden.log());
}

#[test]
fn verify_refuses_a_certificate_for_another_name_and_one_from_an_unknown_authority() {
    needs!(POSTFIX);
    let authority = Authority::new();
    let wrong_name = format!("tls = \"verify\"\ntls_name = \"other.test\"\nca_file = {:?}", authority.file());
    for lines in [wrong_name.as_str(), "tls = \"verify\"\ntls_name = \"localhost\""] {
        let (hidden, postern) = with_backend(Some(&authority), lines);
        let refusal = refused(&postern);
        assert!(refusal.contains("TLS failed"), "{refusal}");
        assert!(!hidden.log().contains("client="), "{}", hidden.log());
    }
}

#[test]
fn opportunistic_takes_any_certificate_and_none() {
    needs!(POSTFIX);
    let authority = Authority::new();
    for (authority, wanted) in [(Some(&authority), "TLSv1.3"), (None, "plain")] {
        let (hidden, postern) = with_backend(authority, "tls = \"opportunistic\"");
        let result = deliver(Client::Wire, postern.smtp(), &mail(), &How::default());
        assert!(result.accepted, "{}", result.output);
        hidden.mailbox().wait_for_one();
        let metric = format!("postern_server_tls_total{{version=\"{wanted}\"");
        assert!(ports::wait_until(LIMIT, || (postern.metric(&metric) >= 1.0).then_some(())).is_some());
    }
}

#[test]
fn a_pin_is_as_good_as_a_name_and_a_wrong_pin_is_refused() {
    needs!(POSTFIX, &[Need::Program("openssl")]);
    let authority = Authority::new();
    let certificate = authority.certify(&["whatever.test"]);
    let (pin, other) = (certificate.pin(), authority.certify(&["other.test"]).pin());
    let hidden = Postfix::start(&postfix::Options { certificate: Some(certificate), ..Default::default() });
    let start = |pins: &[&str]| {
        let lines = format!("tls = \"verify\"\npins = {pins:?}");
        let config = backend(&["bench.test"], hidden.address(), &lines);
        Postern::start(&Options { config, ..Default::default() })
    };
    let refusal = refused(&start(&[&other]));
    assert!(refusal.contains("TLS failed"), "{refusal}");
    let result = deliver(Client::Wire, start(&[&other, &pin]).smtp(), &mail(), &How::default());
    assert!(result.accepted, "{}\n{}", result.output, hidden.log());
}

#[test]
fn plain_text_can_be_refused_and_is_counted_where_it_is_not() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let config = backend(&["bench.test"], sink.address(), "");
    let refusing = "inbound_plain = \"refuse\"".to_owned();
    let postern = Postern::start(&Options { config: config.clone(), tls: refusing, ..Default::default() });
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "530 5.7.0 ");
    let postern = Postern::start(&Options { config, ..Default::default() });
    assert!(deliver(Client::Wire, postern.smtp(), &mail(), &How::default()).accepted);
    let plain = || (postern.metric("postern_client_tls_total{version=\"plain\"") >= 1.0).then_some(());
    assert!(ports::wait_until(LIMIT, plain).is_some(), "{}", postern.get("/metrics"));
    let status = postern.ask(&["status"]);
    assert!(status.output.contains("without forward secrecy: 127.0.0.0/24"), "{}", status.output);
}
