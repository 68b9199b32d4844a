//! The threads that serve sessions: one a core, each with a runtime, listening sockets and pooled connections of its
//! own. A session lives where it was accepted, so that its client, its servers and its timer never wake another thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use intercept::Networks;
use relay::{Entrance, Relay};
use tokio::sync::watch;

use super::error::EngineError;

/// A listener's sockets, one for each thread.
pub(super) struct Bound {
    pub(super) sockets: Vec<std::net::TcpListener>,
    pub(super) entrance: Entrance,
    pub(super) proxies: Networks,
}

/// The running threads.
pub(super) struct Workers {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// How many threads serve sessions.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts the threads; each takes one socket of every listener.
pub(super) fn start(relay: &Arc<Relay>, listeners: Vec<Bound>) -> Result<Workers, EngineError> {
    let stop = watch::Sender::new(false);
    let mut shares: Vec<Vec<(std::net::TcpListener, Entrance, Networks)>> = Vec::new();
    for Bound { sockets, entrance, proxies } in listeners {
        for (worker, socket) in sockets.into_iter().enumerate() {
            if shares.len() <= worker {
                shares.push(Vec::new());
            }
            shares[worker].push((socket, entrance, proxies.clone()));
        }
    }
    let mut threads = Vec::new();
    for (number, share) in shares.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EngineError::Worker)?;
        let (relay, mut stopped) = (Arc::clone(relay), stop.subscribe());
        let work = move || {
            runtime.block_on(async {
                share
                    .into_iter()
                    .for_each(|(socket, entrance, proxies)| listen(&relay, socket, entrance, proxies));
                // Whoever could say stop is gone: so is the program.
                let _ = stopped.wait_for(|&stops| stops).await;
            });
        };
        let thread = std::thread::Builder::new().name(format!("sessions-{number}")).spawn(work);
        threads.push(thread.map_err(EngineError::Worker)?);
    }
    Ok(Workers { stop, threads })
}

fn listen(relay: &Arc<Relay>, socket: std::net::TcpListener, entrance: Entrance, proxies: Networks) {
    let relay = Arc::clone(relay);
    tokio::spawn(async move {
        let served = match intercept::Listener::from_std(socket) {
            Ok(listener) => relay.serve(listener, entrance, proxies).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, ?entrance, "a listener broke");
        }
    });
}

impl Workers {
    /// Ends the threads, and with them whatever session is left.
    pub(super) fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that served sessions had panicked");
            }
        }
    }
}
