//! What joins a message that goes out with the submission that it came by, and with what becomes of it; and whom people here have
//! written to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use smtp::{ReversePath, TransactionId};

use super::Account;
use super::record::Reading;

/// Transactions that are remembered; a hundred octets each.
const MOST_LINKS: usize = 50_000;
/// No server keeps a message for longer (RFC 5321 §4.5.4.1), nor does the queue.
const KEEP_LINKS: Duration = Duration::from_secs(6 * 86_400);
/// Addresses that are remembered, eight octets and a day each, and what the table costs.
const MOST_MET: usize = 300_000;
/// How long somebody is known whom nobody writes to.
const KEEP_MET: u32 = 365;
/// Who is known is noted anew so seldom, in days.
const AGAIN: u32 = 30;
/// Messages and recipients that are known again when they are tried again.
const MOST_SEEN: usize = 100_000;
/// Octets of a header in which the field of Postern's own is looked for.
const MAX_HEADER: usize = 64 << 10;

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) account: Account,
    /// Of the reverse-path: where the server has put another in its place, as lists do, somebody else sends.
    path: u64,
    /// Recipients that were counted, and that were not seen on their way out.
    left: u32,
    /// In seconds since 1970.
    at: u64,
    /// Of a message on its way out: the submission that it came by. Of interest until its transaction is over, and not stored.
    pub(super) submission: Option<TransactionId>,
}

impl Link {
    pub(super) fn new(account: Account, path: &ReversePath, left: usize, now: Duration) -> Self {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        Self { account, path: digest(path.as_str()), left, at: now.as_secs(), submission: None }
    }

    /// The same, of a message that came by a submission.
    pub(super) fn of(self, submission: Option<TransactionId>) -> Self {
        Self { submission, ..self }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.at.to_be_bytes().to_vec();
        out.extend(self.path.to_be_bytes());
        out.extend(self.left.to_be_bytes());
        out.extend(account_key(&self.account));
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reading(bytes);
        let (at, path, left) = (from.long()?, from.long()?, from.number()?);
        Some(Self { account: account_of(from.0)?, path, left, at, submission: None })
    }
}

/// As the store names a sender.
pub(super) fn account_key(account: &Account) -> Vec<u8> {
    let letter = if matches!(account, Account::User(_)) { "u" } else { "a" };
    [letter, account.name()].concat().into_bytes()
}

/// The inverse.
pub(super) fn account_of(key: &[u8]) -> Option<Account> {
    let (letter, name) = std::str::from_utf8(key).ok()?.split_at_checked(1)?;
    match letter {
        "u" => Some(Account::User(name.into())),
        "a" => Some(Account::Address(name.into())),
        _ => None,
    }
}

/// By transaction.
#[derive(Default)]
pub(super) struct Links {
    all: HashMap<TransactionId, Link>,
    /// The oldest first.
    order: VecDeque<TransactionId>,
    pub(super) changed: HashSet<TransactionId>,
}

impl Links {
    pub(super) fn get(&self, transaction: TransactionId) -> Option<&Link> {
        self.all.get(&transaction)
    }

    pub(super) fn insert(&mut self, transaction: TransactionId, link: Link) {
        if self.all.insert(transaction, link).is_none() {
            self.order.push_back(transaction);
        }
        self.changed.insert(transaction);
        while self.order.len() > MOST_LINKS {
            self.forget_first();
        }
    }

    /// Whether a submission is known, and of the same sender by its envelope.
    pub(super) fn is_of(&self, id: TransactionId, path: &ReversePath) -> bool {
        self.all.get(&id).is_some_and(|link| link.path == digest(path.as_str()))
    }

    /// So many recipients of a submission are on their way out; how many of them were counted when it was submitted.
    pub(super) fn take(&mut self, id: TransactionId, recipients: usize) -> usize {
        let Some(link) = self.all.get_mut(&id) else { return 0 };
        let counted = link.left.min(u32::try_from(recipients).unwrap_or(u32::MAX));
        link.left -= counted;
        if counted > 0 {
            self.changed.insert(id);
        }
        usize::try_from(counted).unwrap_or_default()
    }

    pub(super) fn forget_old(&mut self, now: Duration) {
        let too_old = now.saturating_sub(KEEP_LINKS).as_secs();
        while self.order.front().is_some_and(|first| self.all.get(first).is_none_or(|link| link.at < too_old))
        {
            self.forget_first();
        }
    }

    pub(super) fn all_changed(&mut self) {
        self.changed.extend(self.all.keys().copied());
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.order.pop_front() {
            self.all.remove(&first);
            self.changed.insert(first);
        }
    }
}

/// Messages and their recipients that have gone out of late, so that a server which tries again is not taken for one that sends more.
#[derive(Default)]
pub(super) struct Seen {
    all: HashSet<u64>,
    /// The oldest first.
    order: VecDeque<u64>,
}

impl Seen {
    /// Whether a message is on its way to a recipient for the first time; one without an identifier always is.
    pub(super) fn is_new(&mut self, message_id: &str, recipient: &str) -> bool {
        if message_id.is_empty() {
            return true;
        }
        let key = digest(&format!("{message_id} {recipient}"));
        let is_new = self.all.insert(key);
        if is_new {
            self.order.push_back(key);
        }
        if self.order.len() > MOST_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        is_new
    }
}

/// Addresses that people here have written to, by digest, with the day of it.
#[derive(Default)]
pub(super) struct Met {
    days: HashMap<u64, u32>,
    pub(super) changed: HashSet<u64>,
}

impl Met {
    pub(super) fn knows(&self, path: &str) -> bool {
        self.days.contains_key(&digest(path))
    }

    pub(super) fn day(&self, key: u64) -> Option<u32> {
        self.days.get(&key).copied()
    }

    pub(super) fn meet(&mut self, path: &str, now: Duration) {
        let (key, day) = (digest(path), day(now));
        if self.days.get(&key).is_none_or(|known| known + AGAIN <= day) {
            self.restore(key, day);
            self.changed.insert(key);
        }
        if self.days.len() > MOST_MET {
            self.forget(now, MOST_MET - MOST_MET / 8);
        }
    }

    pub(super) fn restore(&mut self, key: u64, day: u32) {
        self.days.insert(key, day);
    }

    pub(super) fn forget_old(&mut self, now: Duration) {
        self.forget(now, MOST_MET);
    }

    pub(super) fn all_changed(&mut self) {
        self.changed.extend(self.days.keys().copied());
    }

    /// What is too old goes, and of the oldest so many that about `most` are left.
    fn forget(&mut self, now: Duration, most: usize) {
        let mut days: Vec<u32> = self.days.values().copied().collect();
        days.sort_unstable();
        let surplus = days.len().saturating_sub(most);
        let by_number = surplus.checked_sub(1).and_then(|last| days.get(last)).map_or(0, |day| day + 1);
        let from = day(now).saturating_sub(KEEP_MET).max(by_number);
        let going: Vec<u64> = self.days.iter().filter(|(_, day)| **day < from).map(|(key, _)| *key).collect();
        for key in going {
            self.days.remove(&key);
            self.changed.insert(key);
        }
    }
}

fn day(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / 86_400).unwrap_or(u32::MAX)
}

/// Of an address, in whatever case.
fn digest(address: &str) -> u64 {
    let digest = Sha256::digest(address.to_lowercase().as_bytes());
    digest.first_chunk().map(|octets| u64::from_be_bytes(*octets)).unwrap_or_default()
}

/// The submission that a message came by: the topmost `Received` field of this Postern's that tells of one. What a user writes into a
/// message stands below it.
pub(in super::super) fn came_by(message: &[u8], hostname: &str) -> Option<TransactionId> {
    let header = String::from_utf8_lossy(message.get(..message.len().min(MAX_HEADER)).unwrap_or_default());
    let end = header.find("\r\n\r\n").unwrap_or(header.len());
    let unfolded = header[..end].replace("\r\n\t", " ").replace("\r\n ", " ");
    let mark = format!("by {hostname} (Postern) with ");
    let fields = unfolded
        .split("\r\n")
        .filter(|line| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("Received:")));
    fields.filter_map(|field| submission(field, &mark)).next()
}

fn submission(field: &str, mark: &str) -> Option<TransactionId> {
    let mut words = field.split_once(mark)?.1.split_whitespace();
    let (protocol, id) = (words.next()?, words.nth(1)?);
    // RFC 3848: the letter of who authenticated.
    protocol.ends_with('A').then(|| id.trim_end_matches(';').parse().ok())?
}

/// Recipients outside that a server did not take at RCPT, and transactions whose content it refused.
pub(super) fn refused_at_once(one: &::record::Transaction, own: &[String]) -> (u32, u32) {
    let is_own = |path: &str| {
        path.rsplit_once('@')
            .is_some_and(|(_, domain)| own.iter().any(|own| own.eq_ignore_ascii_case(domain)))
    };
    let no = |reply: &Option<smtp::Reply>| reply.as_ref().is_some_and(|reply| reply.code().is_permanent());
    let recipients = one.recipients.iter().filter(|one| no(&one.reply) && !is_own(&one.address)).count();
    let is_refused = |group: &&::record::GroupOutcome| matches!(group, ::record::GroupOutcome::Refused { leg: Some(_), reply } if reply.code().is_permanent());
    let groups = one.groups.iter().filter(is_refused).count();
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    (number(recipients), number(groups))
}

#[cfg(test)]
mod tests {
    use smtp::TraceId;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn id(number: u32) -> TransactionId {
        TransactionId { session: TraceId::new(1_795_288_205_000, 7), number }
    }

    fn path(address: &str) -> ReversePath {
        ReversePath::Mailbox(address.parse().unwrap())
    }

    #[test]
    fn a_message_is_known_again_by_the_topmost_field_that_tells_of_a_submission() {
        let forged = "Received: from x by mx.test (Postern) with ESMTPSA id 0000000000009.9; x\r\n";
        let message = |fields: &str| came_by(format!("{fields}{forged}\r\nx").as_bytes(), "mx.test");
        let own = "Received: from y ([192.0.2.1])\r\n\t(using TLS)\r\n\tby mx.test (Postern) with ESMTPSA id \
                   0123456789ABE.1\r\n\tfor <b@x.test>\r\n\t(loop i0)";
        let found = message(&format!("Received: by hidden.test\r\n{own}\r\n"));
        assert_eq!(found.unwrap().to_string(), "0123456789ABE.1");
        let other = "Received: by mx.test (Postern) with ESMTPS id 0123456789ABE.1; x\r\n";
        assert_eq!(came_by(format!("{other}\r\n").as_bytes(), "mx.test"), None, "nobody authenticated");
        assert_eq!(came_by(forged.as_bytes(), "other.test"), None);
        assert_eq!(came_by(b"", "mx.test"), None);
    }

    #[test]
    fn recipients_count_once_and_another_sender_is_another() {
        let (mut links, ann) = (Links::default(), Account::user("ann"));
        links.insert(id(1), Link::new(ann, &path("ann@x.test"), 3, NOW));
        assert!(!links.is_of(id(1), &path("list@x.test")) && links.is_of(id(1), &path("Ann@x.test")));
        assert!(!links.is_of(id(2), &path("ann@x.test")));
        assert_eq!([(); 3].map(|()| links.take(id(1), 2)), [2, 1, 0]);
        assert_eq!(links.take(id(2), 2), 0);
        links.forget_old(NOW + KEEP_LINKS + Duration::from_secs(1));
        assert_eq!(links.get(id(1)), None);
    }

    #[test]
    fn links_and_senders_read_back_as_written() {
        for account in [Account::user("ann"), Account::Address("a@x.test".into())] {
            let link = Link::new(account, &path("ann@x.test"), 3, NOW);
            assert_eq!(Link::from_bytes(&link.to_bytes()), Some(link));
        }
        assert_eq!(Link::from_bytes(&[0xff; 30]), None);
        assert_eq!(account_of(b""), None);
    }

    #[test]
    fn what_is_tried_again_is_known_again() {
        let mut seen = Seen::default();
        assert!(
            seen.is_new("1@x", "a@x.test")
                && seen.is_new("1@x", "b@x.test")
                && seen.is_new("2@x", "a@x.test")
        );
        assert!(!seen.is_new("1@x", "a@x.test"));
        assert!(seen.is_new("", "a@x.test") && seen.is_new("", "a@x.test"));
        (0..MOST_SEEN).for_each(|number| assert!(seen.is_new(&number.to_string(), "c@x.test")));
        assert!(seen.is_new("1@x", "a@x.test"), "there is a bound");
    }

    #[test]
    fn who_was_met_is_known_for_a_year() {
        let mut met = Met::default();
        met.meet("A@x.test", NOW);
        assert!(met.knows("a@X.test") && !met.knows("b@x.test"));
        met.forget_old(NOW + Duration::from_secs(365 * 86_400));
        assert!(met.knows("a@x.test"));
        met.forget_old(NOW + Duration::from_secs(366 * 86_400));
        assert!(!met.knows("a@x.test"));
    }
}
