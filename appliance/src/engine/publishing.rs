//! TXT records of Postern's own, written at the zone's primary (RFC 2136) where the config has one. What was written is known, so
//! that it can be replaced; what others wrote is left alone.

use std::sync::Arc;
use std::time::Duration;

use acme::Certifier;
use dns::update::{Change, Content, UpdateError};
use smtp::Domain;
use store::{Store, Table};
use tokio::sync::watch;

/// What was written, by owner: one text to a line.
const WRITTEN: Table = Table("written-texts");
/// How long the records hold.
const TTL: Duration = Duration::from_secs(3600);

/// Writes.
pub(super) struct Publishing {
    certifier: Arc<Certifier>,
    store: Store,
}

impl Publishing {
    pub(super) fn new(certifier: Arc<Certifier>, store: Store) -> Arc<Self> {
        Arc::new(Self { certifier, store })
    }

    /// Whether a certificate was ordered that proves a name.
    pub(super) fn is_certified(&self, name: &str) -> bool {
        let proves = |identity: tls::Identity| identity.names().iter().any(|proved| **proved == *name);
        self.certifier.identities().into_iter().any(proves)
    }

    /// Moves whenever there is another certificate.
    pub(super) fn certificates(&self) -> watch::Receiver<u64> {
        self.certifier.changes()
    }

    /// Whether a record can be written at `owner`: its zone is at hand, and nobody else's text is in the way.
    pub(super) async fn can_write(&self, owner: &Domain, excludes: impl Fn(&str) -> bool + Send) -> bool {
        let Some(updater) = self.certifier.updater() else { return false };
        let Ok(kept) = self.store.get(WRITTEN, owner.as_str().as_bytes()).await else { return false };
        let kept = String::from_utf8_lossy(kept.as_deref().unwrap_or_default()).into_owned();
        let is_own = |text: &str| kept.lines().any(|line| line == text);
        let there = updater.texts(owner).await;
        there.is_ok_and(|there| !there.iter().any(|one| excludes(&one.0) && !is_own(&one.0)))
    }

    /// Brings what Postern has written at `owner` up to `text`; `None` takes it away. `is_it` says whether a text that is there does as
    /// well, `excludes` whether one forbids to write another beside it.
    pub(super) async fn write(
        &self,
        owner: &Domain,
        text: Option<&str>,
        is_it: impl Fn(&str) -> bool + Send,
        excludes: impl Fn(&str) -> bool + Send,
    ) {
        if let Err(error) = self.try_write(owner, text, is_it, excludes).await {
            tracing::warn!(%owner, error, "a record is not written");
        }
    }

    async fn try_write(
        &self,
        owner: &Domain,
        text: Option<&str>,
        is_it: impl Fn(&str) -> bool,
        excludes: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let Some(updater) = self.certifier.updater() else { return Ok(()) };
        let key = owner.as_str().as_bytes();
        let kept = self.store.get(WRITTEN, key).await.map_err(|error| error.to_string())?;
        let kept = String::from_utf8_lossy(kept.as_deref().unwrap_or_default()).into_owned();
        let written: Vec<&str> = kept.lines().collect();
        if text.is_none() && written.is_empty() {
            return Ok(());
        }
        let there = match updater.texts(owner).await {
            Ok(there) => there,
            // It serves other zones: these records are somebody else's to publish.
            Err(UpdateError::NotItsZone { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let has = |text: &str| there.iter().any(|one| *one.0 == *text);
        let stale = written.iter().filter(|old| Some(**old) != text && has(old));
        let mut changes: Vec<_> = stale.map(|old| Change::Remove(Content::Text((*old).into()))).collect();
        if let Some(text) = text
            && !there.iter().any(|one| is_it(&one.0))
        {
            let foreign = |one: &&dns::Text| excludes(&one.0) && !written.contains(&&*one.0);
            if let Some(foreign) = there.iter().find(foreign) {
                return Err(format!("somebody else's is there, {:?}: remove it", foreign.0));
            }
            changes.push(Change::Add(Content::Text(text.into()), TTL));
        }
        if changes.is_empty() {
            return Ok(());
        }
        // Known before it is so: what was written is never forgotten.
        let all: Vec<&str> = written.iter().copied().filter(|old| Some(*old) != text).chain(text).collect();
        self.keep(key, &all.join("\n")).await?;
        match updater.change(owner, &changes).await {
            Ok(()) => {}
            Err(UpdateError::NotItsZone { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        tracing::info!(%owner, changes = changes.len(), "TXT records were written");
        self.keep(key, text.unwrap_or_default()).await
    }

    async fn keep(&self, key: &[u8], text: &str) -> Result<(), String> {
        let change = match text.is_empty() {
            true => store::Change::Remove(key.into()),
            false => store::Change::Put(key.into(), text.as_bytes().into()),
        };
        let kept = match self.store.apply(WRITTEN, vec![change]).await {
            Ok(()) => self.store.flush().await,
            failed => failed,
        };
        kept.map_err(|error| error.to_string())
    }

    /// Owners at and below a name where something was written.
    pub(super) async fn owners_below(&self, name: &str) -> Vec<Domain> {
        let (mut owners, mut after) = (Vec::new(), None::<Box<[u8]>>);
        while let Ok(page) = self.store.scan(WRITTEN, after.as_deref()).await {
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let owner = |key: &[u8]| std::str::from_utf8(key).ok()?.parse::<Domain>().ok();
            let is_below = |owner: &Domain| owner.as_str().ends_with(name);
            owners.extend(page.iter().filter_map(|(key, _)| owner(key)).filter(is_below));
        }
        owners
    }
}
