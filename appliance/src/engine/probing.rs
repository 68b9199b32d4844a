//! Looking at the servers: at the start, every hour, and sooner those that did not answer (DECISIONS 1).

use std::sync::Arc;
use std::time::Duration;

use relay::{Relay, Serving};
use route::{Backend, Server};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A server that answers is looked at again after this long.
const HOURLY: Duration = Duration::from_secs(3600);
/// One that did not, after this long; the pool is swept then, too.
const SOON: Duration = Duration::from_secs(15);
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
    while !relay.is_draining() {
        tokio::time::sleep(SOON).await;
        since_all += SOON;
        let serving = relay.serving();
        serving.driver.opener.pool.sweep();
        if since_all >= HOURLY {
            since_all = Duration::ZERO;
            probe(&serving, |_| true).await;
        } else {
            probe(&serving, |server| !matches!(server.health(), route::Health::Up)).await;
        }
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
