//! The listening sockets: bound by the guard, which may, accepted from by the gate, which has no rights. They stay open
//! while a gate is replaced, so that clients wait instead of being refused.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};

use sift::packet::MAX_DESCRIPTORS;

use crate::config::{Config, Mode};
use crate::engine::{EngineError, INBOUND_PORT, OUTBOUND_PORT};
use crate::roles::message::Order;
use crate::web;

/// Sockets of one address of the config.
struct Held {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Sockets(Vec<Held>);

impl Sockets {
    /// Binds what the config names and is not bound yet; returns how many addresses that were. What the config names no
    /// more stays until a restart: the gate still serves it.
    pub(super) fn bind(&mut self, config: &Config) -> Result<usize, EngineError> {
        let before = self.0.len();
        // What fails leaves those behind it for the next try, and those before it bound.
        for listener in &config.listeners {
            self.bind_one(listener.address, |address| {
                intercept::Listener::sockets(address, threads()).map_err(EngineError::Listen)
            })?;
        }
        if config.network.mode == Mode::Gateway {
            for port in [INBOUND_PORT, OUTBOUND_PORT] {
                self.bind_one((Ipv6Addr::UNSPECIFIED, port).into(), |address| {
                    intercept::Listener::transparent_sockets(address, threads(), firewall::marks::OWN)
                        .map_err(EngineError::Listen)
                })?;
            }
        }
        self.bind_one(config.admin.listen, |address| {
            let bound = TcpListener::bind(address).map_err(|error| EngineError::Admin { address, error })?;
            Ok(vec![bound])
        })?;
        for port in web::sockets::wanted(config) {
            match self.bind_one(port.address, |_| web::sockets::bind(port)) {
                // The gate tells of it.
                Err(error) if !config.http.is_written => tracing::debug!(%error, "left to the gate"),
                bound => bound?,
            }
        }
        Ok(self.0.len() - before)
    }

    fn bind_one(
        &mut self,
        address: SocketAddr,
        bind: impl Fn(SocketAddr) -> Result<Vec<TcpListener>, EngineError>,
    ) -> Result<(), EngineError> {
        if !self.0.iter().any(|held| held.address == address) {
            self.0.push(Held { address, sockets: bind(address)? });
        }
        Ok(())
    }

    /// What hands over all but the first `known` addresses.
    pub(super) fn orders(&self, known: usize) -> impl Iterator<Item = (Order, Vec<BorrowedFd<'_>>)> {
        self.0.iter().skip(known).flat_map(|held| {
            held.sockets.chunks(MAX_DESCRIPTORS).map(|part| {
                let count = u8::try_from(part.len()).unwrap_or(u8::MAX);
                let descriptors = part.iter().map(|socket| socket.as_fd()).collect();
                (Order::Sockets { address: held.address, count }, descriptors)
            })
        })
    }

    /// How many addresses are bound.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing new is taken any more.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}

/// One for each thread that serves sessions.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
