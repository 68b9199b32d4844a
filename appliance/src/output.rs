//! Results on standard output, diagnostics on standard error. A reader that went away is no error: `postern trace |
//! head` ends quietly. What peers sent cannot move the cursor or change the terminal.

use std::io::{self, Write as _};

use serde::Serialize;

/// A line of a result.
pub fn line(text: &str) {
    // Nobody is left to tell that nobody reads.
    let _ = writeln!(io::stdout().lock(), "{}", printable(text));
}

/// One JSON document.
pub fn json(value: &impl Serialize) {
    let mut out = io::stdout().lock();
    let _ =
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from).and_then(|()| writeln!(out));
}

/// A diagnosis, of one line or several.
pub fn diagnosis(text: &str) {
    for one in text.lines() {
        let _ = writeln!(io::stderr().lock(), "postern: {}", printable(one));
    }
}

/// The text without control characters, which terminals obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
    }
}
