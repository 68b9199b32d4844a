//! The resolver and the way to a domain's servers, against a real name server with real signatures.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::Ipv4Addr;
use std::time::Duration;

use ::dns::{DnsError, MAX_MX, Proof, Resolver, Settings, Trust};
use ::route::{ExchangerSettings, Exchangers, NoRoute, Published};
use ::smtp::Domain;
use ::smtp::address::Host;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;

const RECORDS: &str = "
@        MX    10 mx1
@        MX    20 mx.plain.test.
mx1      A     192.0.2.1
mx1      AAAA  2001:db8::1
alias    CNAME mx1
out      CNAME mx.plain.test.
dangling CNAME nothing
halved   CNAME implicit
twice    CNAME halved
circle   CNAME circle2
circle2  CNAME circle
*.wild   A     192.0.2.5
null     MX    0 .
implicit A     192.0.2.6
text     TXT   \"no mail here\"
inside   MX    10 inner
inner    A     127.0.0.1
";

const PLAIN: &str = "
@   MX 10 mx
mx  A  198.51.100.1
";

fn zone(name: &'static str, signing: Signing) -> Zone<'static> {
    Zone { name, signing, records: RECORDS }
}

fn plain() -> Zone<'static> {
    Zone { name: "plain.test", signing: Signing::Unsigned, records: PLAIN }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn resolver(server: &NameServer, trust: Trust) -> Resolver {
    let settings = Settings {
        servers: vec![server.address()],
        trust,
        timeout: Duration::from_secs(30),
        ..Settings::default()
    };
    Resolver::new(&settings).unwrap()
}

fn trusting(server: &NameServer) -> Resolver {
    resolver(server, Trust::File(server.anchor()))
}

#[tokio::test]
async fn what_a_signed_zone_says_is_proved() {
    needs!(KNOT);
    let zones = ["signed.test", "signed3.test"];
    let server =
        NameServer::start(&[zone(zones[0], Signing::Nsec), zone(zones[1], Signing::Nsec3(0)), plain()]);
    let resolver = trusting(&server);
    assert_eq!(resolver.check().await, Ok(Proof::Secure));
    for zone in zones {
        let mx = resolver.mx(&domain(zone)).await.unwrap();
        assert_eq!(mx.proof, Proof::Secure, "{zone}");
        assert_eq!(mx.ttl, Duration::from_secs(3600));
        assert_eq!(mx.records.len(), 2);
        let host = format!("mx1.{zone}");
        for name in [host.clone(), format!("alias.{zone}")] {
            let addresses = resolver.addresses(&domain(&name)).await.unwrap();
            let found: Vec<_> = addresses.iter().map(|(ip, proof)| (ip.to_string(), proof)).collect();
            let expected = ["2001:db8::1", "192.0.2.1"].map(|ip| (ip.to_owned(), Proof::Secure));
            assert_eq!(found, expected, "{name}");
            let canonical = (name != host).then(|| domain(&host));
            assert_eq!(addresses.canonical(), canonical.as_ref());
        }
        let gone = resolver.mx(&domain(&format!("nothing.{zone}"))).await;
        assert_eq!(gone, Err(DnsError::NoSuchDomain { proof: Proof::Secure }));
        let no_mx = resolver.mx(&domain(&format!("text.{zone}"))).await;
        assert_eq!(no_mx, Err(DnsError::NoRecords { proof: Proof::Secure }));
        let dangling = resolver.addresses(&domain(&format!("dangling.{zone}"))).await;
        assert_eq!(dangling, Err(DnsError::NoSuchDomain { proof: Proof::Secure }));
        // An alias of a host with one family only, and without MX records.
        let halved = resolver.addresses(&domain(&format!("halved.{zone}"))).await.unwrap();
        assert_eq!(halved.v6, Err(DnsError::NoRecords { proof: Proof::Secure }));
        let v4 = halved.v4.unwrap();
        assert_eq!((v4.proof, v4.canonical), (Proof::Secure, Some(domain(&format!("implicit.{zone}")))));
        let no_mx = resolver.mx(&domain(&format!("twice.{zone}"))).await;
        assert_eq!(no_mx, Err(DnsError::NoRecords { proof: Proof::Secure }));
    }
    let wildcard = resolver.addresses(&domain("any.wild.signed3.test")).await.unwrap();
    assert_eq!(wildcard.v4.unwrap().proof, Proof::Secure);
}

#[tokio::test]
async fn a_proof_is_as_strong_as_its_weakest_part() {
    needs!(KNOT);
    let server = NameServer::start(&[
        zone("signed.test", Signing::Nsec),
        zone("costly.test", Signing::Nsec3(101)),
        plain(),
    ]);
    let resolver = trusting(&server);
    let mx = resolver.mx(&domain("plain.test")).await.unwrap();
    assert_eq!(mx.proof, Proof::Insecure);
    let gone = resolver.mx(&domain("nothing.plain.test")).await;
    assert_eq!(gone, Err(DnsError::NoSuchDomain { proof: Proof::Insecure }));
    let out = resolver.addresses(&domain("out.signed.test")).await.unwrap();
    assert_eq!(out.canonical(), Some(&domain("mx.plain.test")));
    let found: Vec<_> = out.iter().collect();
    assert_eq!(found, [(Ipv4Addr::new(198, 51, 100, 1).into(), Proof::Insecure)]);
    // More work than RFC 9276 wants done for a proof: as good as none, but no failure.
    let gone = resolver.mx(&domain("nothing.costly.test")).await;
    assert_eq!(gone, Err(DnsError::NoSuchDomain { proof: Proof::Insecure }));
    let wildcard = resolver.addresses(&domain("any.wild.costly.test")).await.unwrap();
    assert_eq!(wildcard.v4.unwrap().proof, Proof::Insecure);
}

#[tokio::test]
async fn what_fails_validation_is_no_answer() {
    needs!(KNOT);
    let zones = ["foreign.test", "stripped.test"];
    let server = NameServer::start(&[
        zone(zones[0], Signing::WrongKey),
        zone(zones[1], Signing::Stripped),
        zone("signed.test", Signing::Nsec),
    ]);
    let resolver = trusting(&server);
    for zone in zones {
        assert_eq!(resolver.mx(&domain(zone)).await, Err(DnsError::Bogus), "{zone}");
        let denied = resolver.mx(&domain(&format!("nothing.{zone}"))).await;
        assert_eq!(denied, Err(DnsError::Bogus), "{zone}: nor is it a denial");
        let addresses = resolver.addresses(&domain(&format!("mx1.{zone}"))).await;
        assert_eq!(addresses, Err(DnsError::Bogus), "{zone}");
    }
    assert!(resolver.mx(&domain("signed.test")).await.is_ok());
    // To the keys of the Internet's root this whole DNS is forged.
    let misled = self::resolver(&server, Trust::Root);
    assert_eq!(misled.check().await, Err(DnsError::Bogus));
    assert_eq!(misled.mx(&domain("signed.test")).await, Err(DnsError::Bogus));
    // Whoever validates nothing does not notice.
    let trustful = self::resolver(&server, Trust::Nothing);
    assert_eq!(trustful.mx(&domain(zones[0])).await.unwrap().proof, Proof::Insecure);
    assert_eq!(trustful.mx(&domain("signed.test")).await.unwrap().proof, Proof::Insecure);
}

#[tokio::test]
async fn an_answer_larger_than_a_datagram_is_read_within_its_bounds() {
    needs!(KNOT);
    let records: String = (0..500).map(|n| format!("@ MX {n} exchanger-{n}\n")).collect();
    for signing in [Signing::Nsec, Signing::Unsigned] {
        let server = NameServer::start(&[Zone { name: "many.test", signing, records: &records }]);
        let mx = trusting(&server).mx(&domain("many.test")).await.unwrap();
        assert_eq!((mx.records.len(), mx.left_out), (MAX_MX, 500 - MAX_MX));
        assert!(mx.records.iter().all(|mx| usize::from(mx.preference) < MAX_MX));
    }
}

#[tokio::test]
async fn aliases_in_a_circle_come_to_an_end() {
    needs!(KNOT);
    let server = NameServer::start(&[zone("signed.test", Signing::Nsec)]);
    let error = trusting(&server).addresses(&domain("circle.signed.test")).await.unwrap_err();
    assert!(matches!(error, DnsError::NoRecords { .. } | DnsError::Malformed), "{error:?}");
}

#[tokio::test]
async fn a_name_server_that_went_away_leaves_nothing_decided() {
    needs!(KNOT);
    let server = NameServer::start(&[zone("signed.test", Signing::Nsec)]);
    let settings = Settings {
        servers: vec![server.address()],
        trust: Trust::File(server.anchor()),
        timeout: Duration::from_secs(2),
        ..Settings::default()
    };
    let resolver = Resolver::new(&settings).unwrap();
    let known = resolver.mx(&domain("signed.test")).await.unwrap();
    drop(server);
    assert_eq!(resolver.mx(&domain("signed.test")).await.unwrap().records, known.records, "it is remembered");
    let error = resolver.mx(&domain("null.signed.test")).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn mail_finds_the_servers_that_a_domain_names() {
    needs!(KNOT);
    let server = NameServer::start(&[
        zone("signed.test", Signing::Nsec),
        zone("foreign.test", Signing::WrongKey),
        plain(),
    ]);
    let exchangers = Exchangers::new(trusting(&server), ExchangerSettings::default());
    let find = |name: &str| {
        let host = Host::Name(domain(name));
        let exchangers = &exchangers;
        async move { exchangers.targets(&host, 1).await }
    };
    let set = find("signed.test").await.unwrap();
    let found: Vec<_> = set
        .attempts()
        .map(|target| {
            let host = target.host.as_ref().map(Domain::as_str).unwrap_or_default().to_owned();
            (host, target.address.to_string(), target.mx_proof, target.address_proof)
        })
        .collect();
    let target =
        |host: &str, address: &str, proof| (host.to_owned(), address.to_owned(), Proof::Secure, proof);
    assert_eq!(
        found,
        [
            target("mx1.signed.test", "[2001:db8::1]:25", Proof::Secure),
            target("mx1.signed.test", "192.0.2.1:25", Proof::Secure),
            target("mx.plain.test", "198.51.100.1:25", Proof::Insecure),
        ]
    );
    let implicit = find("implicit.signed.test").await.unwrap();
    assert_eq!((implicit.published, implicit.targets[0].mx_proof), (Published::Implicit, Proof::Secure));
    assert_eq!(find("null.signed.test").await, Err(NoRoute::NullMx));
    assert_eq!(find("text.signed.test").await, Err(NoRoute::NoServer));
    assert_eq!(find("nothing.signed.test").await, Err(NoRoute::NoSuchDomain));
    assert_eq!(find("inside.signed.test").await, Err(NoRoute::Closed));
    assert_eq!(find("foreign.test").await, Err(NoRoute::Unknown(DnsError::Bogus)));
    assert_eq!(find("circle.signed.test").await, Err(NoRoute::NoServer));
}
