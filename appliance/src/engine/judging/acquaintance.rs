//! Who has written here, to whom people here write, and what they are called: what it takes to know a stranger, and an impostor. Kept in
//! the store; what is not heard of any more is forgotten, and what was said of a sender loses weight with time.

pub(super) mod greylist;
pub(super) mod noted;
mod sent_by;
mod standing;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use intercept::network_of;
use judge::Check;
use judge::looks::face;
use record::Clock;
use smtp::TransactionId;
use store::{Change, Store, StoreError, Table};
use tokio::sync::mpsc;

use sent_by::SentBy;
use standing::Standing;

/// By what a domain looks like: the time, and the domain that people here wrote to.
const CORRESPONDENTS: Table = Table("correspondents");
/// By a person's name: the time, and the person's address here.
const PEOPLE: Table = Table("people");
/// By sender (a proven domain, a network): its [`Standing`].
const SENDERS: Table = Table("senders");
/// By transaction: what a person may say of it later, [`SentBy`].
const SENT_BY: Table = Table("sent-by");

/// How long somebody is remembered who is not heard of.
const KEEP: Duration = Duration::from_secs(180 * 86_400);
/// How long a person's word about a message counts for its sender: as long as the message can be reported.
const KEEP_SENT_BY: Duration = Duration::from_secs(30 * 86_400);
/// How often what is older goes.
const SWEEP: Duration = Duration::from_secs(6 * 3600);
/// Entries of each table at most, a hundred octets each; the oldest go first.
const MOST: usize = 200_000;
/// What is known already is written again so often, and not with each message.
const AGAIN: Duration = Duration::from_secs(86_400);
/// Octets of a name or a domain that are kept.
const MAX_WORDS: usize = 255;
/// What waits to be written; more is not noted. Mail does not wait for it.
const QUEUE: usize = 1024;

/// What there is to be noted.
pub(super) enum Note {
    /// Somebody here wrote to an address of this domain.
    WroteTo(String),
    /// Somebody here is called so, and has this address.
    IsCalled { name: String, address: String },
    /// A message of these senders was judged.
    Judged { transaction: TransactionId, senders: Vec<Sender>, was_spam: bool },
    /// A person has said what a message is: it counts so for its senders from now on.
    Said { transaction: TransactionId, is_spam: bool },
}

/// Who sends, by what cannot be made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A domain that stands behind its mail by SPF, DKIM or DMARC.
    Domain(String),
    /// The client's address, or its /64.
    Network(IpAddr),
}

impl Sender {
    fn key(&self) -> Box<[u8]> {
        match self {
            Self::Domain(domain) => format!("d{}", cut(domain)).into_bytes().into(),
            Self::Network(address) => format!("n{}", network_of(*address)).into_bytes().into(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Domain(domain) => domain.clone(),
            Self::Network(address) => network_of(*address).to_string(),
        }
    }
}

/// What is known of a message's sender.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    /// The domain to which people here write, that looks as the author's does; it may be the same.
    correspondent: Option<String>,
    /// The address here of somebody who is called as the author is.
    namesake: Option<String>,
    standings: Vec<(Sender, Option<Standing>)>,
}

/// Keeps it.
pub(super) struct Acquaintances {
    store: Store,
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Note>,
}

impl Acquaintances {
    pub(super) fn start(store: Store, clock: Arc<dyn Clock>) -> Self {
        let (queue, mut notes) = mpsc::channel(QUEUE);
        let (writing, now) = (store.clone(), Arc::clone(&clock));
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                let done = tokio::select! {
                    note = notes.recv() => match note {
                        Some(note) => write(&writing, note, now.now()).await,
                        None => return,
                    },
                    _ = sweep.tick() => forget(&writing, now.now()).await,
                };
                if let Err(error) = done {
                    tracing::error!(%error, "what is known of senders cannot be kept");
                }
            }
        });
        Self { store, clock, queue }
    }

    /// Never waits; what is too much is seen again with the next message.
    pub(super) fn note(&self, note: Note) {
        let _ = self.queue.try_send(note);
    }

    /// What is known of an author's domain and name, and of who sends. What cannot be read is not known.
    pub(super) async fn of(&self, author: &str, name: &str, senders: &[Sender]) -> Acquaintance {
        let correspondent =
            (!author.is_empty()).then(|| (CORRESPONDENTS, face(cut(author)).into_bytes().into()));
        let namesake = person(name).map(|name| (PEOPLE, name.into_bytes().into()));
        let (by_author, by_name) = (correspondent.is_some(), namesake.is_some());
        let by_sender = senders.iter().map(|sender| (SENDERS, sender.key()));
        let asked = correspondent.into_iter().chain(namesake).chain(by_sender).collect();
        let mut values = self.store.get_all(asked).await.unwrap_or_default().into_iter();
        let mut value = |was_asked: bool| was_asked.then(|| values.next().flatten()).flatten();
        Acquaintance {
            correspondent: value(by_author).as_deref().and_then(words),
            namesake: value(by_name).as_deref().and_then(words),
            standings: senders
                .iter()
                .map(|sender| (sender.clone(), value(true).as_deref().and_then(Standing::from_bytes)))
                .collect(),
        }
    }

    /// The time since 1970.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }
}

impl Acquaintance {
    /// What it says for and against a message. `is_proven`: the author's domain is its own.
    pub(super) fn checks(&self, author: &str, is_proven: bool, own: &[String], now: Duration) -> Vec<Check> {
        let is_own = own.iter().any(|own| own == author);
        let correspondent = match self.correspondent.as_deref() {
            Some(known) if known == author && is_proven => {
                Some(Check::weighing("correspondent", format!("people here write to {known}"), -0.7))
            }
            Some(known) if known != author && !is_own => {
                let words = format!("{author} looks like {known}, to which people here write");
                Some(Check::weighing("look-alike", words, 3.0))
            }
            _ => None,
        };
        let namesake = self.namesake.as_deref().filter(|_| !is_own).map(|address| {
            Check::weighing("known-person", format!("called as {address} is, and of {author}"), 1.5)
        });
        let standings =
            self.standings.iter().flat_map(|(sender, standing)| standing_checks(sender, *standing, now));
        correspondent.into_iter().chain(namesake).chain(standings).collect()
    }
}

fn standing_checks(sender: &Sender, standing: Option<Standing>, now: Duration) -> Vec<Check> {
    let known = standing.unwrap_or_else(|| Standing::new(now));
    let mut checks = Vec::new();
    let words = sender.words();
    // Networks come and go.
    if known.is_new(now) && matches!(sender, Sender::Domain(_)) {
        checks.push(Check::weighing("new-sender", format!("{words} was not seen before this week"), 0.2));
    }
    let weight = known.weight(now);
    if weight != 0.0 {
        checks.push(Check::weighing("reputation", format!("{words}: {}", known.words(now)), weight));
    }
    checks
}

async fn write(store: &Store, note: Note, now: Duration) -> Result<(), StoreError> {
    match note {
        Note::WroteTo(domain) => put(store, CORRESPONDENTS, &face(cut(&domain)), cut(&domain), now).await,
        Note::IsCalled { name, address } => match person(&name) {
            Some(name) => put(store, PEOPLE, &name, cut(&address), now).await,
            None => Ok(()),
        },
        Note::Judged { transaction, senders, was_spam } => {
            let keys: Vec<_> = senders.iter().map(Sender::key).collect();
            let standings = stand(store, &keys, |standing| standing.with(was_spam, now), now).await?;
            let sent_by = sent_by::put(transaction, &SentBy { time: now, was_spam, keys });
            store.apply_all(vec![(SENDERS, standings), (SENT_BY, sent_by)]).await
        }
        Note::Said { transaction, is_spam } => match sent_by::get(store, transaction).await? {
            Some(sent_by) if sent_by.was_spam != is_spam => {
                let turned = |standing: Standing| standing.turned(is_spam, now);
                let standings = stand(store, &sent_by.keys, turned, now).await?;
                let sent_by = sent_by::put(transaction, &SentBy { was_spam: is_spam, ..sent_by });
                store.apply_all(vec![(SENDERS, standings), (SENT_BY, sent_by)]).await
            }
            _ => Ok(()),
        },
    }
}

/// How senders stand after a change.
async fn stand(
    store: &Store,
    keys: &[Box<[u8]>],
    change: impl Fn(Standing) -> Standing,
    now: Duration,
) -> Result<Vec<Change>, StoreError> {
    let all = store.get_all(keys.iter().map(|key| (SENDERS, key.clone())).collect()).await?;
    let changed = keys.iter().zip(all).map(|(key, before)| {
        let before = before.as_deref().and_then(Standing::from_bytes);
        let after = change(before.unwrap_or_else(|| Standing::new(now)));
        Change::Put(key.clone(), after.to_bytes().into())
    });
    Ok(changed.collect())
}

async fn put(store: &Store, table: Table, key: &str, words: &str, now: Duration) -> Result<(), StoreError> {
    let known = store.get(table, key.as_bytes()).await?;
    let is_fresh = |value: &[u8]| time_of(value) + AGAIN > now && value.get(8..) == Some(words.as_bytes());
    if known.as_deref().is_some_and(is_fresh) {
        return Ok(());
    }
    let value = [&now.as_secs().to_be_bytes()[..], words.as_bytes()].concat();
    store.apply(table, vec![Change::Put(key.as_bytes().into(), value.into())]).await
}

/// What is too old goes, and beyond [`MOST`] the oldest.
async fn forget(store: &Store, now: Duration) -> Result<(), StoreError> {
    let tables = [(CORRESPONDENTS, KEEP), (PEOPLE, KEEP), (SENDERS, KEEP), (SENT_BY, KEEP_SENT_BY)];
    for (table, keep) in tables.into_iter().chain([(greylist::WAITING, greylist::REMEMBERED)]) {
        let mut times = Vec::new();
        each_page(store, table, |pairs| times.extend(pairs.iter().map(|(_, value)| time_of(value)))).await?;
        let surplus = times.len().saturating_sub(MOST);
        times.sort_unstable();
        let by_number = surplus.checked_sub(1).and_then(|last| times.get(last)).copied().unwrap_or_default();
        let until = now.saturating_sub(keep).max(by_number);
        let mut going = Vec::new();
        each_page(store, table, |pairs| {
            let old = pairs.iter().filter(|(_, value)| time_of(value) <= until);
            going.extend(old.map(|(key, _)| Change::Remove(key.clone())));
        })
        .await?;
        for batch in going.chunks(1000) {
            store.apply(table, batch.to_vec()).await?;
        }
    }
    Ok(())
}

async fn each_page(
    store: &Store,
    table: Table,
    mut take: impl FnMut(&store::Pairs),
) -> Result<(), StoreError> {
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let pairs = store.scan(table, after.as_deref()).await?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        after = Some(last.clone());
        take(&pairs);
    }
}

/// What stands behind the time.
fn words(value: &[u8]) -> Option<String> {
    String::from_utf8(value.get(8..)?.to_vec()).ok()
}

/// Every value begins with the time of its last change.
fn time_of(value: &[u8]) -> Duration {
    Duration::from_secs(value.first_chunk().map(|time| u64::from_be_bytes(*time)).unwrap_or_default())
}

/// A name as it is compared: two words at least, for one alone is many people's; in whatever order and case.
fn person(name: &str) -> Option<String> {
    let mut words: Vec<String> = cut(name)
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 1)
        .map(face_of_word)
        .collect();
    words.sort_unstable();
    (words.len() >= 2).then(|| words.join(" "))
}

fn face_of_word(word: &str) -> String {
    unicode_security::skeleton(&word.to_lowercase()).collect()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_WORDS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn store(folder: &tempfile::TempDir) -> Store {
        let settings = store::Settings::in_folder(folder.path().to_owned());
        Store::start(settings, Arc::new(record::SystemClock)).unwrap()
    }

    fn transaction(number: u32) -> TransactionId {
        format!("0123456789ABE.{number}").parse().unwrap()
    }

    fn acquaintances(store: &Store) -> Acquaintances {
        Acquaintances::start(store.clone(), Arc::new(record::SystemClock))
    }

    fn names(known: &Acquaintance, author: &str, is_proven: bool) -> Vec<String> {
        let own = ["own.test".to_owned()];
        known.checks(author, is_proven, &own, NOW).iter().map(|check| check.name.to_string()).collect()
    }

    #[tokio::test]
    async fn correspondents_are_known_again_and_so_are_those_who_look_like_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        write(&store, Note::WroteTo("partner.test".into()), NOW).await.unwrap();
        let known = acquaintances(&store);
        let friend = known.of("partner.test", "", &[]).await;
        assert_eq!(names(&friend, "partner.test", true), ["correspondent"]);
        assert!(names(&friend, "partner.test", false).is_empty(), "anybody can write a name");
        let impostor = known.of("partnεr.test", "", &[]).await;
        assert!(names(&impostor, "partnεr.test", true).is_empty());
        let impostor = known.of("part\u{212f}r.test", "", &[]).await;
        assert!(names(&impostor, "x.test", true).is_empty());
        let impostor = known.of("partrner.test", "", &[]).await;
        assert!(names(&impostor, "partrner.test", true).is_empty());
        write(&store, Note::WroteTo("modern-mill.test".into()), NOW).await.unwrap();
        let impostor = known.of("rnodern-mi1l.test", "", &[]).await;
        assert_eq!(names(&impostor, "rnodern-mi1l.test", true), ["look-alike"]);
    }

    #[tokio::test]
    async fn a_stranger_who_is_called_as_one_of_us_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let note = Note::IsCalled { name: "Erika Mustermann".into(), address: "erika@own.test".into() };
        write(&store, note, NOW).await.unwrap();
        let known = acquaintances(&store);
        let stranger = known.of("evil.test", "Mustermann, ERIKA", &[]).await;
        assert_eq!(names(&stranger, "evil.test", true), ["known-person"]);
        assert!(names(&stranger, "own.test", true).is_empty());
        assert!(names(&known.of("evil.test", "Erika", &[]).await, "evil.test", true).is_empty());
    }

    #[tokio::test]
    async fn what_a_person_says_of_a_message_counts_for_its_sender_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let (sender, other) = (Sender::Domain("shop.test".into()), Sender::Domain("other.test".into()));
        for number in 1..=6 {
            let senders = vec![sender.clone(), other.clone()];
            let judged = Note::Judged { transaction: transaction(number), senders, was_spam: false };
            write(&store, judged, NOW).await.unwrap();
        }
        let words = async || {
            let known = acquaintances(&store).of("", "", &[sender.clone(), other.clone()]).await;
            known.standings.iter().map(|(_, standing)| standing.unwrap().words(NOW)).collect::<Vec<_>>()
        };
        for (number, is_spam) in [(1, true), (1, true), (2, true), (3, false), (2, false), (99, true)] {
            write(&store, Note::Said { transaction: transaction(number), is_spam }, NOW).await.unwrap();
        }
        assert_eq!(words().await, ["5 wanted and 1 unwanted of late"; 2]);
        for number in 2..=6 {
            write(&store, Note::Said { transaction: transaction(number), is_spam: true }, NOW).await.unwrap();
        }
        assert_eq!(words().await, ["0 wanted and 6 unwanted of late"; 2]);
    }

    #[tokio::test]
    async fn what_is_old_or_too_much_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        for (age, domain) in [(KEEP + AGAIN, "old.test"), (AGAIN, "young.test")] {
            write(&store, Note::WroteTo(domain.into()), NOW - age).await.unwrap();
            let senders = vec![Sender::Domain(domain.into())];
            let judged = Note::Judged { transaction: transaction(1), senders, was_spam: true };
            write(&store, judged, NOW - age).await.unwrap();
        }
        forget(&store, NOW).await.unwrap();
        for table in [CORRESPONDENTS, SENDERS] {
            assert_eq!(store.scan(table, None).await.unwrap().len(), 1, "{table:?}");
        }
    }
}
