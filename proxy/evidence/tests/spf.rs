//! SPF against zones in memory: what its test suite asks (of the 203 cases of RFC 7208 and the 191 of RFC 4408, where they are
//! there), and cases of our own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use evidence::Verdict;
use evidence::spf::{Question, Record, Unknown, Zone, check_host};
use yaml_rust2::{Yaml, YamlLoader};

#[path = "suites/archive.rs"]
mod archive;

use archive::vectors;

/// Records by name, in lower case.
#[derive(Default)]
struct Written {
    records: HashMap<String, Vec<(String, String)>>,
}

impl Written {
    /// What is written for a name, along CNAMEs; an error where it is written that nobody answers.
    fn of(&self, name: &str, kind: &str) -> Result<Vec<String>, Unknown> {
        let mut name = name.trim_end_matches('.').to_lowercase();
        for _ in 0..8 {
            let Some(records) = self.records.get(&name) else { return Ok(Vec::new()) };
            let of = |wanted: &str| {
                records
                    .iter()
                    .filter(|(kind, _)| kind == wanted)
                    .map(|(_, data)| data.clone())
                    .collect::<Vec<_>>()
            };
            let found = of(kind);
            if !found.is_empty() {
                return Ok(found);
            }
            if let Some(alias) = of("CNAME").into_iter().next() {
                name = alias.to_lowercase();
                continue;
            }
            return if of("TIMEOUT").is_empty() { Ok(Vec::new()) } else { Err(Unknown) };
        }
        Ok(Vec::new())
    }
}

impl Zone for Written {
    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Unknown> {
        // Each character is an octet: what is not ASCII in the suite stands for itself.
        let octets =
            |text: String| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(0xff)).collect();
        Ok(self.of(name, "TXT")?.into_iter().map(octets).collect())
    }

    async fn addresses(&self, name: &str, v4: bool) -> Result<Vec<IpAddr>, Unknown> {
        let found = self.of(name, if v4 { "A" } else { "AAAA" })?;
        Ok(found.iter().filter_map(|address| address.parse().ok()).collect())
    }

    async fn mx(&self, name: &str) -> Result<Vec<String>, Unknown> {
        self.of(name, "MX")
    }

    async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Unknown> {
        let name = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                let nibbles = octets.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        self.of(&name, "PTR")
    }
}

fn check(zone: &Written, client: &str, helo: &str, mail_from: &str) -> Verdict {
    let (local_part, domain) = match mail_from.rsplit_once('@') {
        Some((local_part, domain)) => (local_part, domain),
        None if mail_from.is_empty() => ("", helo),
        None => ("", mail_from),
    };
    let question = Question { client: client.parse().expect("an address"), helo, local_part, domain };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(check_host(zone, question))
}

fn text(yaml: &Yaml) -> String {
    match yaml {
        Yaml::Array(parts) => parts.iter().map(text).collect(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Real(number) => number.clone(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// The suite's records: those of type SPF stand for TXT where a name has no TXT of its own.
fn zone(data: &Yaml) -> Written {
    let mut zone = Written::default();
    for (name, entries) in data.as_hash().expect("zone data") {
        let mut records = Vec::new();
        for entry in entries.as_vec().expect("records") {
            match entry {
                Yaml::String(word) => records.push((word.clone(), String::new())),
                Yaml::Hash(hash) => records.extend(hash.iter().map(|(kind, data)| {
                    let (kind, mut data) = (text(kind), data.clone());
                    if let ("MX", Yaml::Array(parts)) = (kind.as_str(), &data) {
                        data = parts.last().cloned().expect("an exchanger");
                    }
                    (kind, text(&data))
                })),
                other => panic!("{other:?}"),
            }
        }
        let has_text = records.iter().any(|(kind, _)| kind == "TXT");
        records.retain(|(kind, data)| !(kind == "TXT" && data == "NONE"));
        for (kind, _) in &mut records {
            if kind == "SPF" && !has_text {
                *kind = "TXT".into();
            }
        }
        zone.records.insert(text(name).to_lowercase(), records);
    }
    zone
}

/// Of a suite, how many cases there are, and those that come out in no way that it allows.
fn run(file: &Path) -> (usize, Vec<String>) {
    let suite = String::from_utf8_lossy(&std::fs::read(file).expect("a suite")).into_owned();
    let (mut number, mut wrong) = (0, Vec::new());
    for scenario in YamlLoader::load_from_str(&suite).expect("YAML") {
        let zone = zone(&scenario["zonedata"]);
        for (name, case) in scenario["tests"].as_hash().expect("tests") {
            number += 1;
            let field = |name: &str| text(&case[name]);
            let verdict = check(&zone, &field("host"), &field("helo"), &field("mailfrom")).name();
            let allowed: Vec<String> = match &case["result"] {
                Yaml::Array(results) => results.iter().map(text).collect(),
                result => vec![text(result)],
            };
            if !allowed.iter().any(|result| result == verdict) {
                wrong.push(format!("{}: {verdict} and not {allowed:?}", text(name)));
            }
        }
    }
    (number, wrong)
}

#[test]
fn the_suite_of_rfc_7208_comes_out_as_it_should() {
    let Some(place) = vectors() else { return };
    let (number, wrong) = run(&place.path().join("auth-vectors/spf/rfc7208-tests.yml"));
    assert_eq!(number, 203);
    assert!(wrong.is_empty(), "{} of {number}:\n{}", wrong.len(), wrong.join("\n"));
}

fn domain(record: &str) -> Written {
    let mut zone = Written::default();
    zone.records
        .insert("d.example".into(), vec![("TXT".into(), record.into()), ("A".into(), "192.0.2.1".into())]);
    zone
}

#[test]
fn a_record_with_one_fault_says_nothing_even_where_it_would_pass_before() {
    for (record, verdict) in [
        ("v=spf1 ip4:192.0.2.0/24 -all", Verdict::Pass),
        ("v=spf1 ip4:192.0.2.0/33 -all", Verdict::PermError),
        ("v=spf1 ip4:192.0.2.0/024 -all", Verdict::PermError),
        ("v=spf1 +all ip4:x", Verdict::PermError),
        ("v=spf1 a//129 +all", Verdict::PermError),
        ("v=spf1 redirect=a.example redirect=b.example +all", Verdict::PermError),
        ("v=spf1 include:%{z}.example +all", Verdict::PermError),
        ("v=spf1 moo +all", Verdict::PermError),
        ("v=spf1 moo=%{d} -all", Verdict::Fail),
        ("v=spf10 +all", Verdict::None),
        ("v=spf1", Verdict::Neutral),
        ("V=SPF1 A ~ALL", Verdict::Pass),
    ] {
        assert_eq!(check(&domain(record), "192.0.2.1", "h.example", "a@d.example"), verdict, "{record}");
    }
}

#[test]
fn what_a_record_may_ask_for_is_bounded() {
    let mut endless = domain("v=spf1 include:d.example +all");
    assert_eq!(check(&endless, "192.0.2.9", "h.example", "a@d.example"), Verdict::PermError);
    let nothing = "v=spf1 exists:a.d.example exists:b.d.example exists:c.d.example +all";
    assert_eq!(check(&domain(nothing), "192.0.2.9", "h.example", "a@d.example"), Verdict::PermError);
    endless.records.insert("d.example".into(), vec![("TIMEOUT".into(), String::new())]);
    assert_eq!(check(&endless, "192.0.2.9", "h.example", "a@d.example"), Verdict::TempError);
    assert!("v=spf1 a:%{d}.%{l1r-}.example".parse::<Record>().is_ok());
    assert!("v=spf1 a:%{d0}".parse::<Record>().is_err());
}
