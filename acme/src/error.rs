//! What went wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use instant_acme::Problem;

/// Characters of a CA's words that are kept.
const MAX_WORDS: usize = 400;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The CA's server cannot be reached, or does not speak ACME.
    #[error("the CA at {directory} cannot be reached: {reason}")]
    Unreachable {
        /// Its directory.
        directory: String,
        /// What happened.
        reason: String,
    },
    /// The CA says no.
    #[error("the CA says: {words}")]
    Refused {
        /// Its words.
        words: String,
        /// The kind of problem (RFC 8555 §6.7), without the part that all have; empty if it named none.
        kind: String,
        /// Not before this long from now may it be asked again.
        retry_after: Option<Duration>,
    },
    /// None of the names could be validated.
    #[error("the CA could validate none of the names; {name}: {reason}")]
    NoName {
        /// The first of them.
        name: String,
        /// What the CA said of it.
        reason: String,
    },
    /// The order did not come to an end in time.
    #[error("the CA did not finish the order in time")]
    TimedOut,
    /// What the CA issued must not be served.
    #[error("the certificate that the CA issued is not used: {0}")]
    Unusable(String),
    /// A key or a request cannot be made.
    #[error("the request for a certificate cannot be made: {0}")]
    NotMade(#[from] rcgen::Error),
    /// What answers the CA cannot be put up.
    #[error("{0}")]
    NoAnswer(String),
    /// The CA has no such profile.
    #[error("the CA has no profile {wanted:?}{}", others(.has))]
    UnknownProfile {
        /// What the config wants.
        wanted: String,
        /// Those that it has.
        has: Vec<String>,
    },
    /// A file of the folder.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

impl AcmeError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    /// The client's own errors; `retry_after` is what the last answer said.
    pub(crate) fn of_client(
        error: instant_acme::Error,
        directory: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        match error {
            instant_acme::Error::Api(problem) => {
                Self::Refused { kind: kind(&problem), words: words(&problem), retry_after }
            }
            instant_acme::Error::Timeout(_) => Self::TimedOut,
            other => {
                let mut reason = bounded(&other.to_string());
                if reason.is_empty() {
                    reason = "it does not say why".to_owned();
                }
                Self::Unreachable { directory: directory.to_owned(), reason }
            }
        }
    }

    /// Whether the CA asks for patience (RFC 8555 §6.6).
    pub fn is_rate_limit(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "rateLimited")
    }

    /// Whether no other order would fare better now.
    pub(crate) fn is_of_everything(&self) -> bool {
        self.is_rate_limit()
            || matches!(self, Self::Unreachable { .. } | Self::UnknownProfile { .. } | Self::File { .. })
    }

    /// How long it wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "Check that this machine reaches it on port 443, its name servers, and ca_file where it is a private CA."
            }
            Self::Refused { kind, .. } => match kind.as_str() {
                "rateLimited" => "Nothing: it is asked again when it allows.",
                "externalAccountRequired" => "Set [acme] eab to the kid and the hmac that the CA gave you.",
                "unauthorized" | "malformed" => {
                    "Check [acme] eab, contact and profile: they must be what the CA expects."
                }
                "invalidProfile" => "Set [acme] profile to one that the CA has, or leave it out.",
                "caa" => "Add the CA to the CAA records of the domain.",
                "rejectedIdentifier" => "Remove the name that it rejects.",
                "invalidContact" | "unsupportedContact" => {
                    "Set [acme] contact to addresses that receive mail."
                }
                _ => "Its words say what it wants; it is asked again by itself.",
            },
            Self::NoName { .. } => {
                "The names must lead here, and the port of the challenge must be reachable from the Internet; see \
                 docs/certificates.md."
            }
            Self::TimedOut => "Nothing: it is asked again by itself.",
            Self::Unusable(_) => "Ask the CA; `postern certs renew` orders again.",
            Self::NotMade(_) => "Look at the names in the config.",
            Self::UnknownProfile { .. } => "Set [acme] profile to one that the CA has, or leave it out.",
            Self::NoAnswer(_) => "Set what it names, then `postern certs renew`.",
            Self::File { .. } => {
                "Look at the folder certificates in state_dir: its files belong to Postern's user."
            }
        }
    }
}

/// `urn:ietf:params:acme:error:rateLimited` is `rateLimited`.
pub(crate) fn kind(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    bounded(kind.rsplit(':').next().unwrap_or_default())
}

/// The profiles of a CA, in words.
fn others(has: &[String]) -> String {
    match has {
        [] => "; it has none to choose from".to_owned(),
        has => format!(", but {}", has.join(", ")),
    }
}

/// What the CA says, on one line and not too long.
pub(crate) fn words(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().filter(|detail| !detail.is_empty());
    match (detail, problem.r#type.as_deref()) {
        (Some(detail), _) => bounded(detail),
        (None, Some(kind)) => bounded(kind),
        (None, None) => "no, without a reason".to_owned(),
    }
}

pub(crate) fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_by_its_kind_and_its_words_on_one_line() {
        let problem = Problem {
            r#type: Some("urn:ietf:params:acme:error:rateLimited".into()),
            detail: Some("too many\r\ncertificates".into()),
            status: Some(429),
            subproblems: Vec::new(),
        };
        let wait = Duration::from_secs(3600);
        let error = AcmeError::of_client(instant_acme::Error::Api(problem), "https://ca/", Some(wait));
        assert!(error.is_rate_limit());
        assert_eq!(error.retry_after(), Some(wait));
        assert_eq!(error.to_string(), "the CA says: too many  certificates");
    }
}
