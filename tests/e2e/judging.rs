//! Mail is judged before the server has an octet of it: refused, marked, held, released, reported.

use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

/// The Generic Test for Unsolicited Bulk Email; in two pieces, so that this file is none.
const GTUBE: &str = concat!("XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X");
/// All mail is held: what does not depend on what has been learnt.
const HOLD_ALL: &str = "action = \"enforce\"\ntag = 0.0\nquarantine = 0.0\nreject = 1.0\n";
/// On a busy machine.
const SOON: Duration = Duration::from_secs(150);

/// A Postern that judges like this, and asks no name server: there are none for the test's domains. Clients are strangers.
fn start(hidden: &Postfix, judge: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"203.0.113.0/24\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    Postern::start(&Options { config, judge: judge.into(), ..Default::default() })
}

/// A sent mail, whether it was accepted, and what was said.
fn send(postern: &Postern, body: &str) -> (Mail, bool, String) {
    let mail = Mail::new("a@source.test", &["b@bench.test"], body);
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    (mail, result.accepted, result.output)
}

/// The last identifier that was told.
fn told_id(output: &str) -> String {
    output.lines().rev().map(trace_id).find(|id| id.contains('.')).unwrap_or_default().to_owned()
}

fn held(postern: &Postern) -> Vec<String> {
    let list = postern.ask(&["quarantine", "list"]).output;
    let is_id = |word: &&str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    list.lines().filter_map(|line| line.split(' ').next().filter(is_id).map(str::to_owned)).collect()
}

#[test]
fn spam_is_refused_in_the_session_with_the_trace_in_the_reply_and_the_trace_says_why() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden, "action = \"enforce\"\n");
    let (_, accepted, output) = send(&postern, &format!("{GTUBE}\n"));
    assert!(!accepted && output.contains("550 5.7.1 the message is not wanted"), "{output}");
    let id = told_id(&output);
    let story = postern.ask(&["trace", "--id", &id]).output;
    assert!(story.contains("judged inbound: reject") && story.contains("gtube: found"), "{output}\n{story}");
    assert!(story.contains("pass without gtube (found)"), "what would have changed it: {story}");
    let (mail, accepted, output) = send(&postern, "Dinner at eight?\n");
    assert!(accepted, "{output}");
    let stored = hidden.mailbox().wait_for_message(mail.message_id());
    let whole = String::from_utf8_lossy(&stored.whole).into_owned();
    let id = told_id(&output);
    assert!(whole.contains(&format!("X-Postern-Verdict: pass; id={id}")), "{whole}");
    assert!(
        whole.contains("Authentication-Results: mx.postern.test;") && !whole.contains("X-Spam-Flag"),
        "{whole}"
    );
    assert_eq!(hidden.mailbox().read().len(), 1);
    assert!(postern.metric("postern_verdicts_total{verdict=\"reject\",direction=\"inbound\"}") >= 1.0);
    assert!(postern.get("/").contains("Verdicts of the last two days"));
    assert!(postern.get(&format!("/transactions/{id}")).contains("Why"));
}

#[test]
fn what_only_observes_changes_fields_and_nothing_else_and_what_tags_tags() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    for (action, word, flag) in [("observe", "quarantine", false), ("tag", "tag", true)] {
        let postern = start(&hidden, &format!("action = \"{action}\"\n"));
        let (mail, accepted, output) = send(&postern, &format!("{GTUBE}\n.\n..\n"));
        assert!(accepted, "{output}");
        let stored = hidden.mailbox().wait_for_message(mail.message_id());
        let whole = String::from_utf8_lossy(&stored.whole).into_owned();
        let verdict = format!("X-Postern-Verdict: {word}; id={}", told_id(&output));
        assert!(whole.contains(&verdict), "{whole}");
        assert_eq!(whole.contains("X-Spam-Flag: YES"), flag, "{whole}");
        assert!(whole.contains("\r\n\r\n") || whole.contains("\n\n"));
        assert!(
            whole.replace("\r\n", "\n").ends_with(&format!("{GTUBE}\n.\n..\n")),
            "the body is whole: {whole}"
        );
        assert!(held(&postern).is_empty());
    }
}

#[test]
fn what_is_held_survives_a_kill_is_shown_and_arrives_when_it_is_released() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden, HOLD_ALL);
    let (mail, accepted, output) = send(&postern, "Held\n");
    assert!(accepted, "{output}");
    postern.kill();
    postern.start_again();
    let (_, accepted, output) = send(&postern, "Held, too\n");
    assert!(accepted, "{output}");
    let ids = held(&postern);
    assert_eq!(ids.len(), 2, "{}", postern.log());
    assert!(hidden.mailbox().read().is_empty());
    let shown = postern.ask(&["quarantine", "show", &ids[0]]).output;
    assert!(shown.contains("a@source.test") && shown.contains("until"), "{shown}");
    assert!(postern.get("/quarantine").contains(&ids[0]));
    assert!(postern.get("/metrics").contains("postern_queue_messages{folder=\"quarantine\"} 2"));
    let released = postern.ask(&["quarantine", "release", &ids[0]]).output;
    assert!(released.contains("release: 1 of 1"), "{released}");
    let stored = hidden.mailbox().wait_for_message(mail.message_id());
    assert!(String::from_utf8_lossy(&stored.whole).contains("X-Postern-Verdict: quarantine; id="));
    assert!(postern.ask(&["quarantine", "remove", &ids[1]]).output.contains("remove: 1 of 1"));
    assert!(held(&postern).is_empty());
    assert!(postern.ask(&["quarantine", "release", &ids[1]]).output.contains("no such message"));
}

#[test]
fn what_cannot_be_judged_passes_or_is_deferred_as_configured() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    for (on_failure, accepts) in [("pass", true), ("defer", false)] {
        let judge =
            format!("action = \"enforce\"\nbudget = \"5s\"\non_failure = {{ auth = \"{on_failure}\" }}\n");
        let postern = start(&hidden, &judge);
        let (_, accepted, output) = send(&postern, "Nobody says who may send this\n");
        assert_eq!(accepted, accepts, "{output}");
        let said = if accepts { "250 " } else { "451 4.7.1 the message cannot be judged at the moment" };
        assert!(output.contains(said), "{output}");
        let story = postern.ask(&["trace", "--id", &told_id(&output)]).output;
        assert!(story.contains("failed: "), "{story}");
    }
}

#[test]
fn a_trap_takes_mail_and_keeps_none_and_reports_from_outside_are_refused() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden, "traps = [\"honey@bench.test\"]\n");
    let mail = Mail::new("a@source.test", &["honey@bench.test"], "Buy now\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let gone = || postern.log().contains("is learnt and thrown away").then_some(());
    assert!(ports::wait_until(SOON, gone).is_some(), "{}", postern.log());
    let nothing = || Some(()).filter(|()| postern.ask(&["queue", "list"]).output.contains("nothing waits"));
    assert!(ports::wait_until(SOON, nothing).is_some());
    assert!(hidden.mailbox().read().is_empty(), "no server hears of it");
    let mail = Mail::new("a@source.test", &["spam@mx.postern.test"], "It is spam\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(!result.accepted && result.output.contains("reports are taken from inside"), "{}", result.output);
}

#[test]
fn a_report_from_inside_is_taken_and_one_that_names_nothing_is_answered() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"127.0.0.0/8\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    let mut postern =
        Postern::start(&Options { config, judge: "action = \"observe\"\n".into(), ..Default::default() });
    let report = |postern: &Postern, body: &str| {
        let mail = Mail::new("b@bench.test", &["spam@mx.postern.test"], body);
        let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
        assert!(result.accepted, "{}", result.output);
    };
    let (mail, accepted, output) = send(&postern, "Cheap watches\n");
    assert!(accepted, "{output}");
    hidden.mailbox().wait_for_message(mail.message_id());
    postern.restart(Signal::SIGTERM);
    report(&postern, &format!("> X-Postern-Verdict: pass; id={}\n> Cheap watches\n", told_id(&output)));
    let learnt = || postern.log().contains("a report was learnt").then_some(());
    assert!(ports::wait_until(SOON, learnt).is_some(), "{}", postern.log());
    report(&postern, "It was spam, you know which\n");
    let answer = || {
        let all = hidden.mailbox().read();
        all.into_iter().find(|stored| {
            String::from_utf8_lossy(&stored.whole).contains("Subject: Your report could not be used")
        })
    };
    let answer = ports::wait_until(SOON, answer).unwrap_or_else(|| panic!("{}", postern.log()));
    let answer = String::from_utf8_lossy(&answer.whole).into_owned();
    assert!(
        answer.contains("X-Postern-Verdict") && answer.contains("Auto-Submitted: auto-replied"),
        "{answer}"
    );
}

#[test]
fn a_recipient_with_a_rule_of_its_own_gets_what_is_held_for_the_other() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let rule = "[[judge.rules]]\nrecipients = [\"c@bench.test\"]\naction = \"observe\"\n";
    let postern = start(&hidden, &format!("{HOLD_ALL}{rule}"));
    let mail = Mail::new("a@source.test", &["b@bench.test", "c@bench.test"], "Dinner at eight?\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let stored = hidden.mailbox().wait_for_message(mail.message_id());
    assert!(stored.added.contains("X-Original-To: c@bench.test"), "{}", stored.added);
    assert!(String::from_utf8_lossy(&stored.whole).contains("X-Postern-Verdict: quarantine;"));
    let list = postern.ask(&["quarantine", "list"]).output;
    assert!(held(&postern).len() == 1 && list.contains("to <b@bench.test>"), "{list}");
}

#[test]
fn a_sender_that_a_person_blocks_is_refused_from_the_next_message_on_and_no_more_once_it_is_let_go() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden, HOLD_ALL);
    assert!(send(&postern, "Dinner at eight?\n").1);
    let ids = held(&postern);
    let blocked = postern.ask(&["quarantine", "block", &ids[0]]);
    assert!(blocked.success, "{}", blocked.output);
    assert!(held(&postern).is_empty());
    postern.restart(Signal::SIGKILL);
    let (_, accepted, output) = send(&postern, "Dinner at nine?\n");
    assert!(!accepted && output.contains("its sender is blocked here"), "{output}");
    assert!(postern.ask(&["block", "list"]).output.contains("a@source.test since "));
    assert!(postern.ask(&["block", "remove", "a@source.test"]).success);
    assert!(send(&postern, "Dinner at ten?\n").1);
}
