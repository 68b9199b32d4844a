//! Reports as lines of text.

use std::time::Duration;

use crate::config::{duration_in_words, size_in_words};
use crate::report::{
    BackendState, CertificateSource, GroupStory, Health, Level, OpinionStory, Period, SessionStory, Status,
    TlsCount, TransactionStory,
};

/// What the status page shows.
pub(super) fn status(status: &Status) -> Vec<String> {
    let level = match status.state.level {
        Level::Good => "good",
        Level::Attention => "attention",
        Level::Bad => "TROUBLE",
    };
    let up = duration_in_words(Duration::from_secs(status.now.saturating_sub(status.started)));
    let mut lines = vec![format!("{}: {}", level, status.state.sentence)];
    if !status.state.advice.is_empty() {
        lines.push(format!("  {}", status.state.advice));
    }
    for problem in &status.problems {
        lines.push(format!("  also: {}", problem.sentence));
        lines.push(format!("    {}", problem.advice));
    }
    lines.push(String::new());
    lines.push(format!("{}, Postern {}, running for {up}", status.hostname, status.version));
    let in_flight = size_in_words(status.bytes_in_flight);
    lines.push(format!("{} open sessions, {in_flight} of messages in flight", status.sessions_now));
    if status.events_dropped > 0 {
        lines.push(format!(
            "{} events came too fast for the trace and are only counted",
            status.events_dropped
        ));
    }
    status.periods.iter().for_each(|period| lines.extend(sums(period)));
    lines.extend(super::queue::summary(&status.queue, status.now));
    lines.push("backends:".to_owned());
    status.backends.iter().for_each(|one| lines.extend(backend(one)));
    lines.push("listeners:".to_owned());
    lines.extend(status.listeners.iter().map(|listener| {
        let problem = listener.problem.as_deref().unwrap_or("up");
        format!("  {} {}: {problem}", listener.address, listener.protocol)
    }));
    lines.extend(arming(status));
    lines.push(format!("roles: {}", status.roles.words));
    lines.extend(status.roles.processes.iter().map(|process| {
        let health = if process.works { "up" } else { "NOT READY" };
        format!("  {}: {health}, pid {}, restarts: {}", process.role, process.pid, process.restarts)
    }));
    lines.extend(certificates(status));
    lines.extend(named(status));
    lines
}

/// What is taken on its way, and by whose certificates hidden servers are answered.
fn arming(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.arming.is_empty() {
        lines.push("taken on its way:".to_owned());
    }
    for one in &status.arming {
        let state = if one.armed { "armed" } else { "PASSES UNREAD" };
        lines.push(format!("  {} ({}): {state}. {}", one.server, one.backend, one.why));
    }
    if let Some(authority) = &status.authority {
        lines.push(format!("authority for hidden servers: SHA-256 {}", authority.sha256));
    }
    lines.extend(status.verifying.iter().map(|one| {
        format!("  {} does not trust it: left {} {} times", one.server, one.destination, one.times)
    }));
    lines
}

fn sums(period: &Period) -> Vec<String> {
    let totals = &period.totals;
    let mut lines = vec![format!(
        "last {}: {} sessions ({} not encrypted), {} accepted, {} deferred, {} refused, {}",
        duration_in_words(Duration::from_secs(period.seconds)),
        totals.sessions,
        totals.plain_sessions,
        totals.accepted,
        totals.deferred,
        totals.refused,
        size_in_words(totals.bytes),
    )];
    let tls = |leg: &str, count: &TlsCount| {
        let text = format!("  TLS with {leg}: {} {} {}", count.version, count.suite, count.group);
        format!("{}: {}", text.trim_end(), count.count)
    };
    lines.extend(period.client_tls.iter().map(|count| tls("clients", count)));
    lines.extend(period.server_tls.iter().map(|count| tls("servers", count)));
    lines.extend(period.verdicts.iter().map(|count| format!("  judged {}: {}", count.what, count.count)));
    lines.extend(period.refusals.iter().map(|count| format!("  refused, {}: {}", count.what, count.count)));
    lines
}

fn backend(backend: &BackendState) -> Vec<String> {
    let mut lines = vec![format!("  {} ({}), TLS {}", backend.name, backend.domains.join(", "), backend.tls)];
    lines.push(format!("    recipients: {}", backend.recipients.words()));
    lines.extend(backend.recipients.advice().map(|advice| format!("    ATTENTION: it {advice}")));
    for server in &backend.servers {
        let health = match &server.health {
            Health::Unknown => "not asked yet".to_owned(),
            Health::Up => "up".to_owned(),
            Health::Down { since, reason } => {
                format!("DOWN since {}: {reason}", record::rfc3339_date(Duration::from_secs(*since)))
            }
        };
        let tls = server.tls.as_deref().unwrap_or("plain text");
        lines.push(format!(
            "    {}: {health}; {tls}; client's address: {}",
            server.server, server.client_address
        ));
        if !server.capabilities.is_empty() {
            lines.push(format!("      offers {}", server.capabilities.join(" ")));
        }
    }
    lines
}

fn certificates(status: &Status) -> Vec<String> {
    let mut lines = vec!["certificates:".to_owned()];
    for certificate in &status.certificates {
        let source = match &certificate.source {
            CertificateSource::SelfSigned => "self-signed",
            CertificateSource::File { path } => path,
            CertificateSource::Acme { directory } => directory,
        };
        let renews = certificate.renews.map(|at| format!(", renews {}", super::certs::day(at)));
        let left = match certificate.expires.checked_sub(status.now) {
            Some(left) => format!("expires in {}", duration_in_words(Duration::from_secs(left))),
            None => "HAS EXPIRED".to_owned(),
        };
        let renews = renews.unwrap_or_default();
        lines.push(format!("  {}: {left}, {source}{renews}", certificate.names.join(", ")));
    }
    lines.extend(super::certs::troubles(&status.certifying));
    lines
}

/// Who came without forward secrecy, and which servers were not reached (law 5).
fn named(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for network in &status.without_tls {
        let text = format!(
            "without forward secrecy: {} ({}), {} in plain text, {} handshakes failed {}",
            network.network, network.helo, network.plain, network.failed, network.reason
        );
        lines.push(text.trim_end().to_owned());
    }
    for failure in &status.not_reached {
        let at = record::rfc3339_date(Duration::from_secs(failure.at));
        lines.push(format!(
            "not reached: {} of {} at {at}: {}",
            failure.server, failure.backend, failure.reason
        ));
    }
    lines
}

/// One line for each transaction, and for each session that brought none; the last of both together, latest last.
pub(super) fn list(stories: &[TransactionStory], sessions: &[SessionStory], last: usize) -> Vec<String> {
    let transactions = stories.iter().map(|story| (story.began.as_str(), one_line(story)));
    let without_mail = sessions.iter().map(|session| (session.began.as_str(), session_line(session)));
    let mut lines: Vec<_> = transactions.chain(without_mail).collect();
    if lines.is_empty() {
        return vec!["nothing in the trace fits".to_owned()];
    }
    // RFC 3339 in UTC sorts as text.
    lines.sort_by(|one, other| one.0.cmp(other.0));
    let surplus = lines.len().saturating_sub(last);
    lines.into_iter().skip(surplus).map(|(_, line)| line).collect()
}

fn session_line(session: &SessionStory) -> String {
    let SessionStory { began, id, client, helo, end, .. } = session;
    format!("{began} {id} no mail from {client} ({helo}): {end}")
}

fn one_line(story: &TransactionStory) -> String {
    let to = story.recipients.first().map_or("nobody", |recipient| recipient.address.as_str());
    let more = match story.recipients_named {
        0 | 1 => String::new(),
        named => format!(" +{}", named - 1),
    };
    let size = size_in_words(story.size);
    // Without a last reply, what the first recipient got says most.
    let to_recipient = || story.recipients.first().map_or("", |recipient| recipient.reply.as_str());
    let reply = if story.reply.is_empty() { to_recipient() } else { &story.reply };
    let others = match story.alike {
        0 => String::new(),
        _ => format!(" [{}]", story.and_others()),
    };
    let TransactionStory { began, id, outcome, from, .. } = story;
    format!("{began} {id} {outcome} <{from}> -> {to}{more} {size}: {reply}{others}")
}

/// A session in a few lines.
pub(super) fn session(session: &SessionStory) -> Vec<String> {
    vec![
        format!("session {} from {} ({})", session.id, session.client, session.helo),
        format!("  began {}, {} ms, {}; {}", session.began, session.lasted_ms, session.protocol, session.end),
        format!("  {}", session.tls.words()),
    ]
}

/// A transaction from the client's first word to the last server's.
pub(super) fn story(story: &TransactionStory) -> Vec<String> {
    let mut lines = match story.has_beginning() {
        true => session_of(story),
        false => vec![
            format!("transaction {}", story.id),
            "  its session is not in the trace: it was before the last start, is too long ago, or there was none".to_owned(),
        ],
    };
    for step in &story.afterwards {
        lines.push(format!("  {} {}", step.at, step.line()));
        if !step.words.is_empty() {
            lines.push(format!("    {}", step.words));
        }
        let own = step.recipients.iter().filter(|recipient| !recipient.reply.is_empty());
        lines.extend(own.map(|recipient| format!("    {}: {}", recipient.address, recipient.reply)));
    }
    lines
}

fn session_of(story: &TransactionStory) -> Vec<String> {
    let mut lines = vec![
        format!("transaction {}: {}", story.id, story.outcome),
        format!(
            "  began {}, {} ms, {} ms after the content",
            story.began, story.lasted_ms, story.settled_in_ms
        ),
        format!("  client {} ({}), {}", story.client, story.helo, story.tls.words()),
        format!("  from <{}>, {}, {}", story.from, size_in_words(story.size), story.verdict),
    ];
    story.opinion.iter().for_each(|one| lines.extend(opinion(one, &story.verdict)));
    for recipient in &story.recipients {
        lines.push(format!("  to {}: {}", recipient.words(), recipient.reply));
    }
    story.groups.iter().for_each(|one| lines.extend(group(one)));
    if !story.reply.is_empty() {
        lines.push(format!("  the client was told: {}", story.reply));
    }
    if story.alike > 0 {
        lines.push(format!("  {}", story.and_others()));
    }
    lines
}

/// Check by check, each with its share, and the words that weighed most.
fn opinion(opinion: &OpinionStory, verdict: &str) -> Vec<String> {
    let mut lines = vec![format!("  judged {}: {}", opinion.direction, opinion.words(verdict))];
    let checks = opinion.checks.iter();
    lines.extend(checks.map(|check| format!("    {:>+7.2} {}: {}", check.weight, check.name, check.words())));
    if !opinion.words.is_empty() {
        let words: Vec<_> =
            opinion.words.iter().map(|word| format!("{:?} {:+.2}", word.text, word.weight)).collect();
        lines.push(format!("    words: {}", words.join(", ")));
    }
    let others = opinion.otherwise.iter();
    lines.extend(others.map(|other| format!("    {} {}", other.verdict, other.because)));
    if !opinion.trouble.is_empty() {
        lines.push(format!("    failed: {}", opinion.trouble));
    }
    lines
}

fn group(group: &GroupStory) -> Vec<String> {
    let place = match &group.leg {
        Some(leg) => format!("{} of {}, {}", leg.server, leg.backend, leg.tls.words()),
        None if group.folder.is_empty() => "no server was reached".to_owned(),
        None => format!("kept in {}", group.folder),
    };
    let address = group.leg.as_ref().map(|leg| format!(", client's address: {}", leg.client_address));
    let mut lines = vec![format!("  {}: {place}{}", group.outcome, address.unwrap_or_default())];
    if let Some(leg) = group.leg.as_ref().filter(|leg| !leg.policy.is_empty()) {
        lines.push(format!("    {}", leg.policy));
    }
    lines.push(format!("    {}", group.reply));
    lines
}
