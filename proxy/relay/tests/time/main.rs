//! The real driver under simulated time: servers and clients that dawdle, fall silent and break off, and what the other
//! side gets, and when.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

#[path = "../step/choices.rs"]
#[allow(dead_code, reason = "the tests of step use the rest")]
mod choices;
#[path = "../step/server.rs"]
#[allow(dead_code, reason = "the tests of step use the rest")]
mod server;

mod senders;
mod timeouts;
mod weather;
mod world;

/// What all servers offer here.
const OFFERED: &[&str] = &["PIPELINING", "SIZE 1000000"];
