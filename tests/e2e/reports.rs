//! What others report about the domains here: taken at the address that Postern publishes or on its way to a person, believed only of
//! who stands behind it, kept over a kill, and told.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use record::Clock as _;

/// On a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Sends a report as programs write them: Postern's port, sender, author, recipient, media type, file name, how it is packed; the report
/// itself on standard input.
const SEND: &str = r#"
import gzip, io, smtplib, sys, zipfile
from email.message import EmailMessage
port, sender, author, recipient, kind, name, packing = sys.argv[1:]
report = sys.stdin.buffer.read()
if packing == "gzip":
    report = gzip.compress(report)
elif packing == "zip":
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name.replace(".zip", ".xml"), report)
    report = file.getvalue()
mail = EmailMessage()
mail["From"], mail["To"] = author, recipient
mail["Subject"] = "Report Domain: corp.test Submitter: sender.test Report-ID: <1>"
mail["Message-ID"] = "<%s@sender.test>" % name.replace("!", ".")
mail.set_content("This is a report.\n")
maintype, subtype = kind.split("/")
mail.add_attachment(report, maintype=maintype, subtype=subtype, filename=name)
with smtplib.SMTP("127.0.0.1", int(port)) as client:
    client.send_message(mail, from_addr=sender, to_addrs=[recipient])
"#;

/// A report of yesterday.
struct Sent<'a> {
    sender: &'a str,
    author: &'a str,
    recipient: &'a str,
    kind: &'a str,
    name: &'a str,
    packing: &'a str,
    report: &'a str,
}

/// By which a report on mail reaches the address of Postern's own.
const DMARC: Sent<'_> = Sent {
    sender: "noreply@sender.test",
    author: "noreply@sender.test",
    recipient: "reports@mx.postern.test",
    kind: "application/zip",
    name: "sender.test!corp.test!1!2.zip",
    packing: "zip",
    report: "",
};

fn send(postern: &Postern, sent: &Sent<'_>) {
    let Sent { sender, author, recipient, kind, name, packing, report } = sent;
    let file = postern.beside("report");
    std::fs::write(&file, report).expect("a file");
    let port = postern.smtp().port().to_string();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SEND, &port, sender, author, recipient, kind, name, packing]);
    let ended = child::run_reading(&command, &file, SOON);
    assert!(ended.success, "{}\n{}", ended.output, postern.log());
}

/// Now, in seconds since 1970.
fn now() -> u64 {
    record::SystemClock.now().as_secs()
}

fn dmarc(id: &str, messages: u64) -> String {
    let (begin, end) = (now() - 86_400, now());
    format!(
        "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>The Sender</org_name><email>d@sender.test</email>\
         <report_id>{id}</report_id><date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>\
         <policy_published><domain>corp.test</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.77</source_ip>\
         <count>{messages}</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf>\
         </policy_evaluated></row><identifiers><header_from>corp.test</header_from></identifiers><auth_results><spf>\
         <domain>shop.test</domain><result>pass</result></spf></auth_results></record></feedback>"
    )
}

fn tls() -> String {
    let day = |second| record::rfc3339_date(Duration::from_secs(second));
    serde_json::json!({
        "organization-name": "The Sender",
        "date-range": { "start-datetime": day(now() - 86_400), "end-datetime": day(now()) },
        "contact-info": "tls@sender.test",
        "report-id": "tls-1",
        "policies": [{
            "policy": { "policy-type": "sts", "policy-domain": "corp.test" },
            "summary": { "total-successful-session-count": 20, "total-failure-session-count": 5 },
            "failure-details": [{
                "result-type": "certificate-host-mismatch", "receiving-mx-hostname": "mx.corp.test", "failed-session-count": 5,
            }],
        }],
    })
    .to_string()
}

fn start(hidden: SocketAddr, names: &NameServer) -> Postern {
    let config = format!(
        "{}[outbound]\nnetworks = [\"127.0.0.2/32\"]\n[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        postern::backend(&["corp.test"], hidden, ""),
        names.address(),
        names.anchor()
    );
    Postern::start(&Options { config, judge: "enabled = true\n".into(), ..Options::default() })
}

/// Who sends reports: from here, by SPF; and somebody who may not.
fn names() -> NameServer {
    let zone = |name, records| Zone { name, signing: Signing::Unsigned, records };
    let sender = "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n";
    let other = "@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n";
    NameServer::start(&[zone("sender.test", sender), zone("other.test", other)])
}

/// What the API says, once it says what is waited for.
fn told(postern: &Postern, is_there: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let ask = || {
        let answer = postern.get("/api/v1/domain-reports");
        let body = answer.split_once("\r\n\r\n").map_or(&*answer, |(_, body)| body);
        serde_json::from_str::<serde_json::Value>(body).ok().filter(&is_there)
    };
    ports::wait_until(SOON, ask)
        .unwrap_or_else(|| panic!("{}\n{}", postern.get("/api/v1/domain-reports"), postern.log()))
}

#[test]
fn reports_are_believed_of_who_sent_them_and_told_by_domain() {
    needs!(KNOT, POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let names = names();
    let postern = start(hidden.address(), &names);
    let (one, tls) = (dmarc("1", 7), tls());
    // The same twice is one; what its author does not stand behind is none; a letter is none.
    send(&postern, &Sent { report: &one, ..DMARC });
    send(&postern, &Sent { report: &one, ..DMARC });
    send(&postern, &Sent { report: &dmarc("2", 100), author: "d@other.test", ..DMARC });
    send(&postern, &Sent { report: "hello", kind: "text/plain", name: "letter.txt", packing: "", ..DMARC });
    // A person is to have this one, and has it.
    let person = Sent {
        recipient: "postmaster@corp.test",
        kind: "application/tlsrpt+gzip",
        name: "sender.test!corp.test!1!2.json.gz",
        packing: "gzip",
        report: &tls,
        ..DMARC
    };
    send(&postern, &person);
    hidden.mailbox().wait_for_message("<sender.test.corp.test.1.2.json.gz@sender.test>");
    let told = told(&postern, |told| {
        let aside = told["set_aside"].as_array().map_or(0, Vec::len);
        aside == 2 && told["domains"][0]["tls"][0]["failed"] == 5 && told["domains"][0]["messages"] != 0
    });
    let domain = &told["domains"][0];
    assert_eq!((domain["domain"].as_str(), domain["messages"].as_u64()), (Some("corp.test"), Some(7)));
    assert_eq!(domain["sources"][0]["source"], "192.0.2.77");
    assert_eq!(domain["sources"][0]["known_as"][0], "shop.test");
    assert_eq!(domain["tls"][0]["sender"], "sender.test");
    let why: Vec<_> =
        told["set_aside"].as_array().expect("a list").iter().map(|one| one["why"].as_str()).collect();
    assert!(why.iter().any(|why| why.is_some_and(|why| why.contains("neither DMARC"))), "{why:?}");
    assert!(why.iter().any(|why| why.is_some_and(|why| why.contains("no report"))), "{why:?}");
    let said = postern.ask(&["reports", "received", "corp.test"]).output;
    for words in [
        "TLS from sender.test (1 reports",
        "5 of 25 sessions failed.",
        "5 x certificate-host-mismatch at mx.corp.test",
        "mail in its name: 7, 0 of them pass DMARC; by sender.test",
        "192.0.2.77 7 messages, 0 pass: It sends as shop.test",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert!(postern.ask(&["reports", "received", "elsewhere.test"]).output.contains("nobody has reported"));
    let page = postern.get("/domain-reports");
    assert!(page.contains("certificate-host-mismatch") && page.contains("192.0.2.77"), "{page}");
    assert_eq!(hidden.mailbox().read().len(), 1, "nothing else reaches the server");
}

/// What sys4's tlsrpt-reporter makes of a day's results and hands to its mail program, here curl: Postern's port, a folder of its own,
/// the day, who reports, and to whom.
const REPORTER: &str = r#"
import json, sys
from tlsrpt_reporter import tlsrpt
port, folder, day, sender, recipient = sys.argv[1:]
settings = {name: of["default"] for name, of in tlsrpt.options_reportd.items()}
settings.update(
    dbname=folder + "/reportd.sqlite", fetchers="true", organization_name="The Reporter", contact_info=sender, sender_address=sender,
    sendmail_script=f"curl --silent --show-error smtp://127.0.0.1:{port} --mail-from {sender} --mail-rcpt {recipient} --upload-file -",
)
reportd = tlsrpt.TLSRPTReportd(tlsrpt.ConfigReportd(**settings))
record = "v=TLSRPTv1; rua=mailto:" + recipient
sts = json.dumps({"policy-type": 2, "policy-domain": "corp.test", "mx-host": ["mx.corp.test"], "policy-string": ["version: STSv1", "mode: testing"]})
none = json.dumps({"policy-type": 9, "policy-domain": "corp.test"})
expired = json.dumps({"c": 204, "n": "mx.corp.test", "r": "192.0.2.1", "s": "192.0.2.9"})
data = {record: {
    sts: {"cntrtotal": 12, "cntrfailure": 2, "failures": {expired: 2}},
    none: {"cntrtotal": 3, "cntrfailure": 0, "failures": {}},
}}
reportd.con.execute("INSERT INTO reportdata(day, domain, data, fetcher, fetcherindex) VALUES(?,?,?,'true',1)", (day, "corp.test", json.dumps(data)))
reportd.create_report_for(day, "corp.test")
(report,) = reportd.con.execute("SELECT report FROM reports").fetchone()
print(reportd.send_out_report(day, "corp.test", 1, 1, "mailto:" + recipient, report))
"#;

#[test]
fn what_tlsrpt_reporter_sends_is_read() {
    needs!(KNOT, &[Need::Cached("python/tlsrpt-reporter/bin/tlsrpt-reportd"), Need::Program("curl")]);
    let names = names();
    let postern = start(SocketAddr::from(([127, 0, 0, 1], 9)), &names);
    let scratch = Scratch::new("reporter");
    let yesterday = record::rfc3339_date(Duration::from_secs(now() - 86_400));
    let mut python = Command::new(needs::cache().join("python/tlsrpt-reporter/bin/python"));
    python.args(["-c", REPORTER, &postern.smtp().port().to_string()]).arg(scratch.join(""));
    python.args([&yesterday[..10], "tls@sender.test", "reports@mx.postern.test"]);
    let sent = child::run(&python, SOON);
    assert!(sent.output.contains("SUCCEEDED"), "{}\n{}", sent.output, postern.log());
    let told = told(&postern, |told| told["domains"][0]["tls"][0]["failed"] == 2);
    let sender = &told["domains"][0]["tls"][0];
    assert_eq!((sender["sender"].as_str(), sender["succeeded"].as_u64()), (Some("sender.test"), Some(13)));
    assert_eq!(sender["organization"], "The Reporter");
    assert_eq!(sender["failures"][0]["result"], "certificate-expired", "{told}");
    assert_eq!(sender["failures"][0]["mx"], "mx.corp.test", "{told}");
}

#[test]
fn a_report_that_was_taken_outlasts_a_kill() {
    needs!(KNOT, POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let names = names();
    let mut postern = start(hidden.address(), &names);
    for number in 0..3 {
        let report = dmarc(&format!("kill-{number}"), 1);
        send(&postern, &Sent { report: &report, ..DMARC });
        postern.kill();
        postern.start_again();
    }
    told(&postern, |told| told["domains"][0]["messages"] == 3);
}
