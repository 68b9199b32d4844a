//! Once a day what is published is compared with what is to be, so that a record that was changed or lost, or the policy of another
//! host that went its own way (DECISIONS 27), is told of before mail suffers from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;
use relay::Relay;
use serde::{Deserialize, Serialize};
use store::{Change, Store, Table};
use tokio::sync::Notify;

use super::zones::Zones;
use crate::report::{RecordState, WrongRecord, Zone, ZoneQuestion, ZoneRecord, ZoneReport};

/// What was found before, by domain, in JSON.
const FOUND: Table = Table("records-found");
/// After a start or a reload: records that Postern writes by itself have time to get there.
const FIRST: Duration = Duration::from_secs(60);
/// How often it is looked where all was right.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// How often while something is not: whoever mends it wants to see it gone. Longer than any answer is remembered (an hour, at most), so that
/// what was changed just before a look is not told of.
const SOON: Duration = Duration::from_secs(65 * 60);
/// What is told of at most.
const MOST: usize = 200;
/// The records of keys that serve are watched more closely elsewhere.
const TLSA: &str = "tlsa";

/// What was found of one domain's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Once found right: only what was there can be lost.
    right: BTreeSet<String>,
    /// Not right, since when (seconds since 1970).
    wrong: BTreeMap<String, u64>,
}

/// Looks, and knows what was found.
pub(super) struct Records {
    zones: Arc<Zones>,
    store: Store,
    clock: Arc<dyn Clock>,
    changed: Notify,
    wrong: Mutex<Vec<WrongRecord>>,
}

impl Records {
    pub(super) fn new(zones: Arc<Zones>, store: Store, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { zones, store, clock, changed: Notify::new(), wrong: Mutex::default() })
    }

    /// Other domains may have other records.
    pub(super) fn config_is_another(&self) {
        self.changed.notify_one();
    }

    /// What the last look found wrong or lost.
    pub(super) fn wrong(&self) -> Vec<WrongRecord> {
        self.lock().clone()
    }

    /// Looks until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut wait = FIRST;
        while !relay.is_draining() {
            tokio::select! {
                () = self.changed.notified() => {
                    wait = FIRST;
                    continue;
                }
                () = tokio::time::sleep(wait) => {}
            }
            wait = if self.look().await { DAILY } else { SOON };
        }
    }

    /// Whether all is as it should be.
    async fn look(&self) -> bool {
        let question = ZoneQuestion { domains: Vec::new(), verify: true };
        let report = match Arc::clone(&self.zones).report(question).await {
            Ok(report) => report,
            // Without name servers nothing is known to be wrong.
            Err(error) => {
                tracing::debug!(%error, "published records are not looked at");
                return false;
            }
        };
        let now = self.clock.now().as_secs();
        let (mut wrong, mut suspected) = (Vec::new(), 0);
        for zone in &report.zones {
            let before = self.before(&zone.domain).await;
            let (found, known) = compared(zone, &before, now);
            wrong.extend(found);
            suspected += known.wrong.len();
            if known != before {
                self.keep_found(&zone.domain, &known).await;
            }
        }
        wrong.truncate(MOST);
        tracing::info!(wrong = suspected, told = wrong.len(), "published records were looked at");
        let mut known = self.lock();
        for record in wrong.iter().filter(|record| !known.contains(record)) {
            let WrongRecord { name, kind, words, .. } = record;
            tracing::warn!(name, kind, "what is published is not right: {words}");
        }
        *known = wrong;
        suspected == 0 && all_known(&report)
    }

    async fn before(&self, domain: &str) -> Known {
        let kept = self.store.get(FOUND, domain.as_bytes()).await.unwrap_or_default();
        kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default()
    }

    async fn keep_found(&self, domain: &str, known: &Known) {
        let octets = serde_json::to_vec(known).unwrap_or_default();
        let change = Change::Put(domain.as_bytes().into(), octets.into());
        if let Err(error) = self.store.apply(FOUND, vec![change]).await {
            tracing::debug!(domain, %error, "it is not kept how records were found");
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<WrongRecord>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of one zone is to be told, and what is known of it from now on.
fn compared(zone: &Zone, before: &Known, now: u64) -> (Vec<WrongRecord>, Known) {
    let (mut told, mut known) = (Vec::new(), Known::default());
    for record in zone.records.iter().filter(|record| record.purpose != TLSA) {
        let key = key(record);
        let was_right = before.right.contains(&key);
        let Some(found) = &record.found else { continue };
        let since = before.wrong.get(&key).copied();
        let wrong_since = match found.state {
            RecordState::Right => None,
            RecordState::Unknown => since,
            // What was never there is for whoever sets the domain up: the page and `dns --verify` say it.
            RecordState::Missing if !was_right => None,
            RecordState::Missing | RecordState::Wrong => Some(since.unwrap_or(now)),
        };
        if was_right || found.state == RecordState::Right {
            known.right.insert(key.clone());
        }
        let Some(wrong_since) = wrong_since else { continue };
        known.wrong.insert(key, wrong_since);
        if found.state != RecordState::Unknown && now.saturating_sub(wrong_since) >= SOON.as_secs() {
            told.push(WrongRecord {
                domain: zone.domain.clone(),
                name: record.name.clone(),
                kind: record.kind.clone(),
                words: found.words.clone(),
            });
        }
    }
    (told, known)
}

/// The same for as long as the record is to be there.
fn key(record: &ZoneRecord) -> String {
    format!("{} {} {}", record.purpose, record.kind, record.name)
}

/// Whether the DNS answered for everything.
fn all_known(report: &ZoneReport) -> bool {
    let mut found =
        report.zones.iter().flat_map(|zone| &zone.records).filter_map(|record| record.found.as_ref());
    !found.any(|found| found.state == RecordState::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Found;

    fn zone(records: &[(&str, &str, RecordState)]) -> Zone {
        let record = |(name, purpose, state): &(&str, &str, RecordState)| ZoneRecord {
            name: (*name).into(),
            kind: "TXT".into(),
            value: String::new(),
            purpose: (*purpose).into(),
            found: Some(Found { state: *state, words: format!("It is {state:?}.") }),
        };
        Zone { domain: "corp.test".into(), records: records.iter().map(record).collect(), notes: Vec::new() }
    }

    fn names(wrong: &[WrongRecord]) -> Vec<&str> {
        wrong.iter().map(|record| &*record.name).collect()
    }

    const NOW: u64 = 1_795_288_205;
    const HOUR: u64 = 65 * 60;

    #[test]
    fn what_was_never_there_is_not_lost_and_what_was_there_is() {
        let first = zone(&[
            ("_dmarc.corp.test", "dmarc", RecordState::Missing),
            ("corp.test", "spf", RecordState::Right),
            ("_mta-sts.corp.test", "mta-sts", RecordState::Wrong),
            ("_25._tcp.mx.corp.test", "tlsa", RecordState::Wrong),
        ]);
        let (told, known) = compared(&first, &Known::default(), NOW);
        assert_eq!(names(&told), [""; 0], "it may have been changed just now, and be remembered");
        let (told, known) = compared(&first, &known, NOW + HOUR);
        assert_eq!(names(&told), ["_mta-sts.corp.test"], "TLSA records have their own alarm");
        let spf = |state| zone(&[("corp.test", "spf", state)]);
        let (told, known) = compared(&spf(RecordState::Unknown), &known, NOW + 2 * HOUR);
        assert_eq!(names(&told), [""; 0]);
        let (_, known) = compared(&spf(RecordState::Missing), &known, NOW + 3 * HOUR);
        // That nobody answers for a while takes nothing back.
        let (_, known) = compared(&spf(RecordState::Unknown), &known, NOW + 4 * HOUR);
        let (told, known) = compared(&spf(RecordState::Missing), &known, NOW + 5 * HOUR);
        assert_eq!(names(&told), ["corp.test"]);
        let (told, known) = compared(&spf(RecordState::Right), &known, NOW + 6 * HOUR);
        assert_eq!((names(&told).len(), known.wrong.len()), (0, 0));
    }

    #[test]
    fn a_record_that_is_to_be_there_no_more_is_forgotten() {
        let right = BTreeSet::from(["dkim TXT old._domainkey.corp.test".to_owned()]);
        let before = Known { right, wrong: BTreeMap::new() };
        let (told, known) = compared(&zone(&[("corp.test", "spf", RecordState::Right)]), &before, NOW);
        assert_eq!((names(&told).len(), known.right.len()), (0, 1));
    }
}
