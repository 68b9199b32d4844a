//! The administrator's HTTP server: the status page, its JSON, `/metrics` and the questions of load balancers.
//!
//! By two doors: `admin.listen`, in plain text on loopback and with TLS off it, and a socket in the state folder for the command line.
//! Whoever connects can hold at most one of `MAX_CONNECTIONS` places, for `MAX_LIFE` at most. `routes` is the table of all paths with what
//! each needs; `guard` sees to it, and that what changes something was asked by who it seems.

mod account;
mod answers;
mod asked;
mod asker;
mod audit;
mod block;
mod certificates;
mod chart;
mod configs;
mod desk;
mod domain_reports;
pub(crate) mod domains;
#[cfg(test)]
mod domains_tests;
mod door;
mod editing;
mod events;
mod form;
mod guard;
mod judging;
mod language;
mod learning;
mod login;
mod lookup;
mod messages;
mod openapi;
mod page;
mod passkeys;
mod quarantine;
mod queue;
mod records;
mod reports;
mod routes;
mod senders;
mod settings;
mod sight;
mod tables;
mod tokens;
mod told;
mod trends;
mod users;
mod waiting;
mod weekly;
mod zone;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use self::asker::Came;
use crate::web::places::Places;
pub use desk::Desk;
pub use door::{FOLDER as DOOR, Terminal, command_socket, open_for_commands};
pub(crate) use {tokens::Done as TokenDone, users::Done as UserDone};

/// Connections at once: a page, some scrapers and commands, not a flood.
const MAX_CONNECTIONS: usize = 64;
/// Off loopback, of one client (a /64 of IPv6): nobody alone keeps all others out.
const MAX_OF_CLIENT: usize = 16;
/// Commands at once: whoever fills the places of the page must not keep them out.
const MAX_COMMANDS: usize = 16;
/// A client that sends its header slower holds a place for nothing. Also how long an idle connection is kept.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The longest life of a connection, so that one which reads nothing gives its place back.
const MAX_LIFE: Duration = Duration::from_secs(300);
/// Request line and header fields together.
const MAX_HEADER: usize = 16 << 10;
/// Header fields.
const MAX_FIELDS: usize = 100;

/// Where the server is reached.
#[derive(Debug)]
pub struct Doors {
    /// `admin.listen`.
    pub web: TcpListener,
    /// What ends TLS there; nothing on loopback.
    pub terminal: Option<Terminal>,
    /// The command line's, where there could be one.
    pub commands: Option<UnixListener>,
}

/// Serves until `stop` is done; open connections are then closed.
pub async fn serve(doors: Doors, desk: Arc<Desk>, stop: impl Future<Output = ()> + Send) {
    let (router, _) = routes::all(&desk);
    let of_client = if doors.terminal.is_some() { MAX_OF_CLIENT } else { MAX_CONNECTIONS };
    let places = Places::new(MAX_CONNECTIONS, of_client);
    let commands = Places::new(MAX_COMMANDS, MAX_COMMANDS);
    // Dropped at the end, which ends what is still open.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let arrived = tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next() => continue,
            arrived = doors.arrival() => arrived,
        };
        let arrival = match arrived {
            Ok(arrival) => arrival,
            Err(error) => {
                warn!(%error, "the status page cannot accept a connection");
                // Out of descriptors: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match arrival.peer() {
            Some(peer) if !desk.admits(peer) => {
                debug!(%peer, "not in admin.networks");
                continue;
            }
            Some(peer) => places.take(peer),
            None => commands.take(Ipv4Addr::LOCALHOST.into()),
        };
        match place {
            Some(place) => {
                let (router, terminal) = (router.clone(), doors.terminal.clone());
                connections.spawn(async move {
                    let _place = place;
                    let served = arrival.serve(router, terminal);
                    if tokio::time::timeout(MAX_LIFE, served).await.is_err() {
                        debug!("a connection to the status page took too long");
                    }
                });
            }
            None => debug!(peer = ?arrival.peer(), "too many connections to the status page"),
        }
    }
}

/// Serves one connection to its end.
async fn exchange<S>(stream: S, came: Came, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let routed = TowerToHyperService::new(router);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(came);
        routed.call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "a connection to the status page broke");
    }
}

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod door_tests;
#[cfg(test)]
mod fakes;
#[cfg(test)]
mod lookup_tests;
#[cfg(test)]
mod managing_tests;
#[cfg(test)]
mod openapi_tests;
#[cfg(test)]
mod passkey_tests;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
pub(crate) mod tests;
