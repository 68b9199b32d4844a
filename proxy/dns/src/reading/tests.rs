use std::sync::Arc;

use hickory_resolver::proto::op::{Message, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA};

use super::*;

const SECURE: dnssec::Proof = dnssec::Proof::Secure;
const INSECURE: dnssec::Proof = dnssec::Proof::Insecure;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, ttl: u32, proof: dnssec::Proof, data: RData) -> Record {
    let mut record = Record::from_rdata(name(owner), ttl, data);
    record.proof = proof;
    record
}

fn mx(owner: &str, preference: u16, host: &str) -> Record {
    record(owner, 600, SECURE, RData::MX(MX::new(preference, name(host))))
}

fn a(owner: &str, last: u8, proof: dnssec::Proof) -> Record {
    record(owner, 600, proof, RData::A(A::new(192, 0, 2, last)))
}

fn alias(owner: &str, target: &str, proof: dnssec::Proof) -> Record {
    record(owner, 300, proof, RData::CNAME(CNAME(name(target))))
}

fn message(answers: Vec<Record>) -> Message {
    let mut message = Message::response(0, OpCode::Query);
    message.answers = answers;
    message
}

fn read<T: Kind>(asked: &str, answers: Vec<Record>) -> Result<Answer<T>, DnsError> {
    outcome(Way::new(&name(asked), true), Ok(&message(answers))).result
}

fn host(text: &str) -> Option<Domain> {
    Some(text.parse().unwrap())
}

#[test]
fn records_are_kept_with_their_time_and_proof() {
    let answer: Answer<Mx> = read(
        "Example.NET.",
        vec![mx("example.net.", 20, "B.example."), mx("example.net.", 10, "a.example.")],
    )
    .unwrap();
    assert_eq!(
        answer.records,
        [
            Mx { preference: 20, exchange: host("b.example") },
            Mx { preference: 10, exchange: host("a.example") }
        ]
    );
    assert_eq!((answer.proof, answer.ttl), (Proof::Secure, Duration::from_secs(600)));
    assert_eq!((answer.canonical, answer.left_out), (None, 0));
}

#[test]
fn records_of_other_names_and_kinds_are_not_taken_for_answers() {
    let stray = vec![
        a("other.example.", 1, SECURE),
        mx("mx.example.", 10, "evil.example."),
        record("mx.example.", 600, SECURE, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
    ];
    assert_eq!(read::<Ipv4Addr>("mx.example.", stray), Err(DnsError::NoRecords { proof: Proof::Secure }));
}

#[test]
fn the_weakest_proof_on_the_way_counts() {
    for (first, second, last, expected) in [
        (SECURE, SECURE, SECURE, Ok(Proof::Secure)),
        (INSECURE, SECURE, SECURE, Ok(Proof::Insecure)),
        (SECURE, INSECURE, SECURE, Ok(Proof::Insecure)),
        (SECURE, SECURE, INSECURE, Ok(Proof::Insecure)),
        (SECURE, SECURE, dnssec::Proof::Indeterminate, Ok(Proof::Indeterminate)),
        (dnssec::Proof::Bogus, SECURE, SECURE, Err(DnsError::Bogus)),
        (SECURE, SECURE, dnssec::Proof::Bogus, Err(DnsError::Bogus)),
    ] {
        let answers = vec![
            a("end.example.", 1, SECURE),
            a("end.example.", 2, last),
            alias("middle.example.", "end.example.", second),
            alias("mx.example.", "middle.example.", first),
        ];
        let answer = read::<Ipv4Addr>("mx.example.", answers);
        assert_eq!(answer.clone().map(|answer| answer.proof), expected);
        if let Ok(answer) = answer {
            assert_eq!(answer.canonical, host("end.example"));
            assert_eq!(answer.ttl, Duration::from_secs(300), "an alias holds no longer than itself");
            assert_eq!(answer.records.len(), 2);
        }
    }
}

#[test]
fn what_is_not_validated_is_insecure_whatever_it_says() {
    let secure = message(vec![a("mx.example.", 1, SECURE)]);
    let read: Outcome<Ipv4Addr> = outcome(Way::new(&name("mx.example."), false), Ok(&secure));
    assert_eq!(read.result.unwrap().proof, Proof::Insecure);
}

#[test]
fn a_chain_of_aliases_without_end_makes_no_sense() {
    let circle = vec![alias("a.example.", "b.example.", SECURE), alias("b.example.", "a.example.", SECURE)];
    assert_eq!(read::<Ipv4Addr>("a.example.", circle), Err(DnsError::Malformed));
    let chain = |length: usize| {
        let mut answers: Vec<_> = (0..length)
            .map(|n| alias(&format!("{n}.example."), &format!("{}.example.", n + 1), SECURE))
            .collect();
        answers.push(a(&format!("{length}.example."), 1, SECURE));
        read::<Ipv4Addr>("0.example.", answers)
    };
    assert!(chain(MAX_ALIASES).is_ok());
    assert_eq!(chain(MAX_ALIASES + 1), Err(DnsError::Malformed));
}

#[test]
fn of_too_many_exchangers_the_preferred_are_kept() {
    let answers = (0..1_000).rev().map(|n| mx("example.net.", n, &format!("mx{n}.example.net."))).collect();
    let answer: Answer<Mx> = read("example.net.", answers).unwrap();
    assert_eq!((answer.records.len(), answer.left_out), (MAX_MX, 1_000 - MAX_MX));
    assert!(answer.records.iter().all(|mx| usize::from(mx.preference) < MAX_MX));
}

#[test]
fn a_host_has_no_more_addresses_than_the_limit() {
    let answers = (0..=255).map(|last| a("mx.example.", last, SECURE)).collect();
    let answer: Answer<Ipv4Addr> = read("mx.example.", answers).unwrap();
    assert_eq!((answer.records.len(), answer.left_out), (MAX_ADDRESSES, 256 - MAX_ADDRESSES));
}

#[test]
fn exchangers_that_are_no_hosts_are_left_out() {
    let spaced = Name::from_labels([&b"a b"[..], b"example"]).unwrap();
    let spaced = record("example.net.", 600, SECURE, RData::MX(MX::new(10, spaced)));
    let odd = || vec![mx("example.net.", 10, "*.example."), spaced.clone()];
    assert_eq!(read::<Mx>("example.net.", odd()), Err(DnsError::Malformed));
    let mut some = odd();
    some.push(mx("example.net.", 20, "mx.example."));
    let answer: Answer<Mx> = read("example.net.", some).unwrap();
    assert_eq!((answer.records.len(), answer.left_out), (1, 2));
    let null: Answer<Mx> = read("example.net.", vec![mx("example.net.", 0, ".")]).unwrap();
    assert_eq!(null.records, [Mx { preference: 0, exchange: None }]);
}

#[test]
fn times_are_within_their_bounds() {
    for (published, expected) in [(0, 5), (60, 60), (86_400, 3_600), (u32::MAX, 3_600)] {
        let answers = vec![record("mx.example.", published, SECURE, RData::A(A::new(192, 0, 2, 1)))];
        let read: Outcome<Ipv4Addr> = outcome(Way::new(&name("mx.example."), true), Ok(&message(answers)));
        assert_eq!(read.ttl, Duration::from_secs(expected));
    }
}

fn denial(code: ResponseCode, proofs: &[dnssec::Proof], times: (u32, u32)) -> NetError {
    let soa = SOA::new(name("ns.example."), name("host.example."), 1, 1, 1, 1, times.1);
    let mut denial = NoRecords::new(Query::query(name("example."), RecordType::MX), code);
    denial.soa = Some(Box::new(Record::from_rdata(name("example."), times.0, soa.clone())));
    let authorities: Vec<_> =
        proofs.iter().map(|proof| record("example.", times.0, *proof, RData::SOA(soa.clone()))).collect();
    denial.authorities = Some(Arc::from(authorities));
    denial.into()
}

#[test]
fn a_denial_says_what_is_missing_with_its_proof_for_its_time() {
    for (code, proofs, times, error, ttl) in [
        (
            ResponseCode::NXDomain,
            &[SECURE, SECURE][..],
            (60, 3_600),
            DnsError::NoSuchDomain { proof: Proof::Secure },
            60,
        ),
        (
            ResponseCode::NoError,
            &[SECURE, INSECURE],
            (3_600, 60),
            DnsError::NoRecords { proof: Proof::Insecure },
            60,
        ),
        (
            ResponseCode::NoError,
            &[],
            (3_600, 3_600),
            DnsError::NoRecords { proof: Proof::Indeterminate },
            300,
        ),
        (ResponseCode::NXDomain, &[dnssec::Proof::Bogus], (60, 60), DnsError::Bogus, 5),
    ] {
        let read: Outcome<Mx> = outcome(Way::new(&name("example."), true), Err(denial(code, proofs, times)));
        assert_eq!((read.result, read.ttl), (Err(error), Duration::from_secs(ttl)));
    }
}

#[test]
fn a_denial_behind_an_alias_is_as_strong_as_the_alias() {
    let way = Way::new(&name("alias.example."), true);
    let way = way.follow(&[alias("alias.example.", "example.", INSECURE)]).unwrap();
    assert_eq!((way.end(), way.aliases()), (&name("example."), 1));
    let read: Outcome<Mx> = outcome(way, Err(denial(ResponseCode::NXDomain, &[SECURE], (60, 60))));
    assert_eq!(read.result, Err(DnsError::NoSuchDomain { proof: Proof::Insecure }));
}

#[test]
fn failures_are_told_apart() {
    for (failed, expected) in [
        (NetError::Dns(Semantic::DnssecBogus), DnsError::Bogus),
        (
            NetError::Dns(Semantic::ResponseCode(ResponseCode::ServFail)),
            DnsError::ServerFailure(ResponseCode::ServFail.to_string().into()),
        ),
        (NetError::Timeout, DnsError::TimedOut),
        (NetError::NoConnections, DnsError::Unreachable(NetError::NoConnections.to_string().into())),
        (NetError::QueryCaseMismatch, DnsError::Garbled(NetError::QueryCaseMismatch.to_string().into())),
    ] {
        let read: Outcome<Mx> = outcome(Way::new(&name("example."), true), Err(failed));
        assert_eq!(read.ttl, FAILURE_TTL);
        let error = read.result.unwrap_err();
        assert!(error.is_temporary());
        assert_eq!(error, expected);
    }
}

#[test]
fn a_name_that_the_dns_cannot_have_is_no_question() {
    let long = vec!["a".repeat(50); 5].join(".");
    let domain: Domain = long.parse().unwrap();
    assert_eq!(domain.as_str().len(), 254);
    assert_eq!(question(&domain), Err(DnsError::NotAName));
    let fits: Domain = long[1..].parse().unwrap();
    assert!(question(&fits).unwrap().is_fqdn());
}
