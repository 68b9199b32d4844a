//! One session or transaction as it is told: to people on the page and by `postern trace`, to programs as JSON.

use record::{GroupOutcome, Leg, SessionEnd, Step, TlsOutcome, rfc3339_date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Otherwise;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStory {
    /// Its identifier.
    pub id: String,
    /// When it was accepted (RFC 3339).
    pub began: String,
    /// How long it lasted, in milliseconds.
    pub lasted_ms: u64,
    /// `smtp`, `submission` or `submissions`.
    pub protocol: String,
    /// The client's address and port.
    pub client: String,
    /// What it called itself.
    pub helo: String,
    /// TLS with it.
    pub tls: TlsStory,
    /// Whether it authenticated.
    pub authenticated: bool,
    /// Transactions begun.
    pub transactions: u32,
    /// Octets read from it.
    pub bytes_in: u64,
    /// Octets written to it.
    pub bytes_out: u64,
    /// How it ended, in words.
    pub end: String,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionStory {
    /// Its identifier.
    pub id: String,
    /// When MAIL came (RFC 3339).
    pub began: String,
    /// From MAIL to the last reply, in milliseconds.
    pub lasted_ms: u64,
    /// From the end of the content to the last reply, in milliseconds.
    pub settled_in_ms: u64,
    /// `smtp`, `submission` or `submissions`.
    pub protocol: String,
    /// The client's address and port.
    pub client: String,
    /// What it called itself.
    pub helo: String,
    /// TLS with it.
    pub tls: TlsStory,
    /// Whether it authenticated.
    pub authenticated: bool,
    /// The sender; empty for the null one.
    pub from: String,
    /// Recipients, at most the first hundred.
    pub recipients: Vec<RecipientStory>,
    /// How many were named in all.
    pub recipients_named: u32,
    /// Octets of content.
    pub size: u64,
    /// What was decided before a server saw it.
    pub verdict: String,
    /// Why; `None` where nobody judged.
    #[serde(default)]
    pub opinion: Option<OpinionStory>,
    /// `accepted`, `spooled`, `deferred`, `refused` or `abandoned`.
    pub outcome: String,
    /// What the client was told at the end; empty if nothing.
    pub reply: String,
    /// What each server did.
    pub groups: Vec<GroupStory>,
    /// How many more were refused at MAIL as this one was, in the same minute, and are told of by this one alone.
    #[serde(default)]
    pub alike: u32,
    /// What became of it afterwards, in order; the last two hundred.
    #[serde(default)]
    pub afterwards: Vec<AfterwardsStory>,
}

/// Something that became of a message behind its transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AfterwardsStory {
    /// When (RFC 3339).
    pub at: String,
    /// `delivered`, `deferred`, `refused`, `expired`, `told`, `set aside`, `hastened`, `held`, `released` or `removed`.
    pub step: String,
    /// The transaction of the report by which its sender was told; empty with other steps.
    pub report: String,
    /// The server; `None` if none was asked.
    pub leg: Option<LegStory>,
    /// For whom, at most the first hundred, with words of their own where they have some; none: for all that remained.
    pub recipients: Vec<RecipientStory>,
    /// For how many in all; 0: for all that remained.
    pub recipients_in_all: u32,
    /// The server's words, or Postern's.
    pub words: String,
}

impl From<&record::Afterwards> for AfterwardsStory {
    fn from(afterwards: &record::Afterwards) -> Self {
        Self {
            at: rfc3339_date(afterwards.at),
            step: afterwards.step.name().to_owned(),
            report: match afterwards.step {
                Step::Told(report) => report.to_string(),
                _ => String::new(),
            },
            leg: afterwards.leg.as_ref().map(LegStory::from),
            recipients: afterwards.recipients.iter().map(RecipientStory::from).collect(),
            recipients_in_all: afterwards.recipients_in_all,
            words: afterwards.words.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl AfterwardsStory {
    /// What, where and for whom, in a line.
    pub fn line(&self) -> String {
        let mut line = self.step.clone();
        if !self.report.is_empty() {
            line.push_str(&format!(" of it, by the report {}", self.report));
        }
        if let Some(leg) = &self.leg {
            line.push_str(&format!(": {} of {}, {}", leg.server, leg.backend, leg.tls.words()));
            if !leg.policy.is_empty() {
                line.push_str(&format!(" ({})", leg.policy));
            }
        }
        match (self.recipients.first(), self.recipients_in_all) {
            (Some(first), 1) => line.push_str(&format!(", to {}", first.address)),
            (Some(first), all) => line.push_str(&format!(", to {} and {} more", first.address, all - 1)),
            (None, _) => {}
        }
        line
    }
}

/// Why a message was judged as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpinionStory {
    /// `inbound` or `outbound`.
    pub direction: String,
    /// What was done; `verdict` says what would have been done where all of it is enforced.
    pub carried_out: String,
    /// From 0 to 1; `None` where it could not be found out.
    pub spam_probability: Option<f64>,
    /// What was looked at.
    pub checks: Vec<CheckStory>,
    /// What weighed most in its text.
    pub words: Vec<WordStory>,
    /// What would have changed the verdict.
    #[serde(default)]
    pub otherwise: Vec<Otherwise>,
    /// The message's subject; empty where it has none, or was not read.
    #[serde(default)]
    pub subject: String,
    /// Its `Message-ID`, likewise.
    #[serde(default)]
    pub message_id: String,
    /// What failed; empty if nothing did.
    pub trouble: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStory {
    /// Its name.
    pub name: String,
    /// What came out.
    pub result: String,
    /// Its share in log-odds, spam positive.
    pub weight: f64,
    /// The verdict that it demands by itself, if it does.
    #[serde(default)]
    pub demand: Option<String>,
}

impl CheckStory {
    /// What came out, and what it demands.
    pub fn words(&self) -> String {
        match &self.demand {
            Some(demand) => format!("{} ({demand})", self.result),
            None => self.result.clone(),
        }
    }
}

/// A word or a sequence of words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WordStory {
    /// As it stands in the message.
    pub text: String,
    /// In log-odds, spam positive.
    pub weight: f64,
}

impl From<&record::Opinion> for OpinionStory {
    fn from(opinion: &record::Opinion) -> Self {
        let check = |check: &record::Check| CheckStory {
            name: check.name.to_string(),
            result: check.result.to_string(),
            weight: check.weight,
            demand: check.demand.map(|demand| demand.name().to_owned()),
        };
        let word = |(text, weight): &(Box<str>, f64)| WordStory { text: text.to_string(), weight: *weight };
        let other = |(verdict, because): &(record::Verdict, Box<str>)| Otherwise {
            verdict: verdict.name().to_owned(),
            because: because.to_string(),
        };
        Self {
            direction: opinion.direction.name().to_owned(),
            carried_out: opinion.carried_out.name().to_owned(),
            spam_probability: opinion.probability,
            checks: opinion.checks.iter().map(check).collect(),
            words: opinion.words.iter().map(word).collect(),
            otherwise: opinion.otherwise.iter().map(other).collect(),
            subject: opinion.subject.to_string(),
            message_id: opinion.message_id.to_string(),
            trouble: opinion.trouble.to_string(),
            took_ms: milliseconds(opinion.took),
        }
    }
}

impl OpinionStory {
    /// The verdict and what was made of it, in a line.
    pub fn words(&self, verdict: &str) -> String {
        let probability = self.spam_probability.map_or_else(
            || "spam probability unknown".to_owned(),
            |probability| format!("spam probability {probability:.4}"),
        );
        let done = match self.carried_out == verdict {
            true => String::new(),
            false => format!(", carried out as {}", self.carried_out),
        };
        format!("{verdict} ({probability}{done})")
    }
}

/// TLS on one leg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsStory {
    /// `TLSv1.2`, `TLSv1.3`, `plain` or `failed`.
    pub version: String,
    /// IANA's name of the suite; empty without TLS.
    pub suite: String,
    /// The key exchange; empty without TLS.
    pub group: String,
    /// The name that was asked for; empty if none was.
    pub server_name: String,
    /// `unverified`, `verified`, `pinned`, `dane` or `mta-sts`; empty without TLS.
    pub proof: String,
    /// Why the handshake failed; empty if it did not.
    pub reason: String,
}

/// A recipient and what the client was told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipientStory {
    /// The address.
    pub address: String,
    /// The alias that the client named, where it was one; its mail went to the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The reply to RCPT; empty if none was sent.
    pub reply: String,
}

/// What became of one group's copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupStory {
    /// `delivered`, `refused` or `spooled`.
    pub outcome: String,
    /// The server; `None` if none was reached.
    pub leg: Option<LegStory>,
    /// The folder it was kept in; empty if it was not.
    pub folder: String,
    /// The server's words, or Postern's reason.
    pub reply: String,
}

/// The connection to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegStory {
    /// The backend's name.
    pub backend: String,
    /// The server's address and port.
    pub server: String,
    /// TLS with it.
    pub tls: TlsStory,
    /// How it was told the client's address.
    pub client_address: String,
    /// Whether the connection had carried a message before.
    pub reused: bool,
    /// For a server of the world: which policy held for it, where that came from and how it was met; else empty.
    #[serde(default)]
    pub policy: String,
}

impl From<&record::Session> for SessionStory {
    fn from(session: &record::Session) -> Self {
        Self {
            id: session.id.to_string(),
            began: rfc3339_date(session.began),
            lasted_ms: milliseconds(session.lasted),
            protocol: session.protocol.name().to_owned(),
            client: session.client.to_string(),
            helo: session.helo.to_string(),
            tls: (&session.tls).into(),
            authenticated: session.authenticated,
            transactions: session.transactions,
            bytes_in: session.bytes.0,
            bytes_out: session.bytes.1,
            end: match &session.end {
                SessionEnd::Quit => "quit".to_owned(),
                SessionEnd::Closed => "closed without QUIT".to_owned(),
                SessionEnd::Broken(reason) => format!("broken: {reason}"),
                SessionEnd::TimedOut => "timed out".to_owned(),
                SessionEnd::Abuse(abuse) => format!("refused: {}", abuse.name()),
                SessionEnd::Ended(reason) => format!("ended: {reason}"),
            },
        }
    }
}

impl TransactionStory {
    /// With what became of the message afterwards.
    #[must_use]
    pub fn then(mut self, afterwards: Vec<AfterwardsStory>) -> Self {
        self.afterwards = afterwards;
        self
    }

    /// Of a message whose transaction is not in the trace, or was never one of a client's, as those of reports.
    pub fn without_beginning(id: String) -> Self {
        Self {
            id,
            began: String::new(),
            lasted_ms: 0,
            settled_in_ms: 0,
            protocol: String::new(),
            client: String::new(),
            helo: String::new(),
            tls: TlsStory::default(),
            authenticated: false,
            from: String::new(),
            recipients: Vec::new(),
            recipients_named: 0,
            size: 0,
            verdict: String::new(),
            opinion: None,
            outcome: "spooled".to_owned(),
            reply: String::new(),
            groups: Vec::new(),
            alike: 0,
            afterwards: Vec::new(),
        }
    }

    /// That it stands for others, too; empty if it does not.
    pub fn and_others(&self) -> String {
        match self.alike {
            0 => String::new(),
            others => format!("and {others} more like it within the minute"),
        }
    }

    /// Whether the trace has what the client said.
    pub fn has_beginning(&self) -> bool {
        !self.began.is_empty()
    }
}

impl From<&record::Transaction> for TransactionStory {
    fn from(transaction: &record::Transaction) -> Self {
        Self {
            id: transaction.id.to_string(),
            began: rfc3339_date(transaction.began),
            lasted_ms: milliseconds(transaction.lasted),
            settled_in_ms: milliseconds(transaction.settled_in),
            protocol: transaction.protocol.name().to_owned(),
            client: transaction.client.to_string(),
            helo: transaction.helo.to_string(),
            tls: (&transaction.tls).into(),
            authenticated: transaction.authenticated,
            from: transaction.reverse_path.to_string(),
            recipients: transaction.recipients.iter().map(RecipientStory::from).collect(),
            recipients_named: transaction.recipients_named,
            size: transaction.size,
            verdict: transaction.verdict.name().to_owned(),
            opinion: transaction.opinion.as_deref().map(OpinionStory::from),
            outcome: crate::recorder::outcome(transaction).name().to_owned(),
            reply: transaction.reply.as_ref().map(ToString::to_string).unwrap_or_default(),
            groups: transaction.groups.iter().map(GroupStory::from).collect(),
            alike: transaction.alike,
            afterwards: Vec::new(),
        }
    }
}

impl From<&TlsOutcome> for TlsStory {
    fn from(outcome: &TlsOutcome) -> Self {
        match outcome {
            TlsOutcome::Plain => Self { version: "plain".to_owned(), ..Self::default() },
            TlsOutcome::Failed(reason) => {
                Self { version: "failed".to_owned(), reason: reason.to_string(), ..Self::default() }
            }
            TlsOutcome::Established { facts, proof } => Self {
                version: facts.version.name().to_owned(),
                suite: facts.suite.to_owned(),
                group: facts.group.to_owned(),
                server_name: facts.server_name.as_deref().unwrap_or_default().to_owned(),
                proof: proof.name().to_owned(),
                reason: String::new(),
            },
        }
    }
}

impl TlsStory {
    /// In one line, as people write it.
    pub fn words(&self) -> String {
        match (self.version.as_str(), self.reason.as_str()) {
            ("plain", _) => "plain text".to_owned(),
            ("failed", reason) => format!("handshake failed: {reason}"),
            (version, _) => format!("{version} {} {}", self.suite, self.group),
        }
    }
}

impl RecipientStory {
    /// The address, behind the alias that it was named by.
    pub fn words(&self) -> String {
        match &self.alias {
            Some(alias) => format!("{alias} → {}", self.address),
            None => self.address.clone(),
        }
    }
}

impl From<&record::RecipientOutcome> for RecipientStory {
    fn from(recipient: &record::RecipientOutcome) -> Self {
        let reply = recipient.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        let alias = recipient.alias.as_ref().map(ToString::to_string);
        Self { address: recipient.address.to_string(), alias, reply }
    }
}

impl From<&GroupOutcome> for GroupStory {
    fn from(group: &GroupOutcome) -> Self {
        let (outcome, leg, folder, reply) = match group {
            GroupOutcome::Delivered { leg, reply } => ("delivered", Some(leg), "", reply),
            GroupOutcome::Refused { leg, reply } => ("refused", leg.as_ref(), "", reply),
            GroupOutcome::Spooled { folder, reason } => ("spooled", None, *folder, reason),
        };
        Self {
            outcome: outcome.to_owned(),
            leg: leg.map(LegStory::from),
            folder: folder.to_owned(),
            reply: reply.to_string(),
        }
    }
}

impl From<&Leg> for LegStory {
    fn from(leg: &Leg) -> Self {
        Self {
            backend: leg.backend.to_string(),
            server: leg.server.to_string(),
            tls: (&leg.tls).into(),
            client_address: leg.client_address.to_owned(),
            reused: leg.reused,
            policy: leg.policy.to_string(),
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
