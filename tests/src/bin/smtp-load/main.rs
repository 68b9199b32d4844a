//! Mail through STARTTLS for `tests/bench`: a generator, a sink, and what the cryptography alone costs.
//!
//! Postfix's smtp-source and smtp-sink speak no TLS. The sink verifies every message it takes, so that lost, doubled or
//! changed mail is seen by whoever reads its counts. Both sides and the floors use the suites and groups of Postern's own
//! `tls` crate; nothing is ever resumed.
#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time: nothing here runs under a simulated clock"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use clap::{Parser, Subcommand};

mod endpoints;
mod floor;
mod message;
mod send;
mod sink;
mod wire;

/// Sends, takes and measures mail over STARTTLS, for tests/bench. Results are JSON, one object a line.
#[derive(Parser)]
#[command(name = "smtp-load")]
enum Command {
    /// Take mail. Says its address first, then its counts after each line on standard input; ends with that input.
    Sink(sink::Options),
    /// Send mail over one connection per message, one command at a time, each connection with a full handshake.
    Send(send::Options),
    /// What cryptography costs in memory, in CPU time of one thread.
    #[command(subcommand)]
    Floor(Floor),
}

#[derive(Subcommand)]
enum Floor {
    /// One full handshake, each side by itself: medians.
    Handshakes {
        /// How many handshakes.
        #[arg(long, default_value_t = 300)]
        count: usize,
    },
    /// Decryption of one message from one connection and its encryption for another.
    Records {
        /// The message's size in octets.
        #[arg(long, default_value_t = 50 << 20)]
        size: usize,
    },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Sink(options) => serve(options),
        Command::Send(options) => say(&send::run(&options)?.to_json()),
        Command::Floor(Floor::Handshakes { count }) => say(&floor::handshakes(count)?.to_json()),
        Command::Floor(Floor::Records { size }) => say(&floor::records(size)?.to_json()),
    }
}

fn serve(options: sink::Options) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    say(&serde_json::json!({ "address": listener.local_addr()?.to_string() }))?;
    let sink = sink::Sink::start(listener, options)?;
    for line in std::io::stdin().lines() {
        line?;
        say(&sink.counts().to_json())?;
    }
    Ok(())
}

fn say(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
