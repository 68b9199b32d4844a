//! What waits, why, and until when.

use std::time::Duration;

use delivery::Queue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::Reply;
use spool::{Count, EntryId, Folder, SpoolError, Summary};

/// Domains that the page and the API name; the ones with most messages.
const MAX_DOMAINS: usize = 50;
/// Recipients that are named of one message.
const MAX_RECIPIENTS: usize = 100;

/// The queue in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueState {
    /// Messages that wait for their server.
    pub messages: usize,
    /// Of these, those that a person holds back.
    pub held: usize,
    /// Their content, in octets.
    pub bytes: u64,
    /// When the oldest of them came, in seconds since 1970.
    pub oldest: Option<u64>,
    /// Messages in each folder that has some.
    pub folders: Vec<FolderCount>,
    /// Since when nothing expires, in seconds since 1970; `None`: disaster mode is off.
    pub disaster: Option<u64>,
    /// How much of the spool's bounds and of the disk is taken, in percent.
    pub percent: u64,
    /// Octets that the spool takes on disk.
    pub used: u64,
    /// Octets that the file system has left.
    pub free: u64,
    /// Octets of that which are kept back: new mail is refused before they are used.
    pub reserve: u64,
    /// Whether new mail is refused because there is no room.
    pub full: bool,
    /// Damaged records that were set aside in the spool's folder `damaged`.
    pub damaged: usize,
    /// Recipients to whom the queue has delivered since the start.
    pub delivered: u64,
    /// Reports to senders since the start.
    pub reported: u64,
    /// Times that something went into `expired` since the start.
    pub set_aside: u64,
    /// Destinations that something waits for or goes to.
    pub destinations: Vec<QueueDestination>,
    /// Domains with most messages first.
    pub domains: Vec<QueueDomain>,
}

/// A folder of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FolderCount {
    /// `queue`, `quarantine`, `reports`, `traps` or `expired`.
    pub folder: String,
    /// How many.
    pub messages: usize,
    /// When the oldest came, in seconds since 1970.
    pub oldest: u64,
}

/// A destination as the queue sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDestination {
    /// A backend's name, a relay, or a domain of the world.
    pub name: String,
    /// Open connections.
    pub connections: usize,
    /// Since when it is not reached, in seconds since 1970.
    pub away_since: Option<u64>,
    /// Why, in the server's own words or in Postern's.
    pub reason: String,
    /// When it is tried again, in seconds since 1970.
    pub next: Option<u64>,
}

/// What waits for one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDomain {
    /// The domain.
    pub domain: String,
    /// Where its mail goes.
    pub destination: String,
    /// Messages.
    pub messages: usize,
    /// Their content, in octets.
    pub bytes: u64,
    /// When the oldest came, in seconds since 1970.
    pub oldest: u64,
    /// Messages by age: under five minutes, under an hour, under four hours, under a day, under two days, older.
    pub by_age: Vec<usize>,
}

/// The classes of age in `by_age`, for people.
pub const AGES: [&str; 6] =
    ["under 5 min", "5 min to 1 h", "1 h to 4 h", "4 h to 1 day", "1 to 2 days", "over 2 days"];

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedMessage {
    /// By which it is named to commands.
    pub id: String,
    /// The transaction that it came in, as replies, logs and `postern trace` name it.
    pub transaction: String,
    /// The folder that it lies in.
    pub folder: String,
    /// Where it goes.
    pub destination: String,
    /// The sender; empty for a report.
    pub from: String,
    /// Whether a report may be sent to that address: `unknown` (no), `inside`, `authenticated`, `spf`, `dmarc`.
    pub sender: String,
    /// Recipients that remain; at most 100.
    pub to: Vec<QueuedRecipient>,
    /// How many remain.
    pub recipients: usize,
    /// Where it came from; empty for Postern's own.
    pub client: String,
    /// Octets.
    pub size: u64,
    /// When it came, in seconds since 1970.
    pub received: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it is tried next, in seconds since 1970; `None` where it is held back or not in the queue.
    pub next: Option<u64>,
    /// When it leaves the folder by itself, in seconds since 1970; `None`: not before somebody says so.
    pub until: Option<u64>,
    /// Whether a person holds it back.
    pub held: bool,
    /// Why it waits, in the server's own words or in Postern's.
    pub reason: String,
}

/// A recipient that remains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedRecipient {
    /// The address.
    pub address: String,
    /// What was said of this one, where it is not what was said of the message.
    pub reason: String,
}

impl QueueState {
    /// As it is at `now`, since 1970.
    pub fn of(queue: &Queue, now: Duration) -> Self {
        let (spool, totals) = (queue.spool(), queue.totals());
        let (depth, room) = (spool.depth(now), spool.room());
        let waiting = depth.folders.get(&Folder::Queue).cloned().unwrap_or_default();
        let mut domains: Vec<QueueDomain> = depth
            .domains
            .iter()
            .map(|((destination, domain), count)| domain_of(destination, domain, count))
            .collect();
        domains.sort_by_key(|domain| (std::cmp::Reverse(domain.messages), domain.domain.clone()));
        domains.truncate(MAX_DOMAINS);
        Self {
            messages: waiting.messages,
            held: waiting.held,
            bytes: waiting.bytes,
            oldest: waiting.oldest.map(|oldest| oldest.as_secs()),
            folders: depth.folders.iter().map(folder_count).collect(),
            disaster: spool.disaster().map(|since| since.as_secs()),
            percent: room.percent(),
            used: room.used,
            free: room.free,
            reserve: room.reserve,
            full: !room.takes(0),
            damaged: spool.damaged(),
            delivered: totals.delivered,
            reported: totals.reported,
            set_aside: totals.set_aside,
            destinations: queue.destinations().into_iter().map(destination).collect(),
            domains,
        }
    }

    /// Messages in a folder.
    pub fn in_folder(&self, folder: Folder) -> usize {
        let count = self.folders.iter().find(|count| count.folder == folder.name());
        count.map_or(0, |count| count.messages)
    }
}

fn domain_of(destination: &str, domain: &str, count: &Count) -> QueueDomain {
    QueueDomain {
        domain: domain.to_owned(),
        destination: destination.to_owned(),
        messages: count.messages,
        bytes: count.bytes,
        oldest: count.oldest.unwrap_or_default().as_secs(),
        by_age: count.by_age.to_vec(),
    }
}

fn folder_count((folder, count): (&Folder, &Count)) -> FolderCount {
    FolderCount {
        folder: folder.name().to_owned(),
        messages: count.messages,
        oldest: count.oldest.unwrap_or_default().as_secs(),
    }
}

fn destination(one: delivery::DestinationState) -> QueueDestination {
    let (reason, away_since) = match one.away {
        Some((reply, since)) => (words(&reply), Some(since.as_secs())),
        None => (String::new(), None),
    };
    QueueDestination {
        name: one.name.to_string(),
        connections: one.connections,
        away_since,
        reason,
        next: one.next.map(|next| next.as_secs()),
    }
}

/// A reply as people read it: code, enhanced code and text in one line.
fn words(reply: &Reply) -> String {
    reply.to_string().replace(['\r', '\n'], " ")
}

impl QueuedMessage {
    /// The message of this name, if it is there.
    ///
    /// # Errors
    ///
    /// The spool's, but not that there is none.
    pub async fn of(queue: &Queue, id: EntryId) -> Result<Option<Self>, SpoolError> {
        let Some(summary) = queue.spool().entry(id) else { return Ok(None) };
        let entry = match queue.spool().peek(id).await {
            Err(SpoolError::Unknown(_)) => return Ok(None),
            other => other?,
        };
        let envelope = &entry.envelope;
        let recipient = |index: usize| {
            let own = summary.own_words.iter().find(|(known, _)| *known == index);
            Some(QueuedRecipient {
                address: envelope.recipients.get(index)?.forward_path.as_str().to_owned(),
                reason: own.map(|(_, reply)| words(reply)).unwrap_or_default(),
            })
        };
        let (next, reason) = next_and_reason(queue, &summary);
        Ok(Some(Self {
            id: id.to_string(),
            transaction: summary.transaction.to_string(),
            folder: summary.folder.name().to_owned(),
            destination: summary.backend.to_string(),
            from: envelope.mail.reverse_path.as_str().to_owned(),
            sender: entry.sender.name().to_owned(),
            to: summary.recipients.iter().take(MAX_RECIPIENTS).filter_map(recipient).collect(),
            recipients: summary.recipients.len(),
            client: entry.client.map(|client| client.address.ip().to_string()).unwrap_or_default(),
            size: summary.size,
            received: summary.received_at.as_secs(),
            attempts: summary.attempts,
            next,
            until: until(queue, &summary),
            held: summary.held,
            reason,
        }))
    }
}

/// When it is tried next and why it waits: its destination's, while that is not reached.
fn next_and_reason(queue: &Queue, summary: &Summary) -> (Option<u64>, String) {
    if summary.folder != Folder::Queue || summary.held {
        return (None, words(&summary.words));
    }
    let destination = queue.destination(&summary.backend);
    let own = summary.next_attempt;
    match destination.and_then(|state| Some((state.away?.0, state.next))) {
        // It was never looked at by a server, so the destination's reason is its own.
        Some((reply, next)) => {
            let next = next.map_or(own, |next| if summary.attempts == 0 { next } else { next.max(own) });
            let reason = if summary.attempts == 0 { &reply } else { &summary.words };
            (Some(next.as_secs()), words(reason))
        }
        None => (Some(own.as_secs()), words(&summary.words)),
    }
}

fn until(queue: &Queue, summary: &Summary) -> Option<u64> {
    if queue.spool().disaster().is_some() || summary.held {
        return None;
    }
    let lasts = queue.lasts(summary.folder, &summary.backend)?;
    Some((summary.since + lasts).as_secs())
}
