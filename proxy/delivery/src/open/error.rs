//! Why a connection could not be had.

use intercept::ConnectError;
use record::TlsFailure;
use route::AsksBack;
use smtp::dialogue::OutOfStep;
use smtp::{Extension, No, Reply};
use tls::{Fault, TlsError};

/// Why one server, or all, could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server asks Postern what Postern asks it.
    #[error("{0}")]
    AsksBack(#[from] AsksBack),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// No connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// All servers failed often lately and are not tried at the moment; why the last one failed.
    #[error("{0}")]
    Down(Box<str>),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The server does not offer what the config says to tell the client's address by.
    #[error("the server does not offer {0}")]
    NoClientAddress(&'static str),
    /// No server is configured for this.
    #[error("the backend has no server for this")]
    NoServer,
    /// Replies that answer nothing.
    #[error("{0}")]
    OutOfStep(#[from] OutOfStep),
    /// The server refused to speak.
    #[error("the server said: {0}")]
    Refused(Reply),
    /// The relay does not let Postern in with the name and password that the config has for it.
    #[error("the relay refuses the configured user: {0}")]
    LoginRefused(Reply),
    /// The relay offers neither PLAIN nor LOGIN, or not behind TLS.
    #[error("the relay offers no AUTH mechanism that is known here (PLAIN, LOGIN) behind TLS")]
    NoMechanism,
    /// No answer in time.
    #[error("the server did not answer in time")]
    Silent,
    /// Nothing goes to the server now, on the word of its domain's policy or of the configuration.
    #[error("{why}")]
    Never {
        /// What reports call it.
        failure: TlsFailure,
        /// In words.
        why: Box<str>,
    },
    /// REQUIRETLS is asked for (RFC 8689), and the server does not offer it.
    #[error("the server does not offer REQUIRETLS")]
    NoRequireTls,
    /// The handshake failed.
    #[error("TLS failed: {0}")]
    Tls(TlsError),
    /// A server of the world does not satisfy the policy that holds for it.
    #[error("{0}")]
    FarTooWeak(Box<str>),
    /// REQUIRETLS is asked for (RFC 8689), and TLS with the server proves too little.
    #[error("{0}")]
    Unproved(Box<str>),
    /// TLS is weaker than policy says (law 5).
    #[error("TLS is weaker than the policy {0} demands")]
    TooWeak(&'static str),
}

impl OpenError {
    /// Whether it took its time to be found out.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Self::Silent | Self::Connect(ConnectError::TimedOut))
    }

    /// Whether it is the policy's word: mail that goes whatever domains demand could go.
    fn is_of_policy(&self) -> bool {
        matches!(self, Self::Never { .. } | Self::Tls(_) | Self::TooWeak(_))
    }

    /// The same of a server of the world, whose policy is its own; which that is.
    pub(crate) fn of_far_side(self, policy: &str) -> Self {
        match &self {
            // The policy's own words.
            Self::Never { why, .. } => Self::FarTooWeak(why.clone()),
            error if error.is_of_policy() => Self::FarTooWeak(format!("{error}; {policy}").into()),
            _ => self,
        }
    }

    /// The same where REQUIRETLS is asked for: TLS that cannot be had or proves too little is final (RFC 8689 §4.2.1), what cannot be
    /// told is not.
    pub(crate) fn with_requiretls(self) -> Self {
        match self {
            Self::Never { failure: TlsFailure::DnssecInvalid, .. } => self,
            other if other.is_of_policy() => Self::Unproved(other.to_string().into()),
            other => other,
        }
    }

    /// Whether another try may end otherwise.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::NoRequireTls | Self::Unproved(_))
    }

    /// What a client is told. A server that says no for good is there, and does not want this client; any other
    /// failure means that it is away.
    pub fn no(&self) -> No {
        let why = self.to_string().into();
        match self {
            Self::Refused(reply) if reply.code().is_permanent() => No::ServerRefuses(why),
            Self::FarTooWeak(_) => No::FarTooWeak(why),
            Self::NoRequireTls => No::LacksExtension(Extension::RequireTls),
            Self::Unproved(_) => No::FarUnproved(why),
            _ => No::ServerUnreachable(why),
        }
    }
}

/// How reports call what went wrong with a handshake (RFC 8460 §4.3).
pub(crate) fn failure_of(error: &TlsError) -> TlsFailure {
    match error {
        TlsError::TlsaMismatch => TlsFailure::TlsaInvalid,
        TlsError::Certificate(objection) => match objection.fault {
            Fault::Date => TlsFailure::CertificateExpired,
            Fault::Name => TlsFailure::CertificateHostMismatch,
            Fault::Issuer => TlsFailure::CertificateNotTrusted,
            Fault::Other => TlsFailure::ValidationFailure,
        },
        TlsError::NoRoots => TlsFailure::CertificateNotTrusted,
        _ => TlsFailure::ValidationFailure,
    }
}
