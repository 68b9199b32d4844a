//! Who is told what became of a message, and who is not: real servers, a real DNS, and reports as they arrive.

use std::time::Duration;

use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};

use crate::signing::{dkimpy, texts_in};

/// For a line in the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sender's domain that names loopback as the only place its mail comes from, and one that names none.
fn senders() -> NameServer {
    let zone = |name, records| Zone { name, signing: Signing::Nsec, records };
    NameServer::start(&[
        zone("source.test", "@ TXT \"v=spf1 ip4:127.0.0.0/8 -all\""),
        zone("elsewhere.test", "@ TXT \"v=spf1 ip4:192.0.2.1 -all\""),
    ])
}

/// Mail for the first server's domain; the senders' domains are served here, too, so that reports need no way out. The test's
/// clients come from loopback and are not to count as inside.
fn start(names: &NameServer, hidden: &Postfix, sender: &Postfix) -> Postern {
    let config = [
        backend(&["bench.test"], hidden.address(), ""),
        backend(&["source.test", "elsewhere.test"], sender.address(), ""),
        "[outbound]\nnetworks = [\"192.0.2.0/24\"]\n".to_owned(),
        format!(
            "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
            names.address(),
            names.anchor()
        ),
    ];
    Postern::start(&Options { config: config.concat(), ..Default::default() })
}

fn without_dsn() -> Postfix {
    Postfix::start(&postfix::Options { without: vec!["dsn"], ..Default::default() })
}

fn asking(from: &str) -> Mail {
    let mut mail = Mail::new(from, &["b@bench.test"], "only for the recipient\n");
    mail.mail_parameters = "RET=FULL ENVID=QQ+2B314159".to_owned();
    mail.rcpt_parameters = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@origin.test".to_owned();
    mail
}

fn send(postern: &Postern, mail: &Mail) {
    let result = deliver(Client::Wire, postern.smtp(), mail, &How::default());
    assert!(result.accepted, "{}", result.output);
}

#[test]
fn a_sender_is_told_that_a_server_without_dsn_has_the_message() {
    needs!(POSTFIX, KNOT, &[Need::Program("dkimverify")]);
    let (names, hidden, sender) = (senders(), without_dsn(), Postfix::start(&postfix::Options::default()));
    let postern = start(&names, &hidden, &sender);
    let mail = asking("a@source.test");
    send(&postern, &mail);
    hidden.mailbox().wait_for_message(mail.message_id());
    let report = sender.mailbox().wait_for_one();
    let text = String::from_utf8_lossy(&report.whole).into_owned();
    for line in [
        "Return-Path: <>",
        "Auto-Submitted: auto-replied",
        "Original-Envelope-Id: QQ+314159",
        "Reporting-MTA: dns; mx.postern.test",
        "Original-Recipient: rfc822; first@origin.test",
        "Final-Recipient: rfc822; b@bench.test",
        "Action: relayed",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains(mail.message_id()), "the header comes back: {text}");
    assert!(!text.contains("only for the recipient"), "the body does not: {text}");
    // It is signed in Postern's own name.
    let records = texts_in(postern.ask(&["dns", "mx.postern.test", "--json"]).output.as_bytes());
    assert_eq!(dkimpy(&report.content, &records), ["True", "True"], "{text}");
}

#[test]
fn nobody_is_told_in_the_name_of_whom_anybody_could_have_sent() {
    needs!(POSTFIX, KNOT);
    let (names, hidden, sender) = (senders(), without_dsn(), Postfix::start(&postfix::Options::default()));
    let postern = start(&names, &hidden, &sender);
    for from in ["victim@elsewhere.test", "victim@nowhere.test"] {
        let mail = asking(from);
        send(&postern, &mail);
        hidden.mailbox().wait_for_message(mail.message_id());
    }
    let untold = || (postern.log().matches("nobody is told").count() == 2).then_some(());
    assert!(ports::wait_until(PATIENCE, untold).is_some(), "{}", postern.log());
    // What would have been sent before is here when this is.
    send(&postern, &asking("a@source.test"));
    let report = String::from_utf8_lossy(&sender.mailbox().wait_for_one().whole).into_owned();
    assert!(report.contains("To: <a@source.test>"), "{report}");
    assert_eq!(sender.mailbox().read().len(), 1);
}

#[test]
fn who_did_not_ask_and_whose_server_reports_itself_gets_no_report_of_posterns() {
    needs!(POSTFIX, KNOT);
    let (names, poor, sender) = (senders(), without_dsn(), Postfix::start(&postfix::Options::default()));
    let postern = start(&names, &poor, &sender);
    send(&postern, &Mail::new("a@source.test", &["b@bench.test"], "x\n"));
    // To the sender's own server, which sends reports.
    let mut mail = Mail::new("a@source.test", &["c@source.test"], "y\n");
    mail.rcpt_parameters = "NOTIFY=SUCCESS".to_owned();
    send(&postern, &mail);
    let arrived = sender.mailbox().wait_for(2);
    let text = arrived.iter().map(|stored| String::from_utf8_lossy(&stored.whole)).collect::<String>();
    assert!(text.contains("multipart/report") && !text.contains("MAILER-DAEMON@mx.postern.test"), "{text}");
}
