//! TLS towards the world as RFC 7672, RFC 8461 and RFC 8689 demand it: a table of situations in a signed DNS of our own, with servers
//! that do what they should and servers that do not.

use std::collections::HashMap;

use postern_tests::clients::{Client, How, Security, deliver};
use postern_tests::gateway::{self, smtp, submit, without_dns};
use postern_tests::lab::{INSIDE, LAB, Lab};
use postern_tests::mail::Mail;
use postern_tests::nameserver::{KNOT, NameServer};
use postern_tests::needs;
use postern_tests::needs::Need;
use postern_tests::postern::Postern;
use serde_json::Value;

mod finger;
mod intercepted;
mod policies;
mod queued;
mod situations;
mod world;

use situations::{Expect, Message, Situation};
use world::World;

const OPENSSL: &[Need] = &[Need::Program("openssl"), Need::Program("python3")];

/// A Postern between this world and an inside, whose mail comes in by STARTTLS.
fn postern(lab: &Lab, world: &World, names: &NameServer, more: &str) -> Postern {
    let own = world.trusted.certify(&[&INSIDE.v4.to_string(), "mx.postern.test"]);
    gateway::start(
        lab,
        &format!(
            "[resolver]\nservers = [\"{}\"]\ndnssec_trust_anchor = {:?}\n[outbound]\nca_file = {:?}\n{more}\n\
             [tls]\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n",
            names.address(),
            names.anchor(),
            world.trusted.file(),
            own.chain,
            own.key,
        ),
    )
}

/// What a client inside hears of a mail for this domain.
fn sent(lab: &Lab, world: &World, domain: &str, message: Message) -> (bool, String) {
    let mail = mail_for(domain, message);
    let (address, authorities) = (smtp(INSIDE.v4), world.trusted.file());
    let result = match message {
        Message::Plain | Message::TlsNotRequired => submit(&lab.inside, address, &mail),
        Message::RequireTls => lab.inside.run(move || {
            let how = How { security: Security::StartTls(authorities), auth: None };
            deliver(Client::Python, address, &mail, &how)
        }),
    };
    (result.accepted, result.output)
}

fn mail_for(domain: &str, message: Message) -> Mail {
    let recipient = format!("b@{domain}");
    let mut mail = Mail::new("a@hidden.test", &[&recipient], "out into the world\n");
    match message {
        Message::Plain => {}
        Message::RequireTls => mail.mail_parameters = "REQUIRETLS".into(),
        Message::TlsNotRequired => {
            mail.content = [&b"TLS-Required: No\r\n"[..], &mail.content].concat();
        }
    }
    mail
}

/// The last transaction for each recipient, as the trace tells it.
fn stories(lab: &Lab, postern: Postern) -> (Postern, HashMap<String, Value>) {
    let (postern, said) = lab.postern.run(move || {
        let said = postern.ask(&["--json", "trace", "--last", "500"]).output;
        (postern, said)
    });
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let mut stories = HashMap::new();
    for story in found["transactions"].as_array().into_iter().flatten() {
        let recipient = story["recipients"][0]["address"].as_str().unwrap_or_default();
        let domain = recipient.trim_matches(['<', '>']).rsplit_once('@').map_or("", |(_, domain)| domain);
        // Latest first.
        stories.entry(domain.to_owned()).or_insert_with(|| story.clone());
    }
    (postern, stories)
}

/// What is otherwise than a situation demands.
fn objection(
    situation: &Situation,
    (accepted, output): &(bool, String),
    story: Option<&Value>,
) -> Option<String> {
    let said = |text: &str| output.contains(text);
    match &situation.expect {
        Expect::Deferred(text) => {
            let deferred = !accepted && said("4.") && said(text);
            (!deferred).then(|| format!("not deferred with {text:?}: {output}"))
        }
        Expect::Refused(code, text) => {
            let refused = !accepted && said(code) && said(text);
            (!refused).then(|| format!("not refused with {code} and {text:?}: {output}"))
        }
        Expect::Delivered(proof, words) => {
            if !accepted {
                return Some(format!("not delivered: {output}"));
            }
            let leg = &story?["groups"][0]["leg"];
            let tls = &leg["tls"];
            let version = tls["version"].as_str().unwrap_or_default();
            let found = match version {
                "plain" | "failed" => version,
                _ => tls["proof"].as_str().unwrap_or_default(),
            };
            let policy = leg["policy"].as_str().unwrap_or_default();
            // With the chain that was shown, whatever it proved.
            let shown = version == "plain" || version == "failed" || policy.contains("; SHA-256 of its key ");
            let fits = found == *proof && policy.contains(words) && shown;
            (!fits).then(|| format!("delivered {found} instead of {proof} ({words:?}): {policy}\n{tls}"))
        }
    }
}

/// Sends a mail for each situation and holds what becomes of it against what must.
fn run(lab: &Lab, world: &World, postern: Postern, situations: &[Situation]) -> Postern {
    let results: Vec<_> =
        situations.iter().map(|situation| sent(lab, world, &situation.domain, situation.message)).collect();
    let (postern, stories) = stories(lab, postern);
    let mut wrong = Vec::new();
    for (situation, result) in situations.iter().zip(&results) {
        if let Some(objection) = objection(situation, result, stories.get(&situation.domain)) {
            wrong.push(format!("{} ({}):\n{objection}", situation.what, situation.domain));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}\n{}",
        wrong.len(),
        situations.len(),
        wrong.join("\n"),
        postern.log()
    );
    postern
}

#[test]
fn each_of_these_situations_ends_as_the_rfcs_demand() {
    needs!(LAB, KNOT, OPENSSL);
    let lab = Lab::new();
    without_dns(&lab);
    let world = World::new(&lab);
    let situations = situations::all();
    assert!(situations.len() >= 60, "{}", situations.len());
    let names = world.names(&lab);
    let postern = postern(&lab, &world, &names, situations::EXCEPTIONS);
    let postern = run(&lab, &world, postern, &situations);
    let (postern, stories) = stories(&lab, postern);
    page_has_the_proof(&postern, &stories);
    let count = |labels: &str| postern_metric(&lab, &postern, labels);
    for labels in [
        "policy=\"tlsa\",result=\"success\"",
        "policy=\"tlsa\",result=\"tlsa-invalid\"",
        "policy=\"tlsa\",result=\"dnssec-invalid\"",
        "policy=\"tlsa\",result=\"starttls-not-supported\"",
        "policy=\"tlsa\",result=\"certificate-host-mismatch\"",
        "policy=\"tlsa\",result=\"certificate-expired\"",
        "policy=\"sts\",result=\"success\"",
        "policy=\"sts\",result=\"certificate-not-trusted\"",
        "policy=\"sts\",result=\"sts-policy-fetch-error\"",
        "policy=\"sts\",result=\"sts-policy-invalid\"",
        "policy=\"sts\",result=\"sts-webpki-invalid\"",
        "policy=\"no-policy-found\",result=\"success\"",
        "policy=\"no-policy-found\",result=\"dane-required\"",
    ] {
        assert!(count(labels) > 0.0, "{labels} is not counted");
    }
}

/// The page of a transaction has records, policy and chain in one place.
fn page_has_the_proof(postern: &Postern, stories: &HashMap<String, Value>) {
    for (domain, words) in [
        (
            "ee311.secure.test",
            ["DANE: 1 TLSA record of _25._tcp.mx.ee311.secure.test, proved by DNSSEC", "3 1 1 "],
        ),
        ("enforced.plain.test", ["MTA-STS enforce, policy 1 of ", "is valid for mx.enforced.plain.test"]),
    ] {
        let id = stories[domain]["id"].as_str().unwrap_or_default().to_owned();
        let page = postern.get(&format!("/transactions/{id}"));
        for part in words.iter().chain(&["its certificate is for ", "signed by ", "SHA-256 of its key "]) {
            assert!(page.contains(part), "{domain}: {part}\n{page}");
        }
    }
}

fn postern_metric(lab: &Lab, postern: &Postern, labels: &str) -> f64 {
    let admin = postern.admin();
    let metrics = lab.postern.run(move || postern_tests::postern::get(admin, "/metrics"));
    let name = format!("postern_outbound_tls_total{{{labels}}}");
    let line = metrics.lines().find(|line| line.starts_with(&name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}
