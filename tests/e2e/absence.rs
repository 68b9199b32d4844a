//! Hidden servers that are away: mail for whom they know is kept and delivered later, nobody else is promised anything.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::gateway::{self, smtp, submit, without_dns};
use postern_tests::lab::{HIDDEN, LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::mailbox::{Maildir, Stored};
use postern_tests::needs;
use postern_tests::needs::{POSTFIX, SLAPD};
use postern_tests::personalities::EXCHANGE;
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::{Client as Scripted, Server};
use postern_tests::slapd::{BASE, READER, Slapd};

/// What waits in the queue is tried again after a minute at the latest, on a busy machine.
const DRAINED: Duration = Duration::from_secs(150);
/// For whatever happens in the background.
const SOON: Duration = Duration::from_secs(60);

fn start(config: String) -> Postern {
    Postern::start(&Options { config, ..Default::default() })
}

fn no_such_user() -> Vec<(&'static str, &'static str)> {
    vec![("nobody@bench.test", "550 5.1.1 no such user")]
}

fn send(address: SocketAddr, mail: &Mail) -> String {
    let result = deliver(Client::Wire, address, mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    result.output
}

/// What becomes of a recipient.
fn asked(address: SocketAddr, recipient: &str, reply: &str) -> String {
    let mut client = Scripted::greeted(address, None);
    client.says("MAIL FROM:<a@source.test>", "250 ");
    let said = client.says(&format!("RCPT TO:<{recipient}>"), reply);
    client.says("QUIT", "221 ");
    said
}

fn arrives(mailbox: &Maildir, mail: &Mail, postern: &Postern) -> Stored {
    let wanted = || {
        let id = format!("\r\nMessage-ID: {}\r\n", mail.message_id());
        mailbox.read().into_iter().find(|stored| String::from_utf8_lossy(&stored.whole).contains(&id))
    };
    ports::wait_until(DRAINED, wanted).unwrap_or_else(|| panic!("it never arrives:\n{}", postern.log()))
}

/// What the server said is on disk: a file that has grown, and a moment in which nothing more was learnt.
fn stored(postern: &Postern) {
    let file = postern.state().join("store/db");
    let written = || fs::metadata(&file).ok().filter(|facts| facts.len() > 0);
    assert!(ports::wait_until(SOON, written).is_some(), "nothing was stored:\n{}", postern.log());
}

#[test]
fn while_the_server_is_away_known_recipients_are_accepted_for_and_their_mail_arrives_when_it_is_back() {
    needs!(POSTFIX);
    let mut hidden = Postfix::start(&postfix::Options { reject: no_such_user(), ..Default::default() });
    let mut postern = start(backend(&["bench.test"], hidden.address(), ""));
    send(postern.smtp(), &Mail::new("a@source.test", &["b@bench.test"], "first\n"));
    asked(postern.smtp(), "nobody@bench.test", "550 5.1.1 ");
    hidden.mailbox().wait_for_one();
    hidden.stop();

    let kept = Mail::new("a@source.test", &["b@bench.test"], "kept\n.\n..\nwhole\n");
    let said = send(postern.smtp(), &kept);
    assert!(said.contains("250 2.1.5 recipient ok") && said.contains("354 "), "{said}");
    assert!(said.contains("SMTPUTF8") && said.contains("DSN"), "offers from memory: {said}");
    let refusal = asked(postern.smtp(), "stranger@bench.test", "451 4.4.1 ");
    assert!(refusal.contains("the mail server is away") && refusal.contains("not seen before"), "{refusal}");
    let refusal = asked(postern.smtp(), "nobody@bench.test", "451 4.4.1 ");
    assert!(refusal.contains("it refused this recipient lately"), "{refusal}");

    // What is known outlives the process, the one that ends in order and the one that does not.
    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        stored(&postern);
        postern.restart(how);
        let said = send(postern.smtp(), &Mail::new("a@source.test", &["b@bench.test"], "after a restart\n"));
        assert!(said.contains("250 2.1.5 recipient ok") && said.contains("SMTPUTF8"), "{said}");
        asked(postern.smtp(), "stranger@bench.test", "451 4.4.1 ");
    }
    let status = postern.ask(&["status"]).output;
    assert!(status.contains("1 seen"), "{status}");

    hidden.start_again();
    let arrived = arrives(&hidden.mailbox(), &kept, &postern);
    assert_eq!(arrived.one_hop_before().1, kept.content, "byte for byte behind Postern's field");
    let all = || Some(hidden.mailbox().read()).filter(|stored| stored.len() == 4);
    assert!(ports::wait_until(DRAINED, all).is_some(), "{}", postern.log());
}

#[test]
fn a_damaged_store_does_not_stop_mail() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let mut postern = start(backend(&["bench.test"], hidden.address(), ""));
    send(postern.smtp(), &Mail::new("a@source.test", &["b@bench.test"], "x\n"));
    stored(&postern);
    postern.process().signal(Signal::SIGSTOP);
    fs::write(postern.state().join("store/db"), vec![0xA5; 1 << 20]).unwrap();
    fs::write(postern.state().join("store/conf"), b"nonsense").unwrap();
    postern.process().signal(Signal::SIGCONT);
    postern.restart(Signal::SIGKILL);
    send(postern.smtp(), &Mail::new("a@source.test", &["b@bench.test"], "x\n"));
    assert!(postern.log().contains("moved aside"), "{}", postern.log());
    let beside = fs::read_dir(postern.state()).unwrap().flatten();
    let damaged = beside.filter(|entry| entry.file_name().to_string_lossy().starts_with("store.damaged-"));
    assert_eq!(damaged.count(), 1);
}

#[test]
fn who_is_not_on_the_list_is_refused_and_the_list_is_read_again_when_it_changes() {
    needs!(POSTFIX);
    let mut hidden = Postfix::start(&postfix::Options { reject: no_such_user(), ..Default::default() });
    let lists = Scratch::new("lists");
    let file = lists.write("recipients", "# who is here\nb@bench.test\nnobody@bench.test\n");
    let postern =
        start(backend(&["bench.test"], hidden.address(), &format!("recipients = {{ file = {file:?} }}")));
    let refusal = asked(postern.smtp(), "eve@bench.test", "550 5.1.1 ");
    assert!(refusal.contains("there is no such recipient here"), "{refusal}");
    let live = asked(postern.smtp(), "nobody@bench.test", "550 5.1.1 ");
    assert!(live.contains("no such user"), "the server still has the last word: {live}");
    asked(postern.smtp(), "postmaster@bench.test", "250 ");

    fs::write(lists.join("recipients.new"), "@bench.test\n").unwrap();
    fs::rename(lists.join("recipients.new"), &file).unwrap();
    let taken = || {
        let mut client = Scripted::greeted(postern.smtp(), None);
        client.says("MAIL FROM:<a@source.test>", "250 ");
        client.says("RCPT TO:<eve@bench.test>", "").starts_with("250 ").then_some(())
    };
    assert!(ports::wait_until(SOON, taken).is_some(), "{}", postern.log());

    hidden.stop();
    let mail = Mail::new("a@source.test", &["never-seen@bench.test"], "listed\n");
    send(postern.smtp(), &mail);
    hidden.start_again();
    arrives(&hidden.mailbox(), &mail, &postern);
}

#[test]
fn recipients_are_looked_up_in_ldap() {
    needs!(POSTFIX, SLAPD);
    let authority = Authority::new();
    let people: [(&str, &[&str]); 2] =
        [("anna", &["anna@bench.test", "a.smith@bench.test"]), ("bob", &["bob@bench.test"])];
    let mut slapd = Slapd::start(&authority.certify(&["localhost"]), &people);
    let mut hidden = Postfix::start(&postfix::Options::default());
    let (user, password) = READER;
    let list = format!(
        "recipients = {{ ldap = {{ url = \"ldap://localhost:{}\", base = \"{BASE}\", bind = \"{user}\", \
         password = \"{password}\", ca_file = {:?} }} }}",
        slapd.port(),
        authority.file()
    );
    let postern = start(backend(&["bench.test"], hidden.address(), &list));
    asked(postern.smtp(), "a.smith@bench.test", "250 ");
    asked(postern.smtp(), "Anna@bench.test", "250 ");
    let refusal = asked(postern.smtp(), "eve@bench.test", "550 5.1.1 ");
    assert!(refusal.contains("there is no such recipient here"), "{refusal}");
    asked(postern.smtp(), "*@bench.test", "550 5.1.1 ");
    assert!(slapd.log().contains("TLS established"), "{}", slapd.log());

    hidden.stop();
    let mail = Mail::new("a@source.test", &["bob@bench.test"], "never seen by the server, and listed\n");
    send(postern.smtp(), &mail);
    asked(postern.smtp(), "mallory@bench.test", "550 5.1.1 ");
    hidden.start_again();
    arrives(&hidden.mailbox(), &mail, &postern);

    // Without the directory the server is asked, as if there were no list; and somebody is told.
    slapd.stop();
    asked(postern.smtp(), "carol@bench.test", "250 ");
    asked(postern.smtp(), "anna@bench.test", "250 ");
    let status = postern.ask(&["status"]).output;
    assert!(status.contains("LDAP does not answer"), "{status}");
    assert!(postern.log().contains("the directory of recipients does not answer"), "{}", postern.log());
}

#[test]
fn a_directory_with_a_certificate_of_somebody_else_is_not_told_the_password() {
    needs!(POSTFIX, SLAPD);
    let (theirs, ours) = (Authority::new(), Authority::new());
    let slapd = Slapd::start(&theirs.certify(&["localhost"]), &[("anna", &["anna@bench.test"])]);
    let hidden = Postfix::start(&postfix::Options::default());
    let list = format!(
        "recipients = {{ ldap = {{ url = \"ldap://localhost:{}\", base = \"{BASE}\", bind = \"{}\", \
         password = \"{}\", ca_file = {:?} }} }}",
        slapd.port(),
        READER.0,
        READER.1,
        ours.file()
    );
    let postern = start(backend(&["bench.test"], hidden.address(), &list));
    asked(postern.smtp(), "whoever@bench.test", "250 ");
    assert!(!slapd.log().contains("BIND dn="), "{}", slapd.log());
    assert!(postern.log().contains("the directory of recipients does not answer"), "{}", postern.log());
}

#[test]
fn a_server_that_accepts_every_recipient_is_found_out_and_only_who_had_mail_is_known_then() {
    let exchange = Server::with_personality(EXCHANGE, None);
    let address = exchange.address();
    let postern = start(backend(&["corp.test"], address, "tls = \"off\""));
    send(postern.smtp(), &Mail::new("a@source.test", &["anna@corp.test"], "x\n"));
    asked(postern.smtp(), "guess@corp.test", "250 ");
    let told = || postern.log().contains("accepts every recipient").then_some(());
    assert!(ports::wait_until(SOON, told).is_some(), "{}", postern.log());
    let status = postern.ask(&["status"]).output;
    assert!(status.contains("accepts every recipient of corp.test") && status.contains("LDAP"), "{status}");
    assert!(postern.get("/").contains("accepts every recipient"), "the page says so");
    let check = postern.ask(&["check", "--online"]);
    assert!(check.output.contains("every recipient of corp.test is accepted"), "{}", check.output);
    assert_eq!(check.code, Some(0), "that is no fault of the config: {}", check.output);

    drop(exchange);
    let refusal = asked(postern.smtp(), "guess@corp.test", "451 4.4.1 ");
    assert!(refusal.contains("it accepts every recipient"), "{refusal}");
    send(postern.smtp(), &Mail::new("a@source.test", &["anna@corp.test"], "kept\n"));
}

#[test]
fn a_server_that_refuses_strangers_is_not_suspected() {
    needs!(POSTFIX);
    let reject = vec!["smtpd_recipient_restrictions = check_recipient_access inline:{ { b@bench.test = OK } }, reject_unlisted_recipient, check_recipient_access static:{550 5.1.1 no such user}".to_owned()];
    let hidden = Postfix::start(&postfix::Options { extra: reject, ..Default::default() });
    let postern = start(backend(&["bench.test"], hidden.address(), ""));
    let told = || postern.log().contains("the server refuses recipients that do not exist").then_some(());
    assert!(ports::wait_until(SOON, told).is_some(), "{}", postern.log());
    let check = postern.ask(&["check", "--online"]).output;
    assert!(check.contains("those that do not exist are refused"), "{check}");
}

#[test]
fn in_the_path_a_server_that_is_away_is_stood_in_for_under_its_own_banner() {
    needs!(LAB, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let address = smtp(HIDDEN.v4);
    let options = postfix::Options {
        address: Some(address),
        reject: vec![("nobody@hidden.test", "550 5.1.1 no such user")],
        extra: vec!["smtpd_peername_lookup = no".into()],
        ..Default::default()
    };
    let mut server = lab.inside.run(move || Postfix::start(&options));
    let postern = gateway::start(&lab, "");
    let first = Mail::new("a@world.test", &["b@hidden.test"], "first\n");
    assert!(submit(&lab.world, address, &first).accepted, "{}", postern.log());
    server.mailbox().wait_for_message(first.message_id());
    server = lab.inside.run(move || {
        server.stop();
        server
    });

    let kept = Mail::new("a@world.test", &["b@hidden.test"], "kept\n");
    let result = submit(&lab.world, address, &kept);
    assert!(result.accepted, "{}\n{}", result.output, postern.log());
    assert!(
        result.output.contains("220 postfix.test ESMTP Postfix"),
        "the server's banner: {}",
        result.output
    );
    assert!(result.output.contains("SMTPUTF8"), "the server's offers: {}", result.output);
    for (recipient, words) in
        [("stranger@hidden.test", "not seen before"), ("b@elsewhere.test", "not seen before")]
    {
        let refused = submit(&lab.world, address, &Mail::new("a@world.test", &[recipient], "x\n"));
        assert!(!refused.accepted && refused.output.contains("451 4.4.1"), "{}", refused.output);
        assert!(refused.output.contains(words), "{}", refused.output);
    }

    let server = lab.inside.run(move || {
        server.start_again();
        server
    });
    let arrived = arrives(&server.mailbox(), &kept, &postern);
    let client = WORLD.v4.to_string();
    assert!(arrived.added.contains(&client), "delivered from the client's own address: {}", arrived.added);
}
