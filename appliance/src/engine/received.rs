//! What others report about the domains here (RFC 8460, RFC 9990): taken from the spool, where it lies durable since before its 250 if it
//! came for the address that Postern itself publishes, or noted in passing if it came for a person. It is read by a sift worker.
//!
//! A report counts only if the domain in its `From` stands behind it, by DMARC or, where that domain has no policy, by its signature;
//! what that domain says is then believed of itself alone: it is shown as what this sender reports, and nothing is done by it, but that
//! those of large receivers may have an MTA-STS policy enforced ([`Experience`]).

mod keeping;
mod telling;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evidence::{Authenticator, Authenticity, Sender, Verdict};
use judge::pretence::registered;
use record::Clock;
use relay::Relay;
use sift::report::Report;
use sift::{Body, Content};
use smtp::TransactionId;
use spool::{Entry, EntryId, Folder, Spool, SpoolError};
use store::{Store, StoreError};
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio::time::Instant;

use self::keeping::{Keeping, Kept};
use super::outbound::Names;
use crate::config::Config;
use crate::mta_sts::experience::Experience;
use crate::report::{ReceivedReports, SetAside};
use crate::roles::Roles;

/// How often the folder is looked at where nothing is said to have come: after a restart, and after a fault.
const ROUND: Duration = Duration::from_secs(60);
/// Octets of a message with a report. Larger ones are read by nobody here; their reports have a million sources.
const MAX_MESSAGE: usize = 12 << 20;
/// How often one is tried whose sender the DNS does not know now, or that no worker reads; a round between two times.
const MAX_TRIES: u32 = 30;
/// For the DNS, of one message.
const ASKING: Duration = Duration::from_secs(20);
/// Reports to people that wait to be noted; mail does not wait for them.
const QUEUE: usize = 64;
/// Messages that are remembered although they do not count.
const MAX_SET_ASIDE: usize = 50;
/// How far off a report's days may be: its clock, and ours.
const DAY: u64 = 86_400;

/// What has come, and where it is kept.
pub(super) struct Received {
    keeping: Keeping,
    roles: Arc<Roles>,
    clock: Arc<dyn Clock>,
    /// Something has come to the address of Postern's own.
    came: Notify,
    noted: mpsc::Sender<Noted>,
    to_note: Mutex<Option<mpsc::Receiver<Noted>>>,
    present: Mutex<Arc<Present>>,
    set_aside: Mutex<VecDeque<SetAside>>,
}

/// One config's worth.
#[derive(Default)]
struct Present {
    /// Where reports come, in lower case; empty before the first config.
    address: String,
    /// Whose reports are read, in lower case.
    domains: Vec<String>,
    /// Whose reports move policies, in lower case.
    trusted: Vec<String>,
    names: Option<Names>,
    authenticator: OnceCell<Authenticator>,
}

/// A report that a person is to have.
struct Noted {
    transaction: TransactionId,
    from: String,
    proven: Option<String>,
    report: Report,
}

/// Why a message waits.
enum NotYet {
    Spool(SpoolError),
    Store(StoreError),
    /// No worker, no DNS.
    Later(String),
}

/// What a message has come to.
enum Outcome {
    Counts { sender: String },
    Aside { from: String, why: String },
}

impl Received {
    pub(super) fn new(store: Store, roles: Arc<Roles>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (noted, to_note) = mpsc::channel(QUEUE);
        Arc::new(Self {
            keeping: Keeping::new(store),
            roles,
            clock,
            came: Notify::new(),
            noted,
            to_note: Mutex::new(Some(to_note)),
            present: Mutex::default(),
            set_aside: Mutex::default(),
        })
    }

    /// From now on these are the domains, and this is the address.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let domains = config.backends.iter().flat_map(|backend| &backend.domains);
        let own = &config.outbound.dkim.domains;
        let present = Present {
            address: config.reports.address.to_lowercase(),
            domains: domains.chain(own).map(|domain| domain.as_str().to_lowercase()).collect(),
            trusted: config.reports.trusted.iter().map(|domain| domain.as_str().to_lowercase()).collect(),
            names: Some(names),
            authenticator: OnceCell::new(),
        };
        *lock(&self.present) = Arc::new(present);
    }

    /// Something lies in the spool.
    pub(super) fn has_come(&self) {
        self.came.notify_one();
    }

    /// Whether an entry of the folder is one of those, and no report of a user.
    pub(super) fn is_for(&self, entry: &Entry) -> bool {
        let address = &lock(&self.present).address;
        let named = &entry.envelope.recipients;
        let recipients = entry.recipients.iter().filter_map(|index| named.get(index));
        recipients.map(|rcpt| rcpt.forward_path.as_str().to_lowercase()).any(|path| path == *address)
    }

    /// A person is to have this message: the report in it is noted in passing, if it has one about a domain here. Never waits.
    pub(super) fn note(&self, transaction: TransactionId, content: &Content, authenticity: &Authenticity) {
        let Some(report) = &content.report else { return };
        let noted = Noted {
            transaction,
            from: author(content),
            proven: proven(authenticity),
            report: report.clone(),
        };
        if self.noted.try_send(noted).is_err() {
            tracing::warn!(%transaction, "too many reports at once: this one is delivered, and not noted");
        }
    }

    /// Works until the relay drains. What is left is found after the next start.
    pub(super) async fn work(self: Arc<Self>, relay: Arc<Relay>) {
        let spool = relay.serving().driver.spool.clone();
        let Some(mut to_note) = lock(&self.to_note).take() else { return };
        if let Err(error) = self.keeping.open(self.clock.now()).await {
            tracing::error!(%error, "what others reported before cannot be read");
        }
        let mut tries: HashMap<EntryId, u32> = HashMap::new();
        while !relay.is_draining() {
            let waiting: Vec<_> = spool.select(Some(Folder::Reports), None);
            tries.retain(|id, _| waiting.contains(id));
            for id in waiting {
                self.look_at(&spool, id, &mut tries).await;
            }
            tokio::select! {
                () = self.came.notified() => {}
                noted = to_note.recv() => match noted {
                    Some(noted) => self.take_noted(noted).await,
                    None => return,
                },
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    async fn take_noted(&self, noted: Noted) {
        let Noted { transaction, from, proven, report } = noted;
        match self.count(report, proven, from).await {
            Ok(outcome) => self.tell(transaction, outcome),
            Err(error) => tracing::error!(%transaction, %error, "a report is not noted"),
        }
    }

    async fn look_at(&self, spool: &Spool, id: EntryId, tries: &mut HashMap<EntryId, u32>) {
        let tried = tries.get(&id).copied().unwrap_or_default();
        match self.take(spool, id, tried + 1 >= MAX_TRIES).await {
            Ok(()) => drop(tries.remove(&id)),
            Err(NotYet::Spool(SpoolError::Unknown(_))) => {}
            Err(why) => {
                tries.insert(id, tried.saturating_add(1));
                match why {
                    NotYet::Spool(error) => tracing::error!(entry = %id, %error, "a report cannot be read"),
                    NotYet::Store(error) => tracing::error!(entry = %id, %error, "a report cannot be kept"),
                    NotYet::Later(why) => tracing::info!(entry = %id, why, "a report waits"),
                }
            }
        }
    }

    /// One of the spool; when it is kept, or was found not to count, it has done its duty.
    async fn take(&self, spool: &Spool, id: EntryId, is_last_try: bool) -> Result<(), NotYet> {
        let mut opened = spool.open_entry(id).await.map_err(NotYet::Spool)?;
        if !self.is_for(&opened.entry) {
            return Ok(());
        }
        let mut message = Vec::new();
        while let Some(piece) = opened.content.next().await.map_err(NotYet::Spool)? {
            message.extend_from_slice(&piece);
            if message.len() > MAX_MESSAGE {
                break;
            }
        }
        let entry = opened.entry;
        let outcome = match self.read(&entry, message, is_last_try).await? {
            Ok((report, proven, from)) => self.count(report, proven, from).await.map_err(NotYet::Store)?,
            Err(aside) => aside,
        };
        spool.remove(id).await.map_err(NotYet::Spool)?;
        self.tell(entry.transaction, outcome);
        Ok(())
    }

    async fn read(
        &self,
        entry: &Entry,
        message: Vec<u8>,
        is_last_try: bool,
    ) -> Result<Result<(Report, Option<String>, String), Outcome>, NotYet> {
        let sender = entry.envelope.mail.reverse_path.as_str().to_owned();
        let aside = |why: &str| Ok(Err(Outcome::Aside { from: sender.clone(), why: why.to_owned() }));
        if message.len() > MAX_MESSAGE {
            return aside("the message is larger than 12 MiB");
        }
        let content = match self.sifted(&message).await {
            Ok(content) => content,
            Err(why) if is_last_try => return aside(&why),
            Err(why) => return Err(NotYet::Later(why)),
        };
        let Some(report) = content.report.clone() else {
            return aside("there is no report on TLS or DMARC in it");
        };
        let authenticity = self.authenticity(entry, &message).await;
        match authenticity {
            Ok(authenticity) => Ok(Ok((report, proven(&authenticity), author(&content)))),
            Err(why) if is_last_try => aside(&why),
            Err(why) => Err(NotYet::Later(why)),
        }
    }

    async fn sifted(&self, message: &[u8]) -> Result<Content, String> {
        let workers = self.roles.workers().ok_or("no worker reads mail yet")?;
        let body = Body::from_bytes(message).map_err(|error| format!("no memory for a worker: {error}"))?;
        workers.read(&body).await.map(|sifted| sifted.content).map_err(|error| error.to_string())
    }

    /// Whether its author stands behind it. What Postern has put on top since is in nobody's signature.
    async fn authenticity(&self, entry: &Entry, message: &[u8]) -> Result<Authenticity, String> {
        let present = Arc::clone(&lock(&self.present));
        let names = present.names.as_ref().ok_or("there is no config")?;
        let make = || async { names.resolver().await.map(Authenticator::new) };
        let authenticator = present.authenticator.get_or_try_init(make).await;
        let authenticator = authenticator.map_err(|error| format!("the DNS cannot be asked: {error}"))?;
        let nowhere = std::net::Ipv4Addr::UNSPECIFIED.into();
        let sender = Sender {
            client: entry.client.as_ref().map_or(nowhere, |client| client.address.ip()),
            helo: entry.client.as_ref().map_or("", |client| &client.helo),
            reverse_path: &entry.envelope.mail.reverse_path,
        };
        let deadline = Instant::now() + ASKING;
        let spf = authenticator.spf(sender, deadline).await;
        let authenticity = authenticator.authenticity(sender, &spf, message, deadline).await;
        let is_unknown = authenticity.dmarc.verdict == Verdict::TempError
            || authenticity.dkim.iter().any(|one| one.verdict == Verdict::TempError);
        match is_unknown && proven(&authenticity).is_none() {
            true => Err("the DNS does not say who sent it".into()),
            false => Ok(authenticity),
        }
    }

    /// Keeps it, if it counts.
    async fn count(
        &self,
        report: Report,
        proven: Option<String>,
        from: String,
    ) -> Result<Outcome, StoreError> {
        let aside = |why: &str| Ok(Outcome::Aside { from: from.clone(), why: why.to_owned() });
        if let Report::Unreadable(why) = &report {
            return aside(&format!("the report cannot be read: {why}"));
        }
        let Some(sender) = proven else {
            return aside("neither DMARC nor a signature of its author's domain says who sent it");
        };
        let domains = lock(&self.present).domains.clone();
        let now = self.clock.now();
        let (begin, end) = keeping::span(&report);
        let oldest = now.saturating_sub(keeping::KEEP).as_secs();
        if begin > end || end < oldest || end > now.as_secs() + DAY || end - begin > 32 * DAY {
            return aside("its days are in the future, long past, or too many");
        }
        let kept = Kept::of(report, &sender, |domain| is_of(domain, &domains));
        if kept.is_empty() {
            return aside("it is about no domain here");
        }
        for kept in kept {
            self.keeping.put(kept, now).await?;
        }
        Ok(Outcome::Counts { sender })
    }

    fn tell(&self, transaction: TransactionId, outcome: Outcome) {
        match outcome {
            Outcome::Counts { sender } => tracing::info!(%transaction, sender, "a report of others is kept"),
            Outcome::Aside { from, why } => {
                tracing::info!(%transaction, why, "a report of others does not count");
                let mut set_aside = lock(&self.set_aside);
                set_aside.truncate(MAX_SET_ASIDE - 1);
                let at = self.clock.now().as_secs();
                set_aside.push_front(SetAside { at, transaction: transaction.to_string(), from, why });
            }
        }
    }

    /// What the large reporters have met at a domain's servers; the domain in lower case.
    pub(super) async fn experience(&self, domain: &str) -> Result<Experience, StoreError> {
        let trusted = lock(&self.present).trusted.clone();
        let now = self.clock.now().as_secs();
        let mut experience = Experience::default();
        for Kept { sender, report, .. } in self.keeping.of(domain).await? {
            let large = trusted.iter().find(|large| is_of(&sender, std::slice::from_ref(*large)));
            if let (Some(large), Report::Tls(report)) = (large, &report) {
                experience.add(large, report, now);
            }
        }
        Ok(experience)
    }

    /// What is reported about these domains, or about all.
    pub(super) async fn told(&self, wanted: &[String]) -> Result<ReceivedReports, StoreError> {
        let kept = self.keeping.all(wanted).await?;
        let set_aside = lock(&self.set_aside).iter().cloned().collect();
        Ok(ReceivedReports { domains: telling::told(kept), set_aside })
    }
}

/// The domain that stands behind a message, if one does.
fn proven(authenticity: &Authenticity) -> Option<String> {
    let author = authenticity.dmarc.domain.to_lowercase();
    let has_signed = || {
        let own = |domain: &str| registered(domain).eq_ignore_ascii_case(registered(&author));
        authenticity.dkim.iter().any(|one| one.verdict == Verdict::Pass && own(&one.domain))
    };
    let is_proven = match authenticity.dmarc.verdict {
        Verdict::Pass => true,
        // It has no policy of its own.
        Verdict::None => has_signed(),
        _ => false,
    };
    (is_proven && !author.is_empty()).then_some(author)
}

fn author(content: &Content) -> String {
    content.from.first().map(|from| from.mailbox.clone()).unwrap_or_default()
}

/// Whether a domain is one of these, or below one.
fn is_of(domain: &str, domains: &[String]) -> bool {
    let below = |own: &String| domain.strip_suffix(own.as_str());
    domains.iter().filter_map(below).any(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
