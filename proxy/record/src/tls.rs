//! What became of TLS on a leg.

/// The version of an established session; there are no others (law 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, with ECDHE and AEAD.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What was agreed on in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFacts {
    /// Version.
    pub version: TlsVersion,
    /// IANA's name of the cipher suite, such as `TLS_AES_256_GCM_SHA384`.
    pub suite: &'static str,
    /// The group of the key exchange, such as `X25519MLKEM768`.
    pub group: &'static str,
    /// The name that the client asked for, in lower case, if it named one.
    pub server_name: Option<Box<str>>,
}

/// How far the other side's identity was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FarProof {
    /// Not: the policy did not ask for it.
    Unverified,
    /// Its chain leads to a trusted root and carries the expected name.
    Verified,
    /// Its public key is one of those pinned.
    Pinned,
    /// A TLSA record that DNSSEC proved is of its certificate (RFC 7672).
    Dane,
    /// As verified, under a name that an MTA-STS policy vouches for (RFC 8461).
    MtaSts,
}

impl FarProof {
    /// The word in traces, and the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Pinned => "pinned",
            Self::Dane => "dane",
            Self::MtaSts => "mta-sts",
        }
    }
}

/// What became of TLS on one leg.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsOutcome {
    /// Plain text: the peer did not ask for TLS or did not offer it.
    Plain,
    /// Established.
    Established {
        /// What was agreed on.
        facts: TlsFacts,
        /// Whether the peer was proved.
        proof: FarProof,
    },
    /// Tried and failed, with the reason in words.
    Failed(Box<str>),
}

impl TlsOutcome {
    /// What was agreed on, if anything was.
    pub fn facts(&self) -> Option<&TlsFacts> {
        match self {
            Self::Established { facts, .. } => Some(facts),
            Self::Plain | Self::Failed(_) => None,
        }
    }
}
