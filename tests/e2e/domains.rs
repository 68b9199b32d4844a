//! What an administrator of a domain decides for it alone: blocked senders and traps, with the running program and a real server.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::child;
use postern_tests::clients::{Client, ClientResult, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern};
use postern_tests::postfix::{self, Postfix};

const CURL: &[Need] = &[Need::Program("curl")];
const LIMIT: Duration = Duration::from_secs(20);
/// On a busy machine.
const SOON: Duration = Duration::from_secs(150);

/// Two domains of one server; what neither says of a message nobody says.
fn start(hidden: &Postfix) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\", \"other.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"203.0.113.0/24\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    Postern::start(&Options { config, judge: "action = \"enforce\"\n".into(), ..Default::default() })
}

fn send(postern: &Postern, to: &[&str]) -> (Mail, ClientResult) {
    let mail = Mail::new("a@source.test", to, "Dinner at eight?\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    (mail, result)
}

/// A program of the domain's administrator: what it is answered.
fn order(postern: &Postern, token: &str, domain: &str, body: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-i", "--max-time", "20", "-H", "Content-Type: application/json", "-d", body]);
    command.args(["-H", &format!("Authorization: Bearer {token}")]);
    command.arg(format!("http://{}/api/v1/domains/{domain}/entries", postern.admin()));
    child::run(&command, LIMIT).output
}

#[test]
fn what_a_domain_blocks_another_still_gets_and_it_stays_so_over_a_kill() {
    needs!(POSTFIX, CURL);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden);
    assert!(send(&postern, &["b@bench.test"]).1.accepted);
    let made = postern.ask(&["tokens", "add", "dom", "--scope", "write", "--domain", "bench.test"]).output;
    let token = made.split_whitespace().find(|word| word.starts_with("postern_")).expect("a token");
    let blocks = r#"{"order":"add","kind":"block","entry":"Source.TEST"}"#;
    for (domain, said) in [("other.test", "404"), ("nowhere.test", "404"), ("bench.test", "\"changed\":true")]
    {
        let answer = order(&postern, token, domain, blocks);
        assert!(answer.contains(said), "{domain}: {answer}");
    }
    for _ in 0..2 {
        let (_, refused) = send(&postern, &["b@bench.test"]);
        let said = "550 5.7.1 the message is not wanted: its sender is blocked by bench.test";
        assert!(!refused.accepted && refused.output.contains(said), "{}", refused.output);
        let (mail, both) = send(&postern, &["b@bench.test", "c@other.test"]);
        assert!(both.accepted, "{}", both.output);
        let stored = hidden.mailbox().wait_for_message(mail.message_id());
        assert!(stored.added.contains("X-Original-To: c@other.test"), "{}", stored.added);
        let held = postern.ask(&["quarantine", "list", "--domain", "bench.test"]).output;
        assert!(held.contains("b@bench.test") && !held.contains("c@other.test"), "{held}");
        let trace = postern.ask(&["trace", "--to", "c@other.test", "--last", "1", "--json"]).output;
        assert!(trace.contains("source.test, by bench.test: reject, done: reject"), "{trace}");
        postern.restart(Signal::SIGKILL);
    }
    let shown = postern.ask(&["domains", "show", "bench.test"]).output;
    assert!(shown.contains("block source.test since ") && shown.contains(" by token dom"), "{shown}");
    let list = postern.ask(&["domains", "list"]).output;
    assert!(list.contains("bench.test (hidden): ") && list.contains("1 blocked, 0 allowed"), "{list}");
    assert!(postern.ask(&["domains", "remove", "bench.test", "block", "source.test"]).success);
    assert!(send(&postern, &["b@bench.test"]).1.accepted);
    assert!(postern.ask(&["audit"]).output.contains("domains bench.test entries"));
}

#[test]
fn a_domains_trap_takes_mail_and_no_server_hears_of_it() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden);
    assert!(!postern.ask(&["domains", "add", "other.test", "trap", "old@bench.test"]).success);
    let added = postern.ask(&["domains", "add", "bench.test", "trap", "Old@bench.test"]);
    assert!(added.success, "{}", added.output);
    let (_, result) = send(&postern, &["old@bench.test"]);
    assert!(result.accepted, "{}", result.output);
    let gone = || postern.log().contains("is learnt and thrown away").then_some(());
    assert!(ports::wait_until(SOON, gone).is_some(), "{}", postern.log());
    assert!(hidden.mailbox().read().is_empty(), "no server hears of it");
    // Of a message for others, too, the other domain's recipient gets it.
    let (mail, both) = send(&postern, &["old@bench.test", "c@other.test"]);
    assert!(both.accepted, "{}", both.output);
    hidden.mailbox().wait_for_message(mail.message_id());
    let page = postern.get("/domains/bench.test");
    assert!(page.contains("old@bench.test"), "{page}");
}

#[test]
fn mail_for_an_alias_goes_to_where_it_leads_and_the_trace_names_both() {
    needs!(POSTFIX, CURL);
    let refuses = vec![("gone@other.test", "550 5.1.1 no such user")];
    let hidden = Postfix::start(&postfix::Options { reject: refuses, ..Default::default() });
    let mut postern = start(&hidden);
    let made = postern.ask(&["tokens", "add", "dom", "--scope", "write", "--domain", "bench.test"]).output;
    let token = made.split_whitespace().find(|word| word.starts_with("postern_")).expect("a token");
    let aliases =
        |to: &str| format!(r#"{{"order":"add","kind":"alias","entry":"info@bench.test","target":"{to}"}}"#);
    for (to, said) in [
        ("c@other.test", "403"),
        ("c@nowhere.test", "403"),
        ("info@bench.test", "400"),
        ("b@bench.test", "200"),
    ] {
        let answer = order(&postern, token, "bench.test", &aliases(to));
        assert!(answer.starts_with("HTTP/1.1 ") && answer.contains(said), "{to}: {answer}");
    }
    for from in ["c@other.test", "gone@other.test"] {
        let name = from.split('@').next().expect("a name");
        let (entry, domain) = (format!("{name}@bench.test"), "bench.test");
        let added = postern.ask(&["domains", "add", domain, "alias", &entry, "--to", from]);
        assert!(added.success, "{}", added.output);
    }
    postern.restart(Signal::SIGKILL);
    let (mail, result) = send(&postern, &["info@bench.test", "C@bench.test"]);
    assert!(result.accepted, "{}", result.output);
    hidden.mailbox().wait_for_message(mail.message_id());
    let mut got: Vec<String> = hidden
        .outcome(mail.message_id(), 2, SOON)
        .iter()
        .filter_map(|line| line.split(" to=<").nth(1)?.split('>').next().map(str::to_owned))
        .collect();
    got.sort();
    assert_eq!(got, ["b@bench.test", "c@other.test"], "{}", hidden.log());
    let found = postern.ask(&["trace", "--to", "info@bench.test"]).output;
    let id = found.split_whitespace().find(|word| word.ends_with(".1")).expect("a transaction");
    let trace = postern.ask(&["trace", "--id", id]).output;
    assert!(trace.contains("to info@bench.test → b@bench.test: 250"), "{trace}");
    assert!(trace.contains("to C@bench.test → c@other.test: 250"), "{trace}");
    let (_, refused) = send(&postern, &["gone@bench.test"]);
    assert!(!refused.accepted && refused.output.contains("no such user"), "{}", refused.output);
    let page = postern.get("/domains/bench.test");
    assert!(page.contains("info@bench.test") && page.contains("c@other.test"), "{page}");
}
