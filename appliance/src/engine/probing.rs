//! Looking at the servers: at the start, every hour, and sooner those that did not answer (DECISIONS 1).

use std::sync::Arc;
use std::time::Duration;

use relay::{Relay, Serving};
use route::{Backend, Server};
use smtp::Domain;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A server that answers is looked at again after this long.
const HOURLY: Duration = Duration::from_secs(3600);
/// One that did not, or that failed a session, after this long: its queue waits for it. The pool is swept then, too.
const SOON: Duration = Duration::from_secs(5);
/// The first look at recipients: when the start with all its connections is over.
const LATER: Duration = Duration::from_secs(30);
/// A domain of which it is not known whether every recipient is accepted is asked about again after this long.
const UNDECIDED: Duration = Duration::from_secs(5 * 60);
/// The first client does not wait longer for a server that does not answer.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Looks at every server at once.
pub(super) async fn probe_all(serving: &Serving) {
    probe(serving, |_| true).await;
}

/// Looks at those that nothing is known of.
pub(super) async fn probe_new(serving: &Serving) {
    probe(serving, |server| server.offered().is_none()).await;
}

/// Looks at servers for as long as the relay serves.
pub(super) async fn keep_probing(relay: Arc<Relay>) {
    let mut since_all = Duration::ZERO;
    let mut since_recipients = UNDECIDED - LATER;
    let mut recipients = JoinSet::new();
    while !relay.is_draining() {
        let serving = relay.serving();
        let hour = since_all >= HOURLY;
        if hour || since_recipients >= UNDECIDED {
            since_recipients = Duration::ZERO;
            while recipients.try_join_next().is_some() {}
            if recipients.is_empty() {
                recipients.spawn(probe_recipients(serving.clone(), hour));
            }
        }
        tokio::time::sleep(SOON).await;
        (since_all, since_recipients) = (since_all + SOON, since_recipients + SOON);
        serving.driver.opener.pool.sweep();
        if hour {
            since_all = Duration::ZERO;
            probe(&serving, |_| true).await;
        } else {
            let now = Instant::now();
            let ill =
                |server: &Server| !matches!(server.health(), route::Health::Up) || server.is_doubted(now);
            probe(&serving, ill).await;
        }
    }
}

/// Names a recipient that cannot exist in every domain, or in those of which nothing is known yet (DECISIONS 31). Who has a list
/// has said who exists.
async fn probe_recipients(serving: Serving, all: bool) {
    let opener = &serving.driver.opener;
    for backend in serving.settings.routing.backends() {
        let Some(recipients) = backend.recipients().filter(|known| !known.has_list()) else {
            continue;
        };
        let decided = |domain| recipients.accepts_everything(domain).is_some();
        if !all && backend.domains().iter().all(decided) {
            continue;
        }
        let up = |server: &&Arc<Server>| matches!(server.health(), route::Health::Up);
        let Some(server) = backend.servers().iter().find(up) else { continue };
        let nobody = format!("postern-{:016x}", rand::random::<u64>());
        match delivery::probe_recipients(opener, backend, server, &nobody).await {
            Ok(found) => {
                for (domain, everything) in found {
                    if recipients.found(&domain, everything, opener.clock.now()) {
                        tell(backend, &domain, everything);
                    }
                }
            }
            Err(error) => {
                let (backend, server) = (backend.name(), server.address());
                tracing::debug!(backend, %server, %error, "not found out whether every recipient is accepted");
            }
        }
    }
}

fn tell(backend: &Backend, domain: &Domain, everything: bool) {
    let backend = backend.name();
    match everything {
        true => tracing::warn!(
            backend,
            %domain,
            "the server accepts every recipient, so that while it is down only those are known who had mail: give \
             [[backend]] recipients a file or LDAP"
        ),
        false => tracing::info!(backend, %domain, "the server refuses recipients that do not exist"),
    }
}

async fn probe(serving: &Serving, wanted: impl Fn(&Server) -> bool) {
    let mut looks = JoinSet::new();
    for backend in serving.settings.routing.backends() {
        for (server, is_submission) in servers(backend).filter(|(server, _)| wanted(server)) {
            let (driver, backend) = (Arc::clone(&serving.driver), Arc::clone(backend));
            looks.spawn(async move {
                let opener = &driver.opener;
                let looked = delivery::probe(opener, &backend, &server).await;
                if let (Err(error), false) = (looked, is_submission) {
                    let (backend, server) = (backend.name(), server.address());
                    tracing::warn!(backend, %server, %error, "a server does not answer");
                }
            });
        }
    }
    // Those that take longer go on by themselves.
    let _ = timeout(FIRST_LOOK, async { while looks.join_next().await.is_some() {} }).await;
    looks.detach_all();
}

fn servers(backend: &Arc<Backend>) -> impl Iterator<Item = (Arc<Server>, bool)> + '_ {
    let mail = backend.servers().iter().map(|server| (Arc::clone(server), false));
    mail.chain(backend.submission().iter().map(|server| (Arc::clone(server), true)))
}
