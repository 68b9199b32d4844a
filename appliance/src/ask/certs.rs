//! `postern certs`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{ask, order, tell};
use crate::client::Answer;
use crate::command::{CertsAction, CommandLine, Exit};
use crate::output;
use crate::report::{CertificateSource, CertificateState, CertifyingState, OrderState, TlsaState};

/// How long `renew` waits: a CA looks from several places at every name, and each order waits for those before it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PATH: &str = "/api/v1/certificates";

/// `postern certs`
pub async fn certs(line: &CommandLine, action: &CertsAction) -> Exit {
    match action {
        CertsAction::List => told(line, list).await,
        CertsAction::Tlsa => told(line, |listed| tlsa(&listed.certifying.tlsa)).await,
        CertsAction::Renew { name } => renew(line, name.as_deref()).await.unwrap_or_else(|exit| exit),
    }
}

#[derive(Debug, Deserialize)]
struct Listed {
    certificates: Vec<CertificateState>,
    certifying: CertifyingState,
}

async fn told(line: &CommandLine, words: impl FnOnce(Listed) -> Vec<String>) -> Exit {
    match ask(line, PATH).await {
        Ok(answer) => tell(line.json, &answer, words),
        Err(exit) => exit,
    }
}

fn list(listed: Listed) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in &listed.certificates {
        let source = match &certificate.source {
            CertificateSource::SelfSigned => "self-signed".to_owned(),
            CertificateSource::File { path } => format!("file {path}"),
            CertificateSource::Acme { directory } => format!("ACME, {directory}"),
        };
        let renews = certificate.renews.map(|at| format!(", renews {}", day(at))).unwrap_or_default();
        lines.push(certificate.names.join(", "));
        lines.push(format!("  {source}; until {}{renews}", day(certificate.expires)));
    }
    let certifying = &listed.certifying;
    if certifying.directory.is_none() && certifying.hindrance.is_none() {
        lines.push(
            "no certificates are ordered: [acme] is off, or there is no name that a CA certifies".to_owned(),
        );
    }
    lines.extend(
        certifying
            .orders
            .iter()
            .filter(|order| order.under_way)
            .map(|order| format!("an order is open for {}", order.names.join(", "))),
    );
    lines.extend(troubles(certifying));
    lines.extend(certifying.not_asked.iter().map(|one| format!("not ordered: {}: {}", one.name, one.reason)));
    lines
}

/// What keeps certificates from coming or records from matching, with what to do.
pub(crate) fn troubles(certifying: &CertifyingState) -> Vec<String> {
    let mut lines: Vec<String> = certifying.hindrance.iter().cloned().collect();
    for order in &certifying.orders {
        if let Some(problem) = &order.problem {
            let again = order.again.map(|at| format!(" Asked again {}.", date(at))).unwrap_or_default();
            let names = order.names.join(", ");
            lines.push(format!("no certificate for {names}: {problem}. {}{again}", order.advice));
        }
        lines.extend(order.left_out.iter().map(|one| format!("left out: {}: {}", one.name, one.reason)));
    }
    lines.extend(certifying.web.iter().filter_map(|port| port.problem.clone()));
    let wrong = |host: &&TlsaState| host.state == crate::report::TlsaMatch::Wrong;
    let wrong = certifying.tlsa.iter().filter(wrong);
    lines.extend(wrong.map(|host| format!("TLSA records of {} do not match. {}", host.host, host.words)));
    lines
}

fn tlsa(hosts: &[TlsaState]) -> Vec<String> {
    let mut lines = Vec::new();
    for host in hosts {
        lines.push(format!("; {}: {}", host.host, host.words));
        lines.extend(host.publish.iter().map(|record| zone_line(&host.host, record)));
        let other = host.published.iter().filter(|record| !host.publish.contains(record));
        lines.extend(other.map(|record| format!("; published, too: {record}")));
    }
    if hosts.is_empty() {
        lines.push("; no host takes mail under a name that could have records".to_owned());
    }
    lines
}

/// As a zone file has it (RFC 1035 §5).
pub(crate) fn zone_line(host: &str, record: &str) -> String {
    format!("_25._tcp.{host}. IN TLSA {record}")
}

async fn renew(line: &CommandLine, name: Option<&str>) -> Result<Exit, Exit> {
    let before = orders(line).await?;
    let answer = order(line, "/api/v1/certificates/renew", &json!({ "name": name })).await?;
    if answer.status != 200 {
        return Ok(tell(line.json, &answer, |_: serde_json::Value| Vec::new()));
    }
    let deadline = Instant::now() + PATIENCE;
    let meant = |one: &OrderState| {
        name.is_none_or(|name| one.id == name || one.names.iter().any(|has| has.eq_ignore_ascii_case(name)))
    };
    loop {
        let now = orders(line).await?;
        let done = |one: &OrderState| {
            let known = before.iter().find(|old| old.id == one.id);
            one.attempts > known.map_or(0, |old| old.attempts)
        };
        let meant: Vec<_> = now.iter().filter(|one| meant(one) && !one.names.is_empty()).collect();
        if !meant.is_empty() && meant.iter().all(|one| done(one)) {
            return Ok(concluded(line, &meant));
        }
        if Instant::now() >= deadline {
            output::diagnosis("it takes long; `postern certs list` tells what becomes of it");
            return Ok(Exit::No);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Yes, if all came, and with all names.
fn concluded(line: &CommandLine, orders: &[&OrderState]) -> Exit {
    if line.json {
        output::json(&json!({ "orders": orders }));
    } else {
        for order in orders {
            match (&order.problem, order.expires) {
                (None, Some(expires)) => {
                    output::line(&format!("{}: until {}", order.names.join(", "), day(expires)));
                }
                (problem, _) => {
                    let problem = problem.as_deref().unwrap_or("nothing came");
                    output::diagnosis(&format!("{}: {problem}. {}", order.names.join(", "), order.advice));
                }
            }
            for one in &order.left_out {
                output::diagnosis(&format!("left out: {}: {}", one.name, one.reason));
            }
        }
    }
    let good = |order: &&OrderState| order.problem.is_none() && order.left_out.is_empty();
    if orders.iter().all(good) { Exit::Done } else { Exit::No }
}

async fn orders(line: &CommandLine) -> Result<Vec<OrderState>, Exit> {
    let Answer { status, body } = ask(line, PATH).await?;
    let listed = serde_json::from_slice::<Listed>(&body).ok().filter(|_| status == 200);
    listed.map(|listed| listed.certifying.orders).ok_or_else(|| {
        output::diagnosis("the running Postern is of another version than this command");
        Exit::Unreachable
    })
}

fn date(since_1970: u64) -> String {
    record::rfc3339_date(Duration::from_secs(since_1970)).replace(".000Z", "Z")
}

/// The day of a date.
pub(crate) fn day(since_1970: u64) -> String {
    let date = date(since_1970);
    date.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::tests::line;
    use super::*;
    use crate::admin::tests::{FakeEngine, start};

    #[tokio::test]
    async fn every_order_has_its_exit_status() {
        let (address, _stop) = start(FakeEngine { all_down: false, self_signed: true }, true).await;
        let (_file, line) = line(address, &["certs", "list"]);
        assert_eq!(certs(&line, &CertsAction::List).await, Exit::Done);
        assert_eq!(certs(&line, &CertsAction::Tlsa).await, Exit::Done);
        let unknown = CertsAction::Renew { name: Some("other.example.net".to_owned()) };
        assert_eq!(certs(&line, &unknown).await, Exit::No);
        let (address, _stop) = start(FakeEngine { all_down: false, self_signed: false }, true).await;
        let (_file, line) = super::super::tests::line(address, &["certs", "list"]);
        assert_eq!(certs(&line, &CertsAction::Renew { name: None }).await, Exit::No, "nothing is ordered");
        let (_file, nobody) = super::super::tests::line("127.0.0.1:1".parse().unwrap(), &["certs", "list"]);
        assert_eq!(certs(&nobody, &CertsAction::List).await, Exit::Unreachable);
    }

    #[test]
    fn wrong_use_is_an_exit_status_of_two() {
        for words in
            [&["certs"][..], &["certs", "renew", "a", "b"], &["certs", "lst"], &["certs", "list", "a"]]
        {
            let words = ["postern"].iter().chain(words);
            assert_eq!(CommandLine::try_parse_from(words).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn records_are_printed_as_a_zone_file_has_them() {
        let lines = tlsa(&[TlsaState {
            host: "mx.example.net".into(),
            publish: vec!["3 1 1 aa".into(), "3 1 1 bb".into()],
            published: vec!["3 1 1 aa".into(), "2 1 1 cc".into()],
            state: crate::report::TlsaMatch::NextMissing,
            words: "They match.".into(),
        }]);
        assert_eq!(
            lines,
            [
                "; mx.example.net: They match.",
                "_25._tcp.mx.example.net. IN TLSA 3 1 1 aa",
                "_25._tcp.mx.example.net. IN TLSA 3 1 1 bb",
                "; published, too: 2 1 1 cc",
            ]
        );
    }
}
