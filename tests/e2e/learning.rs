//! What the classifier is taught: by commands, by reports; what stays of it after a kill; what it says of messages that are not
//! sent.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

use crate::roles;

/// Messages of each class that are taught before anything is expected.
const TAUGHT: usize = 40;
/// On a busy machine.
const SOON: Duration = Duration::from_secs(150);
/// Longer than what a crash may lose of lessons, which is two seconds of them.
const DURABLE: Duration = Duration::from_secs(4);

/// Who comes from here is inside, and may report; whoever else is a stranger. No name server is asked.
const INSIDE: &str = "127.0.0.2";
/// Forwards a message as an attachment, as mail programs do: Postern's port, addresses, and the file.
const FORWARD: &str = r#"
import email, smtplib, sys
from email.message import EmailMessage
port, reporter, address, path = sys.argv[1:]
report = EmailMessage()
report["From"], report["To"], report["Subject"] = reporter, address, "Fwd: spam"
report.set_content("This is spam.\n")
with open(path, "rb") as file:
    report.add_attachment(email.message_from_binary_file(file, policy=email.policy.default))
with smtplib.SMTP("127.0.0.1", int(port), source_address=("127.0.0.2", 0)) as client:
    client.send_message(report)
"#;

fn start(hidden: &Postfix) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"{INSIDE}/32\"]\n[resolver]\nservers = [\"127.0.0.1:1\"]\n",
        hidden.address()
    );
    Postern::start(&Options {
        config,
        judge: "action = \"tag\"\nblock = [\"spammer.test\"]\n".into(),
        ..Default::default()
    })
}

fn ham(number: usize) -> String {
    format!(
        "From: Anna <anna{number}@partner.test>\nTo: b@bench.test\nSubject: Minutes of week {number}\n\n\
         Dear all, the minutes of the meeting in week {number} are on the shared drive. Please read them before Tuesday, and \
         tell me what is missing. Regards, Anna\n"
    )
}

fn spam(number: usize) -> String {
    format!(
        "From: Lucky {number} <winner{number}@prize.test>\nTo: b@bench.test\nSubject: You are winner {number}!!!\n\n\
         Congratulations!!! Cheap pills without prescription, order now and save 80% today. Click here to claim prize {number}\n"
    )
}

/// A folder of messages, and an mbox of the others.
fn corpus(postern: &Postern) -> (PathBuf, PathBuf) {
    let (folder, mbox) = (postern.beside("spam"), postern.beside("ham.mbox"));
    fs::create_dir_all(&folder).expect("a folder");
    for number in 0..TAUGHT {
        fs::write(folder.join(format!("{number}.eml")), spam(number)).expect("a file");
    }
    let all: String =
        (0..TAUGHT).map(|number| format!("From a@b Mon Jan  5 10:00:00 2026\n{}\n", ham(number))).collect();
    fs::write(&mbox, all).expect("a file");
    (folder, mbox)
}

fn teach(postern: &Postern) {
    let (folder, mbox) = corpus(postern);
    for (class, path) in [("spam", &folder), ("ham", &mbox)] {
        let told = postern.ask(&["learn", class, &path.display().to_string()]);
        assert!(told.output.contains(&format!("{TAUGHT} messages: {TAUGHT} new")), "{}", told.output);
    }
}

fn scan(postern: &Postern, file: &Path, more: &[&str]) -> (Option<i32>, String) {
    let file = file.display().to_string();
    let arguments: Vec<&str> = ["scan", &file].into_iter().chain(more.iter().copied()).collect();
    let ended = postern.ask(&arguments);
    (ended.code, ended.output)
}

#[test]
fn what_is_taught_by_command_counts_once_survives_a_kill_and_scan_says_so_with_and_without_a_running_postern()
{
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden);
    let (folder, _) = corpus(&postern);
    let (unwanted, wanted) = (postern.beside("unwanted.eml"), postern.beside("wanted.eml"));
    fs::write(&unwanted, spam(777)).expect("a file");
    fs::write(&wanted, ham(777)).expect("a file");
    assert_eq!(scan(&postern, &unwanted, &["--fail-on", "tag"]).0, Some(0), "nothing is known yet");
    teach(&postern);
    let (code, said) = scan(&postern, &unwanted, &["--fail-on", "tag", "--explain"]);
    assert!(code == Some(1) && said.contains("classifier: sure") && said.contains("pills"), "{said}");
    let (code, said) = scan(&postern, &wanted, &["--fail-on", "tag"]);
    assert!(code == Some(0) && said.contains(": pass "), "{said}");
    let again = postern.ask(&["learn", "spam", &folder.display().to_string()]).output;
    assert!(again.contains(&format!("{TAUGHT} messages: 0 new, {TAUGHT} known already")), "{again}");
    let _ = ports::wait_until(DURABLE, || None::<()>);
    postern.kill();
    let (code, said) = scan(&postern, &unwanted, &["--fail-on", "tag"]);
    assert!(code == Some(1) && said.contains(&format!("{TAUGHT} ham and {TAUGHT} spam learnt")), "{said}");
    let (code, said) = scan(&postern, &wanted, &["--from", "x@spammer.test", "--fail-on", "reject"]);
    assert!(
        code == Some(1) && said.contains("block: spammer.test"),
        "the config is asked without Postern: {said}"
    );
    let first = folder.join("0.eml").display().to_string();
    let corrected = postern.ask(&["learn", "ham", &first]).output;
    assert!(corrected.contains("1 messages: 0 new, 0 known already, 1 known as the opposite"), "{corrected}");
    postern.start_again();
    let back = postern.ask(&["learn", "spam", &first]).output;
    assert!(back.contains("1 known as the opposite before"), "{back}");
    let (code, said) = scan(&postern, &unwanted, &["--fail-on", "tag"]);
    assert!(code == Some(1) && !said.contains("does not run"), "{said}");
    let missing = postern.ask(&["learn", "ham", "/nonexistent"]);
    assert!(missing.code == Some(3) && missing.output.contains("/nonexistent"), "{}", missing.output);
}

/// How many messages of spam it has learnt, as the page says.
fn unwanted(postern: &Postern) -> usize {
    let page = postern.get("/");
    let (_, behind) = page.split_once("wanted and ").unwrap_or_default();
    behind.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[test]
fn a_kill_in_the_midst_of_learning_costs_the_last_two_seconds_of_it() {
    // More than a fast machine learns while the test waits.
    const MANY: usize = 15_000;
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden);
    let mbox = postern.beside("spam.mbox");
    let all: String =
        (0..MANY).map(|number| format!("From a@b Mon Jan  5 10:00:00 2026\n{}\n", spam(number))).collect();
    fs::write(&mbox, all).expect("a file");
    let mut learning = postern.begin("learning", &["learn", "spam", &mbox.display().to_string()]);
    let some = ports::wait_until(SOON, || Some(unwanted(&postern)).filter(|number| *number > 100));
    let some = some.unwrap_or_else(|| panic!("{}", learning.output()));
    let _ = ports::wait_until(Duration::from_secs(2), || None::<()>);
    assert!(learning.ended().is_none(), "it is in the midst of it");
    // Without a running Postern it would go on by itself.
    learning.signal(nix::sys::signal::Signal::SIGKILL);
    postern.kill();
    postern.start_again();
    let left = unwanted(&postern);
    assert!((some..MANY).contains(&left), "{left} of {some}: {}", postern.log());
    let again = postern.ask_within(&["learn", "spam", &mbox.display().to_string()], SOON).output;
    assert!(again.contains(&format!("{MANY} messages: ")) && unwanted(&postern) == MANY, "{again}");
}

/// The sift worker of a command.
fn worker_of(command: u32, other_than: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{command}/task/{command}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|pid| *pid != other_than && roles::status(*pid)["Seccomp"] == "2")
}

#[test]
fn without_a_running_postern_a_worker_without_rights_reads_what_is_scanned_and_taught() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(&hidden);
    let (folder, _) = corpus(&postern);
    postern.stop();
    let taught = postern.ask(&["learn", "spam", &folder.display().to_string()]).output;
    assert!(taught.contains("does not run") && taught.contains(&format!("{TAUGHT} new")), "{taught}");
    let (file, waits) = (postern.beside("first.eml"), postern.beside("waits.eml"));
    fs::write(&file, ham(1)).expect("a file");
    nix::unistd::mkfifo(&waits, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let names = [&file, &waits, &waits].map(|file| file.display().to_string());
    let words: Vec<&str> = ["scan"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut scan = postern.begin("scan", &words);
    let command = scan.pid().expect("it waits for the second file");
    let worker = ports::wait_until(SOON, || worker_of(command, 0)).expect("a worker of its own");
    let status = roles::status(worker);
    assert_eq!((status["NoNewPrivs"].as_str(), status["Threads"].as_str()), ("1", "1"));
    assert_eq!(roles::number(&status, "CapEff"), 0);
    assert!(status["Uid"].split_whitespace().all(|id| id != "0"), "{}", status["Uid"]);
    // Only when the first message is done with does anybody open the pipe to read: before, nobody can write into it.
    let mut open = fs::OpenOptions::new();
    open.write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let pipe = ports::wait_until(SOON, || open.open(&waits).ok());
    let mut pipe = pipe.unwrap_or_else(|| panic!("{}", scan.output()));
    // One that is ended is replaced, and the next message is judged.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(worker).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a process that lives");
    pipe.write_all(spam(1).as_bytes()).expect("who reads");
    drop(pipe);
    let another = ports::wait_until(SOON, || worker_of(command, worker));
    assert!(another.is_some(), "{}", scan.output());
    fs::write(&waits, spam(2)).expect("who reads");
    let ended = scan.wait(SOON);
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0), "{}", scan.output());
    assert_eq!(scan.output().matches("spam probability").count(), 3, "{}", scan.output());
}

#[test]
fn an_answer_to_what_somebody_here_has_written_is_learnt_as_wanted() {
    needs!(POSTFIX, KNOT);
    let spf = "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n";
    let zone = |name| Zone { name, signing: Signing::Unsigned, records: spf };
    let (hidden, dns) = (
        Postfix::start(&postfix::Options::default()),
        NameServer::start(&[zone("partner.test"), zone("reader.test")]),
    );
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\", \"partner.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"{INSIDE}/32\"]\n[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = \"{}\"\n",
        hidden.address(),
        dns.address(),
        dns.anchor().display(),
    );
    let postern =
        Postern::start(&Options { config, judge: "action = \"tag\"\n".into(), ..Default::default() });
    let send = |client: &str, from: &str, to: &str, fields: &str| {
        let words =
            format!("From: {from}\nTo: {to}\nSubject: Offer\n{fields}\n\nAs we have talked about, {from}.\n");
        let script = "import smtplib, sys\nport, client, sender, to, words = sys.argv[1:]\n\
                      smtplib.SMTP('127.0.0.1', int(port), source_address=(client, 0)).sendmail(sender, [to], words)";
        let mut python = Command::new("python3");
        python.args(["-c", script, &postern.smtp().port().to_string(), client, from, to, &words]);
        let ended = child::run(&python, SOON);
        assert!(ended.success, "{}", ended.output);
    };
    let learnt = |count: usize| {
        let page = || postern.get("/").contains(&format!("Learnt: {count} wanted")).then_some(());
        assert!(ports::wait_until(SOON, page).is_some(), "{count}: {}", postern.get("/"));
    };
    send(INSIDE, "ann@bench.test", "bob@partner.test", "Message-ID: <1@bench.test>");
    learnt(1);
    // Who only read it somewhere is not whom it was for.
    send(
        "127.0.0.1",
        "eve@reader.test",
        "ann@bench.test",
        "Message-ID: <2@reader.test>\nIn-Reply-To: <1@bench.test>",
    );
    send(
        "127.0.0.1",
        "bob@partner.test",
        "ann@bench.test",
        "Message-ID: <3@partner.test>\nIn-Reply-To: <1@bench.test>",
    );
    learnt(2);
}

#[test]
fn json_of_a_scan_has_what_is_promised_and_an_envelope_that_is_none_is_refused() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden);
    let file = postern.beside("mail.eml");
    fs::write(&file, ham(1)).expect("a file");
    let envelope =
        ["--json", "--explain", "--from", "a@partner.test", "--to", "b@bench.test", "--helo", "x.test"];
    let (code, said) = scan(&postern, &file, &envelope);
    let told: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let told = &told[0];
    assert!(code == Some(0) && told["file"] == file.display().to_string(), "{said}");
    assert!(told["verdict"] == "pass" && (0.0..1.0).contains(&told["spam_probability"].as_f64().unwrap()));
    let check = &told["checks"][0];
    assert!(check["name"] == "classifier" && check["result"] == "unsure" && check["weight"].is_number());
    assert!(told["explanation"]["members"].as_array().is_some_and(|members| members.len() == 5), "{said}");
    let (code, said) = scan(&postern, &file, &["--from", "no address"]);
    assert!(code == Some(2) && said.contains("an address is none"), "{said}");
}

/// The last identifier that was told.
fn told_id(output: &str) -> String {
    output.lines().rev().map(trace_id).find(|id| id.contains('.')).unwrap_or_default().to_owned()
}

/// Forwards a message to one of Postern's own addresses.
fn report(postern: &Postern, reporter: &str, says: &str, file: &Path) {
    let mut forward = Command::new("python3");
    let to = format!("{says}@mx.postern.test");
    forward.args(["-c", FORWARD, &postern.smtp().port().to_string(), reporter, &to]);
    let ended = child::run(forward.arg(file), Duration::from_secs(60));
    assert!(ended.success, "{}", ended.output);
}

#[test]
fn who_contradicts_others_is_held_until_a_person_accepts_it() {
    needs!(POSTFIX, &[Need::Program("python3")]);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden);
    teach(&postern);
    let mail = Mail::new(
        "news@shop.test",
        &["b@bench.test"],
        "Our offers of this week, as you have asked for them.\n",
    );
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    let stored = hidden.mailbox().wait_for_message(mail.message_id());
    let file = postern.beside("arrived.eml");
    fs::write(&file, &stored.whole).expect("a file");
    let learnt = |number: usize| {
        let told = || (postern.log().matches("a report was learnt").count() >= number).then_some(());
        assert!(ports::wait_until(SOON, told).is_some(), "{number}: {}", postern.log());
    };
    for (number, reporter) in ["ann@bench.test", "bob@bench.test"].into_iter().enumerate() {
        report(&postern, reporter, "spam", &file);
        learnt(number + 1);
    }
    report(&postern, "eve@bench.test", "ham", &file);
    let held = || -> Vec<serde_json::Value> {
        serde_json::from_str(&postern.ask(&["--json", "reports", "list"]).output).expect("a list")
    };
    let one = ports::wait_until(SOON, || held().into_iter().next());
    let one = one.unwrap_or_else(|| panic!("nothing is held: {}", postern.log()));
    assert!(one["reporter"] == "eve@bench.test" && one["says"] == "ham" && one["against"] == 2, "{one}");
    let accepted = postern.ask(&["reports", "accept", one["id"].as_str().expect("an id")]);
    assert!(accepted.success && held().is_empty(), "{}", accepted.output);
    let learnt = || postern.log().contains("a report that was held is learnt").then_some(());
    assert!(ports::wait_until(SOON, learnt).is_some(), "{}", postern.log());
}

#[test]
fn a_report_by_forwarding_changes_the_verdict_of_the_next_sibling() {
    needs!(POSTFIX, &[Need::Program("python3")]);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = start(&hidden);
    teach(&postern);
    let sibling = |number: u32| {
        let body = format!(
            "Esteemed friend, the late colonel left nine million in a vault of our bank, and you are named next of kin. Reply in \
             confidence with your account so that the transfer {number} may go through.\n"
        );
        let mail = Mail::new("barrister@bank.test", &["b@bench.test"], &body);
        let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
        assert!(result.accepted, "{}", result.output);
        let stored = hidden.mailbox().wait_for_message(mail.message_id());
        (String::from_utf8_lossy(&stored.whole).into_owned(), told_id(&result.output))
    };
    let probability = |id: &str| {
        let story: serde_json::Value =
            serde_json::from_str(&postern.ask(&["--json", "trace", "--id", id]).output).expect("a story");
        story["opinion"]["spam_probability"].as_f64().unwrap_or_else(|| panic!("{story}"))
    };
    let (first, id) = sibling(1);
    let before = probability(&id);
    assert!(before < 0.8, "{before}");
    let file = postern.beside("arrived.eml");
    fs::write(&file, &first).expect("a file");
    report(&postern, "b@bench.test", "spam", &file);
    let learnt = || postern.log().contains("a report was learnt").then_some(());
    assert!(ports::wait_until(SOON, learnt).is_some(), "{}", postern.log());
    let (second, id) = sibling(2);
    let after = probability(&id);
    assert!(after >= 0.8 && second.contains("X-Postern-Verdict: tag"), "{before} {after}\n{second}");
}
