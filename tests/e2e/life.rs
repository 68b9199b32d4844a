//! Postern's own life: servers that die and come back, drains and reloads, and what it tells of itself.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend, program, trace_id};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::Client as Scripted;
use postern_tests::sink::Sink;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// The backend's own address may send out (DECISIONS 10), and here it is the client's, too: others may instead.
const STRANGERS: &str = "[outbound]\nnetworks = [\"203.0.113.0/24\"]";
const LIMIT: Duration = Duration::from_secs(30);

fn mail() -> Mail {
    Mail::new("a@source.test", &["b@bench.test"], "x\n")
}

fn start(config: String) -> Postern {
    Postern::start(&Options { config, ..Default::default() })
}

/// A client whose sender was taken.
fn naming(postern: &Postern) -> Scripted {
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "250 ");
    client
}

#[test]
fn when_the_first_server_dies_mail_goes_to_the_second() {
    needs!(POSTFIX);
    let first = Postfix::start(&postfix::Options::default());
    let second = Postfix::start(&postfix::Options::default());
    let (dying, staying) = (first.address(), second.address());
    let postern =
        start(format!("[[backend]]\ndomains = [\"bench.test\"]\nservers = [\"{dying}\", \"{staying}\"]\n"));
    let send = |to: &Postfix| {
        let mail = mail();
        let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
        assert!(result.accepted, "{}", result.output);
        to.mailbox().wait_for_message(mail.message_id());
    };
    send(&first);
    drop(first);
    send(&second);
    send(&second);
    let status = postern.ask(&["status"]).output;
    assert!(status.contains(&format!("not reached: {dying}")), "{status}");
    assert!(postern.get("/readyz").starts_with("HTTP/1.1 200 "), "{}", postern.get("/readyz"));
}

#[test]
fn a_dead_server_is_told_to_the_sender_with_the_reason_and_mail_passes_when_it_is_back() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let address = Some(hidden.address());
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    assert!(deliver(Client::Wire, postern.smtp(), &mail(), &How::default()).accepted);
    hidden.mailbox().wait_for_one();
    drop(hidden);
    let mut client = naming(&postern);
    let refusal = client.says("RCPT TO:<stranger@bench.test>", "451 4.4.1 ");
    assert!(refusal.contains("the mail server is away (connection refused"), "{refusal}");
    assert!(refusal.contains("this recipient was not seen before"), "{refusal}");
    client.says("QUIT", "221 ");
    let told = postern.ask(&["trace", "--id", trace_id(&refusal)]);
    assert!(told.success && told.output.contains("connection refused"), "{}", told.output);
    let hidden = Postfix::start(&postfix::Options { address, ..Default::default() });
    let result = deliver(Client::Wire, postern.smtp(), &mail(), &How::default());
    assert!(result.accepted, "{}", result.output);
    hidden.mailbox().wait_for_one();
}

#[test]
fn a_drain_lets_the_open_transaction_finish_and_begins_no_other() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let mut postern = start(backend(&["bench.test"], sink.address(), ""));
    let mut busy = naming(&postern);
    busy.says("RCPT TO:<b@bench.test>", "250 ");
    busy.says("DATA", "354 ");
    let mut idle = Scripted::greeted(postern.smtp(), None);
    postern.process().signal(Signal::SIGTERM);
    idle.hears("421 4.3.2 ");
    let closed = || (!ports::wait(postern.smtp(), Duration::ZERO)).then_some(());
    assert!(ports::wait_until(LIMIT, closed).is_some(), "a draining Postern takes no connections");
    busy.says("Subject: x\r\n\r\nx\r\n.", "250 ");
    // In answer to the next command, or at once.
    let _ = busy.write(b"MAIL FROM:<a@source.test>\r\n");
    busy.hears("421 4.3.2 ");
    let ended = postern.process().wait(LIMIT);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", postern.log());
}

#[test]
fn a_wrong_config_is_told_and_the_old_one_stays() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), ""));
    let right = fs::read_to_string(postern.config()).unwrap();
    fs::write(postern.config(), format!("{right}\n[network]\nmod = \"front\"\n")).unwrap();
    postern.reload();
    let told = || postern.log().contains("not reloaded, the old config stays").then_some(());
    assert!(ports::wait_until(LIMIT, told).is_some(), "{}", postern.log());
    let check = postern.ask(&["check"]);
    assert!(check.code == Some(2) && check.output.contains("mode"), "{check:?}");
    assert!(deliver(Client::Wire, postern.smtp(), &mail(), &How::default()).accepted);
}

#[test]
fn a_new_config_serves_new_sessions_and_an_open_one_keeps_the_old() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), STRANGERS));
    let mut open = naming(&postern);
    open.says("RCPT TO:<b@new.test>", "550 5.7.1 ");
    let changed = fs::read_to_string(postern.config()).unwrap().replace("\"bench.test\"", "\"new.test\"");
    fs::write(postern.config(), changed).unwrap();
    postern.reload();
    let serves = |domain: &str| {
        let reply = naming(&postern).command(&format!("RCPT TO:<b@{domain}>")).unwrap_or_default();
        reply.starts_with("250 ")
    };
    assert!(ports::wait_until(LIMIT, || serves("new.test").then_some(())).is_some(), "{}", postern.log());
    assert!(!serves("bench.test"));
    open.says("RCPT TO:<b@new.test>", "550 5.7.1 ");
    open.says("RCPT TO:<b@bench.test>", "250 ");
}

#[test]
fn what_became_of_a_mail_can_be_asked_by_the_identifier_in_its_reply() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), ""));
    let mut client = naming(&postern);
    client.says("RCPT TO:<b@bench.test>", "250 ");
    client.says("DATA", "354 ");
    let accepted = client.says("Subject: x\r\n\r\nx\r\n.", "250 ");
    client.says("QUIT", "221 ");
    let id = trace_id(&accepted);
    let told = postern.ask(&["trace", "--id", id]);
    let server = sink.address().to_string();
    for wanted in ["accepted", "from <a@source.test>", "to b@bench.test: 250", &server] {
        assert!(told.success && told.output.contains(wanted), "{wanted} of {accepted}: {}", told.output);
    }
    let (session, _) = id.split_once('.').unwrap_or_default();
    let told = postern.ask(&["trace", "--id", session]);
    assert!(told.success && told.output.contains("quit") && told.output.contains(id), "{}", told.output);
    let json = postern.ask(&["--json", "trace", "--to", "b@bench.test"]);
    assert!(json.success && json.output.contains(&format!("\"{id}\"")), "{}", json.output);
    assert_eq!(postern.ask(&["trace", "--id", "0000000000000.1"]).code, Some(1));
    assert!(postern.log().contains(id), "{}", postern.log());
}

#[test]
fn what_became_of_a_mail_is_known_after_a_kill_and_a_restart() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let mut postern = start(backend(&["bench.test"], sink.address(), ""));
    let mut client = naming(&postern);
    client.says("RCPT TO:<b@bench.test>", "250 ");
    client.says("DATA", "354 ");
    let accepted = client.says("Subject: x\r\n\r\nx\r\n.", "250 ");
    let id = trace_id(&accepted).to_owned();
    // It is written down every second.
    let written = || (postern.metric("postern_trace_entries") >= 1.0).then_some(());
    assert!(ports::wait_until(LIMIT, written).is_some(), "{}", postern.get("/metrics"));
    postern.restart(Signal::SIGKILL);
    let told = postern.ask(&["trace", "--id", &id]);
    assert!(told.success && told.output.contains("to b@bench.test: 250"), "{}", told.output);
    let found = postern.ask(&["trace", "--any", "B@BENCH"]);
    assert!(found.success && found.output.contains(&id), "{}", found.output);
    let exported = postern.ask(&["trace", "--export"]);
    assert!(exported.success && exported.output.contains(&id), "{}", exported.output);
    assert!(postern.get("/messages?q=bench.test").contains(&id));
}

#[test]
fn the_status_tells_what_passed_and_the_metrics_count_it() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), ""));
    for _ in 0..3 {
        assert!(deliver(Client::Wire, postern.smtp(), &mail(), &How::default()).accepted);
    }
    naming(&postern).says("RCPT TO:<b@elsewhere.test>", "550 ");
    let accepted = "postern_messages_total{protocol=\"smtp\",verdict=\"unjudged\",outcome=\"accepted\"}";
    let counted = || (postern.metric(accepted) >= 3.0).then(|| postern.metric(accepted));
    assert_eq!(ports::wait_until(LIMIT, counted), Some(3.0), "{}", postern.get("/metrics"));
    assert_eq!(postern.metric("postern_recipients_total{class=\"2xx\"}"), 3.0);
    let refused = || (postern.metric("postern_recipients_total{class=\"5xx\"}") >= 1.0).then_some(());
    assert!(ports::wait_until(LIMIT, refused).is_some(), "{}", postern.get("/metrics"));
    let status = postern.ask(&["status"]);
    assert!(status.success && status.output.contains(&sink.address().to_string()), "{}", status.output);
    assert!(postern.get("/").contains("mx.postern.test"));
}

#[test]
fn it_is_ready_while_a_server_answers() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), ""));
    assert!(postern.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(postern.get("/readyz").starts_with("HTTP/1.1 200 "), "{}", postern.get("/readyz"));
    let alone = start(backend(&["bench.test"], ports::free(), ""));
    assert!(alone.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(alone.get("/readyz").starts_with("HTTP/1.1 503 "), "{}", alone.get("/readyz"));
}

#[test]
fn nobody_relays_through_it() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), STRANGERS));
    let mut client = naming(&postern);
    for recipient in [
        "b@elsewhere.test",
        "b%elsewhere.test@bench.test",
        "elsewhere.test!b@bench.test",
        "@elsewhere.test:b@bench.test",
        "@bench.test:b@elsewhere.test",
        "\"b@elsewhere.test\"@bench.test",
        "b@bench.test.elsewhere.test",
        "b@[127.0.0.1]",
    ] {
        client.says(&format!("RCPT TO:<{recipient}>"), "550 5.7.1 ");
    }
    client.says("DATA", "554 ");
    client.says("RCPT TO:<B@Bench.TEST>", "250 ");
    client.says("RCPT TO:<postmaster>", "250 ");
}

#[test]
fn a_message_that_went_in_circles_is_refused() {
    needs!(SINK);
    let sink = Sink::start(&[]);
    let postern = start(backend(&["bench.test"], sink.address(), ""));
    let mut client = naming(&postern);
    client.says("RCPT TO:<b@bench.test>", "250 ");
    client.says("DATA", "354 ");
    let hops = "Received: from x.test by y.test; Sat, 21 Nov 2026 19:10:05 +0000\r\n".repeat(101);
    client.says(&format!("{hops}Subject: x\r\n\r\nx\r\n."), "554 5.4.6 ");
}

#[test]
fn a_server_that_sends_everything_back_is_told_that_it_loops() {
    needs!(POSTFIX);
    let address = ports::free();
    let postern = start(backend(&["bench.test"], address, ""));
    let hidden = Postfix::start(&postfix::Options {
        address: Some(address),
        next_hop: Some(postern.smtp()),
        ..Default::default()
    });
    let mail = mail();
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let refused = || hidden.log().contains("said: 554 5.4.6 ").then_some(());
    assert!(ports::wait_until(LIMIT, refused).is_some(), "{}", hidden.log());
    // A forward passes twice; the third time is a loop.
    let passed =
        postern.metric("postern_messages_total{protocol=\"smtp\",verdict=\"unjudged\",outcome=\"accepted\"}");
    assert_eq!(passed, 2.0, "{}", postern.get("/metrics"));
}

#[test]
fn pointed_at_itself_it_does_not_start_and_says_why() {
    let scratch = Scratch::new("itself");
    for listen in ["127.0.0.1", "0.0.0.0"] {
        let port = ports::free().port();
        let text = format!(
            "hostname = \"mx.postern.test\"\nstate_dir = {:?}\n[[listener]]\naddress = \"{listen}:{port}\"\n\
             [[backend]]\ndomains = [\"bench.test\"]\nservers = [\"127.0.0.1:{port}\"]\n\
             [admin]\nlisten = \"{}\"\n",
            scratch.join("state"),
            ports::free(),
        );
        let mut command = std::process::Command::new(program());
        command.arg("--config").arg(scratch.write("postern.toml", text.as_bytes())).arg("run");
        let ended = child::run(&command, LIMIT);
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        assert!(ended.output.contains("is Postern itself"), "{}", ended.output);
    }
}
