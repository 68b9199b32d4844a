//! Whose mail it is: the hidden server is told the client's own address, and Postern believes a proxy in front of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::clients::wire;
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};
use postern_tests::scripted::{Client as Scripted, Step};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const LIMIT: Duration = Duration::from_secs(30);

fn mail() -> Mail {
    Mail::new("a@source.test", &["b@bench.test"], "x\n")
}

fn in_front_of(hidden: &Postfix, method: &str) -> Postern {
    let lines = format!("client_address = \"{method}\"");
    Postern::start(&Options {
        config: backend(&["bench.test"], hidden.address(), &lines),
        ..Default::default()
    })
}

/// Sends from an address of its own and waits until the mail is stored.
fn send_from(source: Ipv4Addr, postern: &Postern, hidden: &Postfix) {
    let mail = mail();
    let sent = wire::submit_over(ports::connect_from(source, postern.smtp()), &mail);
    assert!(sent.is_ok(), "{sent:?}\n{}", hidden.log());
    hidden.mailbox().wait_for_message(mail.message_id());
}

/// The lines in which Postfix names the client of a message.
fn clients(hidden: &Postfix) -> Vec<String> {
    let log = hidden.log();
    log.lines().filter(|line| line.contains(": client=")).map(str::to_owned).collect()
}

#[test]
fn xclient_tells_the_server_each_clients_own_address() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    let postern = in_front_of(&hidden, "xclient");
    // One after the other: a connection that was told of one client must not serve another.
    send_from(CLIENT, &postern, &hidden);
    send_from(OTHER, &postern, &hidden);
    let clients = clients(&hidden);
    assert_eq!(clients.len(), 2, "{clients:?}");
    assert!(clients[0].contains("client=unknown[127.0.0.5]"), "{clients:?}");
    assert!(clients[1].contains("client=unknown[127.0.0.6]"), "{clients:?}");
}

#[test]
fn xforward_tells_the_server_each_clients_own_address_for_its_log() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    let postern = in_front_of(&hidden, "xforward");
    send_from(CLIENT, &postern, &hidden);
    send_from(OTHER, &postern, &hidden);
    let clients = clients(&hidden);
    assert_eq!(clients.len(), 2, "{clients:?}");
    assert!(clients[0].contains("orig_client=unknown[127.0.0.5]"), "{clients:?}");
    assert!(clients[1].contains("orig_client=unknown[127.0.0.6]"), "{clients:?}");
}

#[test]
fn a_proxy_header_tells_the_server_each_clients_own_address() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { proxy_protocol: true, ..Default::default() });
    let postern = in_front_of(&hidden, "proxy");
    send_from(CLIENT, &postern, &hidden);
    send_from(OTHER, &postern, &hidden);
    let clients = clients(&hidden);
    assert_eq!(clients.len(), 2, "{clients:?}");
    assert!(clients[0].contains("[127.0.0.5]") && clients[1].contains("[127.0.0.6]"), "{clients:?}");
}

#[test]
fn by_default_the_server_is_told_in_the_way_that_it_offers() {
    needs!(POSTFIX);
    let told = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    send_from(CLIENT, &in_front_of(&told, "auto"), &told);
    assert!(clients(&told)[0].contains("client=unknown[127.0.0.5]"), "{:?}", clients(&told));
    let untold = Postfix::start(&postfix::Options::default());
    send_from(CLIENT, &in_front_of(&untold, "auto"), &untold);
    assert!(clients(&untold)[0].contains("[127.0.0.1]"), "{:?}", clients(&untold));
}

#[test]
fn a_server_that_cannot_be_told_as_configured_gets_no_mail() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options::default());
    let postern = in_front_of(&hidden, "xclient");
    let mut client = Scripted::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "250 ");
    let refusal = client.says("RCPT TO:<b@bench.test>", "451 4.4.1 ");
    assert!(refusal.contains("does not offer XCLIENT"), "{refusal}");
}

/// Behind a proxy whose headers are believed, in front of a server that is told who the client is.
fn behind_a_proxy(hidden: &Postfix) -> Postern {
    Postern::start(&Options {
        config: backend(&["bench.test"], hidden.address(), "client_address = \"xclient\""),
        proxies: format!("[\"{PROXY}/32\"]"),
        ..Default::default()
    })
}

fn expect_client_from_header(hidden: &Postfix, header: &str) {
    let postern = behind_a_proxy(hidden);
    let mut stream = ports::connect_from(PROXY, postern.smtp());
    std::io::Write::write_all(&mut stream, header.as_bytes()).expect("a header");
    let mail = mail();
    let sent = wire::submit_over(stream, &mail);
    assert!(sent.is_ok(), "{sent:?}\n{}", postern.log());
    let stored = hidden.mailbox().wait_for_message(mail.message_id());
    let (field, _) = stored.one_hop_before();
    assert!(field.starts_with("Received: from client.test ([192.0.2.7])"), "{field}");
    assert!(clients(hidden)[0].contains("client=unknown[192.0.2.7]"), "{:?}", clients(hidden));
}

#[test]
fn the_first_version_of_a_proxy_header_is_believed_from_a_known_proxy() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    expect_client_from_header(&hidden, "PROXY TCP4 192.0.2.7 192.0.2.8 4711 25\r\n");
}

#[test]
fn the_second_version_of_a_proxy_header_is_believed_from_a_known_proxy() {
    needs!(POSTFIX, &[Need::Program("swaks")]);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    let postern = behind_a_proxy(&hidden);
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &postern.smtp().port().to_string()]);
    command.args([
        "--local-interface",
        &PROXY.to_string(),
        "--from",
        "a@source.test",
        "--to",
        "b@bench.test",
    ]);
    command.args(["--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM"]);
    command.args(["--proxy-source", "192.0.2.7", "--proxy-source-port", "4711"]);
    command.args(["--proxy-dest", "192.0.2.8", "--proxy-dest-port", "25"]);
    let ended = child::run(&command, LIMIT);
    assert!(ended.success, "{}\n{}", ended.output, postern.log());
    hidden.mailbox().wait_for_one();
    assert!(clients(&hidden)[0].contains("client=unknown[192.0.2.7]"), "{:?}", clients(&hidden));
}

#[test]
fn a_known_proxy_that_sends_no_header_is_not_served() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    let postern = behind_a_proxy(&hidden);
    let mut stream = ports::connect_from(PROXY, postern.smtp());
    let mut answer = Vec::new();
    std::io::Write::write_all(&mut stream, b"EHLO client.test\r\nMAIL FROM:<a@source.test>\r\n").unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The end may be a reset: what was sent was never read.
    let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    let refused = || (postern.metric("postern_abuse_total{reason=\"bad_proxy_header\"}") > 0.0).then_some(());
    assert!(ports::wait_until(LIMIT, refused).is_some(), "{}", postern.get("/metrics"));
}

#[test]
fn a_proxy_header_from_a_stranger_is_a_command_that_does_not_exist() {
    needs!(POSTFIX);
    let hidden = Postfix::start(&postfix::Options { xclient: true, ..Default::default() });
    let postern = behind_a_proxy(&hidden);
    let stranger: SocketAddr = (IpAddr::from(Ipv4Addr::LOCALHOST), postern.smtp().port()).into();
    let mut client = Scripted::connect(stranger, None);
    client.hears("220 ");
    client.says("PROXY TCP4 192.0.2.7 192.0.2.8 4711 25", "5");
    let mut hasty = Scripted::connect(stranger, None);
    // Whether the greeting was faster decides between a pregreet and an unknown command: both end here.
    hasty.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 25\r\nQUIT\r\n").unwrap();
    hasty.run(&[Step::UntilClosed]);
    let heard = hasty.text();
    assert!(heard.contains("554 5.5.1") || heard.contains("500 5.5.1"), "{heard}");
    assert!(!heard.contains("\r\n250"), "{heard}");
}
