//! Keys: RSA beside ECDSA, rolls before their time, and the account's own, which no crash may lose.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use postern_tests::child;
use postern_tests::nameserver::{KEY, KNOT, NameServer};
use postern_tests::needs;
use postern_tests::needs::{Need, cache};
use postern_tests::pebble::{self, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::Postern;
use postern_tests::sink::Sink;
use serde_json::Value;

use super::{LIMIT, SINK, becomes_believed, dns_update, is_believed, listed, options, zones};

const SSLYZE: &[Need] = &[Need::Cached("python/sslyze/bin/sslyze")];

/// What a client gets that can verify these signatures alone, and whether it believes what it gets.
fn handshake(postern: &Postern, pebble: &Pebble, version: &str, algorithms: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-brief", "-starttls", "smtp", "-servername", "mx.postern.test", version]);
    openssl.args(["-sigalgs", algorithms, "-verify_return_error", "-verify_hostname", "mx.postern.test"]);
    openssl.arg("-CAfile").arg(pebble.root()).args(["-connect", &postern.smtp().to_string()]);
    child::run(&openssl, LIMIT).output
}

fn records(postern: &Postern) -> Vec<String> {
    let output = postern.ask(&["certs", "tlsa"]).output;
    output.lines().filter(|line| line.starts_with("_25._tcp.mx.postern.test.")).map(str::to_owned).collect()
}

fn host(postern: &Postern) -> Value {
    let hosts = listed(postern)["certifying"]["tlsa"].as_array().cloned().unwrap_or_default();
    hosts.into_iter().find(|host| host["host"] == "mx.postern.test").unwrap_or_default()
}

/// With its own records in its zone.
fn dane(sink: &Sink, names: &NameServer, pebble: &Pebble, more: &str) -> Postern {
    let mut options = options(sink, names, pebble.acme("http-01", more), pebble.http());
    options.config.push_str(&dns_update(names, KEY.1));
    let postern = Postern::start(&options);
    becomes_believed(&postern, pebble, &pebble.root(), "mx.postern.test");
    postern
}

fn becomes_right(postern: &Postern) -> Value {
    let right = || Some(host(postern)).filter(|host| host["state"] == "right");
    ports::wait_until(LIMIT, right).unwrap_or_else(|| panic!("{}\n{}", host(postern), postern.log()))
}

/// The digests in lines of a zone file, in their own order.
fn digests(lines: &[String]) -> Vec<String> {
    let mut digests: Vec<_> =
        lines.iter().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect();
    digests.sort();
    digests
}

/// What somebody finds published who has never asked before.
fn published(names: &NameServer) -> Vec<String> {
    let settings = ::dns::Settings {
        servers: vec![names.address()],
        trust: ::dns::Trust::File(names.anchor()),
        ..::dns::Settings::default()
    };
    let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let resolver = ::dns::Resolver::new(&settings).unwrap();
        resolver.tlsa(&"mx.postern.test".parse().unwrap(), 25).await
    });
    let digest = |record: &::dns::Tlsa| record.data.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut digests: Vec<String> = found.unwrap().records.iter().map(digest).collect();
    digests.sort();
    digests
}

#[test]
fn each_client_gets_the_kind_of_key_that_it_can_verify() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern =
        Postern::start(&options(&sink, &names, pebble.acme("http-01", "rsa = true"), pebble.http()));
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    let of_rsa = |version, algorithms| {
        let got = handshake(&postern, &pebble, version, algorithms);
        (got.contains("Verification: OK") && got.contains("Signature type: RSA-PSS")).then_some(())
    };
    let came = || of_rsa("-tls1_3", "rsa_pss_rsae_sha256");
    assert!(ports::wait_until(LIMIT, came).is_some(), "{}\n{}", listed(&postern), postern.log());
    assert!(of_rsa("-tls1_2", "RSA-PSS+SHA256").is_some());
    for (version, algorithms) in [
        ("-tls1_3", "ecdsa_secp256r1_sha256"),
        ("-tls1_2", "ECDSA+SHA256"),
        ("-tls1_3", "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256"),
    ] {
        let got = handshake(&postern, &pebble, version, algorithms);
        assert!(
            got.contains("Verification: OK") && got.contains("Signature type: ECDSA"),
            "{algorithms}: {got}"
        );
    }
    let four = || Some(records(&postern)).filter(|records| records.len() == 4);
    assert!(ports::wait_until(LIMIT, four).is_some(), "{:?}", records(&postern));
}

#[test]
fn where_records_are_published_a_new_kind_of_key_is_promised_before_it_serves() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern = dane(&sink, &names, &pebble, "rsa = true");
    assert_eq!(becomes_right(&postern)["published"].as_array().map(Vec::len), Some(4));
    let got = handshake(&postern, &pebble, "-tls1_3", "rsa_pss_rsae_sha256");
    assert!(!got.contains("Verification: OK"), "{got}");
    let orders = listed(&postern)["certifying"]["orders"].clone();
    let rsa = orders.as_array().into_iter().flatten().find(|order| order["id"] == "mail-rsa").cloned();
    assert_eq!(rsa.map(|order| order["attempts"].clone()), Some(0.into()), "{orders}");
}

#[test]
fn the_next_key_serves_when_it_is_ordered_and_its_records_allow_or_at_once() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern = dane(&sink, &names, &pebble, "");
    becomes_right(&postern);
    let before = records(&postern);
    let soon = postern.ask_within(&["certs", "roll", "mail"], LIMIT);
    assert!(soon.success && soon.output.contains("the next key serves from"), "{}", soon.output);
    assert_eq!(records(&postern), before, "its records are young");
    let urgent = postern.ask_within(&["certs", "roll", "mail", "--at-once"], LIMIT);
    assert!(urgent.success, "{}\n{}", urgent.output, postern.log());
    assert_eq!(urgent.output.trim(), "the next key serves");
    let right = || Some(records(&postern)).filter(|now| now.first() == before.get(1) && now != &before);
    assert!(ports::wait_until(LIMIT, right).is_some(), "{:?}\n{}", records(&postern), postern.log());
    // At the primary; who has asked before, as Postern's own resolver, goes on to see the old ones for an hour.
    let wanted = || (published(&names) == digests(&records(&postern))).then_some(());
    assert!(ports::wait_until(LIMIT, wanted).is_some(), "{:?}\n{:?}", published(&names), records(&postern));
    assert!(!published(&names).contains(&digests(&before[..1])[0]));
    assert!(is_believed(&postern, &pebble.root(), "mx.postern.test"));
}

#[test]
fn without_published_records_an_ordered_key_serves_at_once() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    // It serves a moment before its records are looked at.
    let both = || Some(records(&postern)).filter(|records| records.len() == 2);
    let before = ports::wait_until(LIMIT, both).unwrap_or_else(|| panic!("{:?}", records(&postern)));
    let rolled = postern.ask_within(&["certs", "roll", "mail"], LIMIT);
    assert!(rolled.success && rolled.output.contains("the next key serves"), "{}", rolled.output);
    let right = || Some(records(&postern)).filter(|now| now.first() == before.get(1));
    assert!(ports::wait_until(LIMIT, right).is_some(), "{:?}", records(&postern));
    assert!(is_believed(&postern, &pebble.root(), "mx.postern.test"));
}

/// The account as it is kept.
fn account(postern: &Postern) -> (PathBuf, Value) {
    let folder = fs::read_dir(postern.state().join("certificates")).unwrap();
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("account-"));
    let file = folder.filter_map(|entry| Some(entry.ok()?.path())).find(is_it).expect("an account");
    let kept = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    (file, kept)
}

/// Right after a start nobody knows yet which names are wanted.
fn renews(postern: &Postern) {
    let renewed = || postern.ask_within(&["certs", "renew", "mx.postern.test"], LIMIT).success.then_some(());
    assert!(ports::wait_until(LIMIT, renewed).is_some(), "{}", postern.log());
}

#[test]
fn the_accounts_key_is_changed_on_demand_and_no_crash_on_the_way_loses_the_account() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options { refused_nonces: 10, ..pebble::Options::default() });
    let mut postern = Postern::start(&options(&sink, &names, pebble.acme("http-01", ""), pebble.http()));
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    let (file, first) = account(&postern);
    let rolled = postern.ask_within(&["certs", "roll", "account"], LIMIT);
    assert!(rolled.success && rolled.output.contains("a new key"), "{}\n{}", rolled.output, postern.log());
    let (_, second) = account(&postern);
    let key = |kept: &Value| kept["credentials"]["key_pkcs8"].clone();
    assert_ne!(key(&second), key(&first));
    assert_eq!(second["credentials"]["id"], first["credentials"]["id"]);
    // Killed when the CA had taken the new key and nobody knew; then, when it had been asked and had not taken it.
    for (current, successor) in [(&first, &second), (&second, &first)] {
        let mut left = current.clone();
        left["successor"] = key(successor);
        postern.kill();
        fs::write(&file, left.to_string()).unwrap();
        postern.start_again();
        renews(&postern);
        let (_, settled) = account(&postern);
        assert_eq!((key(&settled), &settled["successor"]), (key(&second), &Value::Null));
        assert_eq!(settled["credentials"]["id"], first["credentials"]["id"], "it is the same account");
    }
    postern.restart(Signal::SIGTERM);
    renews(&postern);
}

/// Numbers that are too large for one, as those of keys are, as strings.
fn quoted(json: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((name, rest)) => {
            let number = rest.trim_end_matches(',');
            let is_large = number.len() > 18 && number.bytes().all(|octet| octet.is_ascii_digit());
            if is_large {
                line.replace(&format!(": {number}"), &format!(": \"{number}\""))
            } else {
                format!("{name}: {rest}")
            }
        }
        None => line.to_owned(),
    };
    json.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Which suites of a version sslyze was given.
fn suites(scan: &Value, version: &str) -> Vec<String> {
    let accepted = scan[version]["result"]["accepted_cipher_suites"].as_array().cloned();
    let name = |one: Value| one["cipher_suite"]["name"].as_str().map(str::to_owned);
    accepted.unwrap_or_default().into_iter().filter_map(name).collect()
}

#[test]
fn sslyze_finds_both_chains_whole_and_nothing_without_forward_secrecy() {
    needs!(SINK, KNOT, PEBBLE, SSLYZE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let postern =
        Postern::start(&options(&sink, &names, pebble.acme("http-01", "rsa = true"), pebble.http()));
    let rsa = || {
        let got = handshake(&postern, &pebble, "-tls1_3", "rsa_pss_rsae_sha256");
        got.contains("Verification: OK").then_some(())
    };
    assert!(ports::wait_until(LIMIT, rsa).is_some(), "{}\n{}", listed(&postern), postern.log());
    let out = postern.beside("sslyze.json");
    let mut sslyze = Command::new(cache().join("python/sslyze/bin/sslyze"));
    sslyze.args(["--starttls=smtp", "--certinfo", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2"]);
    sslyze.args(["--tlsv1_3", "--compression", "--heartbleed", "--openssl_ccs", "--early_data"]);
    sslyze.arg("--certinfo_ca_file").arg(pebble.root()).arg("--json_out").arg(&out);
    sslyze.arg(format!("mx.postern.test:{}{{127.0.0.1}}", postern.smtp().port()));
    let ended = child::run(&sslyze, LIMIT);
    assert!(out.exists(), "{}", ended.output);
    let found: Value = serde_json::from_str(&quoted(&fs::read_to_string(&out).unwrap())).unwrap();
    let scan = &found["server_scan_results"][0]["scan_result"];
    let deployments = scan["certificate_info"]["result"]["certificate_deployments"].as_array().cloned();
    let deployments = deployments.unwrap_or_default();
    let mut kinds = Vec::new();
    for one in &deployments {
        let validated = one["path_validation_results"].as_array().cloned().unwrap_or_default();
        let ours = validated.iter().find(|path| path["trust_store"]["name"] == "Supplied CA file");
        assert!(ours.is_some_and(|path| path["was_validation_successful"] == true), "{one}");
        assert_eq!(one["received_chain_has_valid_order"], true, "{one}");
        let key = &one["received_certificate_chain"][0]["public_key"];
        kinds.push((key["algorithm"].as_str().unwrap_or_default().to_owned(), key["key_size"].clone()));
    }
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(kinds, [("ECPublicKey".to_owned(), 256.into()), ("RSAPublicKey".to_owned(), 2048.into())]);
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(suites(scan, &format!("{version}_cipher_suites")), Vec::<String>::new(), "{version}");
    }
    let tls12 = suites(scan, "tls_1_2_cipher_suites");
    let is_good =
        |name: &String| name.contains("_ECDHE_") && (name.contains("_GCM_") || name.contains("_POLY1305_"));
    assert!(!tls12.is_empty() && tls12.iter().all(is_good), "{tls12:?}");
    assert_eq!(suites(scan, "tls_1_3_cipher_suites").len(), 3);
    for (check, flaw) in [
        ("heartbleed", "is_vulnerable_to_heartbleed"),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
        ("tls_compression", "supports_compression"),
        ("tls_1_3_early_data", "supports_early_data"),
    ] {
        assert_eq!(scan[check]["result"][flaw], false, "{check}: {}", scan[check]);
    }
}
