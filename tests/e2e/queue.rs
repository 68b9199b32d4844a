//! What waits for a server that is away: seen and ordered about by the command line and the API, and delivered when it is back.

use std::net::SocketAddr;
use std::time::Duration;

use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

/// For what the queue does by itself, on a busy machine.
const DRAINED: Duration = Duration::from_secs(150);

/// A backend, and clients that are strangers to it: nothing proves who sent their mail.
fn start(server: SocketAddr) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{server}\"]\n\
         [outbound]\nnetworks = [\"203.0.113.0/24\"]\n"
    );
    Postern::start(&Options { config, ..Default::default() })
}

/// Sends a message; the identifier of its transaction.
fn send(postern: &Postern) -> String {
    let mail = Mail::new("a@source.test", &["b@bench.test"], "x\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let ids = result.output.lines().rev().map(trace_id);
    ids.into_iter().find(|id| id.contains('.')).unwrap_or_default().to_owned()
}

/// What the trace says of a message, once it says all of this.
fn traced(postern: &Postern, id: &str, wanted: &[&str]) -> String {
    let story = || postern.ask(&["trace", "--id", id]).output;
    let all = || Some(story()).filter(|story| wanted.iter().all(|words| story.contains(words)));
    ports::wait_until(DRAINED, all).unwrap_or_else(|| panic!("{wanted:?} is not in\n{}", story()))
}

fn told(postern: &Postern, arguments: &[&str]) -> String {
    let words: Vec<_> = ["queue"].iter().chain(arguments).copied().collect();
    postern.ask(&words).output
}

/// The messages of a list, by the name that orders take.
fn ids(list: &str) -> Vec<String> {
    let is_id = |word: &&str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    list.lines().filter_map(|line| line.split(' ').next().filter(is_id).map(str::to_owned)).collect()
}

#[test]
fn what_waits_is_listed_held_back_released_and_arrives_when_the_server_is_back() {
    needs!(POSTFIX);
    let mut hidden = Postfix::start(&postfix::Options::default());
    let postern = start(hidden.address());
    send(&postern);
    hidden.mailbox().wait_for_one();
    hidden.stop();
    let sent: Vec<_> = (0..4).map(|_| send(&postern)).collect();
    let list = told(&postern, &["list"]);
    let waiting = ids(&list);
    assert_eq!(waiting.len(), 4, "{list}");
    assert!(list.contains("<a@source.test> to <b@bench.test>") && list.contains("4 in queue"), "{list}");
    assert!(list.contains("next try") && list.contains("until"), "{list}");
    assert!(told(&postern, &["hold", &waiting[0]]).contains("hold: 1 of 1"));
    assert!(told(&postern, &["show", &waiting[0]]).contains("HELD"));
    assert!(told(&postern, &["disaster", "on"]).contains("nothing expires"));
    assert!(postern.ask(&["status"]).output.contains("queue: 4 messages wait"));
    assert!(postern.get("/metrics").contains("postern_queue_messages{folder=\"queue\"} 4"));
    assert!(postern.get("/queue").contains("b@bench.test"));

    hidden.start_again();
    told(&postern, &["retry", "--all"]);
    let arrived = |count| {
        let all = || Some(()).filter(|()| hidden.mailbox().read().len() == count);
        assert!(ports::wait_until(DRAINED, all).is_some(), "{}", postern.log());
    };
    arrived(4);
    assert_eq!(ids(&told(&postern, &["list"])), waiting[..1]);
    assert!(told(&postern, &["release", "--all"]).contains("release: 1 of 1"));
    told(&postern, &["retry", "--all"]);
    arrived(5);
    assert!(told(&postern, &["list"]).contains("nothing waits"));
    assert!(told(&postern, &["disaster", "off"]).contains("is off"));
    // Law 9: by the identifier that the client was told, to the end.
    let story = traced(&postern, &sent[0], &[" delivered: ", " of hidden, "]);
    assert!(story.contains("spooled") && story.contains("to b@bench.test"), "{story}");
    let page = postern.get(&format!("/transactions/{}", sent[0]));
    assert!(page.contains("Afterwards") && page.contains("delivered: "), "{page}");
    let of_all: String = sent.iter().map(|id| postern.ask(&["trace", "--id", id]).output).collect();
    for step in [" held", " released", " hastened", "released by a person"] {
        assert!(of_all.contains(step), "{step}: {of_all}");
    }
}

#[test]
fn what_the_server_refuses_for_good_at_the_drain_waits_in_expired_for_a_person() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let address = hidden.address();
    let postern = start(address);
    send(&postern);
    hidden.mailbox().wait_for_one();
    drop(hidden);
    let id = send(&postern);
    let reject = vec![("b@bench.test", "550 5.1.1 gone away")];
    let hidden = Postfix::start(&postfix::Options { address: Some(address), reject, ..Default::default() });
    told(&postern, &["retry", "--all"]);
    let expired =
        || Some(told(&postern, &["list", "--folder", "expired"])).filter(|list| !ids(list).is_empty());
    let list = ports::wait_until(DRAINED, expired).unwrap_or_else(|| panic!("{}", postern.log()));
    assert!(list.contains("5.1.1") && list.contains("gone away"), "the server's own words: {list}");
    let status = postern.ask(&["status"]).output;
    assert!(status.contains("1 in expired"), "{status}");
    let story = traced(&postern, &id, &[" refused: ", " set aside"]);
    assert!(story.contains("550 5.1.1") && story.contains("gone away"), "{story}");
    // The postmaster, who is behind the same server, is told by mail.
    let notice = hidden.mailbox().wait_for_one();
    let notice = String::from_utf8_lossy(&notice.content);
    for words in ["Subject: A message could not be delivered", &ids(&list)[0], "5.1.1", "for bench.test"] {
        assert!(notice.contains(words), "{words}: {notice}");
    }
    drop(hidden);
    let hidden = Postfix::start(&postfix::Options { address: Some(address), ..Default::default() });
    told(&postern, &["release", "--all", "--folder", "expired"]);
    told(&postern, &["retry", "--all"]);
    let arrives = || Some(()).filter(|()| hidden.mailbox().read().len() == 1);
    assert!(ports::wait_until(DRAINED, arrives).is_some(), "{}", postern.log());
    traced(&postern, &id, &[" released", " delivered: "]);
}
