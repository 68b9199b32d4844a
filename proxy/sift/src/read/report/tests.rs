use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;
use crate::report::{Disposition, DmarcReport, MAX_FAILURES, MAX_POLICIES, MAX_ROWS, TlsReport};

const NAME: &str = "receiver.test!corp.test!1795219200!1795305599.xml.gz";

/// As RFC 9990 has it, in its namespace, and with what RFC 7489 has besides.
const DMARC: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>R&amp;D of <![CDATA[<Receiver>]]>&#x21;</org_name>
    <email>dmarc@receiver.test</email>
    <report_id>1795219200-corp.test</report_id>
    <date_range><begin>1795219200</begin><end>1795305599</end></date_range>
  </report_metadata>
  <policy_published><domain>Corp.test.</domain><p>quarantine</p><sp>none</sp><pct>100</pct></policy_published>
  <record>
    <row>
      <source_ip>192.0.2.1</source_ip><count>12</count>
      <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated>
    </row>
    <identifiers><header_from>corp.test</header_from><envelope_from/></identifiers>
    <auth_results>
      <dkim><domain>corp.test</domain><selector>a</selector><result>pass</result></dkim>
      <dkim><domain>list.test</domain><result>fail</result></dkim>
      <spf><domain>list.test</domain><scope>mfrom</scope><result>pass</result></spf>
    </auth_results>
  </record>
  <x:extension xmlns:x="urn:x"><x:row><x:source_ip>198.51.100.1</x:source_ip></x:row></x:extension>
  <record>
    <row>
      <source_ip>::ffff:203.0.113.9</source_ip><count>3</count>
      <policy_evaluated>
        <disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf>
        <reason><type>local_policy</type><comment>arc=pass</comment></reason>
      </policy_evaluated>
    </row>
    <identifiers><header_from>corp.test</header_from></identifiers>
    <auth_results><spf><domain>evil.test</domain><result>softfail</result></spf></auth_results>
  </record>
</feedback>"#;

const TLS: &str = r#"{"organization-name":"Receiver","date-range":{"start-datetime":"2026-11-21T00:00:00Z","end-datetime":
 "2026-11-21T23:59:59Z"},"contact-info":"tls@receiver.test","report-id":"1","policies":[{"policy":{"policy-type":"sts",
 "policy-string":["version: STSv1"],"policy-domain":"Corp.Test","mx-host":["mx.corp.test"]},"summary":
 {"total-successful-session-count":5326,"total-failure-session-count":303},"failure-details":[{"result-type":
 "certificate-expired","sending-mta-ip":"2001:db8::1","receiving-mx-hostname":"mx.corp.test","receiving-ip":null,
 "failed-session-count":100}]},{"policy":{"policy-type":"no-policy-found","policy-domain":"corp.test"},"summary":
 {"total-successful-session-count":1}}]}"#;

fn gzipped(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// An archive of one member and no directory, as some write it.
fn zipped(octets: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets).unwrap();
    let packed = encoder.finish().unwrap();
    let length = |octets: &[u8]| u32::try_from(octets.len()).unwrap().to_le_bytes();
    let head =
        [&b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0"[..], &length(&packed), &length(octets)].concat();
    [&head[..], b"\x05\0\0\0a.xml", &packed].concat()
}

fn read(media_type: &str, name: &str, octets: &[u8]) -> Option<Report> {
    let report = of(Label { media_type, name }, octets);
    assert!(report.as_ref().is_none_or(Report::is_within_bounds), "{report:?}");
    report
}

fn dmarc(octets: &[u8]) -> Result<DmarcReport, String> {
    match read("application/octet-stream", NAME, octets).unwrap() {
        Report::Dmarc(report) => Ok(report),
        Report::Unreadable(why) => Err(why),
        Report::Tls(report) => panic!("{report:?}"),
    }
}

fn tls(json: &str) -> Result<TlsReport, String> {
    match read("application/tlsrpt+json", "", json.as_bytes()).unwrap() {
        Report::Tls(report) => Ok(report),
        Report::Unreadable(why) => Err(why),
        Report::Dmarc(report) => panic!("{report:?}"),
    }
}

#[test]
fn dmarc_is_read_however_it_is_packed() {
    let report = dmarc(DMARC.as_bytes()).unwrap();
    assert_eq!(report.reporter.organization, "R&D of <Receiver>!");
    assert_eq!((report.reporter.begin, report.reporter.end), (1_795_219_200, 1_795_305_599));
    assert_eq!((&*report.domain, &*report.policy, report.rows.len()), ("corp.test", "quarantine", 2));
    let [own, other] = &report.rows[..] else { panic!("{report:?}") };
    assert_eq!(
        (own.source.to_string().as_str(), own.messages, own.dkim, own.spf),
        ("192.0.2.1", 12, true, false)
    );
    let signers: Vec<_> = own.signatures.iter().map(|one| (&*one.domain, &*one.result)).collect();
    assert_eq!(signers, [("corp.test", "pass"), ("list.test", "fail")]);
    assert_eq!((&*own.sender.domain, &*own.sender.result), ("list.test", "pass"));
    assert_eq!((other.source.to_string().as_str(), other.disposition), ("203.0.113.9", Disposition::Reject));
    assert_eq!((&*other.overridden, &*other.sender.result), ("local_policy", "softfail"));
    for packed in [gzipped(DMARC.as_bytes()), zipped(DMARC.as_bytes())] {
        assert_eq!(dmarc(&packed).as_ref(), Ok(&report));
    }
}

#[test]
fn tls_is_read_by_its_type_and_by_its_name() {
    let report = tls(TLS).unwrap();
    assert_eq!((report.reporter.begin, report.reporter.end), (1_795_219_200, 1_795_305_599));
    let [sts, none] = &report.policies[..] else { panic!("{report:?}") };
    assert_eq!((&*sts.kind, &*sts.domain, sts.succeeded, sts.failed), ("sts", "corp.test", 5326, 303));
    assert_eq!((&*sts.failures[0].result, sts.failures[0].sessions), ("certificate-expired", 100));
    assert_eq!((none.failed, none.failures.len()), (0, 0));
    let by_name = read("application/octet-stream", "a!b!1!2.json.gz", &gzipped(TLS.as_bytes()));
    assert_eq!(by_name, Some(Report::Tls(report)));
}

#[test]
fn what_is_called_something_else_is_no_report() {
    assert_eq!(read("application/gzip", "letter.xml.gz", DMARC.as_bytes()), None);
    assert_eq!(read("text/xml", "", DMARC.as_bytes()), None);
}

#[test]
fn what_cannot_be_read_says_why() {
    let bomb = gzipped(&vec![b' '; MAX_UNPACKED + 1]);
    let deep = format!("<feedback>{}", "<a>".repeat(100));
    let entity = "<!DOCTYPE feedback [<!ENTITY a \"aaaaaaaaaa\">]><feedback/>";
    for (octets, why) in [
        (&b""[..], "empty"),
        (&bomb, "8 MiB"),
        (&gzipped(DMARC.as_bytes())[..200], "unpacked"),
        (b"PK\x05\x06", "zip"),
        (DMARC.split("</feedback>").next().unwrap().as_bytes(), "breaks off"),
        (deep.as_bytes(), "too deep"),
        (entity.as_bytes(), "document type"),
        (b"<feedback>&a;</feedback>", "entities"),
        (b"<feedback></b>", "no XML"),
        (b"<html><body/></html>", "no report"),
        (b"hello", "no report"),
    ] {
        let said = dmarc(octets).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
    for json in ["", "[]", "{\"policies\":[]}", &"[".repeat(100_000), &TLS.replace("T00:00", "yesterday")] {
        assert!(tls(json).is_err(), "{json}");
    }
}

#[test]
fn no_list_is_longer_than_is_kept_and_what_is_left_out_is_counted() {
    let record = "<record><row><source_ip>192.0.2.1</source_ip><count>2</count></row></record>";
    let without = "<record><row><source_ip>nowhere</source_ip><count>5</count></row></record>";
    let many = format!(
        "<feedback><policy_published><domain>x.test</domain></policy_published>{}{without}</feedback>",
        record.repeat(MAX_ROWS + 7)
    );
    let report = dmarc(many.as_bytes()).unwrap();
    assert_eq!((report.rows.len(), report.left_out, report.left_out_messages), (MAX_ROWS, 8, 19));
    let long = format!(
        "<feedback><policy_published><domain>{}</domain></policy_published><record><row><source_ip>192.0.2.1</source_ip>\
         </row><auth_results>{}</auth_results></record></feedback>",
        "\u{fc}".repeat(100_000),
        "<dkim><domain>a</domain></dkim>".repeat(1000)
    );
    assert_eq!(dmarc(long.as_bytes()).unwrap().rows[0].signatures.len(), 3);
    let details = vec!["{\"result-type\":\"x\"}"; 150].join(",");
    let policy = format!(
        "{{\"policy\":{{\"policy-type\":\"sts\",\"policy-domain\":\"x\"}},\"summary\":{{}},\"failure-details\":[{details}]}}"
    );
    let json = format!(
        "{{\"date-range\":{{\"start-datetime\":\"2026-11-21T00:00:00Z\",\"end-datetime\":\"2026-11-22T00:00:00Z\"}},\
         \"policies\":[{}]}}",
        vec![policy; MAX_POLICIES + 1].join(",")
    );
    let report = tls(&json).unwrap();
    let failures: usize = report.policies.iter().map(|policy| policy.failures.len()).sum();
    assert_eq!((report.policies.len(), failures), (MAX_POLICIES, MAX_FAILURES));
    let left_out = u32::try_from(MAX_POLICIES * 150 - MAX_FAILURES + 1).unwrap();
    assert_eq!(report.left_out, left_out);
}

#[test]
fn words_steer_no_terminal() {
    assert_eq!(word(" a\u{1b}[31m\u{202e}b\r\n"), "a[31mb");
    assert_eq!(domain(" Corp.Test. "), "corp.test");
    assert_eq!(word(&"\u{fc}".repeat(1000)).len(), 254);
}
