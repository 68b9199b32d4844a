//! The administrator's HTTP server: the status page, its JSON, `/metrics` and the questions of load balancers.
//!
//! Without state of its own, on loopback only in this version. Whoever connects can hold at most one of
//! `MAX_CONNECTIONS` places, for `MAX_LIFE` at most; names in `Host` are checked, so that no web site can read it
//! through a visitor's browser (DNS rebinding). What changes something is a POST: from a browser of this page alone, or in
//! JSON, which no other site's form can send.

mod answers;
mod block;
mod certificates;
mod chart;
mod desk;
mod guard;
mod judging;
mod learning;
mod page;
mod quarantine;
mod queue;
mod reports;
mod senders;
mod tables;
mod told;
mod waiting;
mod zone;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

pub use desk::Desk;

/// Connections at once: a page, some scrapers and commands, not a flood.
const MAX_CONNECTIONS: usize = 64;
/// A client that sends its header slower holds a place for nothing. Also how long an idle connection is kept.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The longest life of a connection, so that one which reads nothing gives its place back.
const MAX_LIFE: Duration = Duration::from_secs(300);
/// Request line and header fields together.
const MAX_HEADER: usize = 16 << 10;
/// An order for some ten thousand messages by name.
const MAX_BODY: usize = 256 << 10;
/// A message that is handed in: as much as is looked at of any, in base64, and its envelope.
const MAX_MESSAGE_BODY: usize = 12 << 20;

/// Serves until `stop` is done; open connections are then closed.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>, stop: impl Future<Output = ()> + Send) {
    let router = router(Arc::clone(&desk));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped at the end, which ends what is still open.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "the status page cannot accept a connection");
                // Out of descriptors: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) if desk.admits(peer.ip()) => {
                let router = router.clone();
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, router).await;
                });
            }
            Ok(_) => debug!(%peer, "not in admin.networks"),
            Err(_) => debug!(%peer, "too many connections to the status page"),
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(MAX_LIFE, served).await {
        debug!(%error, "a connection to the status page broke");
    }
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(answers::front))
        .route("/transactions/{id}", get(answers::transaction_page))
        .route("/assets/postern.css", get(answers::style))
        .route("/assets/postern.js", get(answers::script))
        .route("/api/v1/status", get(answers::status))
        .route("/api/v1/transactions", get(answers::transactions))
        .route("/api/v1/transactions/{id}", get(answers::transaction))
        .route("/api/v1/dns", get(zone::dns))
        .route("/api/v1/dns/replace-dkim", post(zone::replace_dkim))
        .route("/api/v1/sessions", get(answers::sessions))
        .route("/api/v1/sessions/{id}", get(answers::session))
        .route("/queue", get(queue::page))
        .route("/queue/{id}", get(queue::message_page).post(queue::button))
        .route("/api/v1/queue", get(queue::list))
        .route("/api/v1/queue/disaster", post(queue::disaster))
        .route("/api/v1/queue/{id}", get(queue::message).post(queue::order))
        .route("/quarantine", get(quarantine::page))
        .route("/quarantine/{verb}", post(quarantine::button))
        .route("/api/v1/quarantine", get(quarantine::list))
        .route("/api/v1/quarantine/{id}", get(quarantine::message).post(quarantine::order))
        .route("/block", get(block::page))
        .route("/block/{verb}", post(block::button))
        .route("/api/v1/block", get(block::list))
        .route("/api/v1/block/{verb}", post(block::order))
        .route("/reports", get(reports::page))
        .route("/reports/{verb}", post(reports::button))
        .route("/api/v1/reports", get(reports::list))
        .route("/api/v1/reports/{verb}", post(reports::order))
        .route("/senders", get(senders::page))
        .route("/senders/{verb}", post(senders::button))
        .route("/api/v1/senders", get(senders::list))
        .route("/api/v1/senders/{verb}", post(senders::order))
        .route("/api/v1/certificates", get(certificates::list))
        .route("/api/v1/certificates/renew", post(certificates::renew))
        .route("/api/v1/certificates/roll", post(certificates::roll))
        .route("/api/v1/backup/store", post(answers::write_store_down))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(
            Router::new()
                .route("/api/v1/scan", post(judging::scan))
                .route("/api/v1/learn/{class}", post(judging::learn))
                .layer(DefaultBodyLimit::max(MAX_MESSAGE_BODY)),
        )
        .route("/interception-ca.pem", get(answers::authority))
        .route("/metrics", get(answers::metrics))
        .route("/healthz", get(answers::healthz))
        .route("/readyz", get(answers::readyz))
        .fallback(answers::nothing_here)
        .layer(from_fn_with_state(Arc::clone(&desk), guard::guard))
        .with_state(desk)
}

#[cfg(test)]
mod queue_tests;
#[cfg(test)]
pub(crate) mod tests;
