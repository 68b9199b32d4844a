//! What a session knows of judging: the question, who answers it, and what an answer can be. How mail is judged is no
//! business of this crate.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use delivery::Client;
use record::{Direction, Opinion, Protocol, TlsOutcome, Verdict};
use smtp::{Envelope, ForwardPath, Mailbox, No, RecipientSet, TransactionId};
use tokio::time::Instant;

/// A message that is to be judged, before any server has an octet of it.
#[derive(Debug)]
pub struct Case {
    /// The transaction.
    pub transaction: TransactionId,
    /// Which way it goes.
    pub direction: Direction,
    /// The client, and where it meant to connect to.
    pub client: Client,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// TLS with the client.
    pub tls: TlsOutcome,
    /// Whether the client authenticated.
    pub authenticated: bool,
    /// As whom, in lower case; `None` where its mechanism does not tell.
    pub user: Option<Box<str>>,
    /// The whole envelope.
    pub envelope: Envelope,
    /// The recipients that it was accepted for, by their index in the envelope.
    pub recipients: RecipientSet,
    /// Whether one of them is a trap, of the config or of a domain.
    pub trapped: bool,
    /// When its content had arrived, since 1970.
    pub received: Duration,
    /// The content as it came.
    pub body: HeldBody,
}

/// Where a message's content lies: its beginning in a file, if it is large, and the rest in memory.
#[derive(Clone, Debug)]
pub struct HeldBody {
    /// The file; `None` where nothing was stored.
    pub file: Option<Arc<File>>,
    /// Octets of the file that belong to it, from its beginning.
    pub stored: u64,
    /// The octets behind them.
    pub tail: Arc<[u8]>,
}

impl HeldBody {
    /// Octets in all.
    pub fn len(&self) -> u64 {
        self.stored + self.tail.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Judge::judge`] returns.
pub type Judged = Pin<Box<dyn Future<Output = Judgement> + Send>>;

/// What [`Judge::at_the_door`] returns.
pub type AtTheDoor = Pin<Box<dyn Future<Output = Option<Box<Unwelcome>>> + Send>>;

/// A client from which no mail is wanted.
#[derive(Clone, Debug)]
pub struct Unwelcome {
    /// What its MAIL is answered with.
    pub no: No,
    /// Why.
    pub opinion: Opinion,
    /// Where it is wanted otherwise: the name that it must not call itself.
    pub only_as: Option<Box<str>>,
}

impl Unwelcome {
    /// Whether no mail is wanted from a client that calls itself so.
    pub fn applies_to(&self, helo: &str) -> bool {
        self.only_as.as_deref().is_none_or(|name| helo.trim_end_matches('.').eq_ignore_ascii_case(name))
    }
}

/// Judges mail (law 8: what fails in it is answered by a judgement, too).
pub trait Judge: Send + Sync + 'static {
    /// Judges a message by `deadline`; the session waits little longer. Dropped when nobody waits any more.
    ///
    /// What a user submits goes on to the server and is judged on its way out (DECISIONS 9): of it this is asked only whether the
    /// user may send, where [`Judging::submissions`] says so. Who has no opinion answers [`Judgement::unjudged`].
    fn judge(&self, case: Case, deadline: Instant) -> Judged;

    /// What a client from the world is told instead of having its mail taken, for where it comes from or what it will call itself;
    /// by `deadline`, while it waits for the greeting. Most judges have nothing to say before they see mail.
    fn at_the_door(&self, _client: IpAddr, _deadline: Instant) -> AtTheDoor {
        Box::pin(std::future::ready(None))
    }

    /// Something that Postern answers itself, a report or what came for a trap, is durable.
    fn own_mail_came(&self);
}

/// What is to become of a message.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What was decided.
    pub verdict: Verdict,
    /// What becomes of the message.
    pub fate: Fate,
    /// Recipients for whom something else becomes of it.
    pub apart: Vec<(usize, Fate)>,
    /// Header fields for its top on the way in, each with its CRLF: `Authentication-Results`.
    pub results: Box<str>,
    /// Why.
    pub opinion: Opinion,
}

impl Judgement {
    /// Of a submission against whose user nothing speaks: it is judged on its way out.
    pub fn unjudged(direction: Direction) -> Self {
        let passed = Self::failed(OnFailure::Pass, direction, "", Duration::ZERO);
        Self { verdict: Verdict::Unjudged, ..passed }
    }

    /// Of a message that could not be judged.
    pub fn failed(on_failure: OnFailure, direction: Direction, trouble: &str, took: Duration) -> Self {
        let (verdict, fate) = match on_failure {
            OnFailure::Pass => (Verdict::Pass, Fate::Deliver(Mark::PASS)),
            OnFailure::Defer => (Verdict::Defer, Fate::Refuse(No::NotJudged(trouble.into()))),
        };
        let opinion = Opinion {
            direction,
            carried_out: verdict,
            probability: None,
            checks: Vec::new(),
            words: Vec::new(),
            otherwise: Vec::new(),
            subject: "".into(),
            message_id: "".into(),
            language: "",
            trouble: trouble.into(),
            took,
        };
        Self { verdict, fate, apart: Vec::new(), results: "".into(), opinion }
    }

    /// What becomes of the message for this recipient.
    pub(crate) fn fate_of(&self, recipient: usize) -> &Fate {
        let apart = self.apart.iter().find(|(index, _)| *index == recipient);
        apart.map_or(&self.fate, |(_, fate)| fate)
    }

    /// What the client is told where nobody is to have the message; a word that lets it try again comes first.
    pub(crate) fn refusal(&self, recipients: impl Iterator<Item = usize>) -> Option<&No> {
        let mut found: Option<&No> = None;
        for index in recipients {
            let Fate::Refuse(no) = self.fate_of(index) else { return None };
            if found.is_none() || matches!(no, No::NotJudged(_) | No::NotYetKnown(_)) {
                found = Some(no);
            }
        }
        found
    }
}

/// What becomes of a message for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to its server, with this on it where it goes in.
    Deliver(Mark),
    /// It is kept for a person, for this reason.
    Hold(No),
    /// The client is told this, if all recipients have this fate; else it is kept for a person.
    Refuse(No),
}

/// What a server is told of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The word of `X-Postern-Verdict`: `pass`, `tag` or `quarantine`.
    pub word: &'static str,
    /// Whether there is an `X-Spam-Flag: YES`.
    pub spam_flag: bool,
}

impl Mark {
    /// Nothing speaks against it.
    pub const PASS: Self = Self { word: "pass", spam_flag: false };
    /// It is held.
    pub const QUARANTINE: Self = Self { word: "quarantine", spam_flag: false };

    /// The fields.
    pub(crate) fn fields(self, id: TransactionId) -> String {
        let flag = if self.spam_flag { "X-Spam-Flag: YES\r\n" } else { "" };
        format!("X-Postern-Verdict: {}; id={id}\r\n{flag}", self.word)
    }
}

/// What becomes of mail that cannot be judged (law 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It passes with a field that says so.
    Pass,
    /// Its sender is told to try later.
    Defer,
}

/// How sessions have mail judged.
#[derive(Clone, Debug)]
pub struct Judging {
    /// For one message, from the end of its content.
    pub budget: Duration,
    /// What follows where there is no judgement within it.
    pub on_failure: OnFailure,
    /// Whether the judge is asked about users who submit, too.
    pub submissions: bool,
}

/// Addresses that no server has: what is written to them, Postern keeps and answers itself (DECISIONS 32).
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses {
    /// In lower case.
    fixed: HashMap<Box<str>, Own>,
    entries: Option<Arc<dyn DomainEntries>>,
}

/// What the domains behind decide for themselves, while sessions go on.
pub trait DomainEntries: Send + Sync + fmt::Debug + 'static {
    /// Whether an address of theirs exists only to be spammed. Asked for each recipient, as is the other: both must be quick.
    fn is_trap(&self, mailbox: &Mailbox) -> bool;

    /// Where mail for an address of theirs goes instead. That is not looked up in turn.
    fn target(&self, mailbox: &Mailbox) -> Option<Mailbox>;
}

/// What an address of Postern's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Users inside report spam or ham to it.
    Report,
    /// Others report about the domains here (RFC 8460, RFC 9990); so may anybody.
    Feedback,
    /// It exists only to be spammed.
    Trap,
}

impl OwnAddresses {
    /// The same with one more; case does not matter.
    #[must_use]
    pub fn with(mut self, address: &str, own: Own) -> Self {
        self.fixed.insert(address.to_lowercase().into(), own);
        self
    }

    /// The same with what domains decide; what is named by [`OwnAddresses::with`] goes before.
    #[must_use]
    pub fn beside(self, entries: Arc<dyn DomainEntries>) -> Self {
        Self { entries: Some(entries), ..self }
    }

    /// Where mail for an address goes instead, if it is an alias and none of these.
    pub fn target(&self, path: &ForwardPath) -> Option<Mailbox> {
        let (ForwardPath::Mailbox(mailbox), Some(entries)) = (path, &self.entries) else { return None };
        let target = entries.target(mailbox)?;
        self.of(path).is_none().then_some(target)
    }

    /// What an address is for, if it is one of these.
    pub fn of(&self, path: &ForwardPath) -> Option<Own> {
        // Most have none, and no address is written in lower case for nothing.
        let fixed = match self.fixed.is_empty() {
            true => None,
            false => self.fixed.get(path.as_str().to_lowercase().as_str()).copied(),
        };
        let (None, ForwardPath::Mailbox(mailbox), Some(entries)) = (fixed, path, &self.entries) else {
            return fixed;
        };
        entries.is_trap(mailbox).then_some(Own::Trap)
    }
}
