//! Hidden servers on their own way to the world: the far side that they meet is held against what the recipient's domain demands, and
//! asked again by its name where that is what it goes by (DECISIONS 15).

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_tests::certificate::Certificate;
use postern_tests::gateway::{LIMIT, smtp, submit, without_dns};
use postern_tests::lab::{LAB, Lab};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer, Signing, Zone};
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::scripted::{Server, Step, Tls};
use postern_tests::servers::{self, Kind, Trust};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::situations::WRONG;
use super::world::{Exchanger, MODEST, World};
use super::{OPENSSL, postern, stories};

const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
const NAMED: &str = "mx.named.secure.test";

/// Shows its own certificate to who asks for it by name, and another to everybody else.
#[derive(Debug)]
struct ByName {
    own: Arc<CertifiedKey>,
    other: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name() == Some(NAMED);
        Some(Arc::clone(if asked { &self.own } else { &self.other }))
    }
}

fn certified(certificate: &Certificate) -> Arc<CertifiedKey> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&certificate.chain)
        .and_then(Iterator::collect::<Result<_, _>>)
        .expect("the file that was written");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("the file that was written");
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key of a known kind");
    Arc::new(CertifiedKey::new(chain, key))
}

fn by_name(world: &World) -> Tls {
    let own = certified(world.certificate(Exchanger::Own));
    let other = certified(world.certificate(Exchanger::Public));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a provider that has them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName { own, other }));
    Tls::Server(Arc::new(config))
}

#[test]
fn the_far_side_that_a_hidden_server_meets_is_held_against_the_domains_policy() {
    needs!(LAB, KNOT, OPENSSL, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    lab.world.ip(&format!("address add {HERE}/24 dev cable"));
    let tls = by_name(&world);
    let named =
        lab.world.run(move || Server::start_at(smtp(HERE), vec![vec![Step::Converse(MODEST)]], Some(tls)));
    let (own, at) = (world.tlsa(Exchanger::Own, 3, 1, 1), Exchanger::Own.address());
    let mut text = String::new();
    for (label, address, tlsa) in [("right", at, own.as_str()), ("wrong", at, WRONG), ("named", HERE, &own)] {
        text.push_str(&format!(
            "{label} MX 10 mx.{label}\nmx.{label} A {address}\n_25._tcp.mx.{label} TLSA {tlsa}\n"
        ));
    }
    let names = lab.postern.run(move || {
        NameServer::start(&[Zone { name: "secure.test", signing: Signing::Nsec, records: &text }])
    });
    let postern = postern(&lab, &world, &names, "");
    let send = |label: &str, address: Ipv4Addr| {
        let sender =
            lab.inside.run(move || servers::Server::relaying(Kind::Postfix, smtp(address), &Trust::Anybody));
        let mail = Mail::new("a@hidden.test", &[&format!("b@{label}.secure.test")], "on its own way\n");
        let handed = submit(&lab.inside, sender.address(), &mail);
        assert!(handed.accepted, "{}", handed.output);
        sender.outcome(&mail, LIMIT)
    };
    let (sent, line) = send("right", at);
    assert!(sent, "{line}\n{}", postern.log());
    let (sent, line) = send("wrong", at);
    assert!(!sent && line.contains("4.7.5") && line.contains("TLSA"), "{line}\n{}", postern.log());
    let before = named.accepted();
    let (sent, line) = send("named", HERE);
    assert!(sent, "{line}\n{}", postern.log());
    assert_eq!(named.accepted() - before, 2, "it is met, and then asked by its name");

    let (_postern, stories) = stories(&lab, postern);
    let leg = |label: &str| stories[&format!("{label}.secure.test")]["groups"][0]["leg"].clone();
    for label in ["right", "named"] {
        assert_eq!(leg(label)["tls"]["proof"], "dane", "{:#}", leg(label));
    }
    assert_eq!(leg("right")["tls"]["server_name"], "", "the connection that it met is kept");
    assert_eq!(leg("named")["tls"]["server_name"], NAMED);
    lab.world.run(move || drop(named));
}
