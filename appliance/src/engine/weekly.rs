//! Counts what each domain's weeks are made of, answers for them, and sends each that is over to the domain's postmaster where the
//! config wants that.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use record::{
    Clock, Direction, Event, FarProof, GroupOutcome, Leg, TlsOutcome, TlsVersion, Transaction, Verdict,
};
use relay::Relay;
use smtp::TransactionId;
use store::{Change, Store, StoreError, Table};

use super::letters::{Letter, Letters};
use super::tally::{self, Tally};
use crate::config::Config;
use crate::recorder::{Outcome, outcome};
use crate::tls_report::DAY;
use crate::weekly::{DAYS, LANGUAGE, WeekReport, date, monday, week_of};

/// Counts, by day, domain and what is counted.
const TALLY: Table = Table("weekly-tally");
/// The week that a domain's postmaster was told of last.
const SENT: Table = Table("weekly-sent");
/// Weeks that are kept.
const WEEKS: u64 = 10;
/// Messages that wait for a server of the world, whose senders' domains are remembered.
const UNDER_WAY: usize = 10_000;
/// Kinds that a day of a domain has, with room.
const MOST_KINDS: usize = 64;

/// Of whom.
struct Who {
    hostname: String,
    postmaster: String,
    domains: BTreeSet<String>,
    sends: bool,
}

/// The counters.
pub(super) struct Weekly {
    tally: Tally,
    store: Store,
    clock: Arc<dyn Clock>,
    letters: Arc<Letters>,
    who: Mutex<Option<Arc<Who>>>,
    under_way: Mutex<UnderWay>,
}

/// Whose a message is that waits in the queue; of too many the latest.
#[derive(Default)]
struct UnderWay {
    domains: HashMap<TransactionId, Box<str>>,
    order: VecDeque<TransactionId>,
}

impl UnderWay {
    fn add(&mut self, id: TransactionId, domain: &str) {
        if self.domains.insert(id, domain.into()).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > UNDER_WAY {
            self.order.pop_front().map(|oldest| self.domains.remove(&oldest));
        }
    }
}

impl Weekly {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, letters: Arc<Letters>) -> Arc<Self> {
        let tally = Tally::new(TALLY, store.clone());
        let (who, under_way) = (Mutex::default(), Mutex::default());
        Arc::new(Self { tally, store, clock, letters, who, under_way })
    }

    /// From now on these are the domains.
    pub(super) fn config_is(&self, config: &Config) {
        let domains = config.backends.iter().flat_map(|backend| &backend.domains);
        let who = Who {
            hostname: config.hostname.to_string(),
            postmaster: config.postmaster.as_str().to_owned(),
            domains: domains.map(|domain| domain.as_str().to_lowercase()).collect(),
            sends: config.reports.weekly,
        };
        *lock(&self.who) = Some(Arc::new(who));
    }

    fn who(&self) -> Option<Arc<Who>> {
        lock(&self.who).clone()
    }

    /// Counts what happened.
    pub(super) fn hears_of(&self, event: &Event) {
        let Some(who) = self.who() else { return };
        match event {
            Event::Transaction(transaction) => self.transaction(&who, transaction),
            Event::Afterwards(step) => {
                let domain = lock(&self.under_way).domains.get(&step.transaction).cloned();
                if let (Some(domain), Some(leg), record::Step::Delivered) = (domain, &step.leg, step.step) {
                    self.delivered(&domain, leg);
                }
            }
            Event::Session(_) | Event::LegFailed(_) | Event::FarTls(_) => {}
        }
    }

    fn transaction(&self, who: &Who, transaction: &Transaction) {
        match transaction.direction {
            Direction::Inbound => {
                let domains = transaction.recipients.iter().filter_map(|one| domain_of(&one.address));
                let domains: BTreeSet<String> =
                    domains.filter(|domain| who.domains.contains(domain)).collect();
                for domain in &domains {
                    received(transaction).for_each(|counted| self.count(domain, &counted));
                }
            }
            Direction::Outbound => {
                let domain = domain_of(&transaction.reverse_path);
                let Some(domain) = domain.filter(|domain| who.domains.contains(domain)) else { return };
                for group in &transaction.groups {
                    match group {
                        GroupOutcome::Delivered { leg, .. } => self.delivered(&domain, leg),
                        GroupOutcome::Spooled { .. } => lock(&self.under_way).add(transaction.id, &domain),
                        GroupOutcome::Refused { .. } => {}
                    }
                }
            }
        }
    }

    /// To a server of the world, by what was proved of it; one inside is nobody's news.
    fn delivered(&self, domain: &str, leg: &Leg) {
        if leg.policy.is_empty() {
            return;
        }
        self.count(domain, "out");
        let counted = match &leg.tls {
            TlsOutcome::Established { proof: FarProof::Dane, .. } => "out dane",
            TlsOutcome::Established { proof: FarProof::MtaSts, .. } => "out mta-sts",
            TlsOutcome::Established { proof: FarProof::Verified | FarProof::Pinned, .. } => "out verified",
            TlsOutcome::Established { proof: FarProof::Unverified, .. } => "out unproved",
            TlsOutcome::Plain | TlsOutcome::Failed(_) => "out plain",
        };
        self.count(domain, counted);
    }

    fn count(&self, domain: &str, counted: &str) {
        let day = self.clock.now().as_secs() / DAY;
        self.tally.note(day, domain, counted.as_bytes(), None);
    }

    /// Writes, and tells of weeks that are over, until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut round = tally::Round::default();
        while !relay.is_draining() {
            let looks = round.next().await;
            self.write().await;
            if looks && let Err(error) = self.look(&relay).await {
                tracing::error!(%error, "weekly reports cannot be made now");
            }
        }
    }

    /// Puts what was counted into the store.
    pub(super) async fn write(&self) {
        if let Err(error) = self.tally.write().await {
            tracing::error!(%error, "what weekly reports are made of cannot be stored, and is tried again");
        }
    }

    async fn look(&self, relay: &Relay) -> Result<(), StoreError> {
        let Some(who) = self.who() else { return Ok(()) };
        let today = tally::today(self.clock.now(), &who.hostname);
        let over = week_of(today).saturating_sub(1);
        for (day, domain) in self.tally.before(monday(week_of(today).saturating_sub(WEEKS))).await? {
            self.tally.forget(day, &domain).await?;
        }
        for domain in who.domains.iter().filter(|_| who.sends) {
            let told = self.store.get(SENT, domain.as_bytes()).await?;
            let told = told.and_then(|octets| <[u8; 8]>::try_from(&octets[..]).ok()).map(u64::from_be_bytes);
            for week in due(told, over) {
                if !self.tell(&who, domain, week, relay).await? {
                    break;
                }
                let octets = week.to_be_bytes().to_vec();
                self.store.apply(SENT, vec![Change::Put(domain.as_bytes().into(), octets.into())]).await?;
            }
        }
        Ok(())
    }

    /// Whether the postmaster has that week in the queue, or there is nothing to tell of it.
    async fn tell(&self, who: &Who, domain: &str, week: u64, relay: &Relay) -> Result<bool, StoreError> {
        let week = self.week(domain, week).await?;
        if week.received.accepted + week.received.refused + week.sent.delivered == 0 {
            return Ok(true);
        }
        let to = [format!("postmaster@{domain}")];
        let content = mail(who, &to[0], &week, self.clock.now());
        let letter = Letter { from: &who.postmaster, to: &to, content, what: "a weekly report" };
        match self.letters.send(relay, letter).await {
            Ok(_) => Ok(true),
            Err(error) => {
                tracing::error!(%domain, error, "a weekly report cannot be sent yet");
                Ok(false)
            }
        }
    }

    /// The reports of these domains, of all where none is named, and of this week, or the present one.
    pub(super) async fn weeks(
        &self,
        domains: Vec<String>,
        week: Option<u64>,
    ) -> Result<Vec<WeekReport>, StoreError> {
        self.tally.write().await?;
        let Some(who) = self.who() else { return Ok(Vec::new()) };
        let week = week.unwrap_or_else(|| week_of(self.clock.now().as_secs() / DAY));
        let mut weeks = Vec::new();
        for domain in who.domains.iter().filter(|domain| domains.is_empty() || domains.contains(domain)) {
            weeks.push(self.week(domain, week).await?);
        }
        Ok(weeks)
    }

    async fn week(&self, domain: &str, week: u64) -> Result<WeekReport, StoreError> {
        let first = monday(week);
        let mut report = WeekReport {
            domain: domain.to_owned(),
            begins: date(first),
            ends: date(first + DAYS - 1),
            is_over: self.clock.now().as_secs() / DAY >= first + DAYS,
            ..WeekReport::default()
        };
        for day in first..first + DAYS {
            for (counted, count) in self.tally.counts(day, domain, MOST_KINDS).await? {
                report.add(&String::from_utf8_lossy(&counted), count);
            }
        }
        Ok(report)
    }
}

/// Weeks to be told of: those since the last one, also of a time when nothing ran, as far as they are kept; to begin with the last alone.
fn due(told: Option<u64>, over: u64) -> RangeInclusive<u64> {
    told.map_or(over, |told| told + 1).max(over.saturating_sub(WEEKS - 1))..=over
}

/// What is counted of a message from the world.
fn received(transaction: &Transaction) -> impl Iterator<Item = Cow<'static, str>> {
    let answer = match outcome(transaction) {
        Outcome::Accepted | Outcome::Spooled => Some("in accepted"),
        Outcome::Refused => Some("in refused"),
        // It comes again, or never was one.
        Outcome::Deferred | Outcome::Abandoned => None,
    };
    let is_spam = matches!(
        transaction.verdict,
        Verdict::Tag | Verdict::Quarantine | Verdict::Reject | Verdict::Discard
    );
    let tls = match transaction.tls.facts().map(|facts| facts.version) {
        Some(TlsVersion::Tls13) => "in tls13",
        Some(TlsVersion::Tls12) => "in tls12",
        None => "in plain",
    };
    let checks = transaction.opinion.iter().flat_map(|opinion| &opinion.checks);
    let dmarc = checks.filter(|check| &*check.name == "dmarc").find_map(|check| {
        let said = &*check.result;
        let fails = said.starts_with("fail").then_some("in dmarc fail");
        if said.starts_with("pass") { Some("in dmarc pass") } else { fails }
    });
    let language = transaction.opinion.as_ref().map_or("", |opinion| opinion.language);
    let language = (!language.is_empty()).then(|| Cow::Owned(format!("{LANGUAGE}{language}")));
    let rest = [Some(tls), is_spam.then_some("in spam"), dmarc].into_iter().flatten();
    let rest = rest.map(Cow::Borrowed).chain(language);
    answer.into_iter().flat_map(move |answer| std::iter::once(Cow::Borrowed(answer)).chain(rest.clone()))
}

/// In lower case.
fn domain_of(address: &str) -> Option<String> {
    address.rsplit_once('@').map(|(_, domain)| domain.trim_end_matches('>').to_lowercase())
}

/// Text for who reads it, a page to be published, and numbers for programs.
fn mail(who: &Who, to: &str, week: &WeekReport, now: Duration) -> Vec<u8> {
    let Who { hostname, postmaster, .. } = who;
    let plain = MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), week.text());
    let name = format!("{}-{}", week.domain, week.begins);
    let page = MimePart::new(
        ContentType::new("text/html").attribute("charset", "utf-8"),
        week.document().into_string(),
    );
    let json = serde_json::to_string_pretty(week).unwrap_or_default();
    let json =
        MimePart::new(ContentType::new("application/json"), BodyPart::Binary(json.into_bytes().into()));
    let parts = vec![plain, page.attachment(format!("{name}.html")), json.attachment(format!("{name}.json"))];
    let message = MessageBuilder::new()
        .header("From", Raw::new(format!("Postern of {hostname} <{postmaster}>")))
        .header("To", Raw::new(format!("<{to}>")))
        .header("Subject", Raw::new(week.title()))
        .header("Date", Raw::new(record::rfc5322_date(now)))
        .header("Message-ID", Raw::new(format!("<weekly-{name}-{:016x}@{hostname}>", rand::random::<u64>())))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .body(MimePart::new(ContentType::new("multipart/mixed"), BodyPart::Multipart(parts)));
    let mut content = Vec::new();
    message.serialize(&mut content);
    content
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use record::SimulatedClock;

    use super::super::signing;
    use super::*;
    use crate::recorder::samples;

    #[test]
    fn a_week_after_which_nothing_ran_is_told_of_later() {
        let told = |told, over| due(told, over).collect::<Vec<_>>();
        assert_eq!((told(None, 90), told(Some(89), 90), told(Some(90), 90)), (vec![90], vec![90], vec![]));
        assert_eq!((told(Some(87), 90), told(Some(91), 90)), (vec![88, 89, 90], vec![]));
        assert_eq!((told(Some(1), 90).len(), told(None, 0)), (10, vec![0]));
    }

    #[tokio::test]
    async fn each_domain_has_its_own_mail_in_its_week_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(samples::BEGAN));
        let settings = store::Settings::in_folder(folder.path().join("store"));
        let store = Store::start(settings, Arc::clone(&clock)).unwrap();
        let keys = crate::dkim::Keys::new(folder.path(), "postern", Arc::clone(&clock));
        let letters = Arc::new(Letters::new(signing::Present::new(keys), Arc::clone(&clock)));
        let weekly = Weekly::new(store, Arc::clone(&clock), letters);
        let domains = ["example.net", "example.org"].map(str::to_owned).into();
        let (hostname, postmaster) = ("mx.test".to_owned(), "postmaster@example.net".to_owned());
        *lock(&weekly.who) = Some(Arc::new(Who { hostname, postmaster, domains, sends: false }));
        let mut inbound = samples::judged(1);
        inbound.direction = Direction::Inbound;
        inbound.verdict = Verdict::Tag;
        inbound.recipients.truncate(1);
        inbound.recipients[0].address = "b@Example.NET".into();
        weekly.hears_of(&Event::Transaction(Box::new(inbound.clone())));
        inbound.recipients[0].address = "b@elsewhere.example".into();
        weekly.hears_of(&Event::Transaction(Box::new(inbound.clone())));
        // On its way out, by a server of the world that nothing proved.
        inbound.direction = Direction::Outbound;
        inbound.reverse_path = "ann@example.org".into();
        if let Some(GroupOutcome::Delivered { leg, .. }) = inbound.groups.first_mut() {
            leg.policy = "opportunistic".into();
            leg.tls = TlsOutcome::Plain;
        }
        weekly.hears_of(&Event::Transaction(Box::new(inbound)));
        let weeks = weekly.weeks(Vec::new(), None).await.unwrap();
        let [net, org] = &weeks[..] else { panic!("{weeks:?}") };
        assert_eq!((net.received.accepted, net.received.spam, net.sent.delivered), (1, 1, 0), "{net:?}");
        assert_eq!(net.received.tls13 + net.received.tls12 + net.received.plain, 1, "{net:?}");
        let languages: Vec<_> = net.languages.iter().map(|one| (one.what.as_str(), one.count)).collect();
        assert_eq!(languages, [("German", 1)]);
        assert_eq!((org.received.accepted, org.sent.delivered, org.sent.plain), (0, 1, 1), "{org:?}");
        assert_eq!(weekly.weeks(vec!["example.org".to_owned()], Some(3)).await.unwrap()[0].sent.delivered, 0);
        let who = weekly.who().unwrap();
        let mail = String::from_utf8(mail(&who, "postmaster@example.net", net, samples::BEGAN)).unwrap();
        assert!(mail.contains("Subject: Mail of example.net from ") && mail.contains(".json"), "{mail}");
    }
}
