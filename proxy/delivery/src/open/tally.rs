//! What TLS with servers of the world came to, told to whoever keeps it for reports (RFC 8460): every attempt, under each policy
//! that the recipient's domain has.

use std::net::IpAddr;

use intercept::Source;
use record::{Event, PublishedPolicy, TlsFailure, TlsOutcome, TlsSession};
use route::{FarTls, Reported, Server};
use tls::{Chain, TlsError};

use super::Opener;
use super::error::{OpenError, failure_of};
use super::terms::Terms;

type Failure = (TlsFailure, Box<str>);

/// What an attempt came to.
enum Met<'a> {
    /// There is TLS with a server that showed this; whether what its domain demands was carried out.
    Tls(Option<&'a Chain>, bool),
    /// The server has none.
    Plain,
    /// The handshake failed.
    Failed(&'a TlsError),
    /// It did not come to one.
    NotTried,
}

impl Opener {
    /// A handshake failed, and the session goes on without TLS.
    pub(super) fn tell_failure(&self, terms: &Terms<'_>, server: &Server, source: Source, error: &TlsError) {
        self.tell(sessions(terms.far.map(|far| &**far), server, source, &Met::Failed(error)));
    }

    /// There is no session. That nobody could be reached says nothing of TLS.
    pub(super) fn tell_error(&self, terms: &Terms<'_>, server: &Server, source: Source, error: &OpenError) {
        let met = match error {
            OpenError::Tls(error) => Met::Failed(error),
            OpenError::Never { .. } => Met::NotTried,
            _ => return,
        };
        self.tell(sessions(terms.far.map(|far| &**far), server, source, &met));
    }

    /// There is a session, good enough or not. One behind a handshake that failed was told of.
    pub(super) fn tell_outcome(
        &self,
        terms: &Terms<'_>,
        server: &Server,
        source: Source,
        tls: &TlsOutcome,
        chain: Option<&Chain>,
    ) {
        self.tell(outcome_of(terms, server, source, tls, chain));
    }

    /// Tells of attempts.
    pub fn tell(&self, sessions: Vec<TlsSession>) {
        for session in sessions {
            if let Some(tally) = &self.tally {
                tally.note(session.clone());
            }
            self.recorder.record(Event::FarTls(Box::new(session)));
        }
    }
}

/// What is to be told of a session.
pub(crate) fn outcome_of(
    terms: &Terms<'_>,
    server: &Server,
    source: Source,
    tls: &TlsOutcome,
    chain: Option<&Chain>,
) -> Vec<TlsSession> {
    let met = match tls {
        TlsOutcome::Established { .. } => Met::Tls(chain, terms.holds()),
        TlsOutcome::Plain => Met::Plain,
        TlsOutcome::Failed(_) => return Vec::new(),
    };
    sessions(terms.far.map(|far| &**far), server, source, &met)
}

fn sessions(far: Option<&FarTls>, server: &Server, source: Source, met: &Met<'_>) -> Vec<TlsSession> {
    let Some(far) = far else { return Vec::new() };
    let session = |reported: &Reported| {
        let failure = failure(far, reported, server, met)?;
        Some(TlsSession {
            policy_domain: reported.domain.clone(),
            policy: reported.policy.clone(),
            mx_host: server.name().parse::<IpAddr>().is_err().then(|| server.name().into()),
            receiving_ip: Some(server.address().ip()),
            sending_ip: match source {
                Source::Kernel => None,
                Source::Address(address) => Some(address),
                Source::Transparent(address) => Some(address.ip()),
            },
            failure,
        })
    };
    far.demanded().reported.iter().filter_map(session).collect()
}

/// What is wrong under one policy, if anything is; `None`: it cannot be told.
fn failure(far: &FarTls, reported: &Reported, server: &Server, met: &Met<'_>) -> Option<Option<Failure>> {
    if reported.failure.is_some() {
        return Some(reported.failure.clone());
    }
    let told = |error: &TlsError| (failure_of(error), error.reason());
    match met {
        Met::NotTried => None,
        Met::Plain => Some(Some((TlsFailure::StarttlsNotSupported, "the server has no STARTTLS".into()))),
        // What another policy than this one broke off at is not this one's to blame: nobody saw the rest.
        Met::Failed(TlsError::TlsaMismatch | TlsError::Certificate(_))
            if reported.host.is_some() && far.policy().dane.is_some() =>
        {
            None
        }
        Met::Failed(error) => Some(Some(told(error))),
        Met::Tls(chain, holds) => {
            let examined = match (&reported.policy, chain) {
                (PublishedPolicy::Tlsa(_), Some(chain)) if !holds => {
                    far.connector().examine(chain, far.policy(), server.name()).map(drop)
                }
                (PublishedPolicy::Sts { .. }, Some(chain)) => far.examine(reported, chain),
                _ => Ok(()),
            };
            Some(examined.err().as_ref().map(told))
        }
    }
}
