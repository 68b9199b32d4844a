//! Reports in the store: by domain and last second, each once, for a time and up to a bound. Who fills it most loses first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sift::report::{DmarcReport, Report, TlsReport};
use store::{Change, Store, StoreError, Table};

/// By domain, last second, and a hash of sender and identifier.
const REPORTS: Table = Table("received-reports");
/// How long reports are kept.
pub(super) const KEEP: Duration = Duration::from_secs(60 * 86_400);
/// Octets of all reports. One has some hundred, one of a large receiver tens of thousands.
const MAX_OCTETS: usize = 64 << 20;
/// Reports at most, so that the index of them is bounded, too.
const MAX_REPORTS: usize = 50_000;
/// Octets of one; rows that do not fit are left out, and counted. The store takes 64 KiB.
const MAX_KEPT: usize = 60 << 10;

/// A report about one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) domain: String,
    /// Who stands behind it.
    pub(super) sender: String,
    pub(super) report: Report,
}

/// What is in the store, by key: octets and sender.
type Index = BTreeMap<Box<[u8]>, (usize, Box<str>)>;

/// Keeps them.
pub(super) struct Keeping {
    store: Store,
    index: Mutex<Index>,
}

/// The first and the last second that a report is on.
pub(super) fn span(report: &Report) -> (u64, u64) {
    match report {
        Report::Tls(TlsReport { reporter, .. }) | Report::Dmarc(DmarcReport { reporter, .. }) => {
            (reporter.begin, reporter.end)
        }
        Report::Unreadable(_) => (0, 0),
    }
}

impl Kept {
    /// A report as one for each domain here that it is about.
    pub(super) fn of(report: Report, sender: &str, is_here: impl Fn(&str) -> bool) -> Vec<Self> {
        let kept = |domain: String, report| Self { domain, sender: sender.to_owned(), report };
        match report {
            Report::Dmarc(report) if is_here(&report.domain) => {
                vec![kept(report.domain.clone(), Report::Dmarc(report))]
            }
            Report::Tls(report) => {
                let mut by_domain: BTreeMap<String, TlsReport> = BTreeMap::new();
                let TlsReport { reporter, policies, left_out } = report;
                for policy in policies.into_iter().filter(|policy| is_here(&policy.domain)) {
                    let new = || TlsReport { reporter: reporter.clone(), policies: Vec::new(), left_out };
                    by_domain.entry(policy.domain.clone()).or_insert_with(new).policies.push(policy);
                }
                by_domain.into_iter().map(|(domain, report)| kept(domain, Report::Tls(report))).collect()
            }
            Report::Dmarc(_) | Report::Unreadable(_) => Vec::new(),
        }
    }

    /// The same report, sent twice, has the same.
    fn key(&self) -> Box<[u8]> {
        let (kind, reporter) = match &self.report {
            Report::Tls(report) => ("tls", &report.reporter),
            Report::Dmarc(report) => ("dmarc", &report.reporter),
            Report::Unreadable(_) => return Box::default(),
        };
        let named = format!("{kind}\0{}\0{}\0{}", self.sender, reporter.id, reporter.begin);
        let digest = Sha256::digest(named.as_bytes());
        let end = reporter.end.to_be_bytes();
        [self.domain.as_bytes(), &[0], &end, &digest[..16]].concat().into()
    }

    /// What fits; of too many rows those with the fewest messages go.
    fn written(mut self) -> Option<Vec<u8>> {
        if let Report::Dmarc(report) = &mut self.report {
            report.rows.sort_by_key(|row| std::cmp::Reverse(row.messages));
        }
        loop {
            let octets = serde_json::to_vec(&self).ok()?;
            if octets.len() <= MAX_KEPT {
                return Some(octets);
            }
            match &mut self.report {
                Report::Dmarc(report) => {
                    let half = report.rows.len() / 2;
                    let gone = report.rows.split_off(half);
                    report.left_out += u32::try_from(gone.len()).unwrap_or_default();
                    let messages = gone.iter().map(|row| row.messages);
                    report.left_out_messages = messages.fold(report.left_out_messages, u64::saturating_add);
                }
                Report::Tls(report) => {
                    let policy = report.policies.iter_mut().max_by_key(|policy| policy.failures.len())?;
                    policy.failures.truncate(policy.failures.len() / 2);
                }
                Report::Unreadable(_) => return None,
            }
        }
    }
}

impl Keeping {
    pub(super) fn new(store: Store) -> Self {
        Self { store, index: Mutex::default() }
    }

    /// Reads what is there; what is too old goes.
    pub(super) async fn open(&self, now: Duration) -> Result<(), StoreError> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = self.store.scan(REPORTS, after.as_deref()).await?;
            let Some((last, _)) = pairs.last() else { break };
            after = Some(last.clone());
            let read = |(key, value): &(Box<[u8]>, Box<[u8]>)| {
                let kept: Option<Kept> = serde_json::from_slice(value).ok();
                (key.clone(), (value.len(), kept.map(|kept| kept.sender.into()).unwrap_or_default()))
            };
            self.index.lock().unwrap_or_else(PoisonError::into_inner).extend(pairs.iter().map(read));
        }
        self.make_room(now).await
    }

    pub(super) async fn put(&self, kept: Kept, now: Duration) -> Result<(), StoreError> {
        let (key, sender) = (kept.key(), Box::from(&*kept.sender));
        let Some(value) = kept.written() else { return Ok(()) };
        let length = value.len();
        self.store.apply(REPORTS, vec![Change::Put(key.clone(), value.into())]).await?;
        // What is removed from the spool next must not be lost with the power.
        self.store.flush().await?;
        self.index.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (length, sender));
        self.make_room(now).await
    }

    /// What is too old goes; then, while it is too much, the oldest of whoever has most.
    async fn make_room(&self, now: Duration) -> Result<(), StoreError> {
        let going = {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            let going = surplus(&index, now.saturating_sub(KEEP).as_secs());
            for key in &going {
                index.remove(key);
            }
            going
        };
        for some in going.chunks(1000) {
            let changes = some.iter().map(|key| Change::Remove(key.clone())).collect();
            self.store.apply(REPORTS, changes).await?;
        }
        Ok(())
    }

    /// Those about one domain.
    pub(super) async fn of(&self, domain: &str) -> Result<Vec<Kept>, StoreError> {
        let begins = [domain.as_bytes(), &[0]].concat();
        let (mut of, mut after) = (Vec::new(), Box::from(&*begins));
        loop {
            let pairs = self.store.scan(REPORTS, Some(&after)).await?;
            let Some((last, _)) = pairs.last() else { return Ok(of) };
            after = last.clone();
            let own = pairs.iter().filter(|(key, _)| key.starts_with(&begins));
            of.extend(own.filter_map(|(_, value)| serde_json::from_slice(value).ok()));
            if !after.starts_with(&begins) {
                return Ok(of);
            }
        }
    }

    /// Those about these domains, or all.
    pub(super) async fn all(&self, wanted: &[String]) -> Result<Vec<Kept>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = self.store.scan(REPORTS, after.as_deref()).await?;
            let Some((last, _)) = pairs.last() else { return Ok(all) };
            after = Some(last.clone());
            let is_wanted = |key: &[u8]| {
                let domain = key.split(|octet| *octet == 0).next().unwrap_or_default();
                wanted.is_empty() || wanted.iter().any(|one| one.as_bytes() == domain)
            };
            let values = pairs.iter().filter(|(key, _)| is_wanted(key));
            all.extend(values.filter_map(|(_, value)| serde_json::from_slice(value).ok()));
        }
    }
}

/// The last second of a report, by its key.
fn end_of(key: &[u8]) -> u64 {
    let at = key.iter().position(|octet| *octet == 0).map_or(key.len(), |at| at + 1);
    key.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |end| u64::from_be_bytes(*end))
}

/// Last second, key and octets of one sender's report; the oldest is the least.
type Own<'a> = (u64, &'a [u8], usize);

/// The keys that have to go.
fn surplus(index: &Index, oldest: u64) -> Vec<Box<[u8]>> {
    let mut going: Vec<Box<[u8]>> = Vec::new();
    let mut octets = 0;
    let mut of_senders: HashMap<&str, Vec<Own<'_>>> = HashMap::new();
    for (key, (length, sender)) in index {
        let end = end_of(key);
        if end < oldest {
            going.push(key.clone());
        } else {
            octets += length;
            of_senders.entry(sender).or_default().push((end, key, *length));
        }
    }
    let mut number = index.len() - going.len();
    if octets <= MAX_OCTETS && number <= MAX_REPORTS {
        return going;
    }
    // An eighth more than has to, so that room is made seldom.
    while octets > MAX_OCTETS - MAX_OCTETS / 8 || number > MAX_REPORTS - MAX_REPORTS / 8 {
        let most =
            of_senders.values_mut().max_by_key(|own| own.iter().map(|(.., length)| length).sum::<usize>());
        let Some(own) = most.filter(|own| !own.is_empty()) else { break };
        own.sort_unstable();
        let half = own.len().div_ceil(2);
        for (_, key, length) in own.drain(..half) {
            octets -= length;
            number -= 1;
            going.push(key.into());
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sift::report::{Reporter, TlsPolicy};

    use super::*;

    const NOW: u64 = 1_795_288_205;

    fn tls(id: &str, end: u64, domains: &[&str]) -> Report {
        let reporter = Reporter { id: id.into(), begin: end - 86_399, end, ..Reporter::default() };
        let policy =
            |domain: &&str| TlsPolicy { domain: (*domain).into(), succeeded: 1, ..TlsPolicy::default() };
        Report::Tls(TlsReport { reporter, policies: domains.iter().map(policy).collect(), left_out: 0 })
    }

    #[tokio::test]
    async fn a_report_is_kept_once_for_each_domain_here_and_for_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let (keeping, now) = (Keeping::new(store.clone()), Duration::from_secs(NOW));
        let here = |domain: &str| domain != "elsewhere.test";
        for id in ["1", "2", "1"] {
            for kept in Kept::of(tls(id, NOW, &["a.test", "elsewhere.test", "b.test"]), "x.test", here) {
                keeping.put(kept, now).await.unwrap();
            }
        }
        assert_eq!(keeping.all(&[]).await.unwrap().len(), 4);
        assert_eq!(keeping.all(&["a.test".into()]).await.unwrap().len(), 2);
        let again = Keeping::new(store);
        again.open(now + KEEP).await.unwrap();
        assert_eq!(again.all(&[]).await.unwrap().len(), 4, "the last day that it is kept");
        again.open(now + KEEP + Duration::from_secs(1)).await.unwrap();
        assert!(again.all(&[]).await.unwrap().is_empty());
    }

    #[test]
    fn who_fills_it_most_loses_first() {
        let mut index = BTreeMap::new();
        let key = |sender: &str, number: u64| {
            Kept {
                domain: "a.test".into(),
                sender: sender.into(),
                report: tls(&number.to_string(), NOW + number, &["a.test"]),
            }
            .key()
        };
        for number in 0..10 {
            index.insert(key("small.test", number), (1000, "small.test".into()));
        }
        for number in 0..1100 {
            index.insert(key("flood.test", number), (MAX_KEPT, "flood.test".into()));
        }
        let going = surplus(&index, 0);
        let left: usize =
            index.iter().filter(|(key, _)| !going.contains(key)).map(|(_, (length, _))| length).sum();
        assert!(left <= MAX_OCTETS, "{left}");
        assert!(going.iter().all(|key| &*index[key].1 == "flood.test"), "the others keep theirs");
        assert!(
            going.contains(&key("flood.test", 0)) && !going.contains(&key("flood.test", 1099)),
            "the oldest go"
        );
        assert!(surplus(&index, NOW + 1100).len() == index.len());
    }

    #[test]
    fn what_is_too_long_keeps_what_weighs_most() {
        let row = |messages| sift::report::Row {
            source: [192, 0, 2, 1].into(),
            messages,
            disposition: sift::report::Disposition::None,
            dkim: false,
            spf: false,
            header_from: "x".repeat(255),
            overridden: "x".repeat(255),
            signatures: Vec::new(),
            sender: sift::report::Checked { domain: "x".repeat(255), result: "x".repeat(255) },
        };
        let report = DmarcReport {
            domain: "a.test".into(),
            rows: (1..=300).map(row).collect(),
            ..DmarcReport::default()
        };
        let kept = Kept { domain: "a.test".into(), sender: "x.test".into(), report: Report::Dmarc(report) };
        let written = kept.written().unwrap();
        assert!(written.len() <= MAX_KEPT);
        let read: Kept = serde_json::from_slice(&written).unwrap();
        let Report::Dmarc(report) = read.report else { panic!("another one") };
        assert_eq!(report.rows.len() + report.left_out as usize, 300);
        assert_eq!(report.rows[0].messages, 300);
        let all: u64 = report.rows.iter().map(|row| row.messages).sum::<u64>() + report.left_out_messages;
        assert_eq!(all, 300 * 301 / 2);
    }
}
