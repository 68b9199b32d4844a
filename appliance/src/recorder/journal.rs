//! The log: one line for each transaction, and one for each session that had none or did not end in order.
//!
//! At info there are no addresses of people and no words of servers, which repeat them: domains and codes are enough
//! to find the rest in the trace. Everything is at debug.

use record::{Event, LegFailure, Session, SessionEnd, TlsSession, Transaction};
use smtp::Reply;
use tracing::{debug, info, warn};

use super::outcome;

/// More domains than this in one line help nobody.
const MAX_DOMAINS: usize = 5;

pub(super) fn write(event: &Event) {
    match event {
        Event::Session(event) => session(event),
        Event::Transaction(event) => transaction(event),
        Event::LegFailed(event) => leg_failed(event),
        Event::FarTls(event) => far_tls(event),
        // Whoever does it has a line of its own, with what the spool calls the message.
        Event::Afterwards(_) => {}
    }
}

/// A session whose transactions have lines of their own and that ended in order has nothing to add to them.
fn session(session: &Session) {
    let (end, reason) = match &session.end {
        SessionEnd::Quit => ("quit", ""),
        SessionEnd::Closed => ("closed", ""),
        SessionEnd::Broken(reason) => ("broken", &**reason),
        SessionEnd::TimedOut => ("timed_out", ""),
        SessionEnd::Abuse(abuse) => ("refused", abuse.name()),
        SessionEnd::Ended(reason) => ("ended", &**reason),
    };
    let told = session.transactions > 0 && matches!(session.end, SessionEnd::Quit | SessionEnd::Closed);
    macro_rules! line {
        ($level:ident) => {
            $level!(
                target: "postern::session",
                id = %session.id,
                client = %session.client,
                helo = &*session.helo,
                protocol = session.protocol.name(),
                tls = tls_word(&session.tls),
                authenticated = session.authenticated,
                transactions = session.transactions,
                bytes_in = session.bytes.0,
                bytes_out = session.bytes.1,
                ms = milliseconds(session.lasted),
                reason,
                "session {end}",
            )
        };
    }
    if told { line!(debug) } else { line!(info) }
}

fn transaction(transaction: &Transaction) {
    let outcome = outcome(transaction).name();
    let to = domains(transaction.recipients.iter().map(|recipient| &*recipient.address));
    info!(
        target: "postern::mail",
        id = %transaction.id,
        client = %transaction.client,
        helo = &*transaction.helo,
        from = domain(&transaction.reverse_path),
        to = &*to,
        recipients = transaction.recipients_named,
        size = transaction.size,
        tls = tls_word(&transaction.tls),
        verdict = transaction.verdict.name(),
        carried_out = transaction.opinion.as_ref().map_or("", |opinion| opinion.carried_out.name()),
        judge_trouble = transaction.opinion.as_ref().map_or("", |opinion| &opinion.trouble),
        reply = &*transaction.reply.as_ref().map(codes).unwrap_or_default(),
        ms = milliseconds(transaction.lasted),
        settled_ms = milliseconds(transaction.settled_in),
        "mail {outcome}",
    );
    debug!(
        target: "postern::mail",
        id = %transaction.id,
        from = &*transaction.reverse_path,
        recipients = ?transaction.recipients,
        groups = ?transaction.groups,
        // Words and subject are of the message's content, which no log ever has.
        checks = ?transaction.opinion.as_ref().map(|opinion| &opinion.checks),
        "mail in full",
    );
}

fn leg_failed(failure: &LegFailure) {
    let session = failure.session.map(|id| id.to_string()).unwrap_or_default();
    warn!(
        target: "postern::server",
        session = &*session,
        backend = &*failure.backend,
        server = %failure.server,
        reason = &*failure.reason,
        "server not reached",
    );
}

/// That something is wrong with a domain's TLS is for its owner to know, by reports; here it is named where somebody looks.
fn far_tls(session: &TlsSession) {
    let Some((failure, words)) = &session.failure else { return };
    debug!(
        target: "postern::server",
        domain = &*session.policy_domain,
        policy = session.policy.name(),
        mx = session.mx_host.as_deref().unwrap_or_default(),
        failure = failure.name(),
        words = &**words,
        "TLS with the world is not as its policy wants it",
    );
}

/// What stands behind the last `@`.
fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain.trim_end_matches('>'))
}

fn domains<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    let mut found: Vec<&str> = Vec::new();
    for domain in addresses.map(domain) {
        if !found.contains(&domain) && found.len() < MAX_DOMAINS {
            found.push(domain);
        }
    }
    found.join(",")
}

/// The codes without the words.
fn codes(reply: &Reply) -> String {
    match reply.enhanced() {
        Some(enhanced) => format!("{} {enhanced}", reply.code()),
        None => reply.code().to_string(),
    }
}

fn tls_word(outcome: &record::TlsOutcome) -> &'static str {
    match outcome {
        record::TlsOutcome::Plain => "plain",
        record::TlsOutcome::Failed(_) => "failed",
        record::TlsOutcome::Established { facts, .. } => facts.version.name(),
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    #[test]
    fn only_domains_and_codes_are_told_at_info() {
        assert_eq!(domain("<someone@example.net>"), "example.net");
        assert_eq!(domain(""), "");
        assert_eq!(domains(["a@x.example", "b@x.example", "c@y.example"].into_iter()), "x.example,y.example");
        assert_eq!(codes(&samples::reply(550, "no such user <a@b.example>")), "550 5.0.0");
    }
}
