use super::*;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType};

/// A certificate with these host names, which need not be any, and these addresses.
fn certificate(hosts: &[&str], addresses: &[&str]) -> Vec<u8> {
    let hosts = hosts.iter().map(|&host| SanType::DnsName(host.try_into().unwrap()));
    let addresses = addresses.iter().map(|address| SanType::IpAddress(address.parse().unwrap()));
    let mut params = CertificateParams::default();
    params.subject_alt_names = hosts.chain(addresses).collect();
    signed(&params)
}

fn signed(params: &CertificateParams) -> Vec<u8> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

/// A certificate whose extension of alternative names has this content.
fn with_raw_names(content: Vec<u8>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
    signed(&params)
}

fn with_common_name(name: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    signed(&params)
}

fn names(certificate: Vec<u8>) -> Vec<String> {
    Chain::new(&[certificate]).names().iter().map(ToString::to_string).collect()
}

#[test]
fn hosts_wildcards_and_addresses_are_read_in_order() {
    let certificate = certificate(
        &["MX1.Example.net", "*.example.net", "_mta-sts.example.org"],
        &["192.0.2.1", "2001:db8::1"],
    );
    assert_eq!(
        names(certificate),
        ["mx1.example.net", "*.example.net", "_mta-sts.example.org", "192.0.2.1", "2001:db8::1"]
    );
}

#[test]
fn what_is_no_name_is_left_out_and_the_rest_is_read() {
    let long = "x".repeat(60_000);
    let certificate = certificate(
        &[
            "",
            "*",
            "a\0.example.net",
            "two words.test",
            "dot.test.",
            "192.0.2.1",
            "a..b",
            "*.*.test",
            &long,
            "good.test",
        ],
        &[],
    );
    assert_eq!(names(certificate), ["good.test"]);
}

#[test]
fn octets_beyond_ascii_are_left_out() {
    // SEQUENCE { [2] "\xff.t", [2] "ü.t" in UTF-8, [7] of five octets, [2] "ok", [2] "*" }
    let content = b"\x30\x19\x82\x03\xff.t\x82\x04\xc3\xbc.t\x87\x05\x01\x02\x03\x04\x05\x82\x02ok\x82\x01*";
    assert_eq!(names(with_raw_names(content.to_vec())), ["ok"]);
}

#[test]
fn names_are_bounded_in_number_and_in_octets() {
    let many: Vec<String> = (0..4000).map(|number| format!("h{number}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(names(certificate(&many[..MAX_NAMES], &[])).len(), MAX_NAMES);
    let read = Chain::new(&[certificate(&many, &[])]).names();
    assert_eq!(read.len(), MAX_NAMES);
    assert_eq!(read[0].to_string(), "h0.test");

    let label = "x".repeat(60);
    let long: Vec<String> = (0..200).map(|number| format!("{label}.{number}.{label}.test")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let read = names(certificate(&long, &[]));
    assert!(!read.is_empty() && read.iter().map(String::len).sum::<usize>() <= MAX_NAME_OCTETS);
}

#[test]
fn what_cannot_be_read_has_no_names() {
    let good = certificate(&["mx.example.net"], &[]);
    let nothing: [Vec<u8>; 4] = [
        Vec::new(),
        b"no certificate".to_vec(),
        good[..good.len() / 2].to_vec(),
        with_raw_names(vec![0x30, 5, 0x82]),
    ];
    for certificate in nothing {
        assert_eq!(names(certificate), [""; 0]);
    }
    assert_eq!(Chain::new(&[] as &[Vec<u8>]).end_entity(), EndEntity::default());
}

#[test]
fn only_the_first_certificate_has_a_say() {
    let chain = Chain::new(&[certificate(&["mx.example.net"], &[]), certificate(&["ca.example"], &[])]);
    assert_eq!(chain.names(), [SubjectName::Host("mx.example.net".into())]);
}

#[test]
fn a_common_name_is_kept_if_it_is_short_and_printable() {
    let read = |name: &str| Chain::new(&[with_common_name(name)]).end_entity().common_name;
    let longest = "é".repeat(MAX_COMMON_NAME);
    for name in ["mx.example.net", "Mail, Müller & Co.", &longest] {
        assert_eq!(read(name).as_deref(), Some(name));
    }
    for name in ["", "mx\0.example.net", "mx\r\n250 ok", &"x".repeat(MAX_COMMON_NAME + 1)] {
        assert_eq!(read(name), None, "{name:?}");
    }
}

#[test]
fn a_chain_is_bounded_and_the_first_stays() {
    let small = certificate(&["mx.example.net"], &[]);
    let many = Chain::new(&vec![small.clone(); MAX_CERTIFICATES + 1]);
    assert_eq!(many.certificates().len(), MAX_CERTIFICATES);
    let large = Chain::new(&[small.clone(), vec![0; MAX_CHAIN], small.clone()]);
    assert_eq!(large.certificates(), [CertificateDer::from(small)]);
}

#[test]
fn digests_differ_where_chains_differ() {
    let digest = |parts: &[&[u8]]| Chain::new(parts).digest();
    assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"c", b"ab"]));
    assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
}

#[test]
fn a_chain_is_told_in_words_that_nobody_can_make_long() {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        ["mx1.example.net", "mx2.example.net"].map(|host| SanType::DnsName(host.try_into().unwrap())).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Some \"CA\"");
    let words = Chain::new(&[signed(&params)]).words();
    assert!(
        words.starts_with(
            "its certificate is for mx1.example.net and 1 more, signed by \"Some \\\"CA\\\"\", until "
        ),
        "{words}"
    );
    assert!(words.contains(", first of 1; SHA-256 of its key "), "{words}");
    let long = Chain::new(&[with_common_name(&"x".repeat(5000))]).words();
    assert!(long.contains("somebody without a name") && long.len() < 500, "{long}");
    assert_eq!(Chain::new(&[b"nonsense"]).words(), "");
}
