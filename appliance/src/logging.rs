//! Where the log goes: standard error, as text or as JSON, at `info` (`demo`: `warn`) unless `RUST_LOG` says otherwise; and to a syslog
//! server, where one is configured.

mod syslog;

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write, stderr};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use syslog::{Destination, send};

/// Starts the log; once for a process, a second time is without effect.
pub fn start(json: bool) {
    start_at(LevelFilter::INFO, json);
}

/// The same at `warn`, for a command whose results are read on the same terminal.
pub fn start_quietly(json: bool) {
    start_at(LevelFilter::WARN, json);
}

fn start_at(level: LevelFilter, json: bool) {
    let mut filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // It prints whole answers of the DNS as warnings; what they mean for mail is told by who asked.
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none()
        && let Ok(quiet) = "hickory_net=error".parse()
    {
        filter = filter.add_directive(quiet);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines);
    let lines = match json {
        true => lines.json().boxed(),
        false => lines.with_ansi(stderr().is_terminal()).boxed(),
    };
    // Fails only if there is a log already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).with(syslog::ToSyslog).try_init();
}

thread_local! {
    /// Lines that go out together; `None` outside of [`together`].
    static WAITING: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What `work` logs on this thread goes out in one write: at a thousand messages a second the writes would cost as much
/// as the lines.
pub fn together(work: impl FnOnce()) {
    WAITING.set(Some(Vec::new()));
    work();
    if let Some(lines) = WAITING.take() {
        // There is nobody to tell that nobody can be told.
        let _ = stderr().write_all(&lines);
    }
}

/// Standard error, or the lines that wait to go there.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        WAITING.with_borrow_mut(|waiting| match waiting {
            Some(lines) => lines.write(line),
            None => stderr().write(line),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
