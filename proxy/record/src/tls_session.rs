//! How TLS with a server of the world went, in the words of RFC 8460: what TLS reports are tallied from.

use std::net::IpAddr;

/// The policy that was to hold for a session (RFC 8460 §4.4, `policy-type`), as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublishedPolicy {
    /// TLSA records that DNSSEC proved; each as `usage selector matching digest` in hexadecimal.
    Tlsa(Box<[Box<str>]>),
    /// An MTA-STS policy.
    Sts {
        /// Its lines, without their ends.
        lines: Box<[Box<str>]>,
        /// The patterns of its `mx` lines.
        mx: Box<[Box<str>]>,
    },
    /// Neither was found.
    None,
}

impl PublishedPolicy {
    /// As reports write it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tlsa(_) => "tlsa",
            Self::Sts { .. } => "sts",
            Self::None => "no-policy-found",
        }
    }
}

/// What went wrong (RFC 8460 §4.3, `result-type`). A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsFailure {
    /// The server does not offer STARTTLS.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate is out of date.
    CertificateExpired,
    /// No trusted authority stands behind the certificate.
    CertificateNotTrusted,
    /// Everything else: the handshake itself failed.
    ValidationFailure,
    /// No usable TLSA record, or none that the certificate matches.
    TlsaInvalid,
    /// An answer of the DNS is bogus.
    DnssecInvalid,
    /// DANE is demanded by configuration, and the domain has none.
    DaneRequired,
    /// The MTA-STS policy cannot be fetched.
    StsPolicyFetchError,
    /// The MTA-STS policy cannot be read, or no MX host is in it.
    StsPolicyInvalid,
    /// The policy host's own certificate does not hold.
    StsWebpkiInvalid,
}

impl TlsFailure {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// One attempt at a session with a server of a domain of the world. Where a domain has both TLSA records and an MTA-STS policy
/// there is one for each (RFC 8460 §4.4): neither hides the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSession {
    /// The recipient's domain, or for TLSA records their base domain.
    pub policy_domain: Box<str>,
    /// What was published.
    pub policy: PublishedPolicy,
    /// The MX host that was tried, if it came to one.
    pub mx_host: Option<Box<str>>,
    /// Its address.
    pub receiving_ip: Option<IpAddr>,
    /// The address it was tried from, where known.
    pub sending_ip: Option<IpAddr>,
    /// `None`: TLS as the policy demands it.
    pub failure: Option<(TlsFailure, Box<str>)>,
}

/// Keeps sessions for the reports of the day. Not telemetry: nothing is dropped. Must not block for long, and never fails.
pub trait TlsTally: Send + Sync + 'static {
    /// One more.
    fn note(&self, session: TlsSession);
}
