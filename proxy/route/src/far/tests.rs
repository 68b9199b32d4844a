use std::net::Ipv4Addr;
use std::time::Duration;

use tls::Association;

use super::*;

fn name(text: &str) -> Domain {
    text.parse().unwrap()
}

fn target(host: Option<&str>) -> Target {
    Target {
        host: host.map(name),
        canonical: None,
        address: (Ipv4Addr::new(192, 0, 2, 1), 25).into(),
        preference: 10,
        mx_proof: Proof::Secure,
        address_proof: Proof::Secure,
    }
}

const UNSIGNED: TlsaFinding = TlsaFinding::None("the MX records are not signed");

fn records(usages: &[u8]) -> TlsaFinding {
    let record = |&usage: &u8| Association { usage, selector: 1, matching: 1, data: [7; 32].into() };
    TlsaFinding::Records(TlsaRecords {
        base: name("mx.example.net"),
        also: vec![name("example.net")],
        records: usages.iter().map(record).collect(),
        left_out: 0,
        ttl: Duration::from_secs(60),
    })
}

fn bogus() -> TlsaFinding {
    TlsaFinding::Undecided { base: name("mx.example.net"), error: DnsError::Bogus }
}

fn sts(mode: &str, mx: &str) -> StsFinding {
    let policy = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400").parse().unwrap();
    StsFinding { kept: Some(Arc::new(StsKept { id: "1".into(), policy, fetched: 0 })), trouble: None }
}

fn policies(default: Ladder) -> FarPolicies {
    FarPolicies { default, dane: true, mta_sts: true, exceptions: HashMap::new() }
}

fn decide(policies: &FarPolicies, tlsa: &TlsaFinding, sts: &StsFinding) -> Demanded {
    policies.policy(Some(&name("example.net")), &target(Some("mx.example.net")), tlsa, sts)
}

/// The names of the policies under which attempts are reported, and what is wrong with them already.
fn reported(demanded: &Demanded) -> Vec<(&'static str, Option<TlsFailure>)> {
    let failure = |reported: &Reported| reported.failure.as_ref().map(|(failure, _)| *failure);
    demanded.reported.iter().map(|reported| (reported.policy.name(), failure(reported))).collect()
}

#[test]
fn what_the_settings_say_holds_where_nothing_is_published() {
    let names = vec![name("mx.example.net"), name("example.net")];
    for (ladder, policy) in [
        (Ladder::Off, FarPolicy::Off),
        (Ladder::Opportunistic, FarPolicy::Opportunistic),
        (Ladder::Encrypt, FarPolicy::Encrypt),
        (Ladder::Verify, FarPolicy::Verify { names }),
    ] {
        let decided = decide(&policies(ladder), &UNSIGNED, &StsFinding::default());
        assert_eq!((&decided.policy, decided.policy.ladder()), (&policy, ladder));
        assert_eq!(reported(&decided), [("no-policy-found", None)]);
        let words = format!("no DANE: the MX records are not signed; configured: {}", ladder.name());
        assert_eq!(*decided.words, *words);
    }
}

#[test]
fn the_host_or_the_domain_has_to_be_proved_where_verify_is_configured() {
    let verify = FarPolicies::new(Ladder::Verify);
    let names = |domain: Option<&str>, host| {
        let none = StsFinding::default();
        match verify.policy(domain.map(name).as_ref(), &target(host), &UNSIGNED, &none).policy {
            FarPolicy::Verify { names } => names,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(names(Some("example.net"), Some("mx.example")), [name("mx.example"), name("example.net")]);
    assert_eq!(names(Some("example.net"), Some("example.net")), [name("example.net")]);
    assert_eq!(names(None, None), []);
}

#[test]
fn dane_goes_before_mta_sts_and_before_what_is_configured() {
    for ladder in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
        for mode in ["enforce", "testing", "none"] {
            let decided = decide(&policies(ladder), &records(&[3]), &sts(mode, "mx.example.net"));
            let FarPolicy::Dane { base, dane } = &decided.policy else { panic!("{decided:?}") };
            assert_eq!((base, dane.associations().len()), (&name("mx.example.net"), 1));
            // Each policy is reported, none hides the other; one of mode none is as if there were none.
            let both = [("tlsa", None), ("sts", None)];
            assert_eq!(reported(&decided), &both[..if mode == "none" { 1 } else { 2 }]);
        }
    }
}

#[test]
fn what_cannot_be_told_of_tlsa_is_rescued_by_nothing() {
    for ladder in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
        for sts in [StsFinding::default(), sts("enforce", "mx.example.net")] {
            let decided = decide(&policies(ladder), &bogus(), &sts);
            let FarPolicy::Never { failure: TlsFailure::DnssecInvalid, why } = &decided.policy else {
                panic!("{decided:?}")
            };
            assert!(why.contains("_25._tcp.mx.example.net"), "{why}");
            assert_eq!(reported(&decided)[0], ("tlsa", Some(TlsFailure::DnssecInvalid)));
        }
    }
}

#[test]
fn records_that_cannot_be_used_demand_encryption_and_no_more() {
    for (ladder, expected) in [
        (Ladder::Off, "encrypt"),
        (Ladder::Opportunistic, "encrypt"),
        (Ladder::Encrypt, "encrypt"),
        (Ladder::Verify, "verify"),
    ] {
        let decided = decide(&policies(ladder), &records(&[0, 1]), &sts("enforce", "mx.example.net"));
        assert_eq!(decided.policy.name(), expected);
        assert_eq!(reported(&decided), [("tlsa", Some(TlsFailure::TlsaInvalid)), ("sts", None)]);
    }
    assert_eq!(
        decide(&policies(Ladder::Off), &records(&[0, 3]), &StsFinding::default()).policy.name(),
        "dane"
    );
}

#[test]
fn an_enforced_mta_sts_policy_names_the_hosts_and_nothing_is_weaker() {
    for ladder in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
        let decided = decide(&policies(ladder), &UNSIGNED, &sts("enforce", "*.example.net"));
        assert_eq!(decided.policy, FarPolicy::Sts { host: name("mx.example.net") });
        assert_eq!(reported(&decided), [("sts", None)]);
        let forged = decide(&policies(ladder), &UNSIGNED, &sts("enforce", "mx.other.example"));
        assert!(matches!(forged.policy, FarPolicy::Never { failure: TlsFailure::StsPolicyInvalid, .. }));
        assert_eq!(reported(&forged), [("sts", Some(TlsFailure::StsPolicyInvalid))]);
    }
}

#[test]
fn testing_never_blocks_and_is_reported_and_none_is_nothing() {
    for ladder in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt] {
        for (mode, mx, expected) in [
            ("testing", "mx.example.net", ("sts", None)),
            ("testing", "mx.other.example", ("sts", Some(TlsFailure::StsPolicyInvalid))),
            ("none", "mx.example.net", ("no-policy-found", None)),
        ] {
            let decided = decide(&policies(ladder), &UNSIGNED, &sts(mode, mx));
            assert_eq!(decided.policy.ladder(), ladder);
            assert_eq!(reported(&decided), [expected]);
        }
    }
}

#[test]
fn a_policy_that_cannot_be_had_is_reported_and_holds_nothing_up() {
    let trouble = Some((TlsFailure::StsWebpkiInvalid, "expired".into()));
    let decided = decide(
        &policies(Ladder::Opportunistic),
        &UNSIGNED,
        &StsFinding { trouble: trouble.clone(), kept: None },
    );
    assert_eq!(decided.policy, FarPolicy::Opportunistic);
    assert_eq!(reported(&decided), [("sts", Some(TlsFailure::StsWebpkiInvalid))]);
    // One that is known holds on.
    let known = StsFinding { trouble, ..sts("enforce", "mx.example.net") };
    assert_eq!(decide(&policies(Ladder::Opportunistic), &UNSIGNED, &known).policy.name(), "mta-sts");
}

#[test]
fn an_exception_is_the_last_word() {
    let except = |exception| FarPolicies {
        exceptions: [(name("example.net"), exception)].into(),
        ..policies(Ladder::Opportunistic)
    };
    for (ladder, expected) in [
        (Ladder::Off, "off"),
        (Ladder::Opportunistic, "opportunistic"),
        (Ladder::Encrypt, "encrypt"),
        (Ladder::Verify, "verify"),
    ] {
        let policies = except(Exception::Ladder(ladder));
        assert!(
            !policies.asks_for_tlsa(&name("example.net")) && !policies.asks_for_sts(&name("example.net"))
        );
        assert!(policies.asks_for_tlsa(&name("example.com")) && policies.asks_for_sts(&name("example.com")));
        let decided = decide(&policies, &UNSIGNED, &StsFinding::default());
        assert_eq!(decided.policy.name(), expected);
    }
    let dane = except(Exception::Dane);
    assert!(dane.asks_for_tlsa(&name("example.net")) && !dane.asks_for_sts(&name("example.net")));
    assert_eq!(decide(&dane, &records(&[3]), &StsFinding::default()).policy.name(), "dane");
    for without in [UNSIGNED, records(&[1])] {
        let decided = decide(&dane, &without, &StsFinding::default());
        assert!(matches!(decided.policy, FarPolicy::Never { failure: TlsFailure::DaneRequired, .. }));
    }
    // Where nobody asks for DANE an exception can.
    let alone = FarPolicies { dane: false, ..dane };
    assert!(alone.asks_for_tlsa(&name("example.net")) && !alone.asks_for_tlsa(&name("example.com")));
}

#[test]
fn a_message_overrules_its_recipients_domain_and_not_the_administrator() {
    for (ladder, left) in
        [(Ladder::Opportunistic, "opportunistic"), (Ladder::Encrypt, "encrypt"), (Ladder::Verify, "verify")]
    {
        let policies = policies(ladder);
        for (tlsa, sts) in [
            (records(&[3]), StsFinding::default()),
            (bogus(), StsFinding::default()),
            (UNSIGNED, sts("enforce", "mx.other.example")),
        ] {
            assert_eq!(decide(&policies, &tlsa, &sts).configured.name(), left);
        }
        for exception in [Exception::Dane, Exception::Ladder(Ladder::Verify)] {
            let exceptions = [(name("example.net"), exception)].into();
            let policies = FarPolicies { exceptions, ..policies.clone() };
            let decided = decide(&policies, &records(&[3]), &StsFinding::default());
            assert_eq!(decided.configured, decided.policy);
        }
    }
}

#[test]
fn whether_a_name_is_one_of_the_domains_is_proved_by_dnssec_or_by_mta_sts() {
    let none = StsFinding::default();
    let policies = policies(Ladder::Opportunistic);
    let domain = name("example.net");
    let signed = target(Some("mx.example.net"));
    let unsigned = Target { mx_proof: Proof::Insecure, ..signed.clone() };
    let vouched = |target: &Target, sts: &StsFinding| {
        policies.policy(Some(&domain), target, &UNSIGNED, sts).is_vouched_for
    };
    assert!(vouched(&signed, &none) && !vouched(&unsigned, &none));
    for mode in ["enforce", "testing"] {
        assert!(vouched(&unsigned, &sts(mode, "mx.example.net")));
        assert!(!vouched(&unsigned, &sts(mode, "mx.other.example")));
    }
    assert!(!vouched(&unsigned, &sts("none", "mx.example.net")));
}

#[test]
fn a_relay_is_verified_by_name_whatever_the_default_is() {
    let relay = name("smarthost.example");
    let policy = FarPolicies::new(Ladder::Opportunistic).relay(&relay);
    assert_eq!(policy, FarPolicy::Verify { names: vec![relay] });
}
