//! One sentence on how things are, and one on what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::certifying::{CertifyingState, TlsaMatch};
use super::live::{
    ArmingState, BackendState, CertificateSource, CertificateState, Health, ListenerState, Live, Strain,
    StrainState,
};
use super::queue::QueueState;
use super::senders::SenderState;
use super::zone::{FailingPolicy, PublishedState};
use crate::config::duration_in_words;

/// Below this somebody should look after a certificate.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub sentence: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Mail flows.
    Good,
    /// Mail flows, and something wants attention.
    Attention,
    /// Some mail does not flow.
    Bad,
}

/// Something that somebody should look after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is, and of what: the same for as long as it lasts.
    pub key: String,
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub sentence: String,
    /// What to do about it.
    pub advice: String,
}

impl Problem {
    /// Everything that is so at `now`, since 1970, the worst first.
    pub fn all(live: &dyn Live, now: Duration) -> Vec<Self> {
        let (backends, certificates, queue) = (live.backends(), live.certificates(), live.queue());
        let certifying = live.certifying();
        let mut problems: Vec<Self> = draining(live).into_iter().collect();
        problems.extend(listeners_down(&live.listeners()));
        problems.extend(no_room(&queue));
        problems.extend(runs_short(&live.strains()));
        problems.extend(backends_down(&backends, now));
        problems.extend(waits_too_long(&queue, now));
        problems.extend(certificates_expire(&certificates, now));
        problems.extend(wrong_records(&certifying));
        problems.extend(servers_down(&backends));
        problems.extend(taken_over(&live.suspects()));
        problems.extend(set_aside(&queue));
        problems.extend(waits(&queue, now));
        problems.extend(disaster(&queue));
        problems.extend(passes_unread(&live.arming()));
        problems.extend(not_certified(&certifying));
        problems.extend(not_published(live.published()));
        problems.extend(recipients_unknown(&backends));
        problems.extend(self_signed(&certificates));
        problems
    }
}

impl State {
    /// The worst of the problems.
    pub fn of(problems: &[Problem]) -> Self {
        match problems.first() {
            Some(Problem { level, sentence, advice, .. }) => {
                Self { level: *level, sentence: sentence.clone(), advice: advice.clone() }
            }
            None => Self { level: Level::Good, sentence: "Mail flows.".to_owned(), advice: String::new() },
        }
    }

    /// Whether a load balancer may send clients here: every listener is up, some backend can take mail, and no drain.
    pub fn is_ready(live: &dyn Live) -> bool {
        !live.draining()
            && live.listeners().iter().all(|listener| listener.problem.is_none())
            && live.backends().iter().any(BackendState::is_usable)
    }
}

fn new(
    key: impl Into<String>,
    level: Level,
    sentence: impl Into<String>,
    advice: impl Into<String>,
) -> Problem {
    Problem { key: key.into(), level, sentence: sentence.into(), advice: advice.into() }
}

fn draining(live: &dyn Live) -> Option<Problem> {
    let sentence = format!("Postern is stopping; {} open sessions are being finished.", live.sessions_now());
    live.draining().then(|| {
        new("draining", Level::Attention, sentence, "New mail is taken after it has been started again.")
    })
}

fn listeners_down(listeners: &[ListenerState]) -> impl Iterator<Item = Problem> {
    listeners.iter().filter_map(|down| {
        let problem = down.problem.as_deref()?;
        let sentence = format!("Nothing can come in on {} ({}): {problem}.", down.address, down.protocol);
        let advice = "See which program holds the port, or name another address in [[listener]].";
        Some(new(format!("listener {}", down.address), Level::Bad, sentence, advice))
    })
}

fn runs_short(strains: &[StrainState]) -> Option<Problem> {
    let worst = strains.iter().filter(|one| one.strain > Strain::None).max_by_key(|one| one.strain)?;
    let (what, advice) = match worst.resource.as_str() {
        "memory" => {
            ("memory", "Give the machine more memory, or lower limits.sessions and limits.in_flight.")
        }
        "disk" => ("room on the disk", "Make room where state_dir is, or give it a larger disk."),
        "files" => ("open files", "Raise the limit on open files (LimitNOFILE=) or lower limits.sessions."),
        "sessions" => ("open sessions", "See in the trace who opens them; limits.sessions can be raised."),
        "judge" => (
            "time for verdicts",
            "See in the trace what takes long: mail that is hard to read wants more cores, silent name servers better ones.",
        ),
        _ => ("messages in flight", "See which server answers slowly; limits.in_flight can be raised."),
    };
    let key = format!("short of {}", worst.resource);
    Some(match worst.strain {
        Strain::Full => new(key, Level::Bad, format!("New sessions are refused: no more {what}."), advice),
        _ => new(
            key,
            Level::Attention,
            format!("Little is left ({what}): only senders whose mail was taken before are let in."),
            advice,
        ),
    })
}

fn backends_down(backends: &[BackendState], now: Duration) -> impl Iterator<Item = Problem> {
    backends.iter().filter(|backend| !backend.is_usable()).filter_map(move |down| {
        let (since, reason) = down.servers.iter().find_map(|server| match &server.health {
            Health::Down { since, reason } => Some((*since, reason.as_str())),
            Health::Unknown | Health::Up => None,
        })?;
        let lasted = duration_in_words(now.saturating_sub(Duration::from_secs(since)));
        let sentence = format!("No server of backend {} can be reached, for {lasted} now: {reason}.", down.name);
        let advice = format!(
            "Mail to recipients of {} that are known is kept and delivered later, senders to others are told to try \
             later. Check that the server runs and that its port can be reached from here.",
            listed(&down.domains)
        );
        Some(new(format!("backend {}", down.name), Level::Bad, sentence, advice))
    })
}

/// From here on somebody should make room.
const NEARLY_FULL: u64 = 80;
/// A message that waits for so long is a matter of attention: everyday deferrals are over by then.
const LONG: Duration = Duration::from_secs(3600);
/// Here a part of its lifetime is gone, and senders have been told.
const TOO_LONG: Duration = Duration::from_secs(86_400);
/// So many messages are no everyday backlog.
const MANY: usize = 10_000;

fn no_room(queue: &QueueState) -> Option<Problem> {
    let advice = "Make room on the disk, raise [queue] max_size, or release and remove what waits: `postern queue list`.";
    if queue.full {
        return Some(new(
            "spool",
            Level::Bad,
            "The spool is full: what cannot be delivered at once is refused for now.",
            advice,
        ));
    }
    let sentence = format!("Mail flows, but {} % of the spool's room is taken.", queue.percent);
    (queue.percent >= NEARLY_FULL).then(|| new("spool", Level::Attention, sentence, advice))
}

fn oldest(queue: &QueueState, now: Duration) -> Option<Duration> {
    queue.oldest.map(|oldest| now.saturating_sub(Duration::from_secs(oldest)))
}

fn waits_too_long(queue: &QueueState, now: Duration) -> Option<Problem> {
    let age = oldest(queue, now).filter(|age| *age >= TOO_LONG)?;
    let sentence =
        format!("{} messages wait in the queue, the oldest for {}.", queue.messages, duration_in_words(age));
    Some(new("queue", Level::Bad, sentence, why(queue)))
}

fn waits(queue: &QueueState, now: Duration) -> Option<Problem> {
    let age = oldest(queue, now).filter(|age| *age < TOO_LONG)?;
    if age < LONG && queue.messages < MANY {
        return None;
    }
    let sentence = format!(
        "Mail flows, but {} messages wait in the queue, the oldest for {}.",
        queue.messages,
        duration_in_words(age)
    );
    Some(new("queue", Level::Attention, sentence, why(queue)))
}

/// What the first destination that is not reached says.
fn why(queue: &QueueState) -> String {
    let away = queue.destinations.iter().find(|one| one.away_since.is_some());
    match away {
        Some(one) => format!("{} is not reached: {}. `postern queue list` tells more.", one.name, one.reason),
        None => "`postern queue list` tells why each of them waits.".to_owned(),
    }
}

fn taken_over(suspects: &[SenderState]) -> impl Iterator<Item = Problem> {
    suspects.iter().map(|one| {
        let held = if one.held { ", and what it sends is held" } else { "" };
        let sentence = format!("Mail flows; {} looks taken over{held}.", one.sender);
        let advice = format!(
            "{}. `postern senders list` tells more, `postern senders release` lets it send.",
            one.seen.join("; ")
        );
        new(format!("sender {}", one.sender), Level::Attention, sentence, advice)
    })
}

fn set_aside(queue: &QueueState) -> Option<Problem> {
    let expired = queue.in_folder(spool::Folder::Expired);
    if expired > 0 {
        let sentence =
            format!("Mail flows; {expired} messages could not be delivered, and nobody may be told.");
        let advice = "Look at them with `postern queue list --folder expired`, release or remove them. Each leaves by itself \
                      at the time that is shown with it.";
        return Some(new("expired", Level::Attention, sentence, advice));
    }
    let sentence = format!("Mail flows; {} damaged records of the spool were set aside.", queue.damaged);
    let advice = "They lie in the folder `spool/damaged` of state_dir; the log names them. Check the disk.";
    (queue.damaged > 0).then(|| new("damaged", Level::Attention, sentence, advice))
}

fn disaster(queue: &QueueState) -> Option<Problem> {
    queue.disaster?;
    let advice = "When the servers are back and the queue is drained: `postern queue disaster off`.";
    Some(new("disaster", Level::Attention, "Disaster mode is on: nothing in the queue expires.", advice))
}

/// Of backends that have others.
fn servers_down(backends: &[BackendState]) -> impl Iterator<Item = Problem> {
    let usable = backends.iter().filter(|backend| backend.is_usable());
    let servers = usable.flat_map(|backend| backend.servers.iter().map(move |server| (backend, server)));
    servers.filter_map(|(backend, server)| {
        let Health::Down { reason, .. } = &server.health else { return None };
        let sentence =
            format!("Mail flows, but server {} of backend {} does not answer.", server.server, backend.name);
        let advice = format!("The other servers take its mail. What it said last: {reason}.");
        Some(new(format!("server {} {}", backend.name, server.server), Level::Attention, sentence, advice))
    })
}

fn certificates_expire(certificates: &[CertificateState], now: Duration) -> impl Iterator<Item = Problem> {
    let mut by_expiry: Vec<_> = certificates.iter().collect();
    by_expiry.sort_by_key(|certificate| certificate.expires);
    by_expiry.into_iter().filter_map(move |certificate| expires(certificate, now))
}

fn expires(certificate: &CertificateState, now: Duration) -> Option<Problem> {
    let left = Duration::from_secs(certificate.expires).checked_sub(now);
    let names = listed(&certificate.names);
    let key = format!("certificate {names}");
    let advice = match certificate.source {
        CertificateSource::Acme { .. } => "`postern certs list` says why it was not renewed.",
        CertificateSource::File { .. } | CertificateSource::SelfSigned => {
            "Replace the files named in [tls] certificates and send SIGHUP."
        }
    };
    match left {
        None => Some(new(key, Level::Bad, format!("The certificate for {names} has expired."), advice)),
        // One that is ordered may live for days only; a renewal that fails is told of by itself.
        Some(left) if left < SOON && matches!(certificate.source, CertificateSource::File { .. }) => {
            let sentence = format!(
                "Mail flows, but the certificate for {names} expires in {}.",
                duration_in_words(left)
            );
            Some(new(key, Level::Attention, sentence, advice))
        }
        Some(_) => None,
    }
}

/// Servers that verify by DANE do not deliver.
fn wrong_records(certifying: &CertifyingState) -> impl Iterator<Item = Problem> {
    certifying.tlsa.iter().filter(|host| host.state == TlsaMatch::Wrong).map(|wrong| {
        let sentence = format!(
            "The TLSA records of {} do not match its certificate: servers that verify by DANE do not deliver.",
            wrong.host
        );
        new(format!("TLSA {}", wrong.host), Level::Bad, sentence, wrong.words.clone())
    })
}

/// The CA gives no certificate, or cannot be asked.
fn not_certified(certifying: &CertifyingState) -> Vec<Problem> {
    if let Some(hindrance) = &certifying.hindrance {
        let sentence = "Mail flows, but no certificates can be ordered.";
        return vec![new("orders", Level::Attention, sentence, hindrance)];
    }
    let failed = certifying.orders.iter().filter_map(|order| {
        let problem = order.problem.as_deref()?.trim_end_matches('.');
        let sentence = format!("Mail flows, but no certificate comes: {problem} ({}).", listed(&order.names));
        Some(new(format!("order {}", order.id), Level::Attention, sentence, &order.advice))
    });
    let left_out = certifying.orders.iter().flat_map(|order| &order.left_out).map(|name| {
        let sentence = format!("Mail flows, but {} gets no certificate.", name.name);
        new(
            format!("name {}", name.name),
            Level::Attention,
            sentence,
            format!("The CA says: {}", name.reason),
        )
    });
    failed.chain(left_out).collect()
}

/// What is published is not what is to be.
fn not_published(PublishedState { wrong, failing }: PublishedState) -> impl Iterator<Item = Problem> {
    let fails = failing.into_iter().map(|FailingPolicy { domain, reporter }| {
        let sentence = format!(
            "Some mail for {domain} does not come: {reporter} reports that TLS failed, and the MTA-STS policy is enforced."
        );
        let advice = format!(
            "`postern reports received {domain}` says how it failed; until it is mended, `mta_sts = \"testing\"` in its [[backend]] \
             lets such mail in."
        );
        new(format!("policy {domain}"), Level::Bad, sentence, advice)
    });
    let wrong = wrong.into_iter().map(|record| {
        let sentence = format!("Mail flows, but {} {} is not as it should be.", record.kind, record.name);
        let advice = format!("{} `postern dns {} --verify` tells more.", record.words, record.domain);
        new(format!("record {} {}", record.kind, record.name), Level::Attention, sentence, advice)
    });
    fails.chain(wrong)
}

/// What the administrator wanted to pass unread is no matter of attention.
fn passes_unread(arming: &[ArmingState]) -> Option<Problem> {
    let waiting: Vec<_> = arming.iter().filter(|one| !one.armed && one.configured == "auto").collect();
    let first = waiting.first()?;
    let sentence = match waiting.len() {
        1 => format!("Mail flows, but what goes to {} passes unread.", first.server),
        more => {
            format!("Mail flows, but what goes to {} and {} others passes unread.", first.server, more - 1)
        }
    };
    Some(new("unread", Level::Attention, sentence, first.why.clone()))
}

/// A list that cannot be asked, or servers whose yes proves nothing (DECISIONS 31).
fn recipients_unknown(backends: &[BackendState]) -> Option<Problem> {
    if let Some(backend) = backends.iter().find(|backend| !backend.recipients.trouble.is_empty()) {
        let sentence =
            format!("Mail flows, but the list of recipients of backend {} cannot be asked.", backend.name);
        let advice =
            format!("Its servers are asked instead. What went wrong: {}.", backend.recipients.trouble);
        return Some(new(format!("recipients {}", backend.name), Level::Attention, sentence, advice));
    }
    let backend = backends.iter().find(|backend| !backend.recipients.accepts_everything.is_empty())?;
    let sentence = format!(
        "Mail flows, but the server of backend {} accepts every recipient of {}.",
        backend.name,
        listed(&backend.recipients.accepts_everything)
    );
    let advice = "While it is down only recipients are known who had mail, and it bounces what nobody has. Give \
                  [[backend]] recipients a file or LDAP.";
    Some(new(format!("recipients {}", backend.name), Level::Attention, sentence, advice))
}

fn self_signed(certificates: &[CertificateState]) -> Option<Problem> {
    let own = certificates.iter().find(|certificate| certificate.source == CertificateSource::SelfSigned)?;
    let sentence = format!("Mail flows; {} has a self-signed certificate.", listed(&own.names));
    let advice = "Most senders take it. Those that verify do not: name a certificate in [tls] certificates.";
    Some(new("self-signed", Level::Attention, sentence, advice))
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    match names {
        [] => "no name".to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, rest @ ..] => format!("{one} and {} others", rest.len()),
    }
}
