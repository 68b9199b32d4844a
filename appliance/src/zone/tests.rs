use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config;

const NOW: Duration = Duration::from_secs(1_795_219_200);

fn facts(more: &str) -> Facts {
    let text = format!(
        "hostname = \"mx1.example.net\"\n{more}\n[[backend]]\ndomains = [\"Example.net\", \"other.example\"]\nservers = [\"10.0.0.10\"]\n"
    );
    Facts::new(&config::parse(&text, Path::new("p.toml")).unwrap())
}

fn lines(facts: &Facts, wanted: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(folder.path(), "postern", Arc::new(record::SimulatedClock::starting_at(NOW)));
    let wanted: Vec<_> = wanted.iter().map(|&one| one.to_owned()).collect();
    let own = Association { host: "mx1.example.net".into(), digest: [0xAB; 32], serves: true };
    let report = facts.records(&wanted, &keys, &[own]).unwrap();
    report.zones.iter().flat_map(|zone| &zone.records).map(line).collect()
}

#[tokio::test]
async fn a_domain_has_all_its_records() {
    let found = lines(&facts(""), &["example.net"]);
    let begins = [
        "example.net. IN MX 10 mx1.example.net.",
        "example.net. IN TXT \"v=spf1 a:mx1.example.net -all\"",
        "postern-202611._domainkey.example.net. IN TXT \"v=DKIM1; k=rsa; p=MIIB",
        "postern-202611-ed25519._domainkey.example.net. IN TXT \"v=DKIM1; k=ed25519; p=",
        "_dmarc.example.net. IN TXT \"v=DMARC1; p=none; rua=mailto:reports@mx1.example.net\"",
        "_mta-sts.example.net. IN TXT \"v=STSv1; id=",
        "mta-sts.example.net. IN CNAME mx1.example.net.",
        "_smtp._tls.example.net. IN TXT \"v=TLSRPTv1; rua=mailto:reports@mx1.example.net\"",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (line, begin) in found.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[tokio::test]
async fn who_gets_reports_for_another_domain_says_so_in_the_dns() {
    let found = lines(&facts(""), &["other.example"]);
    let consent = "other.example._report._dmarc.mx1.example.net. IN TXT \"v=DMARC1\"";
    assert!(found.contains(&consent.to_owned()), "{found:#?}");
}

#[tokio::test]
async fn without_a_domain_the_appliances_own_records_come_last() {
    let found = lines(
        &facts("[outbound]\naddresses = [\"192.0.2.7\", \"2001:db8::7\"]\ndkim = { enabled = false }\n"),
        &[],
    );
    let last: Vec<_> = found.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(last[0], format!("_25._tcp.mx1.example.net. IN TLSA 3 1 1 {}", "ab".repeat(32)));
    assert_eq!(last[1], "7.2.0.192.in-addr.arpa. IN PTR mx1.example.net.");
    assert!(
        last[2].starts_with("7.0.0.0.")
            && last[2].ends_with(".8.b.d.0.1.0.0.2.ip6.arpa. IN PTR mx1.example.net.")
    );
    assert!(found.contains(&"example.net. IN TXT \"v=spf1 ip4:192.0.2.7 ip6:2001:db8::7 -all\"".to_owned()));
    assert!(!found.iter().any(|line| line.contains("_domainkey")));
}

#[tokio::test]
async fn what_others_decide_is_a_note_and_no_record() {
    let found = lines(&facts("[outbound]\nrelay = \"smarthost.example:587\"\n"), &["example.net"]);
    assert!(!found.iter().any(|line| line.contains("v=spf1")), "{found:#?}");
}

#[test]
fn long_texts_are_several_strings_and_quotes_are_escaped() {
    let text = format!("{}\"\\", "a".repeat(255));
    assert_eq!(strings(&text), format!("\"{}\" \"\\\"\\\\\"", "a".repeat(255)));
    assert_eq!(strings(""), "\"\"");
}
