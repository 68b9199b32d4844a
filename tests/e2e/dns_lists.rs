//! DNS lists in a zone of Knot's: what is listed weighs, is refused before DATA where the config says so, and a list that is none
//! is not believed.

use std::process::Command;
use std::time::Duration;

use postern_tests::child;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::postern::{Options, Postern, trace_id};
use postern_tests::postfix::{self, Postfix};

const SWAKS: &[Need] = &[Need::Program("swaks")];
/// On a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

const BAD: &str = "
2.0.0.127   A   127.0.0.2
7.2.0.192   A   127.0.0.4
7.2.0.192   TXT \"Known for spam, see https://bad.example/q/192.0.2.7\"
8.2.0.192   A   127.255.255.254
7.6.5.4.3.2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.4
";
const DOMAINS: &str = "
pills.example A 127.0.0.8
";
/// As of a list whose domain somebody else has bought.
const GONE: &str = "
* A 192.0.2.200
";

fn world() -> NameServer {
    let zone = |name, records| Zone { name, signing: Signing::Unsigned, records };
    NameServer::start(&[zone("bad.example", BAD), zone("dbl.example", DOMAINS), zone("gone.example", GONE)])
}

/// A Postern behind a proxy that says who the client is.
fn start(hidden: &Postfix, dns: &NameServer, judge: &str) -> Postern {
    let config = format!(
        "[[backend]]\nname = \"hidden\"\ndomains = [\"bench.test\"]\nservers = [\"{}\"]\n\
         [outbound]\nnetworks = [\"203.0.113.0/24\"]\n\
         [resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = \"{}\"\n",
        hidden.address(),
        dns.address(),
        dns.anchor().display(),
    );
    let proxies = "[\"127.0.0.0/8\"]".into();
    Postern::start(&Options { config, judge: judge.into(), proxies, ..Default::default() })
}

/// Sends as this client; what was said.
fn send(postern: &Postern, client: &str, body: &str) -> String {
    send_as(postern, client, "source.test", body)
}

/// Sends as this client, which calls itself so.
fn send_as(postern: &Postern, client: &str, helo: &str, body: &str) -> String {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let proxy = format!("{family} {client} {client} 4711 25");
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &postern.smtp().to_string(), "--proxy", &proxy, "--helo", helo]);
    swaks.args(["--from", "a@source.test", "--to", "b@bench.test", "--body", body, "--timeout", "60"]);
    child::run(&swaks, LIMIT).output
}

fn story(postern: &Postern, output: &str) -> String {
    let id = output.lines().rev().map(trace_id).find(|id| id.contains('.')).unwrap_or_default().to_owned();
    postern.ask(&["trace", "--id", &id]).output
}

#[test]
fn who_is_listed_is_refused_before_data_with_the_lists_own_words() {
    needs!(POSTFIX, KNOT, SWAKS);
    let (hidden, dns) = (Postfix::start(&postfix::Options::default()), world());
    let list = "dnsbl = [{ zone = \"bad.example\", weight = 3.0, refuse = true }]\n";
    let postern = start(&hidden, &dns, &format!("action = \"enforce\"\n{list}"));
    for client in ["192.0.2.7", "2001:db8::123:4567"] {
        let output = send(&postern, client, "Cheap watches");
        let said =
            format!("550 5.7.1 mail from this address is not wanted: {client} is on the list bad.example: ");
        assert!(output.contains(&said), "{output}");
        assert!(!output.contains("354 "), "{output}");
    }
    let output = send(&postern, "192.0.2.7", "Cheap watches");
    assert!(output.contains("Known for spam, see https://bad.example/q/192.0.2.7 ("), "{output}");
    assert!(postern.log().contains("its mail is refused"), "{}", postern.log());
    refused_clients_are_in_the_trace_and_counted(&postern, &output);
    let output = send(&postern, "192.0.2.9", "Dinner at eight?");
    assert!(output.contains("250 2."), "{output}");
    let output = send_as(&postern, "198.51.100.9", "MX.postern.test", "Dinner at eight?");
    assert!(output.contains("550 5.7.1 mail from who poses as mx.postern.test is not wanted"), "{output}");
    let told = story(&postern, &output);
    assert!(told.contains("helo: calls itself as this Postern is called (reject)"), "{told}");
    let allowed = start(&hidden, &dns, &format!("action = \"enforce\"\nallow = [\"192.0.2.7\"]\n{list}"));
    let output = send(&allowed, "192.0.2.7", "Dinner at eight?");
    assert!(!output.contains("550 "), "{output}");
}

/// Three were refused so far, two of them from one network.
fn refused_clients_are_in_the_trace_and_counted(postern: &Postern, output: &str) {
    let told = story(postern, output);
    assert!(told.contains(": refused"), "{told}");
    assert!(told.contains("client 192.0.2.7:") && told.contains("from <a@source.test>"), "{told}");
    let why = "dnsbl:bad.example: 192.0.2.7 listed as 127.0.0.4 (reject)";
    assert!(told.contains(why) && told.contains("the client was told: 550 5.7.1"), "{told}");
    let list =
        postern.ask(&["trace", "--verdict", "reject", "--outcome", "refused", "--ip", "192.0.2.7"]).output;
    assert_eq!(list.lines().filter(|line| line.contains("refused <a@source.test>")).count(), 2, "{list}");
    let page = postern.get("/messages?verdict=reject");
    assert!(page.contains("192.0.2.7") || page.contains("a@source.test"), "{page}");
    let metrics = postern.get("/metrics");
    let messages = "postern_messages_total{protocol=\"smtp\",verdict=\"reject\",outcome=\"refused\"} 3";
    assert!(metrics.contains(messages), "{metrics}");
    assert!(
        metrics.contains("postern_verdicts_total{verdict=\"reject\",direction=\"inbound\"} 3"),
        "{metrics}"
    );
    assert!(
        metrics.contains("postern_checks_total{check=\"dnsbl:bad.example\",speaks=\"against\"} 3"),
        "{metrics}"
    );
    // More of one network than have entries of their own: they are counted, and those before stay.
    for _ in 0..6 {
        send(postern, "192.0.2.7", "Cheap watches");
    }
    let list = postern.ask(&["trace", "--ip", "192.0.2.7"]).output;
    assert_eq!(list.lines().count(), 5, "{list}");
    let metrics = postern.get("/metrics");
    assert!(
        metrics.contains("postern_verdicts_total{verdict=\"reject\",direction=\"inbound\"} 9"),
        "{metrics}"
    );
}

#[test]
fn what_lists_hold_weighs_and_one_that_is_none_or_refuses_is_a_failure() {
    needs!(POSTFIX, KNOT, SWAKS);
    let (hidden, dns) = (Postfix::start(&postfix::Options::default()), world());
    let lists = "dnsbl = [{ zone = \"bad.example\", weight = 1.0, codes = { \"127.0.0.4\" = 2.5 } }, \
                 { zone = \"dbl.example\", about = \"domains\", weight = 0.5, codes = { \"&8\" = 4.25 } }, \
                 { zone = \"gone.example\", weight = 9.0 }]\n";
    let postern = start(&hidden, &dns, lists);
    let output = send(&postern, "192.0.2.7", "See https://www.pills.example/now");
    assert!(output.contains("250 2."), "observed only: {output}");
    let told = story(&postern, &output);
    assert!(told.contains("+2.50 dnsbl:bad.example: 192.0.2.7 listed as 127.0.0.4"), "{told}");
    assert!(told.contains("+4.25 dnsbl:dbl.example: pills.example listed as 127.0.0.8"), "{told}");
    assert!(told.contains("the list gone.example is not used: it lists 127.0.0.1"), "{told}");
    assert!(!told.contains("+9.00"), "{told}");
    let told = story(&postern, &send(&postern, "192.0.2.8", "Dinner at eight?"));
    assert!(told.contains("the list bad.example cannot be asked: it says that it does not answer"), "{told}");
    assert!(!told.contains("dnsbl:bad.example"), "{told}");
    let told = story(&postern, &send(&postern, "192.0.2.9", "Dinner at eight?"));
    assert!(!told.contains("dnsbl:"), "{told}");
}
