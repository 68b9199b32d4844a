//! Why something is not taken.

/// Characters of what the library says.
const MAX_WORDS: usize = 200;

/// Why a passkey is not taken: for the log, not for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many counted within the last minutes to remember one more.
    #[error("more passkeys were used within minutes than can be remembered")]
    Busy,
    /// The number that an authenticator counts up is not larger than the last time (§6.1.1): there may be a second one with its key.
    #[error("its counter went back: it may have been copied")]
    Counter,
    /// What it says is not as it has to be: the origin, the site, the signature, whether its user was verified.
    #[error("{0}")]
    Invalid(String),
    /// The ceremony began longer ago than it may take, or in another process.
    #[error("it took longer than five minutes, or Postern was started again meanwhile")]
    Late,
    /// The ceremony was begun by somebody else, for another site or for something else.
    #[error("it is an answer to something else")]
    Other,
    /// A challenge counts once.
    #[error("its challenge was used before")]
    Spent,
    /// No user has this passkey, or it is of another site or another user.
    #[error("nobody has this passkey")]
    Unknown,
    /// It is not JSON of an answer, or too long for one.
    #[error("it cannot be read")]
    Unreadable,
}

impl Refusal {
    /// What the library says, in one line and not too long: there may be something of a stranger's in it.
    pub(crate) fn invalid(error: &dyn std::fmt::Display) -> Self {
        let words = error.to_string();
        let plain = words.chars().map(|letter| if letter.is_control() { '?' } else { letter });
        Self::Invalid(plain.take(MAX_WORDS).collect())
    }
}
