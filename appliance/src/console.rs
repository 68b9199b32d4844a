//! `postern console`: how the machine is, on the screen that stands in front of it. It takes no input, asks as Postern's own user, and
//! shows nothing but what is in [`Facts`].
//!
//! [`facts`](self) are gathered every two seconds; [`screen()`] makes text of them; it is written anew when it has changed.

mod facts;
mod screen;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

pub(crate) use facts::fingerprint;
pub use facts::{Facts, InterfaceFacts, Service};
pub use screen::{COLUMNS, ROWS, screen};

use crate::command::{CommandLine, Exit};

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(2);
/// To the corner, and everything away (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `postern console [--once]`: ends when nobody can read it any more.
pub async fn console(line: &CommandLine, once: bool) -> Exit {
    let mut shown = String::new();
    loop {
        let text = screen(&facts::gather(line).await);
        if text != shown {
            if show(&text).is_err() {
                return Exit::Unreachable;
            }
            shown = text;
        }
        if once {
            return Exit::Done;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        out.write_all(CLEAR.as_bytes())?;
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests;
