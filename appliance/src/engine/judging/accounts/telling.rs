//! Brings what is known of senders to the store, and tells the postmaster of each case, once, by mail through the queue.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use record::Clock;
use relay::Relay;
use smtp::{Mailbox, TransactionId};
use spool::{Folder, Spool};
use tokio::time::Instant;

use super::super::super::own_mail::{OwnMail, put_into_queue};
use super::{Account, Accounts, Case, Limits, Record, State};

/// How often what changed is stored: what a crash can lose of counts. A case is stored before its postmaster is told.
const OFTEN: Duration = Duration::from_secs(5);
/// How often what is old is forgotten.
const SWEEP: Duration = Duration::from_secs(3600);

/// Deals with it for as long as the relay serves.
pub(in super::super) struct Teller {
    accounts: Arc<Accounts>,
    relay: Arc<Relay>,
    spool: Spool,
    clock: Arc<dyn Clock>,
}

/// What the postmaster is to be told of a case.
struct Untold {
    account: Account,
    id: TransactionId,
    to: Option<Mailbox>,
    subject: String,
    text: String,
}

impl Teller {
    pub(in super::super) fn new(accounts: Arc<Accounts>, relay: Arc<Relay>, clock: Arc<dyn Clock>) -> Self {
        let spool = relay.serving().driver.spool.clone();
        Self { accounts, relay, spool, clock }
    }

    pub(in super::super) async fn work(self) {
        let (mut epoch, mut swept, mut fails) = (self.accounts.epoch(), Instant::now(), false);
        while !self.relay.is_draining() {
            let _ = tokio::time::timeout(OFTEN, self.accounts.something.notified()).await;
            if self.accounts.epoch() != epoch {
                epoch = self.accounts.epoch();
                self.accounts.store_all_again();
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.accounts.forget_old(self.clock.now());
            }
            let untold = self.accounts.untold();
            let stored = self.accounts.put_away().await;
            match &stored {
                Err(error) if !fails => tracing::error!(%error, "what is known of senders is not stored"),
                _ => {}
            }
            fails = stored.is_err();
            for case in untold {
                self.tell(case).await;
            }
        }
    }

    /// A case that cannot be told now is told in the next round.
    async fn tell(&self, case: Untold) {
        let Untold { account, id, to, subject, text } = case;
        let queued = self.spool.select(Some(Folder::Queue), None);
        // Told before a crash, and not noted.
        let is_queued =
            queued.iter().filter_map(|one| self.spool.entry(*one)).any(|entry| entry.transaction == id);
        if let Some(to) = to.filter(|_| !is_queued) {
            let mail = OwnMail {
                transaction: id,
                to: &to,
                subject: &subject,
                text: &text,
                why: "a notice to the postmaster",
            };
            match put_into_queue(&self.relay, &self.spool, self.clock.now(), &mail).await {
                Ok(_) => tracing::warn!(
                    transaction = %id,
                    "a sender looks taken over; the postmaster is told: `postern senders list` names it"
                ),
                Err(error) => {
                    tracing::error!(%error, "a sender looks taken over, and the postmaster cannot be told yet");
                    return;
                }
            }
        }
        self.accounts.was_told(&account);
        if let Err(error) = self.accounts.put_away().await {
            tracing::error!(%error, "that the postmaster was told is not stored");
        }
    }
}

impl Accounts {
    /// Of whom the postmaster is to be told.
    fn untold(&self) -> Vec<Untold> {
        let state = self.state();
        let is_new = |account: &&Account| {
            state.records.get(*account).and_then(|record| record.case.as_ref()).is_some_and(|case| !case.told)
        };
        let new: Vec<&Account> = state.changed.iter().filter(is_new).collect();
        new.into_iter().filter_map(|account| state.notice(account)).collect()
    }

    fn was_told(&self, account: &Account) {
        let mut state = self.state();
        if let Some(case) = state.records.get_mut(account).and_then(|record| record.case.as_mut()) {
            case.told = true;
        }
        state.changed.insert(account.clone());
    }
}

impl State {
    fn notice(&self, account: &Account) -> Option<Untold> {
        let record = self.records.get(account)?;
        let case = record.case.as_ref()?;
        let (subject, text) = words(account, record, case, &self.limits);
        let id = TransactionId { session: case.id, number: 1 };
        Some(Untold { account: account.clone(), id, to: self.limits.postmaster.parse().ok(), subject, text })
    }
}

/// Subject and text of the postmaster's mail.
fn words(account: &Account, record: &Record, case: &Case, limits: &Limits) -> (String, String) {
    let (name, sender) = (account.name(), account.words());
    let (subject, first) = match limits.stops {
        true => (
            format!("{name} looks taken over: its mail is held"),
            format!(
                "It looks as if somebody else sends as {sender}. Its mail is held in the quarantine from now on."
            ),
        ),
        false => (
            format!("{name} looks taken over"),
            format!(
                "It looks as if somebody else sends as {sender}. Its mail still goes out: action is not enforce."
            ),
        ),
    };
    let mut text =
        format!("{first}\n\nWhat was seen by {}:\n", record::rfc5322_date(Duration::from_secs(case.since)));
    let mut list = |title: &str, lines: &mut dyn Iterator<Item = String>| {
        let mut lines = lines.peekable();
        if lines.peek().is_some() && !title.is_empty() {
            let _ = write!(text, "\n{title}\n");
        }
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    };
    list("", &mut case.seen.iter().cloned());
    list("It came from:", &mut record.clients.iter().map(ToString::to_string));
    list("The last subjects:", &mut record.subjects.iter().map(ToString::to_string));
    let _ = write!(
        text,
        "\nWhat is held:  postern quarantine list\nAll senders:   postern senders list\n\
         Once the account is its user's again, or if this is a mistake:\n               postern senders release {name}\n\
         Senders of bulk mail that is wanted can be named in [outbound] senders = {{ exempt = [...] }}.\n"
    );
    (subject, text)
}
