//! Somebody is told: alerts by mail, the log by syslog over TLS, rules for Prometheus that it can read.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::certificate::{Authority, Certificate};
use postern_tests::child::{self, Child};
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{LATER, Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};
use postern_tests::rsyslog::{RSYSLOG, Rsyslog};
use postern_tests::scratch::Scratch;
use postern_tests::sink::Sink;
use serde_json::Value;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// A server that is away is told of after a minute, and of its return after five.
const A_MINUTE_AND_MORE: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(60);
/// What calls of web sites are signed with.
const HOOK_KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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

/// A web site that is called for alerts: port, certificate, key, the key of signatures in base64, and the file that it writes a line to
/// for each call. The first one is sent elsewhere.
const SITE: &str = r#"
import base64, hashlib, hmac, http.server, json, ssl, sys
port, chain, key, secret, file = sys.argv[1:]
calls = 0
class Site(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global calls
        calls += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = hmac.new(base64.b64decode(secret), f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
        good = self.headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
        told = {"id": name, "good": good, "path": self.path, "body": json.loads(body), "as": self.headers["Content-Type"]}
        with open(file, "a") as out:
            out.write(json.dumps(told) + "\n")
        self.send_response(307 if calls == 1 else 204)
        if calls == 1:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(port)), Site)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

fn site(address: SocketAddr, certificate: &Certificate, key: &str, file: &Path) -> Child {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SITE, &address.port().to_string()]).arg(&certificate.chain).arg(&certificate.key);
    command.arg(key).arg(file);
    let mut site = Child::spawn("a site", &command, &file.with_extension("output"));
    site.expect_listening(address);
    site
}

#[test]
fn a_web_site_is_called_signed_once_when_it_begins_and_once_when_it_is_over() {
    needs!(SINK, KNOT, LATER, &[Need::Program("python3")]);
    let zone = |name, records| Zone { name, signing: Signing::Unsigned, records };
    let names = NameServer::start(&[zone("hooks.test", "@ A 127.0.0.1\n")]);
    let (authority, stranger, scratch) = (Authority::new(), Authority::new(), Scratch::new("hooks"));
    let (taken, refused) = (scratch.join("taken"), scratch.join("refused"));
    let (address, other) = (ports::free(), ports::free());
    let _site = site(address, &authority.certify(&["hooks.test"]), HOOK_KEY, &taken);
    let _stranger = site(other, &stranger.certify(&["hooks.test"]), HOOK_KEY, &refused);
    let (away, sink) = (ports::free(), Sink::start(&[]));
    let config = format!(
        "{}[log]\nalerts = [\"https://hooks.test:{}/a?b=c\", \"https://hooks.test:{}/\"]\nalerts_key = \"whsec_{HOOK_KEY}\"\n\
         [outbound]\nca_file = {:?}\n[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        backend(&["bench.test"], away, ""),
        address.port(),
        other.port(),
        authority.file(),
        names.address(),
        names.anchor(),
    );
    let mut postern = Postern::start(&Options { config, ..Default::default() });
    let calls = || -> Vec<Value> {
        let lines = std::fs::read_to_string(&taken).unwrap_or_default();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    // Told after a minute, sent elsewhere, and told again a quarter of one later.
    let told = ports::wait_until(A_MINUTE_AND_MORE, || (calls().len() >= 2).then(&calls));
    let told = told.unwrap_or_else(|| panic!("{:?}\n{}", calls(), postern.log()));
    let is_of_server = |key: &Value| key.as_str().is_some_and(|key| key.starts_with("backend "));
    let about_server = |call: &&Value| is_of_server(&call["body"]["data"]["key"]);
    let begun: Vec<&Value> = told.iter().filter(about_server).collect();
    assert!(!begun.is_empty(), "{told:?}");
    for call in &told {
        assert!(
            call["good"] == true && call["path"] == "/a?b=c" && call["as"] == "application/json",
            "{call}"
        );
        assert!(call["body"]["data"]["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{call}");
    }
    assert_eq!(begun[0]["body"]["type"], "alert.begun");
    assert_eq!(told[0]["id"], told[1]["id"], "it is the same piece of news");

    // Its server is another one now, and an hour passes.
    postern.stop();
    let text = std::fs::read_to_string(postern.config()).expect("the config");
    let text = text.replace(&away.to_string(), &sink.address().to_string());
    std::fs::write(postern.config(), text).expect("another config");
    postern.start_later(1);
    let over = || calls().into_iter().find(|call| call["body"]["type"] == "alert.over");
    let over = ports::wait_until(SOON, over).unwrap_or_else(|| panic!("{:?}\n{}", calls(), postern.log()));
    assert_eq!(over["body"]["data"]["key"], begun[0]["body"]["data"]["key"]);
    assert!(over["good"] == true && over["body"]["data"]["until"].is_string(), "{over}");
    let ids: BTreeSet<String> =
        calls().iter().filter(about_server).map(|call| call["id"].to_string()).collect();
    assert_eq!(ids.len(), 2, "once when it began and once when it was over: {:?}", calls());
    assert!(!refused.exists(), "who cannot prove who it is hears nothing");
    assert!(postern.log().contains("a site cannot be told of an alert"), "{}", postern.log());
}

#[test]
fn an_address_that_mail_leaves_from_is_told_of_with_a_wrong_name_and_on_a_block_list() {
    needs!(POSTFIX, KNOT);
    let office = Postfix::start(&postfix::Options::default());
    let zone = |name, records| Zone { name, signing: Signing::Unsigned, records };
    // 192.0.2.7 is called something else, 192.0.2.8 has the right name, which leads back to it alone.
    let names = NameServer::start(&[
        zone("postern.test", "mx A 192.0.2.8\n"),
        zone("2.0.192.in-addr.arpa", "7 PTR host7.isp.test.\n8 PTR mx.postern.test.\n"),
        // As every list it has an entry by which it shows that it is one.
        zone("bl.test", "2.0.0.127 A 127.0.0.2\n7.2.0.192 A 127.0.0.2\n7.2.0.192 TXT \"spam was seen\"\n"),
    ]);
    let config = format!(
        "{}[log]\nalerts = [\"ann@office.test\"]\n[outbound]\naddresses = [\"192.0.2.7\", \"192.0.2.8\"]\n\
         [resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        backend(&["office.test"], office.address(), ""),
        names.address(),
        names.anchor(),
    );
    let judge = "enabled = false\ndnsbl = [{ zone = \"bl.test\", weight = 2.0 }]\n".to_owned();
    let postern = Postern::start(&Options { config, judge, ..Default::default() });
    let listed = || {
        let status = postern.ask(&["status", "--json"]).output;
        status.contains("on the block list bl.test: spam was seen").then_some(status)
    };
    let status = ports::wait_until(SOON, listed).unwrap_or_else(|| {
        panic!("{}\n{}", postern.ask(&["status", "--json"]).output, postern.log());
    });
    assert!(status.contains("is called host7.isp.test (PTR), not mx.postern.test."), "{status}");
    assert!(!status.contains("192.0.2.8, which mail leaves from"), "{status}");
}
