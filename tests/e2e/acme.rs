//! Certificates from a real ACME server, for real names of a real name server: by all three challenges, with nonces refused, names
//! that fail, keys that are wrong, sessions that go on and a Postern that is killed in the middle.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use postern_tests::certificate::client_tls;
use postern_tests::child;
use postern_tests::nameserver::{KEY, KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::pebble::{self, CUSTOMER, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::scripted::{Client as Scripted, Step};
use postern_tests::sink::Sink;
use serde_json::Value;

mod keys;
mod load;
mod renewal;

const SINK: &[Need] = &[Need::Program("smtp-sink")];
/// Each CA's order has its own patience; a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(90);

/// Where mail for bench.test goes: two hosts that are here, one that is not.
const BENCH: &str = "
@          MX 10 mx.postern.test.
@          MX 20 mail
@          MX 30 elsewhere
mail       A  127.0.0.1
elsewhere  A  192.0.2.1
mta-sts    A  127.0.0.1
good       A  127.0.0.1
bad        A  127.0.0.1
blocked    A  127.0.0.1
";

const POSTERN: &str = "mx A 127.0.0.1\n";

fn zones() -> [Zone<'static>; 2] {
    [
        Zone { name: "postern.test", signing: Signing::Nsec, records: POSTERN },
        Zone { name: "bench.test", signing: Signing::Unsigned, records: BENCH },
    ]
}

fn options(sink: &Sink, names: &NameServer, acme: String, http: String) -> Options {
    let resolver = format!(
        "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
        names.address(),
        names.anchor()
    );
    Options { config: backend(&["bench.test"], sink.address(), &resolver), acme, http, ..Options::default() }
}

fn dns_update(names: &NameServer, secret: &str) -> String {
    format!(
        "[dns_update]\nserver = \"{}\"\ntsig = {{ name = \"{}\", secret = \"{secret}\" }}\n",
        names.address(),
        KEY.0
    )
}

/// Whether a client that asks for this name and believes this authority is content.
fn is_believed(postern: &Postern, root: &Path, name: &str) -> bool {
    let mut client = Scripted::greeted(postern.smtp(), Some(client_tls(root, name)));
    client.says("STARTTLS", "220 ");
    client.try_run(&[Step::Tls]).is_ok()
}

fn becomes_believed(postern: &Postern, pebble: &Pebble, root: &Path, name: &str) {
    let believed = ports::wait_until(LIMIT, || is_believed(postern, root, name).then_some(()));
    assert!(believed.is_some(), "{name}:\n{}\n{}", postern.log(), pebble.log());
}

fn listed(postern: &Postern) -> Value {
    let ended = postern.ask(&["--json", "certs", "list"]);
    assert!(ended.success, "{}", ended.output);
    serde_json::from_str(&ended.output).expect("one JSON document")
}

/// What is not asked for, or left out, with the reason.
fn reason(list: &Value, name: &str) -> String {
    let find = |array: &Value| {
        let found = array.as_array()?.iter().find(|one| one["name"] == name)?;
        found["reason"].as_str().map(str::to_owned)
    };
    let certifying = &list["certifying"];
    let orders = certifying["orders"].as_array().into_iter().flatten();
    let left_out = orders.filter_map(|order| find(&order["left_out"])).next();
    left_out.or_else(|| find(&certifying["not_asked"])).unwrap_or_default()
}

/// What a sender gets that looks for a domain's MTA-STS policy, and believes this authority.
fn policy(root: &Path, server: SocketAddr, domain: &str) -> String {
    let (host, port) = (format!("mta-sts.{domain}"), server.port());
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--cacert"]).arg(root).args(["--resolve", &format!("{host}:{port}:{}", server.ip())]);
    curl.arg(format!("https://{host}:{port}/.well-known/mta-sts.txt"));
    child::run(&curl, LIMIT).output
}

fn fingerprint(postern: &Postern, name: &str) -> String {
    let list = listed(postern);
    let certificates = list["certificates"].as_array().into_iter().flatten();
    let has = |one: &&Value| one["names"].as_array().is_some_and(|names| names.iter().any(|has| has == name));
    certificates.filter(has).filter_map(|one| one["fingerprint"].as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn http_01_brings_certificates_for_every_name_that_leads_here_and_they_survive_a_restart() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { refused_nonces: 10, ..pebble::Options::default() });
    let mut postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    let root = pebble.root();
    for name in ["mx.postern.test", "mail.bench.test", "mta-sts.bench.test"] {
        becomes_believed(&postern, &pebble, &root, name);
    }
    assert!(!is_believed(&postern, &root, "elsewhere.bench.test"));
    // All of the domain's exchangers, also those that are not here.
    let policy_of = |domain| policy(&root, pebble.tls(), domain);
    let hosts =
        ["elsewhere.bench.test", "mail.bench.test", "mx.postern.test"].map(|host| format!("mx: {host}\r\n"));
    let text = format!("version: STSv1\r\nmode: testing\r\n{}max_age: 86400\r\n", hosts.concat());
    assert_eq!(policy_of("bench.test"), text);
    assert_eq!(policy_of("elsewhere.test"), "");
    let list = listed(&postern);
    assert!(reason(&list, "elsewhere.bench.test").contains("192.0.2.1"), "{list}");
    let sources: Vec<_> = list["certificates"].as_array().into_iter().flatten().collect();
    assert!(sources.iter().all(|one| one["source"]["kind"] == "acme" && one["renews"].is_u64()), "{list}");
    assert_eq!(sources.len(), 2, "one for mail, one for the policy host: {list}");
    let folder = postern.state().join("certificates");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        assert!(!entry.file_name().to_string_lossy().starts_with("order-"), "{entry:?}");
    }
    assert!(postern.metric("postern_certificate_expiry_seconds{name=\"mx.postern.test\"}") > 0.0);
    let before = fingerprint(&postern, "mx.postern.test");
    postern.restart(Signal::SIGTERM);
    assert_eq!(fingerprint(&postern, "mx.postern.test"), before);
    assert!(is_believed(&postern, &root, "mx.postern.test"));
}

#[test]
fn tls_alpn_01_brings_a_certificate() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern = Postern::start(&options(&sink, &names, pebble.acme("tls-alpn-01", ""), pebble.http()));
    let root = pebble.root();
    becomes_believed(&postern, &pebble, &root, "mx.postern.test");
    becomes_believed(&postern, &pebble, &root, "mail.bench.test");
    let checked = postern.ask_within(&["check", "--online"], LIMIT);
    assert!(checked.output.contains("/dir: it answers"), "{}", checked.output);
}

#[test]
fn dns_01_brings_a_certificate_and_writes_the_records_of_its_keys() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let options_of_pebble = pebble::Options { names: Some(names.address()), ..pebble::Options::default() };
    let pebble = Pebble::start(&options_of_pebble);
    let acme = pebble.acme("dns-01", "names = [\"good.bench.test\"]");
    let mut options = options(&sink, &names, acme, "plain = \"\"\ntls = \"\"\n".into());
    options.config.push_str(&dns_update(&names, KEY.1));
    let postern = Postern::start(&options);
    let root = pebble.root();
    for name in ["mx.postern.test", "good.bench.test"] {
        becomes_believed(&postern, &pebble, &root, name);
    }
    let right = || {
        let list = listed(&postern);
        let hosts = list["certifying"]["tlsa"].as_array().cloned().unwrap_or_default();
        hosts.into_iter().find(|host| host["host"] == "mx.postern.test" && host["state"] == "right")
    };
    let host = ports::wait_until(LIMIT, right);
    let host = host.unwrap_or_else(|| panic!("{}\n{}", listed(&postern), postern.log()));
    assert_eq!(host["published"].as_array().map(Vec::len), Some(2), "{host}");
    let zone_file = postern.ask(&["certs", "tlsa"]);
    assert!(zone_file.success, "{}", zone_file.output);
    for record in host["publish"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let line = format!("_25._tcp.mx.postern.test. IN TLSA {record}");
        assert!(zone_file.output.contains(&line), "{}", zone_file.output);
    }
}

#[test]
fn a_wrong_tsig_key_is_told_of_with_what_to_look_at() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let mut options = options(&sink, &names, pebble.acme("dns-01", ""), "plain = \"\"\ntls = \"\"\n".into());
    options.config.push_str(&dns_update(&names, "d3Jvbmc="));
    let postern = Postern::start(&options);
    let told = || Some(reason(&listed(&postern), "mx.postern.test")).filter(|reason| reason.contains("tsig"));
    assert!(ports::wait_until(LIMIT, told).is_some(), "{}\n{}", listed(&postern), postern.log());
    let renewed = postern.ask_within(&["certs", "renew"], LIMIT);
    assert_eq!(renewed.code, Some(1), "{}", renewed.output);
}

#[test]
fn a_renewal_keeps_the_key_and_disturbs_no_session() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { refused_nonces: 10, ..pebble::Options::default() });
    let postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    let root = pebble.root();
    becomes_believed(&postern, &pebble, &root, "mx.postern.test");
    let tlsa = || postern.ask(&["certs", "tlsa"]).output;
    let (before, records) = (fingerprint(&postern, "mx.postern.test"), tlsa());
    let mut open = Scripted::greeted(postern.smtp(), Some(client_tls(&root, "mx.postern.test")));
    open.secure();
    open.says("MAIL FROM:<a@source.test>", "250 ");
    let renewed = postern.ask_within(&["certs", "renew", "mx.postern.test"], LIMIT);
    assert!(renewed.success, "{}\n{}", renewed.output, postern.log());
    assert_ne!(fingerprint(&postern, "mx.postern.test"), before);
    assert!(records.contains("3 1 1") && tlsa() == records, "{records}\n{}", tlsa());
    open.says("RCPT TO:<b@bench.test>", "250 ");
    open.says("DATA", "354 ");
    open.says("Subject: x\r\n\r\nx\r\n.", "250 ");
    open.says("QUIT", "221 ");
    assert!(is_believed(&postern, &root, "mx.postern.test"));
    let unknown = postern.ask_within(&["certs", "renew", "unknown.bench.test"], LIMIT);
    assert_eq!(unknown.code, Some(1), "{}", unknown.output);
}

#[test]
fn a_certificate_is_renewed_by_itself_before_it_ends() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { validity: 45, ..pebble::Options::default() });
    let postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    let root = pebble.root();
    becomes_believed(&postern, &pebble, &root, "mx.postern.test");
    let before = fingerprint(&postern, "mx.postern.test");
    let renewed = || (fingerprint(&postern, "mx.postern.test") != before).then_some(());
    assert!(ports::wait_until(LIMIT, renewed).is_some(), "{}", postern.log());
    assert!(is_believed(&postern, &root, "mx.postern.test"));
}

#[test]
fn an_order_that_a_kill_interrupts_comes_to_its_end_after_the_restart() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { sleep: 8, ..pebble::Options::default() });
    let mut postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    let note = postern.state().join("certificates/order-mail.json");
    let begun = ports::wait_until(LIMIT, || note.exists().then_some(()));
    assert!(begun.is_some(), "{}", postern.log());
    postern.kill();
    assert!(note.exists(), "the order was open");
    postern.start_again();
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    assert!(!note.exists(), "the order is closed");
}

#[test]
fn a_name_that_fails_is_left_out_with_the_cas_words_and_holds_up_no_other() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble =
        Pebble::start(&pebble::Options { blocked: "blocked.bench.test", ..pebble::Options::default() });
    pebble.moves("bad.bench.test", "127.0.0.99");
    let wanted = "names = [\"good.bench.test\", \"bad.bench.test\", \"blocked.bench.test\"]";
    let postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", wanted), pebble.http()));
    let root = pebble.root();
    becomes_believed(&postern, &pebble, &root, "mx.postern.test");
    assert!(is_believed(&postern, &root, "good.bench.test"));
    assert!(!is_believed(&postern, &root, "bad.bench.test"));
    let list = listed(&postern);
    assert!(reason(&list, "bad.bench.test").contains("127.0.0.99"), "{list}");
    assert!(!reason(&list, "blocked.bench.test").is_empty(), "{list}");
    let metric = "postern_certificate_problem{name=\"bad.bench.test\",problem=\"name\"}";
    assert!((postern.metric(metric) - 1.0).abs() < f64::EPSILON);
    let status = postern.ask(&["status"]);
    assert!(status.output.contains("left out: bad.bench.test"), "{}", status.output);
    pebble.moves_back("bad.bench.test");
    let renewed = postern.ask_within(&["certs", "renew"], LIMIT);
    assert_eq!(renewed.code, Some(1), "one name is still blocked: {}", renewed.output);
    assert!(is_believed(&postern, &root, "bad.bench.test"), "{}", postern.log());
}

#[test]
fn a_wrong_customer_number_is_told_of_and_the_right_one_helps_after_a_reload() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { customers_only: true, ..pebble::Options::default() });
    let eab = |hmac: &str| format!("eab = {{ kid = \"{}\", hmac = \"{hmac}\" }}", CUSTOMER.0);
    let acme = pebble.acme("http-01", &eab("d3Jvbmc="));
    let postern = Postern::start(&options(&sink, &names, acme, pebble.http()));
    let problem = || {
        let list = listed(&postern);
        list["certifying"]["orders"][0]["problem"].as_str().map(str::to_owned)
    };
    let problem = ports::wait_until(LIMIT, problem).unwrap_or_else(|| panic!("{}", postern.log()));
    assert!(problem.contains("the CA says"), "{problem}");
    let status = postern.ask(&["status"]);
    assert!(status.output.contains("[acme] eab"), "{}", status.output);
    assert!(status.output.contains("self-signed"), "{}", status.output);
    let text = fs::read_to_string(postern.config()).unwrap().replace(&eab("d3Jvbmc="), &eab(CUSTOMER.1));
    fs::write(postern.config(), text).unwrap();
    postern.reload();
    let told = || postern.log().contains("reloaded;").then_some(());
    assert!(ports::wait_until(LIMIT, told).is_some(), "{}", postern.log());
    let renewed = postern.ask_within(&["certs", "renew"], LIMIT);
    assert!(renewed.success, "{}\n{}", renewed.output, postern.log());
    assert!(is_believed(&postern, &pebble.root(), "mx.postern.test"));
}

#[test]
fn published_records_that_do_not_match_are_an_alarm() {
    needs!(SINK, KNOT, PEBBLE);
    let records = format!("{POSTERN}_25._tcp.mx TLSA 3 1 1 {}\n", "ab".repeat(32));
    let [postern_zone, bench] = zones();
    let names = NameServer::start(&[Zone { records: &records, ..postern_zone }, bench]);
    let sink = Sink::start(&[]);
    let pebble = Pebble::start(&pebble::Options::default());
    let postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    let metric = "postern_certificate_problem{name=\"mx.postern.test\",problem=\"tlsa\"}";
    let alarm = || (postern.metric(metric) > 0.0).then_some(());
    assert!(ports::wait_until(LIMIT, alarm).is_some(), "{}\n{}", listed(&postern), postern.log());
    let status = postern.ask(&["status"]);
    assert!(status.output.starts_with("TROUBLE: The TLSA records of mx.postern.test"), "{}", status.output);
}

#[test]
fn a_port_of_the_config_that_is_taken_is_an_error_that_says_what_to_do() {
    needs!(SINK);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sink = Sink::start(&[]);
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], sink.address(), ""),
        ..Options::default()
    });
    let text = fs::read_to_string(postern.config()).unwrap();
    let text = text.replace("plain = \"\"", &format!("plain = \"{address}\""));
    // Beside the running one, whose ports and state it does not get to.
    let other = postern.beside("other.toml");
    let state = format!("state_dir = {:?}", postern.beside("other-state"));
    let own = format!("state_dir = {:?}", postern.state());
    fs::write(&other, free_ports(&text.replace(&own, &state), &postern)).unwrap();
    let mut command = Command::new(postern_tests::postern::program());
    command.arg("--config").arg(&other).arg("run");
    let ended = child::run(&command, LIMIT);
    assert_eq!(ended.code, Some(3), "{}", ended.output);
    assert!(
        ended.output.contains(&address.to_string()) && ended.output.contains("[http]"),
        "{}",
        ended.output
    );
}

/// The config with other ports than the running one has.
fn free_ports(text: &str, postern: &Postern) -> String {
    let taken = [postern.smtp(), postern.submission(), postern.submissions(), postern.admin()];
    taken.iter().fold(text.to_owned(), |text, old| text.replace(&old.to_string(), &ports::free().to_string()))
}
