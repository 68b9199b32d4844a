//! Kinds of content: large, eight-bit, in chunks; and a server that refuses it at the end.

use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, Security, deliver};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::postern::{Options, Postern, backend, trace_id};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scratch::Scratch;
use postern_tests::scripted::Client as Scripted;

use super::{Hidden, expect_passed, loopback, mail, verified};

fn in_front_of(hidden: &Hidden) -> Postern {
    Postern::start(&Options { config: backend(&["bench.test"], hidden.address(), ""), ..Default::default() })
}

#[test]
fn twenty_five_megabytes_pass_unchanged_over_tls_on_both_legs() {
    needs!(POSTFIX, Client::Curl.needs());
    let authority = Authority::new();
    let hidden = Hidden::postfix_with_tls(&authority);
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], hidden.address(), &verified(&authority)),
        certificate: Some(loopback(&authority)),
        ..Default::default()
    });
    let mail = Mail::large("a@source.test", &["b@bench.test"], 25 << 20);
    let how = How { security: Security::StartTls(authority.file()), auth: None };
    let result = deliver(Client::Curl, postern.smtp(), &mail, &how);
    assert!(result.accepted, "{}", result.output);
    expect_passed(&hidden.mailbox().wait_for_message(mail.message_id()), &mail);
}

#[test]
fn a_message_beyond_the_limit_is_refused_at_mail() {
    needs!(POSTFIX);
    let extra = vec!["message_size_limit = 1000000".to_owned()];
    let hidden = Postfix::start(&postfix::Options { extra, ..Default::default() });
    let config = backend(&["bench.test"], hidden.address(), "");
    let postern = Postern::start(&Options { config, ..Default::default() });
    let mut client = Scripted::greeted(postern.smtp(), None);
    // What Postern adds must fit too.
    client.says("MAIL FROM:<a@source.test> SIZE=995000", "552 5.3.4 ");
    client.says("MAIL FROM:<a@source.test> SIZE=990000", "250 ");
    client.says("RCPT TO:<b@bench.test>", "250 ");
}

#[test]
fn eight_bit_content_passes_unchanged() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let postern = in_front_of(&hidden);
    let mut mail = mail();
    mail.content.extend((0x80..=0xFF_u8).chain(*b"\r\n\t \x01\x7f\r\n"));
    mail.mail_parameters = "BODY=8BITMIME".to_owned();
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    expect_passed(&hidden.mailbox().wait_for_one(), &mail);
}

#[test]
fn lines_longer_than_the_standard_allows_pass_unchanged() {
    needs!(POSTFIX);
    let hidden = Hidden::postfix();
    let postern = in_front_of(&hidden);
    let mut mail = mail();
    // Postfix splits what it stores at 2048.
    mail.content.extend([b'x'; 2000]);
    mail.content.extend(b"\r\n");
    let result = deliver(Client::Wire, postern.smtp(), &mail, &How::default());
    assert!(result.accepted, "{}", result.output);
    expect_passed(&hidden.mailbox().wait_for_one(), &mail);
}

#[test]
fn chunks_of_any_size_reach_a_server_that_knows_only_data() {
    needs!(POSTFIX);
    let without = vec!["chunking"];
    let hidden = Postfix::start(&postfix::Options { without, ..Default::default() });
    let config = backend(&["bench.test"], hidden.address(), "");
    let postern = Postern::start(&Options { config, ..Default::default() });
    let mail = mail();
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "250 ");
    client.says("RCPT TO:<b@bench.test>", "250 ");
    for chunk in mail.content.chunks(7) {
        client.write(format!("BDAT {}\r\n", chunk.len()).as_bytes()).unwrap();
        client.write(chunk).unwrap();
        client.hears("250 ");
    }
    client.says("BDAT 0 LAST", "250 ");
    client.says("QUIT", "221 ");
    expect_passed(&hidden.mailbox().wait_for_one(), &mail);
}

#[test]
fn a_server_that_refuses_the_content_is_heard_in_its_own_words() {
    needs!(POSTFIX);
    let scratch = Scratch::new("checks");
    let checks = scratch.write("header_checks", "/^Subject: forbidden/ REJECT that subject is not wanted\n");
    let extra = vec![format!("header_checks = regexp:{}", checks.display())];
    let hidden = Postfix::start(&postfix::Options { extra, ..Default::default() });
    let config = backend(&["bench.test"], hidden.address(), "");
    let postern = Postern::start(&Options { config, ..Default::default() });
    let refused = Mail::raw("a@source.test", &["b@bench.test"], "Subject: forbidden\r\n\r\nx\r\n");
    let result = deliver(Client::Wire, postern.smtp(), &refused, &How::default());
    assert!(
        !result.accepted && result.output.contains("550 5.7.1 that subject is not wanted"),
        "{}",
        result.output
    );
    let reply = result.output.lines().find(|line| line.starts_with("550 ")).unwrap_or_default();
    let told = postern.ask(&["trace", "--id", trace_id(reply)]);
    assert!(told.success && told.output.contains("that subject is not wanted"), "{reply}\n{}", told.output);
    assert!(hidden.mailbox().read().is_empty());
}
