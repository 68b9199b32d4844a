//! Attachments that are not wanted, and mail that pretends to be somebody else's, seen through the whole of Postern.

use std::time::Duration;

use postern_tests::clients::{Client, ClientResult, How, deliver};
use postern_tests::mail::{Mail, unique};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

/// On a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A Postern in front of `own-company.com`; clients are strangers unless `inside` says that they are not.
fn start(hidden: &Postfix, inside: &str, judge: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"own-company.com\", \"partner.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"{inside}\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    Postern::start(&Options { config, judge: judge.into(), ..Default::default() })
}

fn send(postern: &Postern, fields: &str, body: &str) -> ClientResult {
    let content = format!(
        "{fields}To: <b@own-company.com>\r\nSubject: A test\r\nDate: Sat, 21 Nov 2026 19:10:05 +0000\r\n\
         Message-ID: <{}@postern.test>\r\nMIME-Version: 1.0\r\n{body}",
        unique()
    );
    let mail = Mail::raw("a@source.test", &["b@own-company.com"], content);
    deliver(Client::Wire, postern.smtp(), &mail, &How::default())
}

fn story(postern: &Postern, output: &str) -> String {
    let id = output.lines().rev().map(trace_id).find(|id| id.contains('.')).unwrap_or_default().to_owned();
    postern.ask(&["trace", "--id", &id]).output
}

fn with_attachment(name: &str, base64: &str) -> String {
    format!(
        "Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nSee below\r\n--x\r\n\
         Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{base64}\r\n--x--\r\n"
    )
}

#[test]
fn attachments_are_refused_held_or_let_through_by_what_they_are() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden, "203.0.113.0/24", "action = \"enforce\"\n");
    let from = "From: <a@source.test>\r\n";
    // The beginning of a program for Windows, and a shortcut of the web.
    let (program, shortcut) = ("TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAA==", "W0ludGVybmV0U2hvcnRjdXRdDQo=");
    for name in ["setup.exe", "holiday.jpg"] {
        let result = send(&postern, from, &with_attachment(name, program));
        let said =
            "550 5.7.1 the message is not wanted: it holds a kind of attachment that is not taken here";
        assert!(!result.accepted && result.output.contains(said), "{}", result.output);
        let told = story(&postern, &result.output);
        assert!(told.contains(&format!("attachment: program: {name} (reject)")), "{told}");
    }
    let result = send(&postern, from, &with_attachment("read.url", shortcut));
    assert!(result.accepted, "{}", result.output);
    assert!(story(&postern, &result.output).contains("attachment: shortcut: read.url (quarantine)"));
    assert!(postern.ask(&["quarantine", "list"]).output.contains("a@source.test"));
    let result = send(&postern, from, &with_attachment("report.pdf", "JVBERi0xLjQK"));
    assert!(result.accepted, "{}", result.output);
    let told = story(&postern, &result.output);
    assert!(told.contains("judged inbound: pass") && !told.contains("attachment:"), "{told}");
    let lenient =
        start(&hidden, "203.0.113.0/24", "action = \"enforce\"\nattachments = { refuse = [\".ace\"] }\n");
    let result = send(&lenient, from, &with_attachment("setup.exe", program));
    assert!(result.accepted, "{}", result.output);
    let result = send(&lenient, from, &with_attachment("old.ace", "AAAA"));
    assert!(!result.accepted, "{}", result.output);
}

#[test]
fn who_pretends_to_be_ones_own_is_named_in_the_trace() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden, "203.0.113.0/24", "action = \"observe\"\n");
    let fields = "From: \"it@own-company.com\" <x@0wn-company.com>\r\nReply-To: <x.y@gmail.com>\r\n";
    let page = "Content-Type: text/html\r\n\r\n<p>Please sign in: <a href=\"https://evil.example.net/x\">\
                https://portal.own-company.com/</a></p>\r\n";
    let result = send(&postern, fields, page);
    assert!(result.accepted, "{}", result.output);
    let told = story(&postern, &result.output);
    for words in [
        "look-alike: 0wn-company.com looks like own-company.com",
        "display-name: says own-company.com, is of 0wn-company.com",
        "reply-to: from 0wn-company.com, answers go to gmail.com",
        "link-text: shows own-company.com, leads to example.net",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let result = send(&postern, "From: <a@own-company.com>\r\n", "\r\nDinner at eight?\r\n");
    assert!(
        story(&postern, &result.output).contains("own-domain: says it is from own-company.com, and is not")
    );
    assert!(postern.metric("postern_checks_total{check=\"look-alike\",speaks=\"against\"}") >= 1.0);
}

#[test]
fn who_is_not_known_comes_again_with_the_same_message_and_is_known_then() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden, "203.0.113.0/24", "action = \"enforce\"\ngreylist = \"4s\"\n");
    let content = "From: <a@source.test>\r\nTo: <b@own-company.com>\r\nSubject: Hello\r\n\
                   Date: Sat, 21 Nov 2026 19:10:05 +0000\r\nMessage-ID: <first@source.test>\r\n\r\nAre you there?\r\n";
    let mail = Mail::raw("a@source.test", &["b@own-company.com"], content);
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(
        !result.accepted && result.output.contains("451 4.7.1 this sender is not known here yet"),
        "{}",
        result.output
    );
    assert!(story(&postern, &result.output).contains("greylist: not known here"), "{}", postern.log());
    let again = || {
        let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
        result.accepted.then_some(result.output)
    };
    let output = ports::wait_until(SOON, again).unwrap_or_else(|| panic!("{}", postern.log()));
    assert!(story(&postern, &output).contains("greylist: came again after"));
    let known = || send(&postern, "From: <a@source.test>\r\n", "\r\nAnother one\r\n").accepted.then_some(());
    assert!(ports::wait_until(SOON, known).is_some(), "{}", postern.log());
}

#[test]
fn a_stranger_who_is_called_as_somebody_inside_is_named_and_still_is_after_a_restart() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let state = postern_tests::scratch::Scratch::new("state");
    let folder = state.join("state");
    let config = |inside: &str| {
        format!(
            "[[backend]]\nname = \"hidden\"\ndomains = [\"own-company.com\"]\nservers = [\"{}\"]\n\
             [outbound]\nnetworks = [\"{inside}\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
            hidden.address()
        )
    };
    let start = |inside: &str| {
        let (judge, state) = ("action = \"observe\"\n".into(), Some(folder.clone()));
        Postern::start(&Options { config: config(inside), judge, state, ..Default::default() })
    };
    let mut inner = start("127.0.0.0/8");
    let result = send(&inner, "From: \"Erika Mustermann\" <erika@own-company.com>\r\n", "\r\nHello\r\n");
    assert!(result.accepted, "{}", result.output);
    inner.stop();
    let postern = start("203.0.113.0/24");
    let named = || {
        let result =
            send(&postern, "From: Erika Mustermann <e.m.private@example.net>\r\n", "\r\nAre you there?\r\n");
        let told = story(&postern, &result.output);
        told.contains("known-person: called as erika@own-company.com is, and of example.net").then_some(())
    };
    assert!(ports::wait_until(SOON, named).is_some(), "{}", postern.log());
}
