//! What came out, as values.

use smtp::{Domain, ReversePath};

use crate::chain::Chain;

/// A result as `Authentication-Results` names it (RFC 8601 §2.7). DKIM and DMARC never come to `SoftFail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is nothing to go by: no record, no signature.
    None,
    /// It says nothing either way.
    Neutral,
    /// It is authentic.
    Pass,
    /// It is not.
    Fail,
    /// It is probably not.
    SoftFail,
    /// It could not be found out now.
    TempError,
    /// What is published is faulty.
    PermError,
}

impl Verdict {
    /// The word of RFC 8601.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Whether the client may send for the domain of the reverse-path, or of its HELO where that is null (RFC 7208 §2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spf {
    /// The result.
    pub verdict: Verdict,
    /// The domain that was asked; empty where there is none.
    pub domain: Box<str>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// The result.
    pub verdict: Verdict,
    /// The domain that signed; empty where the signature cannot be read.
    pub domain: Box<str>,
    /// Under which name its key is published.
    pub selector: Box<str>,
    /// Why it did not pass.
    pub reason: Option<Box<str>>,
}

/// Whether the domain in `From` stands behind the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// The result.
    pub verdict: Verdict,
    /// The domain in `From`; empty where there is none.
    pub domain: Box<str>,
    /// Whether a signature of that domain, or of its organisation, is good.
    pub dkim: bool,
    /// Whether SPF allows the client for it.
    pub spf: bool,
    /// What its policy asks for where neither is so; `None` without a policy.
    pub asked: Option<Asked>,
    /// Whether it wants to be told how its mail fares (`rua`).
    pub wants_reports: bool,
}

/// What a policy asks to be done with mail that is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    None,
    /// To put it aside.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Asked {
    /// The word of RFC 9989.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl Dmarc {
    /// Where nothing more is known.
    pub fn new(verdict: Verdict, domain: &str) -> Self {
        let domain = domain.into();
        Self { verdict, domain, dkim: false, spf: false, asked: None, wants_reports: false }
    }
}

/// What a whole message showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticity {
    /// Its signatures, at most [`crate::MAX_SIGNATURES`].
    pub dkim: Vec<Dkim>,
    /// What follows from them, and from SPF.
    pub dmarc: Dmarc,
    /// What those found who passed it on.
    pub arc: Chain,
}

/// Whether DMARC's result speaks for the reverse-path: what is authentic is `From`, so the reverse-path has to be of the same
/// domain, or of one below it. Of one above it nothing is known: who has a name there need not speak for all.
pub fn proves_sender(dmarc: &Dmarc, reverse_path: &ReversePath) -> bool {
    let ReversePath::Mailbox(mailbox) = reverse_path else { return false };
    let (Some(sender), Ok(author)) = (mailbox.domain(), dmarc.domain.parse::<Domain>()) else { return false };
    let below = sender.as_str().strip_suffix(author.as_str());
    dmarc.verdict == Verdict::Pass && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use smtp::Mailbox;

    use super::*;

    #[test]
    fn dmarc_speaks_for_the_authors_domain_and_what_is_below_it() {
        let proves = |verdict, author: &str, sender: &str| {
            let sender = match sender {
                "" => ReversePath::Null,
                sender => ReversePath::Mailbox(sender.parse::<Mailbox>().unwrap()),
            };
            proves_sender(&Dmarc::new(verdict, author), &sender)
        };
        let pass = Verdict::Pass;
        assert!(proves(pass, "b.example", "a@b.example"));
        assert!(proves(pass, "b.example", "a@bounces.B.example"));
        assert!(
            !proves(pass, "pages.b.example", "a@b.example"),
            "who has a name below a domain does not own it"
        );
        assert!(!proves(pass, "b.example", "a@notb.example"));
        assert!(!proves(pass, "b.example", "victim@other.example"));
        assert!(!proves(pass, "b.example", "a@[192.0.2.1]"));
        assert!(!proves(pass, "", "a@b.example"));
        assert!(!proves(pass, "b.example", ""));
        assert!(!proves(Verdict::Fail, "b.example", "a@b.example"));
        assert!(!proves(Verdict::None, "b.example", "a@b.example"));
    }
}
