//! Where the log goes: standard error, as text or as JSON, at `info` unless `RUST_LOG` says otherwise.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts the log; once for a process, a second time is without effect.
pub fn start(json: bool) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Fails only if there is a log already.
    let _ = if json { log.json().try_init() } else { log.with_ansi(stderr().is_terminal()).try_init() };
}
