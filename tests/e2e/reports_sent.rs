//! What was met of the world yesterday is reported to it: by mail, signed, and by HTTPS, to those who asked and to nobody else; parsedmarc
//! reads it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::child::{self, Child};
use postern_tests::gateway::{self, names, smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, Host, LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::mailbox::Stored;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::LATER;
use postern_tests::scratch::Scratch;
use postern_tests::servers::{Kind, Server};

use crate::signing::{dkimpy_later, texts};

/// Reads reports on DMARC and TLS.
const PARSEDMARC: &[Need] = &[Need::Cached("python/parsedmarc/bin/parsedmarc")];
/// On a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// Past midnight, and past the hours for which each reporter waits after it.
const LATER_BY: u32 = 29;

/// A site that takes reports: port, certificate, key, and the file that they go to.
const SITE: &str = r#"
import http.server, ssl, sys
port, chain, key, file = sys.argv[1:]
class Site(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(file, "wb") as out:
            out.write(body)
        with open(file + ".type", "w") as out:
            out.write(self.path + " " + self.headers["Content-Type"])
        self.send_response(201)
        self.end_headers()
server = http.server.HTTPServer(("192.0.2.9", int(port)), Site)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

fn site(host: &Host, port: u16, certificate: &Certificate, file: &Path) -> Child {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SITE, &port.to_string()]).arg(&certificate.chain).arg(&certificate.key).arg(file);
    let output = file.with_extension("output");
    host.run(move || {
        let mut site = Child::spawn("a site", &command, &output);
        site.expect_listening(SocketAddr::new(WORLD.v4.into(), port));
        site
    })
}

/// What parsedmarc makes of a file.
fn parsed(file: &Path) -> serde_json::Value {
    let mut command = Command::new(needs::cache().join("python/parsedmarc/bin/parsedmarc"));
    command.arg("--offline").arg(file);
    let ended = child::run(&command, SOON);
    let json = ended.output.find('{').map_or("", |at| &ended.output[at..]);
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {}", ended.output))
}

/// The message to this recipient.
fn to(stored: &[Stored], address: &str) -> Stored {
    let is_to = |one: &&Stored| String::from_utf8_lossy(&one.content).contains(&format!("To: <{address}>"));
    stored.iter().find(is_to).unwrap_or_else(|| panic!("nothing for {address}")).clone()
}

#[test]
fn yesterday_is_reported_to_who_asked_and_read_by_parsedmarc() {
    needs!(LAB, KNOT, POSTFIX, LATER, PARSEDMARC);
    let lab = Lab::new();
    without_dns(&lab);
    let world_test = format!(
        "@ MX 10 mx\nmx A {address}\nrua A {address}\n\
         _smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@world.test,https://rua.world.test:8443/tls?a=b,https://rua.world.test:8444/\"\n\
         _dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@world.test!1m,mailto:small@world.test!100,mailto:spy@elsewhere.test\"\n",
        address = WORLD.v4
    );
    let (_names, resolver) = names(&lab, &[("world.test", world_test)]);
    let (scratch, authority, stranger) = (Scratch::new("sites"), Authority::new(), Authority::new());
    let (taken, refused) = (scratch.join("taken"), scratch.join("refused"));
    let _site = site(&lab.world, 8443, &authority.certify(&["rua.world.test"]), &taken);
    let _other = site(&lab.world, 8444, &stranger.certify(&["rua.world.test"]), &refused);
    let world = lab.world.run(|| Server::storing(Kind::Postfix, smtp(WORLD.v4), None));
    let _hidden = lab.inside.run(|| Server::storing(Kind::Postfix, smtp(HIDDEN.v4), None));
    let mut postern = gateway::start(
        &lab,
        &format!("{resolver}[outbound]\nca_file = {:?}\n[judge]\nenabled = true\n", authority.file()),
    );
    let out = submit(&lab.inside, smtp(WORLD.v4), &Mail::new("ann@hidden.test", &["b@world.test"], "out\n"));
    assert!(out.accepted, "{}\n{}", out.output, postern.log());
    for number in 0..2 {
        let forged = Mail::new("boss@world.test", &["ann@hidden.test"], &format!("in {number}\n"));
        let sent = submit(&lab.world, smtp(HIDDEN.v4), &forged);
        assert!(sent.accepted, "{}\n{}", sent.output, postern.log());
    }
    let postern = lab.postern.run(move || {
        postern.stop();
        postern.start_later(LATER_BY);
        postern
    });
    let count = || world.mailbox().read().len();
    let arrived = ports::wait_until(SOON, || (count() >= 3 && taken.exists()).then_some(()));
    assert!(arrived.is_some(), "{} messages\n{}", count(), postern.log());
    let stored = world.mailbox().read();
    assert_eq!(stored.len(), 3, "nothing for who does not agree, or takes less");
    let (tls, dmarc) = (to(&stored, "tls@world.test"), to(&stored, "dmarc@world.test"));
    let records = texts(&lab, &postern);
    for mail in [&tls, &dmarc] {
        assert_eq!(dkimpy_later(&mail.content, &records, LATER_BY), ["True", "True"]);
    }
    let read = parsed(&scratch.write("dmarc.eml", &dmarc.content));
    let report = &read["aggregate_reports"][0];
    // It tells the registered domain of who reports.
    assert_eq!(report["report_metadata"]["org_name"], "postern.test", "{read}");
    let policy = &report["policy_published"];
    assert_eq!((policy["domain"].as_str(), policy["p"].as_str()), (Some("world.test"), Some("reject")));
    let record = &report["records"][0];
    assert_eq!(record["source"]["ip_address"], WORLD.v4.to_string(), "{report}");
    assert_eq!((record["count"].as_u64(), record["alignment"]["dmarc"].as_bool()), (Some(2), Some(false)));
    assert_eq!(record["identifiers"]["header_from"], "world.test");
    assert_eq!(record["policy_evaluated"]["policy_override_reasons"][0]["type"], "local_policy");
    let packed = scratch.write("tls.json.gz", std::fs::read(&taken).expect("what was posted"));
    for file in [scratch.write("tls.eml", &tls.content), packed] {
        let read = parsed(&file);
        let report = &read["smtp_tls_reports"][0];
        assert_eq!(report["organization_name"], "mx.postern.test", "{read}");
        assert_eq!(report["policies"][0]["policy_domain"], "world.test", "{read}");
    }
    let posted = std::fs::read_to_string(taken.with_extension("type")).unwrap_or_default();
    assert_eq!(posted, "/tls?a=b application/tlsrpt+gzip");
    assert!(!refused.exists(), "who cannot prove who it is gets nothing");
    assert!(postern.log().contains("rua.world.test:8444"), "it is tried again\n{}", postern.log());
}
