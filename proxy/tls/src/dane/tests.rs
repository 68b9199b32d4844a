use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use sha2::{Digest as _, Sha256, Sha512};

use super::*;

const HOST: &str = "mx.example.net";
const DOMAIN: &str = "example.net";

type Issuer = CertifiedIssuer<'static, KeyPair>;
type Der = CertificateDer<'static>;

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(authority_params(name), key()).unwrap()
}

fn below(issuer: &Issuer, name: &str) -> Issuer {
    CertifiedIssuer::signed_by(authority_params(name), key(), issuer).unwrap()
}

fn leaf_with(issuer: &Issuer, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Der {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.signed_by(&key(), issuer).unwrap().der().clone()
}

fn leaf(issuer: &Issuer, names: &[&str]) -> Der {
    leaf_with(issuer, names, |_| {})
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

fn public_key(certificate: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(certificate).unwrap().1.tbs_certificate.subject_pki.raw.to_vec()
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &[u8]) -> Association {
    let part = if selector == 0 { certificate.to_vec() } else { public_key(certificate) };
    let data: Box<[u8]> = match matching {
        0 => part.into(),
        1 => Sha256::digest(part).as_slice().into(),
        _ => Sha512::digest(part).as_slice().into(),
    };
    Association { usage, selector, matching, data }
}

fn judge(records: &[Association], chain: &[&Der]) -> Result<Association, Error> {
    let certificates: Vec<Der> = chain.iter().map(|&der| der.clone()).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_795_288_205));
    let dane = Dane::new(records, &[HOST, DOMAIN]).unwrap();
    let algorithms = default_provider().signature_verification_algorithms;
    dane.matching(&certificates, now, &algorithms).cloned()
}

fn fails_with(judged: Result<Association, Error>) -> CertificateError {
    match judged {
        Err(Error::InvalidCertificate(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_servers_own_certificate_needs_neither_name_nor_date_nor_chain() {
    let nobody = authority("nobody");
    let own = leaf_with(&nobody, &["elsewhere.example"], expired);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let published = record(3, selector, matching, &own);
            assert_eq!(judge(std::slice::from_ref(&published), &[&own]), Ok(published));
        }
    }
}

#[test]
fn an_authority_is_found_in_the_chain_or_in_the_record() {
    let (root, stranger) = (authority("root"), authority("stranger"));
    let middle = below(&root, "middle");
    let own = leaf(&middle, &[HOST]);
    for named in [&root, &middle] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let published = [record(2, selector, matching, named.der())];
                let judged = judge(&published, &[&own, middle.der(), root.der()]);
                assert!(judged.is_ok(), "2 {selector} {matching}: {judged:?}");
                // A digest alone is no authority: that has to be shown (RFC 7671 §5.2.1).
                let without_root = judge(&published, &[&own, middle.der()]);
                let is_shown = std::ptr::eq(named, &middle);
                assert_eq!(without_root.is_ok(), is_shown || matching == 0, "2 {selector} {matching}");
            }
        }
    }
    let other = [record(2, 0, 1, stranger.der())];
    assert!(judge(&other, &[&own, middle.der(), root.der()]).is_err());
    // To be in the chain is not to have signed.
    assert!(judge(&other, &[&own, middle.der(), root.der(), stranger.der()]).is_err());
}

#[test]
fn below_an_authority_the_name_and_the_date_count() {
    let root = authority("root");
    let published = [record(2, 1, 1, root.der())];
    for (names, fits) in [
        (&[HOST][..], true),
        (&[DOMAIN], true),
        (&["*.example.net"], true),
        (&["other.example", HOST], true),
        (&["other.example"], false),
        (&["*.net"], false),
        (&["mail.mx.example.net"], false),
    ] {
        let judged = judge(&published, &[&leaf(&root, names), root.der()]);
        assert_eq!(judged.is_ok(), fits, "{names:?}");
        if !fits {
            assert!(matches!(
                fails_with(judged),
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ));
        }
    }
    let old = leaf_with(&root, &[HOST], expired);
    let why = fails_with(judge(&published, &[&old, root.der()]));
    assert!(matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. }), "{why:?}");
}

#[test]
fn a_common_name_counts_where_no_other_name_does() {
    let root = authority("root");
    let published = [record(2, 0, 1, root.der())];
    let called = |name: &'static str| {
        move |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, name)
    };
    assert!(judge(&published, &[&leaf_with(&root, &[], called("MX.example.net")), root.der()]).is_ok());
    let elsewhere = leaf_with(&root, &["other.example"], called(HOST));
    assert!(judge(&published, &[&elsewhere, root.der()]).is_err());
}

#[test]
fn an_authority_is_not_looked_for_where_the_servers_own_certificate_is() {
    let root = authority("root");
    let own = leaf(&root, &[HOST]);
    for (usage, meant) in [(2, &own), (3, root.der())] {
        let judged = judge(&[record(usage, 0, 1, meant)], &[&own, root.der()]);
        assert!(fails_with(judged).to_string().contains("TlsaMismatch"));
    }
}

#[test]
fn one_record_that_fits_is_enough() {
    let (root, own_key) = (authority("root"), authority("own"));
    let own = leaf(&root, &["other.example"]);
    let wrong = [record(3, 1, 1, own_key.der()), record(2, 0, 1, root.der()), record(1, 1, 1, &own)];
    assert!(judge(&wrong, &[&own, root.der()]).is_err());
    let right = record(3, 1, 1, &own);
    let all = [&wrong[..], std::slice::from_ref(&right)].concat();
    assert_eq!(judge(&all, &[&own, root.der()]), Ok(right));
}

#[test]
fn a_weaker_digest_counts_for_nothing_beside_a_stronger_one_of_its_kind() {
    let root = authority("root");
    let (own, other) = (leaf(&root, &[HOST]), leaf(&root, &[HOST]));
    assert!(judge(&[record(3, 1, 1, &own), record(3, 1, 2, &other)], &[&own]).is_err());
    assert!(judge(&[record(3, 1, 2, &own), record(3, 1, 1, &other)], &[&own]).is_ok());
    // Of another kind, or without a digest: each stands for itself.
    assert!(judge(&[record(3, 1, 1, &own), record(3, 0, 2, &other)], &[&own]).is_ok());
    assert!(judge(&[record(3, 1, 0, &own), record(3, 1, 2, &other)], &[&own]).is_ok());
    // One that cannot be used outdoes nothing.
    let broken = Association { usage: 3, selector: 1, matching: 2, data: [0; 3].into() };
    assert!(judge(&[record(3, 1, 1, &own), broken], &[&own]).is_ok());
}

#[test]
fn without_a_usable_record_there_is_no_policy() {
    let own = leaf(&authority("root"), &[HOST]);
    for records in [
        vec![],
        vec![record(0, 0, 1, &own), record(1, 1, 1, &own)],
        vec![Association { usage: 3, selector: 1, matching: 9, data: [0; 32].into() }],
    ] {
        assert_eq!(Dane::new(&records, &[HOST]), None);
    }
}

#[test]
fn what_is_no_sequence_has_no_content() {
    assert_eq!(content(&[0x30, 2, 1, 2]), Some(&[1, 2][..]));
    assert_eq!(content(&[&[0x30, 0x81, 0x80][..], &[7; 128]].concat()), Some(&[7; 128][..]));
    for wrong in
        [&[][..], &[0x30], &[0x31, 0], &[0x30, 1], &[0x30, 0x84, 0, 0, 0, 0], &[0x30, 0x80], &[0x30, 0, 1]]
    {
        assert_eq!(content(wrong), None, "{wrong:?}");
    }
}
