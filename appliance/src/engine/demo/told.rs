//! The demo's findings as lines and as JSON.

use serde::Serialize;

use crate::report::TlsStory;

/// What became of one sample.
#[derive(Clone, Debug, Serialize)]
pub(in crate::engine) struct Told {
    /// What was sent.
    pub(super) name: &'static str,
    /// Whether all went as it should.
    pub(super) as_it_should: bool,
    /// What did not; empty if all did.
    pub(super) problem: String,
    /// The last reply's code; 0 if there was none.
    pub(super) code: u16,
    /// The last reply.
    pub(super) reply: String,
    /// Recipients that were refused, with the reply.
    pub(super) refused: Vec<Refused>,
    /// What was decided before a server saw it.
    pub(super) verdict: String,
    /// The transaction or session.
    pub(super) id: String,
    /// TLS between client and gate.
    pub(super) tls_in: TlsStory,
    /// TLS between gate and server; `None` if no server saw it.
    pub(super) tls_on: Option<TlsStory>,
}

/// A recipient that was refused.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Refused {
    pub(super) address: String,
    pub(super) reply: String,
}

/// Above the lines of [`Told::lines`].
pub(super) fn heading() -> String {
    format!(
        "     {:<6}{:<10}{:<25}{:<25}{:<16} mail",
        "reply", "verdict", "TLS to the gate", "TLS to the server", "trace id"
    )
}

impl Told {
    pub(super) fn lines(&self) -> Vec<String> {
        let on = self.tls_on.as_ref().map_or_else(|| "-".to_owned(), short);
        let mut lines = vec![format!(
            "{:<5}{:<6}{:<10}{:<25}{:<25}{:<16} {}",
            if self.as_it_should { "ok" } else { "NOT" },
            self.code,
            self.verdict,
            short(&self.tls_in),
            on,
            self.id,
            self.name
        )];
        // Where everything was refused, the last reply says why.
        lines.extend(self.refused.iter().map(|one| format!("       {}: {}", one.address, one.reply)));
        if self.code >= 400 && self.refused.is_empty() {
            lines.push(format!("       {}", self.reply));
        }
        if !self.as_it_should {
            lines.push(format!("       {}", self.problem));
        }
        lines
    }
}

fn short(tls: &TlsStory) -> String {
    match tls.version.as_str() {
        "plain" => "plain text".to_owned(),
        version => format!("{version} {}", tls.group),
    }
}
