//! `postern certs`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{ask, order, tell};
use crate::client::Answer;
use crate::command::{CertsAction, CommandLine, Exit, RollAction};
use crate::output;
use crate::report::{
    CertificateSource, CertificateState, CertifyingState, KeyOrder, KeyState, OrderState, RollOrder,
    TlsaState,
};

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
        CertsAction::Roll(action) => roll(line, *action).await.unwrap_or_else(|exit| exit),
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
    let waiting = certifying.orders.iter().filter(|order| order.waits && !order.names.is_empty());
    lines.extend(waiting.map(|order| {
        format!(
            "{} for {} is ordered when its TLSA records have been seen for two days",
            order.id,
            order.names.join(", ")
        )
    }));
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
    let account = certifying.account.as_ref().and_then(|account| account.problem.as_ref());
    lines.extend(
        account.map(|problem| format!("the key of the account with the CA was not changed: {problem}")),
    );
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
        let meant: Vec<_> =
            now.iter().filter(|one| meant(one) && !one.waits && !one.names.is_empty()).collect();
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
    Ok(certifying(line).await?.orders)
}

/// A key is to change: comes back when it has, or when it is known what it waits for.
async fn roll(line: &CommandLine, action: RollAction) -> Result<Exit, Exit> {
    let wanted = match action {
        RollAction::Mail { at_once: false } => RollOrder::Mail(KeyOrder::Soon),
        RollAction::Mail { at_once: true } => RollOrder::Mail(KeyOrder::AtOnce),
        RollAction::Account => RollOrder::Account,
    };
    let before = certifying(line).await?;
    let answer = order(line, "/api/v1/certificates/roll", &json!(wanted)).await?;
    if answer.status != 200 {
        return Ok(tell(line.json, &answer, |_: serde_json::Value| Vec::new()));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = certifying(line).await?;
        if let Some((exit, words)) = rolled(wanted, &before, &now) {
            if line.json {
                output::json(&json!({ "keys": now.keys, "account": now.account, "words": words }));
            } else if exit == Exit::Done {
                output::line(&words);
            } else {
                output::diagnosis(&words);
            }
            return Ok(exit);
        }
        if Instant::now() >= deadline {
            output::diagnosis("it takes long; `postern certs list` tells what becomes of it");
            return Ok(Exit::No);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What has become of it; `None`: nothing yet.
fn rolled(wanted: RollOrder, before: &CertifyingState, now: &CertifyingState) -> Option<(Exit, String)> {
    if wanted == RollOrder::Account {
        let changes = before.account.as_ref().map_or(0, |account| account.changes);
        let account = now.account.as_ref().filter(|account| account.changes > changes)?;
        return Some(match &account.problem {
            None => (Exit::Done, "the account has a new key".to_owned()),
            Some(problem) => (Exit::No, format!("the account keeps its key: {problem}")),
        });
    }
    let serving = before.keys.iter().zip(&now.keys).filter(|(old, _)| old.serves);
    let kept: Vec<&KeyState> =
        serving.clone().filter(|(old, key)| old.current == key.current).map(|(_, key)| key).collect();
    if serving.count() == 0 {
        return Some((Exit::No, "no certificate of the CA serves yet".to_owned()));
    }
    if kept.is_empty() {
        return Some((Exit::Done, "the next key serves".to_owned()));
    }
    let tried = |order: &&OrderState| {
        before.orders.iter().any(|old| old.id == order.id && order.attempts > old.attempts)
    };
    if let Some(problem) = now.orders.iter().filter(tried).find_map(|order| order.problem.as_ref()) {
        return Some((Exit::No, format!("no certificate came for the next key: {problem}")));
    }
    let waits = wanted == RollOrder::Mail(KeyOrder::Soon) && kept.iter().any(|key| !key.next_may_serve);
    waits.then(|| match now.next_key_ready {
        Some(at) => (Exit::Done, format!("the next key serves from {} on, if its records stay", date(at))),
        None => (
            Exit::Done,
            "the next key serves when its records have been seen everywhere for two days; `postern certs tlsa` prints \
             what is to be published"
                .to_owned(),
        ),
    })
}

async fn certifying(line: &CommandLine) -> Result<CertifyingState, Exit> {
    let Answer { status, body } = ask(line, PATH).await?;
    let listed = serde_json::from_slice::<Listed>(&body).ok().filter(|_| status == 200);
    listed.map(|listed| listed.certifying).ok_or_else(|| {
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
    use crate::report::AccountState;

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
        let roll = CertsAction::Roll(RollAction::Account);
        assert_eq!(certs(&line, &roll).await, Exit::No, "nothing is ordered");
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
    fn a_roll_is_told_of_when_it_has_come_about_or_waits_for_records() {
        let key = |current: &str, may: bool| KeyState {
            current: current.into(),
            next: String::new(),
            next_ready: None,
            next_may_serve: may,
            serves: true,
            order: None,
        };
        let with = |key| CertifyingState { keys: vec![key], ..CertifyingState::default() };
        let (old, soon) = (with(key("a", false)), RollOrder::Mail(KeyOrder::Soon));
        assert_eq!(rolled(soon, &old, &with(key("b", false))).unwrap().1, "the next key serves");
        let (exit, words) = rolled(soon, &old, &old).unwrap();
        assert!(exit == Exit::Done && words.contains("certs tlsa"), "{words}");
        assert_eq!(rolled(soon, &old, &with(key("a", true))), None, "the order is under way");
        assert_eq!(rolled(RollOrder::Mail(KeyOrder::AtOnce), &old, &old), None);
        let none = CertifyingState::default();
        assert_eq!(rolled(soon, &none, &old).unwrap().0, Exit::No, "nothing serves");
        let account = AccountState { key_since: 1, changes: 1, problem: Some("no".into()) };
        let now = CertifyingState { account: Some(account), ..CertifyingState::default() };
        assert_eq!(rolled(RollOrder::Account, &old, &now).unwrap().0, Exit::No);
        assert_eq!(rolled(RollOrder::Account, &now, &now), None);
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
