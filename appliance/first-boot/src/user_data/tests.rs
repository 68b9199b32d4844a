use super::*;
use crate::note::Weight;

/// A reader of a made-up config: `hostname` is required, `size` is a number, everything else is unknown.
fn reader(text: &str) -> Result<Accepted, Vec<Complaint>> {
    let complaint = |key: &str, words: &str| {
        let line =
            text.lines().position(|line| line.contains(key.rsplit('.').next().unwrap())).unwrap_or(0) + 1;
        vec![Complaint { line, column: 1, key: key.to_owned(), words: words.to_owned() }]
    };
    let table: toml::Table = text.parse().map_err(|_| complaint("", "invalid TOML; expected valid TOML"))?;
    if let Some(backends) = table.get("backend").and_then(|value| value.as_array()) {
        for (at, backend) in backends.iter().enumerate() {
            if backend.get("size").is_some_and(|size| !size.is_integer()) {
                return Err(complaint(&format!("backend[{at}].size"), "is a string; expected a number"));
            }
        }
    }
    match table.get("hostname").and_then(|value| value.as_str()) {
        Some(hostname) => Ok(Accepted { hostname: hostname.to_owned() }),
        None => Err(complaint("hostname", "is missing; expected a name")),
    }
}

fn refused(wishes: &Wishes) -> Vec<String> {
    let refused = wishes.notes.iter().filter(|note| note.weight == Weight::Refused);
    refused.map(|note| note.words.clone()).collect()
}

#[test]
fn a_config_is_taken_as_it_came() {
    let text = "hostname = \"mx1.example.net\" # ours\n";
    let wishes = read(text.as_bytes(), &reader);
    assert_eq!(wishes.settings.as_deref(), Some(text));
    assert_eq!(wishes.settings_hostname.unwrap().as_str(), "mx1.example.net");
    assert!(!wishes.incomplete && wishes.notes.is_empty());
}

#[test]
fn a_bad_config_is_refused_in_the_readers_words_with_line_and_column() {
    let wishes = read(b"x = 1\n[[backend]]\nsize = \"a\"\n", &reader);
    assert_eq!(refused(&wishes), ["user-data:3:1: backend[0].size: is a string; expected a number"]);
    assert!(wishes.incomplete && wishes.settings.is_none());
    let wishes = read(b"hostname: mx1\n", &reader);
    assert!(refused(&wishes)[1].contains("begins with the line `#cloud-config`"), "{wishes:?}");
}

#[test]
fn what_asks_to_be_executed_unpacked_or_fetched_is_refused_with_a_reason() {
    for (bytes, reason) in [
        (&b"#!/bin/sh\ntouch /x\n"[..], "script"),
        (b"#cloud-boothook\nx", "executed"),
        (b"#cloud-config-archive\n- x", "archives"),
        (b"#part-handler\n", "executed"),
        (b"#upstart-job\n", "executed"),
        (b"#include\nhttps://example.net/x", "fetch"),
        (b"#include-once\nhttps://example.net/x", "fetch"),
        (b"## template: jinja\n#cloud-config\n", "jinja"),
        (b"Content-Type: multipart/mixed; boundary=x\n\n", "MIME"),
        (b"mime-version: 1.0\n\n", "MIME"),
        (b"{\"ignition\": {}}", "Ignition"),
        (b"#cloud-config # ours\n", "first line"),
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b"\xff\xfe", "UTF-8"),
    ] {
        let wishes = read(bytes, &reader);
        assert!(wishes.incomplete && wishes.settings.is_none(), "{wishes:?}");
        assert!(refused(&wishes)[0].contains(reason), "{reason}: {wishes:?}");
    }
    let wishes = read(&vec![b'#'; 300 << 10], &reader);
    assert!(refused(&wishes)[0].contains("at most 262144"));
}

#[test]
fn a_cloud_config_gives_name_time_network_and_settings() {
    let text = "#cloud-config\nfqdn: MX1.example.net\nhostname: mx1\nntp:\n  servers: [ntp.example.net]\n  pools: 192.0.2.1\n\
                network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n\
                postern:\n  backend:\n  - domains: [example.net]\n    size: 7\n    on: true\n    word: 'true'\n  state: yes\n";
    let wishes = read(text.as_bytes(), &reader);
    assert!(!wishes.incomplete, "{wishes:?}");
    assert_eq!(wishes.hostname.unwrap().as_str(), "mx1.example.net");
    let servers: Vec<String> = wishes.time_servers.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["ntp.example.net", "192.0.2.1"]);
    assert_eq!(wishes.network.unwrap().interfaces.len(), 1);
    let settings: toml::Table = wishes.settings.unwrap().parse().unwrap();
    let expected: toml::Table =
        "hostname = \"mx1.example.net\"\nstate = \"yes\"\n[[backend]]\ndomains = [\"example.net\"]\n\
                                 size = 7\non = true\nword = \"true\"\n"
            .parse()
            .unwrap();
    assert_eq!(settings, expected);
    assert!(wishes.notes.is_empty(), "{:?}", wishes.notes);
}

#[test]
fn settings_may_stand_in_a_cloud_config_as_text() {
    let text = "#cloud-config\npostern: |\n  hostname = \"mx1.example.net\"\n";
    let wishes = read(text.as_bytes(), &reader);
    assert_eq!(wishes.settings.as_deref(), Some("hostname = \"mx1.example.net\"\n"));
    let wishes = read(b"#cloud-config\npostern: |\n  size = 1\n", &reader);
    assert_eq!(
        refused(&wishes),
        ["user-data: postern, line 1, column 1: hostname: is missing; expected a name"]
    );
}

#[test]
fn a_mistake_in_the_block_is_named_where_it_stands_in_the_yaml() {
    let text = "#cloud-config\npostern:\n  hostname: mx1.example\n  backend:\n  - size: 1\n  - size: a\n";
    let wishes = read(text.as_bytes(), &reader);
    assert_eq!(refused(&wishes), ["user-data:6:11: postern.backend[1].size: is a string; expected a number"]);
    assert!(wishes.incomplete);
    for (block, wrong) in [("[1]", "a map of the keys"), ("{a: ~, hostname: x.y}", "nothing stands there")] {
        let wishes = read(format!("#cloud-config\npostern: {block}\n").as_bytes(), &reader);
        assert!(refused(&wishes)[0].contains(wrong), "{wishes:?}");
    }
}

#[test]
fn what_would_change_the_machine_is_refused_key_by_key_and_the_rest_is_taken() {
    let text = "#cloud-config\nhostname: mx1\nssh_authorized_keys: [ssh-ed25519 AAAA]\nruncmd:\n- touch /x\n\
                bootcmd: [x]\nwrite_files: []\nusers: [default]\nmanage_etc_hosts: true\nmade_up: 1\n";
    let wishes = read(text.as_bytes(), &reader);
    assert_eq!(wishes.hostname.as_ref().unwrap().as_str(), "mx1");
    let refused = refused(&wishes);
    for key in ["ssh_authorized_keys", "runcmd", "bootcmd", "write_files", "users"] {
        assert!(refused.iter().any(|words| words.contains(&format!(": {key}: "))), "{key}: {refused:?}");
    }
    assert_eq!(refused.len(), 5);
    assert!(wishes.notes.iter().any(|note| note.words.ends_with("made_up: no key that Postern knows here")));
    // It is not read again and again for what it will never give.
    assert!(!wishes.incomplete);
}

#[test]
fn values_that_cannot_be_are_refused_and_the_seed_is_read_again() {
    for (text, wrong) in [
        ("hostname: a b", "user-data:2:11: hostname: `a b` is not a host name"),
        ("ntp: {servers: [a b]}", "ntp.servers[0]: `a b` is not a time server"),
        ("network: {version: 3}", "user-data: network:2:20: version: `3` is not a whole number from 1 to 2"),
        ("- x", "a list is no map"),
        ("a: [", "it is not YAML"),
    ] {
        let wishes = read(format!("#cloud-config\n{text}\n").as_bytes(), &reader);
        assert!(wishes.incomplete, "{text}");
        assert!(refused(&wishes)[0].contains(wrong), "{text}: {wishes:?}");
    }
}
