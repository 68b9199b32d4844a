//! What is demanded of a connection: the server's policy, and what the message wants.

use std::sync::Arc;

use record::TlsOutcome;
use route::{Backend, FarPolicy, FarTls, Server};
use tls::{Chain, Connector, LegPolicy};

use super::error::OpenError;

/// What a message wants of TLS on its way (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsWish {
    /// Nothing of its own.
    #[default]
    AsPolicySays,
    /// `REQUIRETLS`: it goes only where the server is proved and promises the same (§4.2.1).
    Required,
    /// `TLS-Required: No`: it goes whatever the recipient's domain demands (§5).
    Regardless,
}

/// Under which policy a server is met.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) policy: &'a LegPolicy,
    pub(crate) connector: &'a Connector,
    /// Of a server of the world.
    pub(crate) far: Option<&'a Arc<FarTls>>,
    pub(crate) wish: TlsWish,
}

impl<'a> Terms<'a> {
    pub(crate) fn of(backend: &'a Backend, server: &'a Server, wish: TlsWish) -> Self {
        let far = server.far_tls();
        let (policy, connector) = match (far, wish) {
            (Some(far), TlsWish::Regardless) => far.regardless(),
            (Some(far), _) => (far.policy(), far.connector()),
            (None, _) => (backend.tls(), backend.connector()),
        };
        Self { policy, connector, far, wish }
    }

    /// Why nothing goes there, if nothing does.
    pub(crate) fn never(&self) -> Option<OpenError> {
        let far = self.far.filter(|_| self.wish != TlsWish::Regardless)?;
        match &far.demanded().policy {
            FarPolicy::Never { failure, why } => {
                Some(OpenError::Never { failure: *failure, why: why.clone() })
            }
            _ => None,
        }
    }

    /// Whether what the domain demands is carried out.
    pub(crate) fn holds(&self) -> bool {
        self.wish != TlsWish::Regardless
    }

    /// What TLS came to, with what vouches for the name that was proved.
    pub(crate) fn refine(&self, tls: TlsOutcome) -> TlsOutcome {
        match (tls, self.far) {
            (TlsOutcome::Established { facts, proof }, Some(far)) if self.holds() => {
                TlsOutcome::Established { facts, proof: far.proof(proof) }
            }
            (tls, _) => tls,
        }
    }

    /// Whether a leg is as good as REQUIRETLS wants it.
    pub(crate) fn proves(&self, tls: &TlsOutcome) -> bool {
        use record::FarProof::{Dane, MtaSts, Pinned, Unverified, Verified};
        match (tls, self.far) {
            (TlsOutcome::Established { proof, .. }, Some(far)) => far.is_proved(*proof),
            (TlsOutcome::Established { proof, .. }, None) => match proof {
                Verified | Pinned | Dane | MtaSts => true,
                Unverified => false,
            },
            (TlsOutcome::Plain | TlsOutcome::Failed(_), _) => false,
        }
    }

    /// Which policy held, where it came from, and how it was met.
    pub(crate) fn words(&self, tls: &TlsOutcome, chain: Option<&Chain>) -> Box<str> {
        let Some(far) = self.far else { return "".into() };
        let demanded = far.demanded();
        let met = match (&demanded.policy, tls) {
            _ if !self.holds() => "the message says TLS-Required: No, so that this does not count".to_owned(),
            (FarPolicy::Dane { .. }, TlsOutcome::Established { .. }) => {
                match chain.and_then(|chain| self.connector.matching(chain)) {
                    Some(record) => format!("{record} is of the server's certificates"),
                    None => "one of them is of the server's certificates".to_owned(),
                }
            }
            (FarPolicy::Sts { host }, TlsOutcome::Established { .. }) => {
                format!("the server's certificate is valid for {host}")
            }
            (_, TlsOutcome::Established { proof, .. }) => format!("the server is {}", proof.name()),
            (_, TlsOutcome::Plain) => "the server has no TLS".to_owned(),
            (_, TlsOutcome::Failed(_)) => "TLS failed".to_owned(),
        };
        let shown = chain.filter(|_| tls.facts().is_some()).map(Chain::words).unwrap_or_default();
        let separator = if shown.is_empty() { "" } else { "; " };
        format!("{}; {met}{separator}{shown}", demanded.words).into()
    }
}
