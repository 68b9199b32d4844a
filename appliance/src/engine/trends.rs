//! What the charts show outlives a restart: it is stored step by step, and what waits is looked at now and then.

use std::sync::Arc;
use std::time::Duration;

use delivery::Queue;
use record::Clock;
use relay::Relay;
use store::{Change, Store, StoreError, Table};

use crate::recorder::{Recording, StepKey};
use crate::report::TrendStep;

/// By span and number of the step: its counts as JSON. There are at most as many as the spans have steps.
const STEPS: Table = Table("trends");
/// How often it is stored, and the queue looked at: what a crash can lose.
const OFTEN: Duration = Duration::from_secs(10);

/// Who stores it.
pub(super) struct Trends {
    recording: Arc<Recording>,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Trends {
    pub(super) fn new(recording: Arc<Recording>, store: Store, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { recording, store, clock })
    }

    /// Brings back what was stored.
    pub(super) async fn recall(&self) {
        if let Err(error) = self.read().await {
            tracing::error!(%error, "what the charts showed before the start cannot be read");
        }
    }

    async fn read(&self) -> Result<(), StoreError> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let page = self.store.scan(STEPS, after.as_deref()).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let now = self.clock.now();
            let mut kept = self.recording.kept();
            for (key, value) in &page {
                let Some(key) = step_key(key) else { continue };
                // What cannot be read counts as nothing, and is written anew.
                let step: TrendStep = serde_json::from_slice(value).unwrap_or_default();
                kept.trends.recall(key, &step, now);
            }
        }
    }

    /// Looks and writes until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>, queue: Arc<Queue>) {
        while !relay.is_draining() {
            let now = self.clock.now();
            let waiting = u64::try_from(queue.spool().count_waiting()).unwrap_or(u64::MAX);
            self.recording.kept().trends.waiting(waiting, now);
            self.write().await;
            tokio::time::sleep(OFTEN).await;
        }
    }

    /// Puts what has changed into the store. What cannot be put there is tried again with the next.
    pub(super) async fn write(&self) {
        let changed = self.recording.kept().trends.changed();
        if changed.is_empty() {
            return;
        }
        let change = |(key, step): &(StepKey, Option<TrendStep>)| {
            let value = step.as_ref().and_then(|step| serde_json::to_vec(step).ok());
            match value {
                Some(value) => Change::Put(octets(*key), value.into()),
                None => Change::Remove(octets(*key)),
            }
        };
        let stored = async {
            self.store.apply(STEPS, changed.iter().map(change).collect()).await?;
            self.store.flush().await
        };
        if let Err(error) = stored.await {
            tracing::debug!(%error, "what the charts show is not stored yet");
            self.recording.kept().trends.change_again(changed.into_iter().map(|(key, _)| key));
        }
    }
}

fn octets((span, number): StepKey) -> Box<[u8]> {
    let number = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    [&[span][..], &number].concat().into()
}

fn step_key(octets: &[u8]) -> Option<StepKey> {
    let (span, number) = octets.split_first()?;
    Some((*span, u32::from_be_bytes(number.try_into().ok()?).into()))
}

#[cfg(test)]
mod tests {
    use record::{Event, Recorder as _, SimulatedClock};

    use super::*;
    use crate::recorder::samples;
    use crate::report::TrendSpan;

    async fn sessions(trends: &Trends) -> [u64; 3] {
        trends.recording.caught_up().await;
        let now = trends.clock.now();
        TrendSpan::ALL.map(|span| {
            let trend = trends.recording.kept().trends.told(span, now);
            trend.steps.iter().map(|step| step.sessions).sum()
        })
    }

    #[tokio::test]
    async fn what_the_charts_show_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(samples::BEGAN));
        let settings = store::Settings::in_folder(folder.path().join("store"));
        let store = Store::start(settings, Arc::clone(&clock)).unwrap();
        let start = || {
            let (recording, _) = Recording::start(Arc::clone(&clock));
            Trends::new(recording, store.clone(), Arc::clone(&clock))
        };
        let session = || Event::Session(Box::new(samples::session(samples::tls("mx1.example.net"))));
        let before = start();
        before.recording.record(session());
        assert_eq!(sessions(&before).await, [1; 3]);
        before.write().await;
        let after = start();
        after.recording.record(session());
        assert_eq!(sessions(&after).await, [1; 3]);
        after.recall().await;
        assert_eq!(sessions(&after).await, [2; 3]);
        after.write().await;
        // A record that makes no sense, and one of another time, are in nobody's way.
        let odd = [(vec![0, 0], vec![1]), (vec![1, 0, 0, 0, 1], b"{".to_vec())];
        let odd = odd.map(|(key, value)| Change::Put(key.into(), value.into()));
        store.apply(STEPS, odd.into()).await.unwrap();
        let last = start();
        last.recall().await;
        assert_eq!(sessions(&last).await, [2; 3]);
    }
}
