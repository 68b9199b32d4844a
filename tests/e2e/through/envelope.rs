//! What belongs to the envelope: recipients of several servers, refusals, DSN, internationalized addresses.

use std::time::Duration;

use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::{self, Mail};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend, trace_id};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scripted::Client as Scripted;

use super::{Hidden, expect_passed, mail};

const UNKNOWN: (&str, &str) = ("nobody@bench.test", "550 5.1.1 there is no nobody here");

fn start(config: String) -> Postern {
    Postern::start(&Options { config, ..Default::default() })
}

#[test]
fn of_pipelined_recipients_the_unknown_one_is_refused_in_the_servers_words() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { reject: vec![UNKNOWN], ..Default::default() });
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    let mail = mail();
    let mut client = Scripted::greeted(postern.smtp(), None);
    let envelope = "MAIL FROM:<a@source.test>\r\nRCPT TO:<b@bench.test>\r\nRCPT TO:<nobody@bench.test>\r\n\
                    RCPT TO:<c@bench.test>\r\nDATA\r\n";
    client.write(envelope.as_bytes()).unwrap();
    client.hears("250 2.1.0 ");
    client.hears("250 2.1.5 ");
    let refusal = client.hears("550 5.1.1 ");
    assert!(refusal.contains("there is no nobody here"), "{refusal}");
    client.hears("250 2.1.5 ");
    client.hears("354 ");
    client.write(&mail::dot_stuffed(&mail.content)).unwrap();
    client.hears("250 2.0.0 ");
    client.says("QUIT", "221 ");
    // One copy for each of the two.
    let stored = hidden.mailbox().wait_for(2);
    stored.iter().for_each(|stored| expect_passed(stored, &mail));
    let told = postern.ask(&["trace", "--id", trace_id(&refusal)]);
    assert!(told.success && told.output.contains("nobody@bench.test"), "{refusal}\n{}", told.output);
}

#[test]
fn recipients_of_two_backends_are_served_in_one_transaction() {
    needs!(POSTFIX);
    let (first, second) = (Hidden::postfix(), Hidden::postfix());
    let config = [
        backend(&["bench.test"], first.address(), ""),
        backend(&["other.test", "more.test"], second.address(), ""),
    ];
    let postern = start(config.concat());
    let to = ["b@bench.test", "c@other.test", "d@more.test"];
    let mail = Mail::new("a@source.test", &to, "for three\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    expect_passed(&first.mailbox().wait_for_one(), &mail);
    let stored = second.mailbox().wait_for(2);
    assert_eq!(stored.len(), 2);
    stored.iter().for_each(|stored| expect_passed(stored, &mail));
}

#[test]
fn delivery_notifications_reach_the_server_as_they_were_asked_for() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    let mut mail = mail();
    mail.mail_parameters = "RET=HDRS ENVID=QQ314159".to_owned();
    mail.rcpt_parameters = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@origin.test".to_owned();
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    // The mail, and the report that its delivery sent to the sender, whose mailbox is the same.
    let stored = hidden.mailbox().wait_for(2);
    let report = stored.iter().map(|stored| String::from_utf8_lossy(&stored.whole).into_owned());
    let report = report.into_iter().find(|text| text.contains("multipart/report")).unwrap_or_default();
    assert!(report.contains("Original-Envelope-Id: QQ314159"), "{report}");
    assert!(report.contains("Original-Recipient: rfc822;first@origin.test"), "{report}");
    assert!(!report.contains("the end"), "RET=HDRS: {report}");
}

#[test]
fn an_internationalized_address_reaches_a_server_that_takes_it() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    let mut mail = Mail::new("jürgen@source.test", &["grüße@bench.test"], "ü\n");
    mail.mail_parameters = "SMTPUTF8 BODY=8BITMIME".to_owned();
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let stored = hidden.mailbox().wait_for_one();
    expect_passed(&stored, &mail);
    assert!(stored.added.contains("grüße@bench.test"), "{}", stored.added);
    assert!(stored.one_hop_before().0.contains(" with UTF8SMTP "), "{}", stored.one_hop_before().0);
}

#[test]
fn only_the_recipient_whose_server_lacks_what_the_mail_needs_is_refused() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let poor = Postfix::start(&postfix::Options { without: vec!["smtputf8"], ..Default::default() });
    let config =
        [backend(&["bench.test"], hidden.address(), ""), backend(&["poor.test"], poor.address(), "")];
    let postern = start(config.concat());
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<ü@source.test> SMTPUTF8", "250 ");
    client.says("RCPT TO:<b@poor.test>", "550 5.6.7 ");
    client.says("RCPT TO:<b@bench.test>", "250 ");
    client.says("DATA", "354 ");
    client.says("Subject: ü\r\n\r\nx\r\n.", "250 ");
    client.says("QUIT", "221 ");
    hidden.mailbox().wait_for_one();
    assert!(poor.mailbox().read().is_empty());
}

#[test]
fn several_mails_of_one_session_arrive_each_once() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    let mut client = Scripted::greeted(postern.smtp(), None);
    let mails = [mail(), mail(), mail()];
    for mail in &mails {
        client.says("MAIL FROM:<a@source.test>", "250 ");
        client.says("RCPT TO:<b@bench.test>", "250 ");
        client.says("DATA", "354 ");
        client.write(&mail::dot_stuffed(&mail.content)).unwrap();
        client.hears("250 2.0.0 ");
        client.says("RSET", "250 ");
    }
    client.says("QUIT", "221 ");
    for mail in &mails {
        expect_passed(&hidden.mailbox().wait_for_message(mail.message_id()), mail);
    }
    assert_eq!(hidden.mailbox().read().len(), mails.len());
    let messages = || postern.metric("postern_messages_total{").max(0.0);
    let counted = ports::wait_until(Duration::from_secs(10), || (messages() >= 3.0).then_some(()));
    assert!(counted.is_some(), "{}", postern.get("/metrics"));
}
