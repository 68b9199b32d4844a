//! What is demanded of a leg towards a server, and whether what came of it is enough.

use std::str::FromStr;
use std::sync::Arc;

use record::{FarProof, TlsOutcome};

use crate::{Dane, Pin, Roots};

/// How much is demanded of a leg, from nothing to proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ladder {
    /// No TLS.
    Off,
    /// TLS with whoever it is where it is offered, else plain text (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS with whoever it is, never plain text.
    Encrypt,
    /// TLS with a certificate of a trusted authority for the expected name.
    Verify,
}

impl Ladder {
    /// As the config writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Opportunistic => "opportunistic",
            Self::Encrypt => "encrypt",
            Self::Verify => "verify",
        }
    }
}

/// What was given is no step of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected off, opportunistic, encrypt or verify")]
pub struct NotAStep;

impl FromStr for Ladder {
    type Err = NotAStep;

    fn from_str(text: &str) -> Result<Self, NotAStep> {
        [Self::Off, Self::Opportunistic, Self::Encrypt, Self::Verify]
            .into_iter()
            .find(|step| step.name() == text)
            .ok_or(NotAStep)
    }
}

/// What is demanded of one leg.
#[derive(Clone, Debug, Default)]
pub struct LegPolicy {
    /// The step.
    pub ladder: Ladder,
    /// The name to ask for by SNI and to verify; `None`: the server's own.
    pub name: Option<String>,
    /// A further name that proves as much as the one that is asked for, in A-labels; never sent by SNI.
    pub also: Option<String>,
    /// The authorities that are trusted.
    pub roots: Roots,
    /// Keys that the server may have. Where there are any, they take the place of the chain, the name and the date at
    /// every step but `off`: the server has one of these keys or there is no leg.
    pub pins: Vec<Pin>,
    /// TLSA records of the server. Where there are any, they take the place of roots and name as pins do, and go behind those.
    pub dane: Option<Arc<Dane>>,
}

impl LegPolicy {
    /// Whether plain text will do. With pins or TLSA records it will not, even where the step is `opportunistic`: whoever can strip
    /// STARTTLS from the server's answer would otherwise need no key at all.
    pub fn allows_plain(&self) -> bool {
        match self.ladder {
            Ladder::Off => true,
            Ladder::Opportunistic => self.pins.is_empty() && self.dane.is_none(),
            Ladder::Encrypt | Ladder::Verify => false,
        }
    }

    /// Whether mail may go over a leg of which this became. `Failed` counts as plain text: it is what the leg goes on
    /// with, on a new connection, after a handshake that did not succeed.
    pub fn is_satisfied_by(&self, outcome: &TlsOutcome) -> bool {
        match outcome {
            TlsOutcome::Plain | TlsOutcome::Failed(_) => self.allows_plain(),
            TlsOutcome::Established { proof, .. } => self.accepts(*proof),
        }
    }

    fn accepts(&self, proof: FarProof) -> bool {
        match self.demand() {
            Demand::Nothing => true,
            Demand::Chain => matches!(proof, FarProof::Verified | FarProof::MtaSts),
            Demand::Pin => proof == FarProof::Pinned,
            Demand::Dane => proof == FarProof::Dane,
        }
    }

    /// What a certificate must prove.
    pub(crate) fn demand(&self) -> Demand {
        match self.ladder {
            Ladder::Off => Demand::Nothing,
            _ if !self.pins.is_empty() => Demand::Pin,
            _ if self.dane.is_some() => Demand::Dane,
            Ladder::Opportunistic | Ladder::Encrypt => Demand::Nothing,
            Ladder::Verify => Demand::Chain,
        }
    }
}

/// What a server's certificate must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nothing; whether it would have proved the name is recorded.
    Nothing,
    /// A chain to a trusted root, with the name, in date.
    Chain,
    /// One of the pinned keys.
    Pin,
    /// One of the TLSA records.
    Dane,
}

#[cfg(test)]
mod tests {
    use super::*;

    use record::{TlsFacts, TlsVersion};

    fn established(proof: FarProof) -> TlsOutcome {
        let facts = TlsFacts { version: TlsVersion::Tls13, suite: "", group: "", server_name: None };
        TlsOutcome::Established { facts, proof }
    }

    /// Plain, failed, unverified, verified, pinned.
    fn satisfied(ladder: Ladder, pins: &[Pin]) -> [bool; 5] {
        let policy = LegPolicy { ladder, pins: pins.to_vec(), ..LegPolicy::default() };
        [
            TlsOutcome::Plain,
            TlsOutcome::Failed("".into()),
            established(FarProof::Unverified),
            established(FarProof::Verified),
            established(FarProof::Pinned),
        ]
        .map(|outcome| policy.is_satisfied_by(&outcome))
    }

    #[test]
    fn each_step_demands_what_it_says() {
        assert_eq!(satisfied(Ladder::Off, &[]), [true; 5]);
        assert_eq!(satisfied(Ladder::Opportunistic, &[]), [true; 5]);
        assert_eq!(satisfied(Ladder::Encrypt, &[]), [false, false, true, true, true]);
        assert_eq!(satisfied(Ladder::Verify, &[]), [false, false, false, true, false]);
    }

    #[test]
    fn with_pins_only_a_pinned_key_will_do() {
        let pins = [Pin::of_public_key(b"key")];
        for ladder in [Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
            assert_eq!(satisfied(ladder, &pins), [false, false, false, false, true], "{}", ladder.name());
        }
        assert_eq!(satisfied(Ladder::Off, &pins), [true; 5]);
    }

    #[test]
    fn with_tlsa_records_only_a_certificate_of_theirs_will_do() {
        let record = crate::Association { usage: 3, selector: 1, matching: 1, data: [7; 32].into() };
        let dane = Dane::new(&[record], &[]).map(Arc::new);
        for ladder in [Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
            let policy = LegPolicy { ladder, dane: dane.clone(), ..LegPolicy::default() };
            assert!(!policy.allows_plain());
            assert!(policy.is_satisfied_by(&established(FarProof::Dane)));
            for proof in [FarProof::Unverified, FarProof::Verified, FarProof::Pinned, FarProof::MtaSts] {
                assert!(!policy.is_satisfied_by(&established(proof)), "{proof:?}");
            }
        }
    }

    #[test]
    fn steps_are_read_as_they_are_written() {
        for step in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
            assert_eq!(step.name().parse(), Ok(step));
        }
        assert_eq!("may".parse::<Ladder>(), Err(NotAStep));
    }
}
