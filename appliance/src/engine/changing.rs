//! Changes of the config that are made while it serves: tried first, then written by whoever may write it, then read as at any
//! reload. Whatever goes wrong, the file and what serves are as they were before.

use std::path::Path;
use std::time::Duration;

use super::Engine;
use crate::config;
use crate::settings::difference::difference;
use crate::settings::history::{Change, History};
use crate::settings::place::{self, Digest, Refusal};
use crate::settings::{No, Order, veil};

/// The guard takes no two changes within a second.
const A_MOMENT: Duration = Duration::from_millis(1100);

impl Engine {
    /// One change, to its end, whether somebody still waits for the answer or not.
    pub(super) async fn change(&self, file: &Path, order: Order) {
        let Order { text, base, by, answer } = order;
        let (who, what) = (by.who.clone(), by.what.clone());
        let done = self.try_change(file, &text, base).await;
        let kept = match done {
            Ok(before) => self.keep(by, before, text).await,
            Err(no) => Err(no),
        };
        match &kept {
            Ok(change) => tracing::info!(%who, %what, number = change.number, "the config was changed"),
            Err(no) => tracing::warn!(%who, %what, %no, "the config was not changed"),
        }
        // They have gone meanwhile.
        let _ = answer.send(kept);
    }

    /// The text that was in place before.
    async fn try_change(&self, file: &Path, text: &str, base: Digest) -> Result<String, No> {
        let before = place::read(file)?;
        if Digest::of(&before) != base {
            return Err(Refusal::Changed.into());
        }
        let config = config::parse(text, file).map_err(|error| No::Wrong(error.problems().to_vec()))?;
        let routing = self.relay.serving().settings.routing.clone();
        if let Err(error) = self.base.generation(&config, Some(&routing)).await {
            self.reload(file).await.ok();
            return Err(No::Failed(error.to_string()));
        }
        if let Err(refusal) = self.place(file, base, text).await {
            // What was tried has been heard of here and there.
            self.reload(file).await.ok();
            return Err(refusal.into());
        }
        if let Err(why) = self.reload(file).await {
            if let Err(error) = self.place(file, Digest::of(text), &before).await {
                tracing::error!(%error, "the config before cannot be put back: the file has one that is not in force");
            }
            self.reload(file).await.ok();
            return Err(No::Failed(why));
        }
        Ok(before)
    }

    async fn place(&self, file: &Path, base: Digest, text: &str) -> Result<(), Refusal> {
        match self.roles.place(file, base, text).await {
            Err(Refusal::Soon) => {
                tokio::time::sleep(A_MOMENT).await;
                self.roles.place(file, base, text).await
            }
            placed => placed,
        }
    }

    async fn keep(
        &self,
        by: crate::settings::history::By,
        before: String,
        after: String,
    ) -> Result<Change, No> {
        let history = History::new(self.base.state_dir());
        let keep = move || {
            let (old, new) = veil::both_veiled(&before, &after).unwrap_or_default();
            history.add(by, difference(&old, &new), before, after)
        };
        let kept =
            tokio::task::spawn_blocking(keep).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        kept.map_err(|error| {
            tracing::error!(%error, "the config was changed, and the change cannot be kept");
            No::Failed(
                "it is in force, but it could not be kept among the changes; the log says why".to_owned(),
            )
        })
    }
}
