//! What the guard does with a config that the gate wants in place. Whatever the gate says, the text is one that `postern check` takes,
//! differs from the file in nothing that is fixed, and takes the place of a file that was seen as it is.

use std::os::fd::OwnedFd;
use std::time::Duration;

use sift::Body;
use tokio::time::Instant;

use super::Guard;
use crate::config;
use crate::roles::handed;
use crate::roles::message::Order;
use crate::settings::place::{self, Digest, Refusal};

/// Each change is written, and the rule set put up again.
const BETWEEN: Duration = Duration::from_secs(1);

impl Guard {
    /// One wish of the gate's, with its answer.
    pub(super) fn change(&mut self, number: u32, text: OwnedFd) {
        let Some((base, text)) = handed::read(text) else {
            tracing::error!("what the gate handed over is no text: it is broken and ended");
            return self.end_gate();
        };
        let known = self.sockets.len();
        let placed = self.place(base, &text);
        let (outcome, detail) = placed.err().map_or((0, 0), Refusal::numbers);
        match placed {
            Ok(()) => {
                tracing::info!(sha256 = Digest::of(&text).words(), "the gate has put a config in place")
            }
            Err(why) => tracing::warn!(%why, "the gate wants a config in place and is refused"),
        }
        self.send(known, Order::Config { number, outcome, detail });
    }

    fn place(&mut self, base: Digest, text: &str) -> Result<(), Refusal> {
        let now = Instant::now();
        if now < self.change_from {
            return Err(Refusal::Soon);
        }
        self.change_from = now + BETWEEN;
        // After it was replaced the gate could not open it: of those folders it has the file alone.
        let folder = self.file.parent().and_then(|folder| folder.canonicalize().ok());
        if folder.is_none_or(|folder| folder.components().count() < 3) {
            return Err(Refusal::Folder);
        }
        let config = place::look(&self.file, base, text)?;
        // What cannot be listened on would be found at the next start only.
        if let Err(error) = self.sockets.bind(&config) {
            tracing::error!(%error, "a new listener cannot be had");
            return Err(Refusal::Port);
        }
        let handed = Body::from_bytes(&[&base.0, text.as_bytes()].concat())?;
        match self.kernel.put(&handed) {
            Some(placed) => placed?,
            None => place::write(&self.file, text)?,
        }
        match config::load(&self.file) {
            Ok(config) => self.config = config,
            Err(error) => tracing::error!(%error, "the config that was put in place cannot be read"),
        }
        if let Err(error) = self.kernel.apply() {
            tracing::error!(error, "the rule set does not follow the config");
        }
        Ok(())
    }
}
