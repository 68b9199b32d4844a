//! What each day came to: verdicts, how often the classifier was right about mail that somebody vouched for, before it was taught, and
//! how its probabilities compare with that. From it the page draws the learning curve and the reliability diagram.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use judge::{Class, Learned};
use record::Verdict;
use store::{Change, Store, StoreError, Table};

use super::accounts::Reading;
use crate::report::{Count, LearningDay, LearningState, ReliabilityBin};

/// By day since 1970: the [`Day`].
const DAYS: Table = Table("daily");
/// Days that are kept.
const KEEP: u32 = 90;
/// Days that are shown.
const SHOWN: u32 = 30;
/// Classes of probabilities.
const BINS: usize = 10;
/// How often what was counted is stored: what a crash can lose.
const OFTEN: Duration = Duration::from_secs(10);

/// A day's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Day {
    /// By [`Verdict::JUDGED`].
    verdicts: [u32; Verdict::JUDGED.len()],
    ham: u32,
    /// Of it what would have been taken for spam.
    ham_lost: u32,
    spam: u32,
    spam_missed: u32,
    /// Messages by their probability, and how many of them were spam.
    bins: [[u32; 2]; BINS],
}

/// Keeps them.
pub(super) struct Daily {
    state: Mutex<State>,
    store: Store,
}

#[derive(Default)]
struct State {
    days: BTreeMap<u32, Day>,
    changed: BTreeSet<u32>,
}

impl Daily {
    /// With what was stored; and stores what comes, for as long as it lives.
    pub(super) async fn start(store: Store, now: Duration) -> Arc<Self> {
        let mut state = State::default();
        match store.scan(DAYS, None).await {
            Ok(pairs) => {
                let read = |(key, value): &(Box<[u8]>, Box<[u8]>)| {
                    Some((Reading(key).number()?, Day::from_bytes(value)?))
                };
                state.days = pairs.iter().filter_map(read).collect();
            }
            Err(error) => tracing::error!(%error, "the counts of the last days cannot be read"),
        }
        state.forget(day(now));
        let daily = Arc::new(Self { state: Mutex::new(state), store });
        let weak = Arc::downgrade(&daily);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(OFTEN).await;
                let Some(daily) = weak.upgrade() else { return };
                if let Err(error) = daily.put_away().await {
                    tracing::debug!(%error, "the counts of the day are not stored yet");
                }
            }
        });
        daily
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message was judged.
    pub(super) fn judged(&self, verdict: Verdict, now: Duration) {
        if let Some(at) = Verdict::JUDGED.iter().position(|known| *known == verdict) {
            let mut state = self.state();
            let count = &mut state.day_mut(now).verdicts[at];
            *count = count.saturating_add(1);
        }
    }

    /// Somebody vouched for a message that the classifier, before it was told, took for spam by this probability.
    pub(super) fn taught(&self, probability: f64, class: Class, now: Duration) {
        let mut state = self.state();
        let day = state.day_mut(now);
        let is_spam = class == Class::Spam;
        let acts = probability >= judge::Settings::default().acts_from;
        let (all, wrong) = match class {
            Class::Ham => (&mut day.ham, &mut day.ham_lost),
            Class::Spam => (&mut day.spam, &mut day.spam_missed),
        };
        *all = all.saturating_add(1);
        *wrong = wrong.saturating_add(u32::from(acts != is_spam));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10")]
        let bin = (probability.clamp(0.0, 1.0) * 10.0) as usize;
        let [messages, spam] = &mut day.bins[bin.min(BINS - 1)];
        *messages = messages.saturating_add(1);
        *spam = spam.saturating_add(u32::from(is_spam));
    }

    /// Writes what has changed.
    pub(super) async fn put_away(&self) -> Result<(), StoreError> {
        let changes: Vec<Change> = {
            let mut state = self.state();
            let changed = std::mem::take(&mut state.changed);
            let change = |number: u32| match state.days.get(&number) {
                Some(day) => Change::Put(number.to_be_bytes().into(), day.to_bytes().into()),
                None => Change::Remove(number.to_be_bytes().into()),
            };
            changed.into_iter().map(change).collect()
        };
        if changes.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u32> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Put(key, _) | Change::Remove(key) | Change::Add(key, _) => Reading(key).number(),
            })
            .collect();
        let stored = self.store.apply(DAYS, changes).await;
        if stored.is_err() {
            self.state().changed.extend(numbers);
        }
        stored
    }

    /// For the page.
    pub(super) fn told(&self, learned: Learned, now: Duration) -> LearningState {
        let state = self.state();
        let today = day(now);
        let shown = (today.saturating_sub(SHOWN - 1)..=today)
            .map(|number| told(number, state.days.get(&number).copied().unwrap_or_default()));
        let sum =
            |bin: usize, which: usize| state.days.values().map(|day| u64::from(day.bins[bin][which])).sum();
        let bin =
            |at: usize| ReliabilityBin { percent_from: at * 10, messages: sum(at, 0), spam: sum(at, 1) };
        LearningState {
            ham: learned.ham,
            spam: learned.spam,
            days: shown.collect(),
            reliability: (0..BINS).map(bin).collect(),
        }
    }
}

impl State {
    fn day_mut(&mut self, now: Duration) -> &mut Day {
        let number = day(now);
        if !self.days.contains_key(&number) {
            self.forget(number);
        }
        self.changed.insert(number);
        self.days.entry(number).or_default()
    }

    fn forget(&mut self, today: u32) {
        let kept = self.days.split_off(&today.saturating_sub(KEEP));
        let old = std::mem::replace(&mut self.days, kept);
        self.changed.extend(old.keys());
    }
}

impl Day {
    fn to_bytes(self) -> Vec<u8> {
        let counts = [self.ham, self.ham_lost, self.spam, self.spam_missed];
        let all = self.verdicts.iter().chain(&counts).chain(self.bins.iter().flatten());
        all.flat_map(|count| count.to_be_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reading(bytes);
        let mut day = Self::default();
        for count in &mut day.verdicts {
            *count = from.number()?;
        }
        for count in [&mut day.ham, &mut day.ham_lost, &mut day.spam, &mut day.spam_missed] {
            *count = from.number()?;
        }
        for count in day.bins.iter_mut().flatten() {
            *count = from.number()?;
        }
        Some(day)
    }
}

fn told(number: u32, day: Day) -> LearningDay {
    let verdicts = Verdict::JUDGED.iter().zip(day.verdicts).filter(|(_, count)| *count > 0);
    let verdict =
        |(verdict, count): (&Verdict, u32)| Count { what: verdict.name().to_owned(), count: count.into() };
    LearningDay {
        day: u64::from(number) * 86_400,
        verdicts: verdicts.map(verdict).collect(),
        ham: day.ham.into(),
        ham_lost: day.ham_lost.into(),
        spam: day.spam.into(),
        spam_missed: day.spam_missed.into(),
    }
}

fn day(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / 86_400).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);
    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn days_are_counted_stored_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let daily = Daily::start(store.clone(), NOW).await;
        daily.judged(Verdict::Tag, NOW - DAY);
        daily.judged(Verdict::Pass, NOW);
        daily.judged(Verdict::Unjudged, NOW);
        for (probability, class) in
            [(0.99, Class::Spam), (0.3, Class::Spam), (0.05, Class::Ham), (1.0, Class::Ham)]
        {
            daily.taught(probability, class, NOW);
        }
        daily.put_away().await.unwrap();
        let again = Daily::start(store.clone(), NOW).await;
        let told = again.told(Learned::default(), NOW);
        assert_eq!(told.days.len(), 30);
        let today = &told.days[29];
        assert_eq!((today.ham, today.ham_lost, today.spam, today.spam_missed), (2, 1, 2, 1));
        assert_eq!(today.verdicts, [Count { what: "pass".into(), count: 1 }]);
        assert_eq!(told.days[28].verdicts[0].what, "tag");
        let bins: Vec<_> = told.reliability.iter().map(|bin| (bin.messages, bin.spam)).collect();
        assert_eq!((bins[0], bins[3], bins[9]), ((1, 0), (1, 1), (2, 1)));
        again.judged(Verdict::Pass, NOW + 200 * DAY);
        again.put_away().await.unwrap();
        assert_eq!(store.scan(DAYS, None).await.unwrap().len(), 1);
    }

    #[test]
    fn a_day_reads_back_as_written() {
        let mut day = Day { ham: 7, spam_missed: 9, ..Day::default() };
        day.bins[9] = [5, 4];
        assert_eq!(Day::from_bytes(&day.to_bytes()), Some(day));
        assert_eq!(Day::from_bytes(&[0; 50]), None);
    }
}
