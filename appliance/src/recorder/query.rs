//! What is looked for in the trace.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use trace::{Field, Place, Wanted};

use crate::report::{SessionStory, TransactionStory};

/// What an entry is.
pub(super) const KIND: Field = Field(0);
/// Of a transaction, and of its session.
pub(super) const ID: Field = Field(1);
pub(super) const FROM: Field = Field(2);
pub(super) const TO: Field = Field(3);
pub(super) const SUBJECT: Field = Field(4);
pub(super) const HELO: Field = Field(5);
pub(super) const CLIENT: Field = Field(6);
pub(super) const VERDICT: Field = Field(7);
pub(super) const OUTCOME: Field = Field(8);
pub(super) const DIRECTION: Field = Field(9);
pub(super) const MESSAGE_ID: Field = Field(10);
/// The client's address as text, of which a part is enough.
pub(super) const ADDRESS: Field = Field(11);

/// Fields that one word is looked for in.
const ANYWHERE: [Field; 7] = [ID, FROM, TO, SUBJECT, HELO, MESSAGE_ID, ADDRESS];

/// What is looked for; every part that is given must fit. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Sender, some recipient, subject, `Message-ID`, name or address of the client, or the identifier contains this.
    pub anywhere: Option<String>,
    /// The sender contains this.
    pub from: Option<String>,
    /// Some recipient contains this.
    pub to: Option<String>,
    /// The subject contains this.
    pub subject: Option<String>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What was decided, as traces write it.
    pub verdict: Option<String>,
    /// How it ended, as traces write it.
    pub outcome: Option<String>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// Not before this, since 1970.
    pub since: Duration,
    /// Before this, since 1970.
    pub until: Duration,
    /// Kept before this one: where an earlier answer stopped.
    pub before: Option<Place>,
    /// Sent from or to one of these domains; `None`: whatever domain.
    pub within: Option<Vec<String>>,
    /// At most so many, the latest.
    pub last: usize,
}

/// What somebody sees of a transaction.
pub type See<'a> = &'a (dyn Fn(TransactionStory) -> Option<TransactionStory> + Send + Sync);

impl Default for Query {
    fn default() -> Self {
        Self {
            anywhere: None,
            from: None,
            to: None,
            subject: None,
            ip: None,
            verdict: None,
            outcome: None,
            direction: None,
            since: Duration::ZERO,
            until: Duration::MAX,
            before: None,
            within: None,
            last: 0,
        }
    }
}

impl Query {
    pub(super) fn is_time(&self, at: Duration) -> bool {
        (self.since..self.until).contains(&at)
    }

    /// Whether a transaction is wanted, but for its time.
    pub(super) fn fits(&self, story: &TransactionStory) -> bool {
        let opinion = story.opinion.as_ref();
        let subject = opinion.map_or("", |opinion| &opinion.subject);
        let to = |wanted: &str| {
            story.recipients.iter().any(|recipient| {
                let alias = recipient.alias.as_ref().is_some_and(|alias| contains(alias, wanted));
                alias || contains(&recipient.address, wanted)
            })
        };
        let anywhere = |wanted: &str| {
            let message_id = opinion.map_or("", |opinion| &opinion.message_id);
            let texts = [&story.id, &story.from, subject, message_id, &story.helo, &story.client];
            texts.iter().any(|text| contains(text, wanted)) || to(wanted)
        };
        let direction = opinion.map(|opinion| opinion.direction.as_str());
        self.client_fits(&story.client)
            && self.anywhere.as_deref().is_none_or(anywhere)
            && self.from.as_ref().is_none_or(|wanted| contains(&story.from, wanted))
            && self.to.as_deref().is_none_or(to)
            && self.subject.as_ref().is_none_or(|wanted| contains(subject, wanted))
            && self.verdict.as_ref().is_none_or(|wanted| *wanted == story.verdict)
            && self.outcome.as_ref().is_none_or(|wanted| *wanted == story.outcome)
            && self.direction.as_deref().is_none_or(|wanted| direction == Some(wanted))
    }

    /// Whether a session without mail is wanted, but for its time.
    pub(super) fn fits_session(&self, story: &SessionStory) -> bool {
        let texts = [&story.id, &story.helo, &story.client];
        self.client_fits(&story.client)
            && self.anywhere.as_ref().is_none_or(|wanted| texts.iter().any(|text| contains(text, wanted)))
    }

    fn client_fits(&self, client: &str) -> bool {
        let address = || client.parse::<SocketAddr>().ok().map(|client| client.ip().to_canonical());
        self.ip.is_none_or(|ip| address() == Some(ip))
    }

    /// What the index of the trace is asked for.
    pub(super) fn wanted(&self) -> Wanted {
        let contained = [(FROM, &self.from), (TO, &self.to), (SUBJECT, &self.subject)];
        let named = [(VERDICT, &self.verdict), (OUTCOME, &self.outcome), (DIRECTION, &self.direction)];
        let mut wanted = self.wanted_of_sessions();
        for (field, text) in contained {
            wanted = text.iter().fold(wanted, |wanted, text| wanted.contains(field, text));
        }
        for (field, text) in named {
            wanted = text.iter().fold(wanted, |wanted, text| wanted.is(field, text));
        }
        if let Some(domains) = &self.within {
            let parts = domains.iter().flat_map(|domain| [(FROM, domain.as_str()), (TO, domain.as_str())]);
            wanted = wanted.contains_any(parts);
        }
        wanted
    }

    /// A transaction that fits, as it is seen; not by what is left out of it.
    pub(super) fn seen(&self, story: TransactionStory, see: See<'_>) -> Option<TransactionStory> {
        self.fits(&story).then(|| see(story))?.filter(|seen| self.fits(seen))
    }

    pub(super) fn wanted_of_sessions(&self) -> Wanted {
        let wanted = Wanted::default();
        let wanted = self.anywhere.iter().fold(wanted, |wanted, text| wanted.contains_in(&ANYWHERE, text));
        self.ip.iter().fold(wanted, |wanted, ip| wanted.is(CLIENT, &ip.to_string()))
    }
}

fn contains(text: &str, wanted: &str) -> bool {
    text.to_lowercase().contains(&wanted.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    #[test]
    fn every_part_of_a_query_must_fit() {
        let story = TransactionStory::from(&samples::judged(3));
        let some = |text: &str| Some(text.to_owned());
        for (query, fits) in [
            (Query { from: some("ALICE@"), ..Query::default() }, true),
            (Query { from: some("bob@"), ..Query::default() }, false),
            (Query { to: some("bob@example.net"), ..Query::default() }, true),
            (Query { ip: Some("192.0.2.7".parse().unwrap()), ..Query::default() }, true),
            (Query { ip: Some("192.0.2.8".parse().unwrap()), ..Query::default() }, false),
            (Query { subject: some("rechnung"), ..Query::default() }, true),
            (Query { subject: some("alice"), ..Query::default() }, false),
            (Query { anywhere: some("Rechnung Nr"), ..Query::default() }, true),
            (Query { anywhere: some("192.0.2."), verdict: some("tag"), ..Query::default() }, true),
            (Query { anywhere: some("one@mail.sender"), ..Query::default() }, true),
            (Query { anywhere: some("nobody"), ..Query::default() }, false),
            (Query { verdict: some("pass"), ..Query::default() }, false),
            (Query { outcome: some("accepted"), direction: some("inbound"), ..Query::default() }, true),
            (Query { direction: some("outbound"), ..Query::default() }, false),
        ] {
            assert_eq!(query.fits(&story), fits, "{query:?}");
        }
    }
}
