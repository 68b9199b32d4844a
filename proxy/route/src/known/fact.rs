//! One fact as it is stored: a byte that says what, eight for when.

use std::time::Duration;

/// The first bit of the first byte is always set, so that a byte of zeros is no fact.
const FACT: u8 = 0b01;
const DELIVERED: u8 = 0b10;
const REFUSED: u8 = 0b100;

/// A fact as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Of an accepted recipient.
    Accepted(Fact),
    /// Of one that was refused, when, in seconds since 1970.
    Refused(u64),
}

impl Stored {
    pub(crate) fn to_bytes(self) -> [u8; 9] {
        let (what, when) = match self {
            Self::Accepted(fact) if fact.delivered => (FACT | DELIVERED, fact.seen),
            Self::Accepted(fact) => (FACT, fact.seen),
            Self::Refused(when) => (FACT | REFUSED, when),
        };
        let mut bytes = [what; 9];
        bytes[1..].copy_from_slice(&when.to_be_bytes());
        bytes
    }

    /// `None` for anything that is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[what], when) = bytes.split_first_chunk::<1>()?;
        let when = u64::from_be_bytes(when.try_into().ok()?);
        match what ^ FACT {
            0 => Some(Self::Accepted(Fact { seen: when, delivered: false })),
            DELIVERED => Some(Self::Accepted(Fact { seen: when, delivered: true })),
            REFUSED => Some(Self::Refused(when)),
            _ => None,
        }
    }
}

/// What is known of an accepted recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    /// When it was last accepted, in seconds since 1970.
    pub(crate) seen: u64,
    /// A message for it was taken.
    pub(crate) delivered: bool,
}

impl Fact {
    pub(crate) fn seen(&self) -> Duration {
        Duration::from_secs(self.seen)
    }
}
