//! What leaves is signed, verified by others' programs; and the records that it takes are printed and compared.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use postern_tests::certificate::Authority;
use postern_tests::child;
use postern_tests::gateway::{self, LIMIT, both_families, names, smtp, submit, without_dns};
use postern_tests::lab::{LAB, Lab, WORLD};
use postern_tests::mail::Mail;
use postern_tests::mailbox::Stored;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::{Need, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scratch::Scratch;
use postern_tests::servers::{Kind, Server, Trust};

/// Two verifiers that know nothing of each other.
const VERIFIERS: &[Need] = &[Need::Program("dkimverify"), Need::Program("opendkim")];

/// For Debian's Python, whatever else is installed. Reads a message and the records of a zone, and prints a line for each signature.
const DKIMPY: &str = r#"
import json, sys, dkim
asked = json.load(sys.stdin)
records = {name.rstrip("."): text.encode() for name, text in asked["records"].items()}
message = bytes.fromhex(asked["message"])
def txt(name, timeout=5):
    return records.get(name.decode().rstrip(".") if isinstance(name, bytes) else name.rstrip("."))
verifier = dkim.DKIM(message)
for at in range(sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")):
    try:
        print(dkim.DKIM(message).verify(idx=at, dnsfunc=txt))
    except dkim.DKIMException:
        print(False)
"#;

/// What is on the wire: with the signatures on top.
fn signed(server: &Server) -> Stored {
    server.mailbox().wait_for_one()
}

/// The text records that this Postern wants published, by name.
pub(super) fn texts(lab: &Lab, postern: &Postern) -> serde_json::Map<String, serde_json::Value> {
    let config = postern.config().to_owned();
    let printed = lab.postern.run(move || {
        Command::new(postern::program()).arg("--config").arg(config).args(["dns", "--json"]).output()
    });
    texts_in(&printed.expect("it runs").stdout)
}

/// The text records in what `postern dns --json` prints, by name.
pub(super) fn texts_in(printed: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    let report: serde_json::Value = serde_json::from_slice(printed).expect("a report");
    let zones = report["zones"].as_array().expect("zones").iter();
    let records = zones.flat_map(|zone| zone["records"].as_array().expect("records"));
    let texts = records.filter(|record| record["type"] == "TXT");
    texts
        .map(|record| (record["name"].as_str().expect("a name").to_owned(), record["value"].clone()))
        .collect()
}

pub(super) fn dkimpy(message: &[u8], records: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    dkimpy_later(message, records, 0)
}

/// What it says so many hours later: what was signed in its future it does not believe.
pub(super) fn dkimpy_later(
    message: &[u8],
    records: &serde_json::Map<String, serde_json::Value>,
    hours: u32,
) -> Vec<String> {
    let hexadecimal: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
    let asked = serde_json::json!({ "message": hexadecimal, "records": records }).to_string();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", DKIMPY]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if hours > 0 {
        postern::later(&mut python, hours);
    }
    let mut child = python.spawn().expect("python3");
    // Where it breaks off it says why.
    let _ = child.stdin.take().expect("its input").write_all(asked.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Whether OpenDKIM, which knows RSA only, says that some signature is good.
fn opendkim(message: &[u8], records: &serde_json::Map<String, serde_json::Value>) -> (bool, String) {
    let scratch = Scratch::new("opendkim");
    let keys: String = records
        .iter()
        .filter(|(name, _)| name.contains("._domainkey."))
        .map(|(name, text)| format!("{name} {}\n", text.as_str().unwrap_or_default()))
        .collect();
    let keys = scratch.write("keys", keys);
    let config = scratch.write("opendkim.conf", format!("Mode v\nTestPublicKeys {}\n", keys.display()));
    let file = scratch.write("message", message);
    let output = Command::new("opendkim")
        .arg("-x")
        .arg(config)
        .arg("-vv")
        .arg("-t")
        .arg(file)
        .output()
        .expect("opendkim");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && said.contains("verification (s="), said)
}

fn send_out(lab: &Lab, mail: &Mail) -> (Server, postern_tests::postfix::Postfix) {
    let world = lab.world.run(move || Server::storing(Kind::Postfix, smtp(WORLD.v4), None));
    let server = lab.inside.run(move || Server::relaying(Kind::Postfix, smtp(WORLD.v4), &Trust::Plain));
    let Server::Postfix(sender) = server else { unreachable!("it was asked for") };
    let handed = submit(&lab.inside, sender.address(), mail);
    assert!(handed.accepted, "{}", handed.output);
    let outcome = sender.outcome(mail.message_id(), mail.to.len(), LIMIT);
    assert!(outcome.iter().all(|line| line.contains("status=sent")), "{outcome:#?}");
    (world, sender)
}

#[test]
fn two_other_verifiers_accept_what_a_hidden_server_sends() {
    needs!(LAB, KNOT, POSTFIX, VERIFIERS);
    let lab = Lab::new();
    without_dns(&lab);
    let (_names, resolver) = names(&lab, &both_families());
    let postern = gateway::start(&lab, &resolver);
    // More than is held in memory, so that a file is read, too; trailing spaces, empty lines, dots.
    let body = format!("..dots \r\n\r\n{}\r\n \r\n\r\n", "a line of some length \t here\r\n".repeat(20_000));
    let mail = Mail::new("ann@hidden.test", &["b@v4.test"], &body);
    let (world, _sender) = send_out(&lab, &mail);
    let arrived = signed(&world);
    let (signatures, _) = arrived.signed();
    assert_eq!(signatures.len(), 2, "{signatures:#?}\n{}", postern.log());
    let records = texts(&lab, &postern);
    assert_eq!(dkimpy(&arrived.content, &records), ["True", "True"], "{signatures:#?}");
    let (good, said) = opendkim(&arrived.content, &records);
    assert!(good, "{said}");
    // The test can fail.
    let changed = String::from_utf8_lossy(&arrived.content).replacen("a line of", "a lime of", 1);
    assert_eq!(dkimpy(changed.as_bytes(), &records), ["False", "False"]);
    let twice = String::from_utf8_lossy(&arrived.content).replacen(
        "\r\nSubject:",
        "\r\nSubject: another\r\nSubject:",
        1,
    );
    assert_eq!(dkimpy(twice.as_bytes(), &records), ["False", "False"], "a second subject");
}

/// A key of somebody's own for `hidden.test`, of so many bits, under the selector `mail`; it serves from the next start.
fn own_key(postern: &Postern, bits: u32) {
    let folder = postern.state().join("dkim").join("hidden.test");
    let file = folder.join("mail.pem");
    let mut openssl = Command::new("openssl");
    openssl
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt"])
        .arg(format!("rsa_keygen_bits:{bits}"));
    let made = child::run(openssl.arg("-out").arg(&file), LIMIT);
    assert!(made.success, "{}", made.output);
    // One that stands beside others signs once its record is seen; alone it signs at once.
    for other in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if other != file {
            std::fs::remove_file(other).expect("it was there");
        }
    }
    let owner = std::fs::metadata(&folder).expect("a folder");
    std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).expect("it is root's");
}

/// Its record has more octets than two strings of a TXT record, and more than a UDP answer without EDNS.
#[test]
fn a_key_of_ones_own_of_4096_bits_signs_is_printed_and_is_found() {
    needs!(LAB, KNOT, POSTFIX, VERIFIERS, &[Need::Program("openssl")]);
    let lab = Lab::new();
    without_dns(&lab);
    let [v4, _] = both_families();
    let hidden = "@ MX 10 mx\nmx A 192.0.2.2\n";
    let (names, resolver) = names(&lab, &[v4, ("hidden.test", hidden.into())]);
    let mut postern = gateway::start(&lab, &resolver);
    own_key(&postern, 4096);
    let postern = lab.postern.run(move || {
        postern.restart(Signal::SIGTERM);
        postern
    });
    let (world, _sender) = send_out(&lab, &Mail::new("ann@hidden.test", &["b@v4.test"], "a long key\n"));
    let arrived = signed(&world);
    assert_eq!(arrived.signed().0.len(), 1, "{}", postern.log());
    let records = texts(&lab, &postern);
    let record = records["mail._domainkey.hidden.test"].as_str().expect("a text");
    assert!(record.len() > 700, "{record}");
    assert_eq!(dkimpy(&arrived.content, &records), ["True"]);
    let (good, said) = opendkim(&arrived.content, &records);
    assert!(good, "{said}");
    let config = postern.config().to_owned();
    let ask = |arguments: &'static [&'static str]| {
        let config = config.clone();
        let asked = lab.postern.run(move || {
            Command::new(postern::program()).arg("--config").arg(config).arg("dns").args(arguments).output()
        });
        String::from_utf8_lossy(&asked.expect("it runs").stdout).into_owned()
    };
    let missing = ask(&["hidden.test", "--verify"]);
    assert!(missing.contains("The key is not published"), "{missing}");
    let printed = ask(&["hidden.test"]);
    let line = zone_of(&printed, "mail._domainkey.hidden.test");
    assert_eq!(line.len(), 1, "{printed}");
    names.change("hidden.test", &format!("{hidden}{}\n", line[0]));
    // That there is none is remembered for as long as the zone says.
    let is_found = || ask(&["hidden.test", "--verify"]).contains("The key is published").then_some(());
    assert!(ports::wait_until(LIMIT, is_found).is_some(), "{}", ask(&["hidden.test", "--verify"]));
}

#[test]
fn only_what_its_author_may_send_is_signed() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let (_names, resolver) = names(&lab, &both_families());
    let other = "[[backend]]\nname = \"other\"\ndomains = [\"other.test\"]\nservers = [\"10.99.99.99\"]\n";
    let postern = gateway::start(&lab, &format!("{resolver}{other}"));
    let world = lab.world.run(move || Server::storing(Kind::Postfix, smtp(WORLD.v4), None));
    let own = |from: &str, more: &str| {
        let mut mail = Mail::new("ann@hidden.test", &["b@v4.test"], "who signs this?\n");
        let text = String::from_utf8_lossy(&mail.content)
            .replace("From: <ann@hidden.test>", &format!("From: {from}"));
        mail.content = format!("{more}{text}").into_bytes();
        mail
    };
    let signed_before = "DKIM-Signature: v=1; a=rsa-sha256; d=hidden.test; s=own; c=relaxed/relaxed; h=From; bh=AAAA; b=AAAA\r\n";
    let forwarded = "Received: from sender.test ([192.0.2.77])\r\n\tby mx.postern.test (Postern) with ESMTPS id 0000000000001.1;\r\n\tSat, 21 Nov 2026 19:10:05 +0000\r\n";
    for (from, more, expected) in [
        ("ann@hidden.test", "", 2),
        ("Ann <ann@HIDDEN.test>", "", 2),
        ("ann@elsewhere.test", "", 0),
        // Another customer's domain, and two authors.
        ("ann@other.test", "", 0),
        ("ann@hidden.test, bob@other.test", "", 0),
        // What came from outside and is forwarded may pretend to be from here.
        ("ann@hidden.test", forwarded, 0),
        // It signs by itself; the signature on top is its own.
        ("ann@hidden.test", signed_before, 1),
    ] {
        let mail = own(from, more);
        let sent = submit(&lab.inside, smtp(WORLD.v4), &mail);
        assert!(sent.accepted, "{}\n{}", sent.output, postern.log());
        let stored = world.mailbox().wait_for_message(mail.message_id());
        assert_eq!(count(&stored), expected, "{from} {more}");
    }
}

/// Signatures in a message's header.
fn count(stored: &Stored) -> usize {
    let text = String::from_utf8_lossy(&stored.content);
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    header.lines().filter(|line| line.starts_with("DKIM-Signature:")).count()
}

/// What `postern dns` prints, as the zones that it is for.
fn zone_of<'a>(printed: &'a str, name: &str) -> Vec<&'a str> {
    let ending = format!("{name}.");
    let is_in = |line: &&str| line.split(' ').next().is_some_and(|owner| owner.ends_with(&ending));
    printed.lines().filter(|line| !line.starts_with(';')).filter(is_in).collect()
}

fn published(corp: &str, own: &str) -> NameServer {
    let zone = |name, records| Zone { name, signing: Signing::Nsec, records };
    NameServer::start(&[zone("corp.test", corp), zone("postern.test", own)])
}

#[test]
fn what_dns_prints_satisfies_verify_and_what_is_missing_or_wrong_is_told() {
    needs!(KNOT);
    let hidden = SocketAddr::from(([127, 0, 0, 1], 9));
    let state = Scratch::new("state");
    let folder = state.folder("state", "nobody");
    let authority = Authority::new();
    let certificate = authority.certify(&["mx.postern.test"]);
    let options = |resolver: &str| Options {
        config: format!("{}{resolver}", postern::backend(&["corp.test"], hidden, "")),
        certificate: Some(certificate.clone()),
        state: Some(folder.clone()),
        ..Options::default()
    };
    let mut first = Postern::start(&options(""));
    let printed = first.ask(&["dns"]).output;
    first.restart(Signal::SIGTERM);
    // How far a policy has got is told beside the records, and is known a moment after a start only.
    let records = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
    };
    assert_eq!(records(&first.ask(&["dns"]).output), records(&printed), "keys stay");
    first.stop();
    let corp = zone_of(&printed, "corp.test");
    let own = format!("{}\nmx A 127.0.0.1\n", zone_of(&printed, "postern.test").join("\n"));
    assert_eq!(corp.len(), 8, "{printed}");
    assert!(own.contains("_25._tcp.mx.postern.test. IN TLSA 3 1 1 "), "{printed}");
    let without = |purpose: &str| {
        corp.iter().filter(|line| !line.contains(purpose)).copied().collect::<Vec<_>>().join("\n")
    };
    let all = corp.join("\n");
    for (corp, own, status, says) in [
        (all.clone(), own.clone(), 0, ""),
        (without("_dmarc"), own.clone(), 1, "MISSING: It is not published."),
        (without("-ed25519"), own.clone(), 1, "MISSING: The key is not published"),
        (without("v=spf1"), own.clone(), 1, "MISSING: There is no SPF record."),
        (
            all.replace("a:mx.postern.test", "ip4:192.0.2.1"),
            own.clone(),
            1,
            "WRONG: The SPF record says fail of 127.0.0.1.",
        ),
        (all.replace("; id=", "; id=1"), own.clone(), 1, "WRONG: The id is another one"),
        (format!("{all}\n@ MX 20 elsewhere.test.\n"), own.clone(), 1, "also to elsewhere.test, past Postern"),
        (all.clone(), own.replace("3 1 1 ", "3 1 1 00"), 1, "WRONG: Other records are published"),
    ] {
        // Of one octet more, so that what is there is another record and still one.
        let own =
            own.replace("3 1 1 00", "3 1 2 0000000000000000000000000000000000000000000000000000000000000000");
        let names = published(&corp, &own);
        let resolver = format!(
            "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n",
            names.address(),
            names.anchor()
        );
        let mut postern = Postern::start(&options(&resolver));
        let ended = postern.ask(&["dns", "--verify"]);
        assert_eq!(ended.code, Some(status), "{says}\n{}", ended.output);
        assert!(ended.output.contains(says), "{says}\n{}", ended.output);
        postern.stop();
    }
}

#[test]
fn dns_of_a_domain_that_is_not_here_and_of_a_silent_name_server_are_told_apart() {
    let hidden = SocketAddr::from(([127, 0, 0, 1], 9));
    let config =
        format!("{}[resolver]\nservers = [\"127.0.0.1:9\"]\n", postern::backend(&["corp.test"], hidden, ""));
    let postern = Postern::start(&Options { config, ..Options::default() });
    let ended = postern.ask(&["dns", "nowhere.test"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.output.contains("corp.test"), "{}", ended.output);
    assert_eq!(postern.ask(&["dns", "corp.test", "--verify"]).code, Some(3));
}
