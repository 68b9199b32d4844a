//! The coordinator without time or sockets: [`relay::step`] against a client, servers and a disk that do as they are told.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

#[allow(dead_code, reason = "the fuzz target uses the rest")]
mod choices;
mod differential;
mod harness;
mod server;

mod absence;
mod aliases;
mod chunking;
mod deadlines;
mod groups;
mod injection;
mod judging;
mod losses;
mod out_of_step;
mod pipelining;
mod random;
mod reports;
