//! The config as an administrator meets it: what works in four lines, and what each mistake says.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use record::Protocol;

use super::{
    Banner, Challenge, ClientAddress, Config, ConfigError, Directory, ExceptionTls, Host, Mode, Problem,
    Recipients, Source, TlsPolicy, parse,
};

const FOUR_LINES: &str = "hostname = \"mx1.example.net\"\n[[backend]]\ndomains = [\"example.net\", \"example.org\"]\n\
    servers = [\"10.0.0.10\"]\n";

fn good(text: &str) -> Config {
    parse(text, Path::new("/etc/postern/postern.toml")).unwrap()
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Path::new("p.toml")) {
        Err(ConfigError::Wrong(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

/// The only message that this text added to the four lines leads to.
fn message(added: &str) -> String {
    let found = problems(&format!("{FOUR_LINES}{added}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].to_string()
}

#[test]
fn the_documented_example_loads_and_names_no_key_without_effect() {
    let config = good(include_str!("../../../docs/config.toml"));
    assert_eq!((config.backends.len(), config.listeners.len()), (2, 3));
    let inactive: Vec<_> = config.inactive.iter().map(|entry| entry.key.as_str()).collect();
    assert!(inactive.is_empty(), "it shows what has an effect: {inactive:?}");
}

#[test]
fn four_lines_are_a_whole_config() {
    let config = good(FOUR_LINES);
    assert_eq!(config.hostname.as_str(), "mx1.example.net");
    assert_eq!(config.postmaster, "postmaster@example.net");
    assert_eq!(config.state_dir, Path::new("/var/lib/postern"));
    assert_eq!(config.network.mode, Mode::Front);
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.address.to_string(), l.protocol)).collect();
    let [smtp, submission, submissions] = [Protocol::Smtp, Protocol::Submission, Protocol::Submissions];
    let expected = [("[::]:25", smtp), ("[::]:587", submission), ("[::]:465", submissions)];
    assert_eq!(listeners, expected.map(|(address, protocol)| (address.to_owned(), protocol)));
    let backend = &config.backends[0];
    assert_eq!(
        (backend.name.as_str(), backend.servers[0].to_string().as_str()),
        ("10.0.0.10", "10.0.0.10:25")
    );
    assert_eq!(backend.submission.to_string(), "10.0.0.10:587");
    assert_eq!((backend.tls, backend.banner), (TlsPolicy::Opportunistic, Banner::Postern));
    assert_eq!(backend.client_address, ClientAddress::Auto);
    assert_eq!(config.limits.message_size, 50 << 20);
    assert_eq!((config.limits.sessions, config.limits.sessions_per_ip), (10_000, 50));
    assert_eq!((config.limits.pregreet, config.limits.in_flight), (Duration::ZERO, 512 << 20));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.judge.report_spam, "spam@mx1.example.net");
    assert_eq!(config.acme.contact, ["postmaster@example.net"]);
    assert_eq!(config.http.plain.unwrap().to_string(), "[::]:80");
    assert!(config.inactive.is_empty());
}

/// Every key of the reference, as it is printed there, but for what needs files.
const EVERYTHING: &str = include_str!("everything.toml");

#[test]
fn every_documented_key_is_read_with_its_documented_default() {
    let config = good(EVERYTHING);
    let plain = good(FOUR_LINES);
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", plain.limits));
    assert_eq!(format!("{:?}", config.judge), format!("{:?}", plain.judge));
    assert_eq!(format!("{:?}", config.outbound), format!("{:?}", plain.outbound));
    assert_eq!(format!("{:?}", config.tls), format!("{:?}", plain.tls));
    assert_eq!((config.http.plain, config.http.tls), (plain.http.plain, plain.http.tls));
    assert!(config.http.is_written && !plain.http.is_written);
    assert_eq!(format!("{:?}", config.acme), format!("{:?}", plain.acme));
    assert_eq!(format!("{:?}", config.queue), format!("{:?}", plain.queue));
    let inactive: Vec<_> = config.inactive.iter().map(|inactive| inactive.key.as_str()).collect();
    assert_eq!(format!("{:?}", config.trace), format!("{:?}", plain.trace));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", plain.log));
    assert!(!inactive.contains(&"outbound.dane") && !inactive.contains(&"outbound.dkim"), "{inactive:?}");
}

#[test]
fn an_exception_names_a_domain_once_and_a_step_that_there_is() {
    let exception = |domain: &str, tls: &str| {
        format!("[[outbound.exceptions]]\ndomain = \"{domain}\"\ntls = \"{tls}\"\n")
    };
    let config = good(&format!(
        "{FOUR_LINES}{}{}",
        exception("Old.example", "encrypt"),
        exception("strict.example", "dane")
    ));
    let exceptions: Vec<_> =
        config.outbound.exceptions.iter().map(|(domain, tls)| (domain.to_string(), *tls)).collect();
    let expected = [("old.example", ExceptionTls::Encrypt), ("strict.example", ExceptionTls::Dane)];
    assert_eq!(exceptions, expected.map(|(domain, tls)| (domain.to_owned(), tls)));
    let twice = message(&format!("{}{}", exception("a.example", "off"), exception("A.example", "off")));
    assert!(twice.contains("outbound.exceptions") && twice.contains("already"), "{twice}");
    let unknown = message(&exception("a.example", "may"));
    assert!(unknown.contains("dane"), "{unknown}");
    let no_domain = message(&exception("a_b@c", "off"));
    assert!(no_domain.contains("outbound.exceptions"), "{no_domain}");
}

#[test]
fn defaults_follow_the_mode() {
    let config = good(&format!("{FOUR_LINES}[network]\nmode = \"bridge\"\n"));
    assert_eq!(config.backends[0].banner, Banner::Server);
    assert_eq!(config.outbound.source, Source::Server);
    assert_eq!(config.acme.challenge, Challenge::Dns01);
    assert_eq!(config.inactive[0].key, "network.mode");
}

#[test]
fn an_empty_address_means_no_public_http() {
    let config = good(&format!("{FOUR_LINES}[http]\nplain = \"\"\ntls = \"127.0.0.1:8443\"\n"));
    assert_eq!((config.http.plain, config.http.tls.unwrap().port()), (None, 8443));
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let found = message("server = [\"10.0.0.11\"]\n");
    assert!(
        found.starts_with("p.toml:5:1: backend[0].server: is no key here; expected one of `name`"),
        "{found}"
    );
    assert!(found.ends_with("did you mean `servers`?"), "{found}");
    let found = message("tls = \"verfy\"\n");
    assert!(
        found.starts_with("p.toml:5:7: backend[0].tls: cannot be `verfy`; expected one of `off`"),
        "{found}"
    );
    assert!(found.ends_with("did you mean `verify`?"), "{found}");
    assert!(message("[limit]\nsessions = 3\n").ends_with("did you mean `limits`?"));
}

#[test]
fn a_wrong_type_names_the_right_one() {
    assert_eq!(
        message("[limits]\nsessions = \"many\"\n"),
        "p.toml:6:12: limits.sessions: invalid type: string \"many\"; expected i64"
    );
    assert!(message("[network]\nmanage_firewall = 1\n").ends_with("expected a boolean"));
    assert!(message("listener = 5\n").contains("backend[0].listener"));
}

#[test]
fn what_has_no_default_is_asked_for() {
    let found = problems("");
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["hostname", "backend"]);
    assert!(found[0].to_string().contains("hostname = \"mx1.example.net\""));
    let found = problems("hostname = \"a.example\"\n[[backend]]\n");
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["backend[0].domains", "backend[0].servers"]);
    assert_eq!(found[0].line, 2);
}

#[test]
fn a_value_that_cannot_be_says_what_could() {
    for (added, at, expected) in [
        ("[queue]\nlifetime = \"5w\"\n", "p.toml:6:12: queue.lifetime: ", "`5d`"),
        ("[limits]\nmessage_size = \"50MB\"\n", "p.toml:6:16: limits.message_size: ", "`50MiB`"),
        ("[limits]\nmessage_size = \"1KiB\"\n", "p.toml:6:16: limits.message_size: ", "from 64 KiB to 4 GiB"),
        ("[limits]\nsessions = 0\n", "p.toml:6:12: limits.sessions: ", "from 1 to 1000000"),
        ("[limits]\nin_flight = \"1MiB\"\n", "p.toml:6:13: limits.in_flight: ", "at least as large"),
        ("submission = \"10.0.0.300\"\n", "p.toml:5:14: backend[0].submission: ", "a server such as"),
        ("[[listener]]\naddress = \"25\"\n", "p.toml:6:11: listener[0].address: ", "an address and a port"),
        ("[[listener]]\nprotocol = \"smtp\"\n", "p.toml:5:1: listener[0].address: ", "address = "),
        ("pins = [\"sha256/AAAA\"]\n", "p.toml:5:9: backend[0].pins[0]: ", "44 characters of base64"),
        ("recipients = \"guess\"\n", "p.toml:5:14: backend[0].recipients: ", "`\"ask\"`"),
        ("[admin]\nnetworks = [\"10.0.0.0/33\"]\n", "p.toml:6:13: admin.networks[0]: ", "a network"),
        ("[admin]\nlisten = \"everywhere\"\n", "p.toml:6:10: admin.listen: ", "an address and a port"),
        ("[network]\nforward = [\"443\"]\n", "p.toml:6:12: network.forward[0]: ", "`tcp/443`"),
        ("[judge]\ntag = 1.5\n", "p.toml:6:7: judge.tag: ", "from 0.0 to 1.0"),
        ("[judge]\ntag = 0.99\n", "p.toml:6:7: judge.tag: ", "tag <= quarantine <= reject"),
        ("[log]\nsyslog = \"udp://x\"\n", "p.toml:6:10: log.syslog: ", "tls://host:6514"),
    ] {
        let found = message(added);
        assert!(found.starts_with(at) && found.contains(expected), "{found}");
    }
}

#[test]
fn nothing_stands_twice_that_must_be_unique() {
    let second = "[[backend]]\ndomains = [\"Example.ORG\"]\nservers = [\"10.0.0.11\"]\n";
    assert_eq!(
        message(second),
        "p.toml:6:12: backend[1].domains[0]: `Example.ORG` stands at backend[0].domains[1] already; expected each \
         domain once, in one backend"
    );
    let listener = "[[listener]]\naddress = \"127.0.0.1:2525\"\n";
    let found = message(&format!("{listener}{listener}"));
    assert!(
        found.starts_with("p.toml:8:11: listener[1].address: is the address of listener[0] too"),
        "{found}"
    );
}

#[test]
fn verifying_needs_a_name_or_a_pin() {
    let found = message("tls = \"verify\"\n");
    assert!(found.starts_with("p.toml:5:7: backend[0].tls: `verify` has no name to verify"), "{found}");
    good(&format!("{FOUR_LINES}tls = \"verify\"\ntls_name = \"mail.example.net\"\n"));
    let pin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let pinned = good(&format!("{FOUR_LINES}tls = \"verify\"\npins = [\"{pin}\"]\n"));
    assert_eq!(pinned.backends[0].pins, [[0; 32]]);
    assert!(message(&format!("tls = \"off\"\npins = [\"{pin}\"]\n")).contains("exclude each other"));
    let by_name = good(&FOUR_LINES.replace("10.0.0.10", "mail.inside:26"));
    assert!(matches!(by_name.backends[0].servers[0].host, Host::Name(_)));
}

#[test]
fn secrets_come_from_files_and_the_environment() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    let path = file.path().display();
    let relay = |password: &str| format!("[outbound]\nrelay = \"smart.example\"\npassword = {password}\n");
    let config = good(&format!("{FOUR_LINES}{}", relay(&format!("{{ file = \"{path}\" }}"))));
    let password = config.outbound.relay.as_ref().unwrap().password.as_ref().unwrap();
    assert_eq!(password.reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(message(&relay("{ file = \"/nowhere/at/all\" }")).contains("cannot read /nowhere/at/all"));
    assert!(
        message(&relay("{ env = \"POSTERN_TEST_NO_SUCH\" }")).contains("no variable `POSTERN_TEST_NO_SUCH`")
    );
    assert!(message(&relay("{ fil = \"x\" }")).contains("is no secret; expected `{ file = "));
    assert!(
        message("ca_file = \"/nowhere.pem\"\n").starts_with("p.toml:5:11: backend[0].ca_file: cannot read")
    );
    let found = problems(&format!("{FOUR_LINES}[tls]\ncertificates = [{{ chain = \"/nowhere.pem\" }}]\n"));
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["tls.certificates[0].key", "tls.certificates[0].chain"]);
}

#[test]
fn many_mistakes_are_told_at_once_and_in_order() {
    let found = problems(
        "hostnam = \"mx.example\"\n[[backend]]\ndomain = [\"a.example\"]\nservers = [\"x y\"]\n\
         [limits]\nsessions = \"a\"\nmessage_size = \"1\"\n",
    );
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "hostnam",
        "hostname",
        "backend[0].domains",
        "backend[0].domain",
        "backend[0].servers[0]",
        "limits.sessions",
        "limits.message_size",
    ];
    assert_eq!(keys, expected);
    assert_eq!(found[0].nearest.as_deref(), Some("hostname"));
}

#[test]
fn text_that_is_no_toml_says_where() {
    let found = problems("hostname = \"a.example\"\nbackend = [[\n");
    assert!(found[0].line >= 2 && found[0].expected == "valid TOML", "{found:?}");
    assert!(matches!(super::load(Path::new("/nowhere.toml")), Err(ConfigError::Unreadable { .. })));
}

const LDAP: &str = "recipients = { ldap = { url = \"ldap://dc.inside\", base = \"dc=a\"";

fn directory(rest: &str) -> Directory {
    let config = good(&format!("{FOUR_LINES}{LDAP}{rest} }} }}\n"));
    assert!(config.inactive.is_empty(), "{:?}", config.inactive);
    match &config.backends[0].recipients {
        Recipients::Ldap(directory) => (**directory).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_has_sound_defaults() {
    let found = directory("");
    assert!(found.starttls && found.bind.is_none() && found.ca_file.is_none());
    assert_eq!(found.filter, "(|(mail={address})(proxyAddresses=smtp:{address}))");
    assert!(!directory(", starttls = false").starttls);
    assert_eq!(directory(", attributes = [\"mailLocalAddress\"]").filter, "(|(mailLocalAddress={address}))");
    assert_eq!(directory(", filter = \"(uid={local})\"").filter, "(uid={local})");
    let (user, password) = directory(", bind = \"cn=p\", password = \"secret\"").bind.unwrap();
    assert_eq!((user.as_str(), password.reveal()), ("cn=p", "secret"));
}

#[test]
fn what_is_wrong_with_a_directory_is_told() {
    for (rest, wanted) in [
        (", filtr = \"x\"", "did you mean `filter`?"),
        (", filter = \"(mail=anna)\"", "filter cannot be `(mail=anna)`"),
        (", filter = \"(mail={address}\"", "filter cannot be"),
        (", filter = \"(uid={local})\", attributes = [\"mail\"]", "exclude each other"),
        (", bind = \"cn=p\"", "only one of bind and password"),
        (", starttls = 1", "invalid type"),
    ] {
        let told = message(&format!("{LDAP}{rest} }} }}\n"));
        assert!(told.contains(wanted) && told.contains("backend[0].recipients"), "{rest}: {told}");
    }
    for wrong in ["\"no\"", "{ fil = \"x\" }", "{ ldap = \"ldap://x\" }", "5"] {
        let told = message(&format!("recipients = {wrong}\n"));
        assert!(told.contains("{ ldap = { url ="), "{wrong}: {told}");
    }
    let told = message("recipients = { ldap = { url = \"http://x\", base = \"\" } }\n");
    assert!(told.contains("url cannot be `http://x`"), "{told}");
}
