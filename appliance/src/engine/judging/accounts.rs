//! Who sends from here, and whether somebody else seems to do so in their name.
//!
//! A sender is the user who authenticated, or else the envelope's sender of mail that comes from inside. What a user submits is counted
//! when it is submitted; when the server sends it on, it is known again by the `Received` field that Postern put on it then. All is
//! in memory, for a session waits for the answer; [`keeping`] brings what changed to the store, and [`telling`] tells the postmaster.

mod keeping;
mod linked;
mod record;
mod signals;
mod telling;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::{Case, Count, Record};
use relay::Case as Message;
use smtp::{ForwardPath, ReversePath, TraceId, TransactionId};
use store::Store;
use tokio::sync::Notify;

pub(super) use self::linked::came_by;
use self::linked::{Link, Links, Met, Seen};
pub(super) use self::record::Reading;
use self::signals::{CASE, Signal, signals};
pub(super) use self::telling::Teller;
use super::peers::Peers;
use crate::config::Config;
use crate::report::SenderState;

/// Senders that are remembered; then the ones go that were not heard of for longest. A kilobyte each.
const MOST: usize = 20_000;
/// Octets of a sender's name.
const MAX_NAME: usize = 320;
/// Before that nobody is a stranger, for nobody is known.
const LEARNING: Duration = Duration::from_secs(14 * 86_400);
/// A case that holds nothing is over when it has not looked like one for so long.
const CALM: Duration = Duration::from_secs(86_400);
/// Lines of what was seen.
const MAX_SEEN: usize = 8;

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Account {
    /// By the name that a server has taken with a password.
    User(Box<str>),
    /// By the envelope, from inside.
    Address(Box<str>),
}

impl Account {
    fn user(name: &str) -> Self {
        Self::User(bounded(name))
    }

    /// `None` of what has no sender: nobody answers for it.
    fn address(path: &ReversePath) -> Option<Self> {
        Some(path.as_str()).filter(|path| !path.is_empty()).map(|path| Self::Address(bounded(path)))
    }

    fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Address(name) => name,
        }
    }

    /// The same name in the other sense.
    fn twin(&self) -> Self {
        match self {
            Self::User(name) => Self::Address(name.clone()),
            Self::Address(name) => Self::User(name.clone()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::User(name) => format!("{name} (authenticated)"),
            Self::Address(name) => format!("{name} (from inside)"),
        }
    }
}

/// A user's name is whatever the client says that its server takes: what it shows in must not break by it.
fn bounded(name: &str) -> Box<str> {
    let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default().to_lowercase();
    name.replace(char::is_control, "?").into()
}

/// What the config says of senders.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) watches: bool,
    /// Recipients; 0 is no limit.
    per_hour: u32,
    per_day: u32,
    exempt: Peers,
    /// Names of users, which are no peers.
    exempt_names: Vec<String>,
    /// Whether the mail of who looks taken over is held.
    stops: bool,
    tag: f32,
    quarantine: f32,
    /// Domains of the backends.
    own: Vec<String>,
    postmaster: String,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        let (senders, judge) = (&config.outbound.senders, &config.judge);
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        let share = |probability: f64| probability as f32;
        Self {
            watches: senders.watch,
            per_hour: senders.per_hour,
            per_day: senders.per_day,
            exempt: Peers::new(&senders.exempt),
            exempt_names: senders.exempt.iter().map(|name| name.to_lowercase()).collect(),
            stops: config.stops_senders(),
            tag: share(judge.tag),
            quarantine: share(judge.quarantine),
            own: config
                .backends
                .iter()
                .flat_map(|one| &one.domains)
                .map(|one| one.as_str().to_lowercase())
                .collect(),
            postmaster: config.postmaster.clone(),
        }
    }

    /// Whether somebody sends in bulk by right.
    fn exempts(&self, client: IpAddr, path: &ReversePath, account: &Account) -> bool {
        let name = account.name();
        self.exempt_names.iter().any(|exempt| exempt == name)
            || self.exempt.names(client, path, name).is_some()
    }

    fn is_own(&self, path: &str) -> bool {
        path.rsplit_once('@')
            .is_some_and(|(_, domain)| self.own.iter().any(|own| own.eq_ignore_ascii_case(domain)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watches: true,
            per_hour: 300,
            per_day: 1500,
            exempt: Peers::default(),
            exempt_names: Vec::new(),
            stops: true,
            tag: 0.8,
            quarantine: 0.95,
            own: Vec::new(),
            postmaster: String::new(),
        }
    }
}

/// What is to be done with a message for its sender's sake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Nothing speaks against it.
    #[default]
    Fine,
    /// Something does, and not enough.
    Odd(String),
    /// It looks taken over, and the config does not hold its mail.
    Suspect(String),
    /// Its mail is held.
    Stopped(String),
}

/// A message on its way out, or handed in.
pub(super) struct Sent<'a> {
    pub(super) message: &'a Message,
    /// On its way out: the submission that it came by.
    pub(super) came_by: Option<TransactionId>,
    /// Where its content was judged.
    pub(super) probability: Option<f64>,
    pub(super) subject: &'a str,
    /// By which it is known when it is sent again; empty where it has none.
    pub(super) message_id: &'a str,
}

/// All senders.
pub(in crate::engine) struct Accounts {
    state: Mutex<State>,
    store: Store,
    /// There is somebody to be told, or something to be stored at once.
    something: Notify,
}

#[derive(Default)]
struct State {
    limits: Arc<Limits>,
    records: HashMap<Account, Record>,
    /// Whom people here have written to.
    met: Met,
    links: Links,
    seen: Seen,
    /// What the store has otherwise.
    changed: HashSet<Account>,
    /// Since when all this is known, in seconds since 1970.
    since: u64,
}

impl Accounts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present config's.
    pub(super) fn limits_are(&self, limits: Limits) {
        self.state().limits = Arc::new(limits);
    }

    /// A message of somebody here: it is counted, and looked at. What has come in is for its recipients.
    pub(super) fn sent(&self, sent: &Sent<'_>, now: Duration) -> Conduct {
        let mut state = self.state();
        let conduct = state.sent(sent, now);
        // Whose a message is that is held is to be known after a crash, too.
        if state.has_news() || matches!(conduct, Conduct::Stopped(_)) {
            self.something.notify_one();
        }
        conduct
    }

    /// What the record tells of a message that is over.
    pub(super) fn went(&self, event: &::record::Event, now: Duration) {
        let is_of_interest = match event {
            ::record::Event::Transaction(one) => one.direction == ::record::Direction::Outbound,
            ::record::Event::Afterwards(one) => one.step == ::record::Step::Refused,
            ::record::Event::Session(_) | ::record::Event::LegFailed(_) | ::record::Event::FarTls(_) => false,
        };
        if !is_of_interest {
            return;
        }
        let mut state = self.state();
        state.went(event, now);
        if state.has_news() {
            self.something.notify_one();
        }
    }

    /// All cases, and of the others those with most recipients in a day; at most so many.
    pub(in crate::engine) fn list(&self, most: usize, now: Duration) -> Vec<SenderState> {
        let mut state = self.state();
        let stops = state.limits.stops;
        state.records.values_mut().for_each(|record| record.advance(now));
        let key = |record: &Record| (record.case.is_none(), u32::MAX - record.within(24).recipients);
        let mut all: Vec<_> = state.records.iter().map(|one| (key(one.1), one)).collect();
        all.sort_by(|(one, (name, _)), (other, (other_name, _))| {
            one.cmp(other).then_with(|| name.cmp(other_name))
        });
        all.into_iter().take(most).map(|(_, (account, record))| told(account, record, stops, now)).collect()
    }

    /// All cases.
    pub(in crate::engine) fn suspects(&self, now: Duration) -> Vec<SenderState> {
        let state = self.state();
        let cases = state.records.iter().filter(|(_, record)| record.case.is_some());
        cases.map(|(account, record)| told(account, record, state.limits.stops, now)).collect()
    }

    /// A person says that a sender is itself again: in either sense of its name. Whether there was a case.
    pub(in crate::engine) fn release(&self, name: &str) -> bool {
        let released = self.state().release(name);
        self.something.notify_one();
        released
    }

    /// A person says that nothing of a sender is to go out. Whether senders are watched at all.
    pub(in crate::engine) fn stop(&self, name: &str, now: Duration) -> bool {
        let mut state = self.state();
        let watches = state.limits.watches;
        if watches {
            state.stop(name, now);
            self.something.notify_one();
        }
        watches
    }

    /// Who sent the message of this transaction, if that is known.
    pub(in crate::engine) fn sender_of(&self, transaction: TransactionId) -> Option<String> {
        self.state().links.get(transaction).map(|link| link.account.name().to_owned())
    }
}

impl State {
    fn sent(&mut self, sent: &Sent<'_>, now: Duration) -> Conduct {
        let limits = Arc::clone(&self.limits);
        let message = sent.message;
        let path = &message.envelope.mail.reverse_path;
        let submission = sent.came_by.filter(|id| self.links.is_of(*id, path));
        let submitter = submission.and_then(|id| self.links.get(id)).map(|link| link.account.clone());
        let account = match (submitter, &message.user) {
            (Some(account), _) => Some(account),
            (None, Some(user)) => Some(Account::user(user)),
            (None, None) => Account::address(path),
        };
        let Some(account) = account.filter(|_| limits.watches) else { return Conduct::Fine };
        let client = message.client.address.ip();
        if limits.exempts(client, path, &account) {
            return Conduct::Fine;
        }
        // What the server tries again, and what was counted when it was submitted, is not new.
        let fresh: Vec<&str> =
            recipients(message).filter(|recipient| self.seen.is_new(sent.message_id, recipient)).collect();
        let counted = submission.map_or(0, |id| self.links.take(id, fresh.len()));
        let count = self.count(&fresh[counted.min(fresh.len())..], submission.is_none(), &limits);
        let handed_in = if message.authenticated { message.recipients.len() } else { 0 };
        self.links
            .insert(message.transaction, Link::new(account.clone(), path, handed_in, now).of(submission));
        let record = self.record(&account, now);
        if !fresh.is_empty() {
            record.add(count, now);
            record.add_samples(sent.subject, client);
            sent.probability.into_iter().for_each(|probability| record.add_content(probability));
        }
        let conduct = self.conduct(&account, now);
        if !matches!(conduct, Conduct::Suspect(_) | Conduct::Stopped(_)) {
            self.meet(message, &limits, now);
        }
        conduct
    }

    fn record(&mut self, account: &Account, now: Duration) -> &mut Record {
        if self.records.len() >= MOST && !self.records.contains_key(account) {
            self.make_room();
        }
        self.changed.insert(account.clone());
        self.records.entry(account.clone()).or_insert_with(|| Record::new(now))
    }

    /// An eighth goes, so that room is made seldom; cases stay.
    fn make_room(&mut self) {
        let mut all: Vec<(u64, Account)> =
            self.records.iter().map(|(account, one)| (one.last, account.clone())).collect();
        all.sort_unstable();
        for (_, account) in all.into_iter().take(MOST / 8) {
            if self.records.get(&account).is_some_and(|record| record.case.is_none()) {
                self.records.remove(&account);
                self.changed.insert(account);
            }
        }
    }

    fn count(&self, named: &[&str], is_a_message: bool, limits: &Limits) -> Count {
        let messages = u32::from(is_a_message && !named.is_empty());
        let mut count = Count { messages, ..Count::default() };
        count.recipients = u32::try_from(named.len()).unwrap_or(u32::MAX);
        for path in named.iter().filter(|path| !limits.is_own(path)) {
            count.looked_up = count.looked_up.saturating_add(1);
            count.strangers = count.strangers.saturating_add(u32::from(!self.met.knows(path)));
        }
        count
    }

    fn meet(&mut self, message: &Message, limits: &Limits, now: Duration) {
        recipients(message).filter(|path| !limits.is_own(path)).for_each(|path| self.met.meet(path, now));
    }

    /// What speaks against a sender now; opens a case, or closes one that is over.
    fn conduct(&mut self, account: &Account, now: Duration) -> Conduct {
        let limits = Arc::clone(&self.limits);
        let knows_strangers = now.saturating_sub(Duration::from_secs(self.since)) >= LEARNING;
        let twin = self.records.get(&account.twin()).and_then(|record| held_by(record, &limits));
        let Some(record) = self.records.get_mut(account) else { return Conduct::Fine };
        record.advance(now);
        let found = signals(record, &limits, knows_strangers, now);
        let points: u8 = found.iter().map(|signal| signal.points).sum();
        let words = found.iter().map(|Signal { words, .. }| words.clone()).collect::<Vec<_>>();
        look_again(record, points >= CASE, &words, (&limits, now));
        if let Some(words) = held_by(record, &limits).or(twin) {
            return Conduct::Stopped(words);
        }
        match &record.case {
            Some(case) => Conduct::Suspect(case.seen.join("; ")),
            None if words.is_empty() => Conduct::Fine,
            None => Conduct::Odd(words.join("; ")),
        }
    }

    fn went(&mut self, event: &::record::Event, now: Duration) {
        let Some((account, count)) = self.refused(event) else { return };
        let client = match event {
            ::record::Event::Transaction(one) => one.client.ip(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        if !self.limits.watches || self.limits.exempts(client, &ReversePath::Null, &account) {
            return;
        }
        self.record(&account, now).add(count, now);
        self.conduct(&account, now);
    }

    /// Whose recipients were refused by their servers, and how many.
    fn refused(&mut self, event: &::record::Event) -> Option<(Account, Count)> {
        match event {
            ::record::Event::Transaction(one) => self.refused_at_once(one),
            ::record::Event::Afterwards(one) if one.step == ::record::Step::Refused => {
                let link = self.links.get(one.transaction)?;
                let count = Count { refused: one.recipients_in_all.max(1), ..Count::default() };
                Some((link.account.clone(), count))
            }
            _ => None,
        }
    }

    fn refused_at_once(&mut self, one: &::record::Transaction) -> Option<(Account, Count)> {
        let (named, whole) = linked::refused_at_once(one, &self.limits.own);
        let is_out = one.direction == ::record::Direction::Outbound && !one.authenticated;
        if !is_out || named + whole == 0 {
            return None;
        }
        // Whom a server does not take at RCPT the judge has not seen: it is counted now, but where it was when it was submitted.
        let refused = Count { refused: named.saturating_add(whole), ..Count::default() };
        if let Some(link) = self.links.get(one.id).cloned() {
            let taken =
                link.submission.map_or(0, |id| self.links.take(id, usize::try_from(named).unwrap_or(0)));
            let recipients = named.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            return Some((link.account, Count { recipients, ..refused }));
        }
        // Nobody was taken, so that there was no content by which the submission is known.
        let address = Account::Address(bounded(&one.reverse_path));
        let twin = address.twin();
        match (one.reverse_path.is_empty(), self.records.contains_key(&twin)) {
            (true, _) => None,
            (false, true) => Some((twin, refused)),
            (false, false) => Some((address, Count { recipients: named, ..refused })),
        }
    }

    fn release(&mut self, name: &str) -> bool {
        let mut released = false;
        for account in [Account::user(name), Account::Address(bounded(name))] {
            if let Some(record) = self.records.get_mut(&account)
                && record.case.is_some()
            {
                record.forgive();
                released = true;
                self.changed.insert(account);
            }
        }
        released
    }

    fn stop(&mut self, name: &str, now: Duration) {
        // Whoever it is is stopped in either sense: the twin of one that is held is held.
        let account = match name.contains('@') {
            true => Account::Address(bounded(name)),
            false => Account::user(name),
        };
        let record = self.record(&account, now);
        let seen = vec!["stopped by a person".to_owned()];
        let opened = opened(seen, true, now);
        record.case = Some(Case { told: true, ..opened });
    }

    /// Whether the postmaster is to be told of something.
    fn has_news(&self) -> bool {
        let is_untold = |account: &Account| {
            self.records.get(account).and_then(|record| record.case.as_ref()).is_some_and(|case| !case.told)
        };
        self.changed.iter().any(is_untold)
    }
}

/// Opens a case that is due, and closes one that holds nothing and is over.
fn look_again(record: &mut Record, is_due: bool, words: &[String], (limits, now): (&Limits, Duration)) {
    match &mut record.case {
        Some(case) if is_due => case.last = now.as_secs(),
        Some(case) => {
            let calm = now.saturating_sub(Duration::from_secs(case.last));
            if !limits.stops && !case.by_hand && case.told && calm >= CALM {
                record.case = None;
            }
        }
        None if is_due => {
            let seen = words.iter().take(MAX_SEEN).cloned().collect();
            record.case = Some(opened(seen, false, now));
        }
        None => {}
    }
}

fn opened(seen: Vec<String>, by_hand: bool, now: Duration) -> Case {
    let id = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
    Case { id, since: now.as_secs(), last: now.as_secs(), by_hand, told: false, seen }
}

/// Why mail of a record's sender is held, if it is.
fn held_by(record: &Record, limits: &Limits) -> Option<String> {
    let case = record.case.as_ref()?;
    (case.by_hand || limits.stops).then(|| case.seen.join("; "))
}

fn recipients(message: &Message) -> impl Iterator<Item = &str> {
    let named = &message.envelope.recipients;
    message.recipients.iter().filter_map(|index| named.get(index)).map(|rcpt: &smtp::Rcpt| {
        match &rcpt.forward_path {
            path @ (ForwardPath::Mailbox(_) | ForwardPath::Postmaster(_)) => path.as_str(),
        }
    })
}

fn told(account: &Account, record: &Record, stops: bool, now: Duration) -> SenderState {
    let (hour, day) = (record.in_an_hour(now), record.within(24));
    let case = record.case.as_ref();
    let content = record.content();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let in_an_hour = hour.round() as u32;
    SenderState {
        sender: account.name().to_owned(),
        authenticated: matches!(account, Account::User(_)),
        held: case.is_some_and(|case| case.by_hand || stops),
        since: case.map(|case| case.since),
        seen: case.map(|case| case.seen.clone()).unwrap_or_default(),
        last: record.last,
        messages_in_a_day: day.messages,
        recipients_in_an_hour: in_an_hour,
        recipients_in_a_day: day.recipients,
        strangers_in_a_day: day.strangers,
        refused_in_a_day: day.refused,
        spam_probability: content.map(|(recent, _)| f64::from(recent)),
    }
}

#[cfg(test)]
mod tests;
