//! SPF, DKIM and DMARC against a real name server, with the signed message of RFC 8463 (appendix A).

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use ::dns::{Resolver, Settings, Trust};
use ::evidence::{Authenticator, Sender, Spf, Verdict, proves_sender};
use ::smtp::{Envelope, ReversePath};
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use tokio::time::Instant;

/// RFC 8463, appendix A.3.
const SIGNED: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\n d=football.example.com; i=@football.example.com;\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\n subject : date : message-id : from : subject : date;\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\n d=football.example.com; i=@football.example.com;\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\n date : message-id : from : subject : date;\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\n b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\n DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\n dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\nFrom: Joe SixPack <joe@football.example.com>\nTo: Suzie Q <suzie@shopping.example.net>\nSubject: Is dinner ready?\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\n\nHi.\n\nWe lost the game.  Are you hungry yet?\n\nJoe.\n";

/// RFC 8463, appendix A.2, and a policy.
const FOOTBALL: &str = "
brisbane._domainkey TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"
test._domainkey     TXT \"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR\" \"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\" \"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3\" \"Ip3G+2kryOTIKT+l/K4w3QIDAQAB\"
_dmarc              TXT \"v=DMARC1; p=reject\"
@                   TXT \"v=spf1 a:mail.football.example.com include:more.football.example.com -all\"
mail                A   192.0.2.10
more                TXT \"v=spf1 ip6:2001:db8::/32 ?all\"
endless             TXT \"v=spf1 include:endless.football.example.com -all\"
";

fn reverse_path(text: &str) -> ReversePath {
    Envelope::read(format!("MAIL FROM:<{text}>\r\n").as_bytes()).unwrap().mail.reverse_path
}

fn authenticator(server: &NameServer) -> Authenticator {
    let settings = Settings {
        servers: vec![server.address()],
        trust: Trust::File(server.anchor()),
        ..Settings::default()
    };
    Authenticator::new(&Resolver::new(&settings).unwrap())
}

fn football(signing: Signing) -> NameServer {
    NameServer::start(&[Zone { name: "football.example.com", signing, records: FOOTBALL }])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn spf(authenticator: &Authenticator, client: &str, from: &str) -> Spf {
    let reverse_path = reverse_path(from);
    let sender =
        Sender { client: client.parse().unwrap(), helo: "football.example.com", reverse_path: &reverse_path };
    authenticator.spf(sender, soon()).await
}

#[tokio::test]
async fn spf_says_who_may_send_for_a_domain() {
    needs!(KNOT);
    let server = football(Signing::Nsec3(0));
    let asks = authenticator(&server);
    for (client, from, verdict) in [
        ("192.0.2.10", "joe@football.example.com", Verdict::Pass),
        ("::ffff:192.0.2.10", "joe@FOOTBALL.example.com", Verdict::Pass),
        ("2001:db8::7", "joe@football.example.com", Verdict::Pass),
        ("192.0.2.11", "joe@football.example.com", Verdict::Fail),
        ("192.0.2.10", "", Verdict::Pass),
        ("192.0.2.11", "joe@more.football.example.com", Verdict::Neutral),
        ("192.0.2.10", "joe@mail.football.example.com", Verdict::None),
        ("192.0.2.10", "joe@nothing.football.example.com", Verdict::None),
        ("192.0.2.10", "joe@[192.0.2.10]", Verdict::None),
        ("192.0.2.10", "joe@endless.football.example.com", Verdict::PermError),
    ] {
        let spf = spf(&asks, client, from).await;
        assert_eq!(spf.verdict, verdict, "{client} {from}: {spf:?}");
    }
}

#[tokio::test]
async fn a_record_that_somebody_forged_proves_nothing() {
    needs!(KNOT);
    for signing in [Signing::WrongKey, Signing::Stripped] {
        let server = football(signing);
        let spf = spf(&authenticator(&server), "192.0.2.10", "joe@football.example.com").await;
        assert_eq!(spf.verdict, Verdict::TempError, "{signing:?}");
    }
}

#[tokio::test]
async fn silence_is_no_proof_and_does_not_outlast_the_deadline() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        servers: vec![silent.local_addr().unwrap()],
        trust: Trust::Nothing,
        ..Settings::default()
    };
    let asks = Authenticator::new(&Resolver::new(&settings).unwrap());
    let reverse_path = reverse_path("joe@football.example.com");
    let sender = Sender { client: [192, 0, 2, 10].into(), helo: "x", reverse_path: &reverse_path };
    let spf = asks.spf(sender, Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(spf.verdict, Verdict::TempError);
    let message = SIGNED.replace('\n', "\r\n");
    let deadline = Instant::now() + Duration::from_millis(300);
    let authenticity = asks.authenticity(sender, &spf, message.as_bytes(), deadline).await;
    assert_eq!(authenticity.dmarc.verdict, Verdict::TempError);
}

#[tokio::test]
async fn a_signature_of_the_authors_domain_speaks_for_its_addresses_and_no_others() {
    needs!(KNOT);
    let server = football(Signing::Nsec);
    let asks = authenticator(&server);
    let message = SIGNED.replace('\n', "\r\n");
    let changed = message.replace("hungry", "thirsty");
    for (from, message, signed, verdict, proves) in [
        ("joe@football.example.com", &message, Verdict::Pass, Verdict::Pass, true),
        ("bounces@mail.football.example.com", &message, Verdict::Pass, Verdict::Pass, true),
        ("victim@elsewhere.test", &message, Verdict::Pass, Verdict::Pass, false),
        ("joe@football.example.com", &changed, Verdict::Neutral, Verdict::Fail, false),
    ] {
        let reverse_path = reverse_path(from);
        let sender =
            Sender { client: [198, 51, 100, 1].into(), helo: "relay.test", reverse_path: &reverse_path };
        let spf = asks.spf(sender, soon()).await;
        assert_ne!(spf.verdict, Verdict::Pass);
        let authenticity = asks.authenticity(sender, &spf, message.as_bytes(), soon()).await;
        let signers: Vec<_> = authenticity.dkim.iter().map(|dkim| (dkim.verdict, &*dkim.domain)).collect();
        assert_eq!(signers, [(signed, "football.example.com"); 2], "{from}");
        assert_eq!(&*authenticity.dmarc.domain, "football.example.com");
        assert_eq!(authenticity.dmarc.verdict, verdict, "{from}");
        assert_eq!(proves_sender(&authenticity.dmarc, &reverse_path), proves, "{from}");
    }
}

#[tokio::test]
async fn a_heap_of_signatures_is_not_looked_at_whole() {
    needs!(KNOT);
    let server = football(Signing::Unsigned);
    let asks = authenticator(&server);
    let message = SIGNED.replace('\n', "\r\n");
    let (signature, rest) = message.split_once("\r\nDKIM-Signature").unwrap();
    let heap = format!("{}DKIM-Signature{rest}", format!("{signature}\r\n").repeat(30));
    let reverse_path = reverse_path("joe@football.example.com");
    let sender = Sender { client: [198, 51, 100, 1].into(), helo: "relay.test", reverse_path: &reverse_path };
    let spf = asks.spf(sender, soon()).await;
    let authenticity = asks.authenticity(sender, &spf, heap.as_bytes(), soon()).await;
    assert_eq!(authenticity.dkim.len(), evidence::MAX_SIGNATURES);
    assert_eq!(authenticity.dmarc.verdict, Verdict::Pass);
    let long = format!("{}{message}", "X-Filler: x\r\n".repeat(evidence::MAX_HEADER / 12));
    let authenticity = asks.authenticity(sender, &spf, long.as_bytes(), soon()).await;
    assert_eq!((authenticity.dkim.len(), authenticity.dmarc.verdict), (0, Verdict::None));
}
