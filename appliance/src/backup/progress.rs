//! What takes more than a second says how far it is.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::size_in_words;

/// On a terminal a line that changes; elsewhere, in a log, seldom.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const IN_LOG: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    what: &'static str,
    terminal: bool,
    due: Instant,
    shown: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            what,
            terminal,
            due: Instant::now() + if terminal { ON_TERMINAL } else { IN_LOG },
            shown: false,
        }
    }

    pub(super) fn at(&mut self, octets: u64, of: u64) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + if self.terminal { ON_TERMINAL } else { IN_LOG };
        self.shown = true;
        let (octets, of) = (size_in_words(octets >> 20 << 20), size_in_words(of));
        let (before, after) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let _ = write!(std::io::stderr().lock(), "{before}postern: {} {octets} of {of}{after}", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.terminal {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}
