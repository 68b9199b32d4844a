//! What the answers of a list mean: an address in 127.0.0.0/8 that is a code, or a set of bits (RFC 5782 §2.1).

use std::net::Ipv4Addr;
use std::str::FromStr;

/// The addresses by which lists say that they do not answer this client (Spamhaus: wrong name, public resolver, too many).
const REFUSALS: [u8; 3] = [127, 255, 255];

/// A code that a list answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// This very address.
    Is(Ipv4Addr),
    /// One with any of these bits in its last octet.
    HasBits(u8),
}

impl FromStr for Code {
    type Err = ();

    /// Reads `127.0.0.4`, or `&8` for bits.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(bits) = text.strip_prefix('&') {
            return bits.parse().ok().filter(|bits| *bits != 0).map(Self::HasBits).ok_or(());
        }
        let address: Ipv4Addr = text.parse().map_err(|_| ())?;
        address.is_loopback().then_some(Self::Is(address)).ok_or(())
    }
}

impl Code {
    fn fits(self, address: Ipv4Addr) -> bool {
        match self {
            Self::Is(code) => code == address,
            Self::HasBits(bits) => address.octets()[3] & bits != 0,
        }
    }
}

/// What a listing weighs, in log-odds: spam positive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Of one that has none of the codes.
    pub other: f64,
    /// By code; those that fit add up.
    pub codes: Vec<(Code, f64)>,
}

impl Weights {
    /// What these answers weigh together.
    pub fn of(&self, answers: &[Ipv4Addr]) -> f64 {
        let mut fitting =
            self.codes.iter().filter(|(code, _)| answers.iter().any(|one| code.fits(*one))).peekable();
        match fitting.peek() {
            Some(_) => fitting.map(|(_, weight)| weight).sum(),
            None => self.other,
        }
    }
}

/// Why an answer is none: a list that has gone, a zone that somebody else has now, or one that does not want to be asked.
pub(super) fn objection_to(answers: &[Ipv4Addr]) -> Option<&'static str> {
    answers.iter().find_map(|answer| match answer.octets() {
        octets if octets.starts_with(&REFUSALS) => {
            Some("it says that it does not answer this name server, or not so often")
        }
        // RFC 5782 §5 lists it nowhere; some lists refuse with it.
        [127, 0, 0, 1] => Some("it answers 127.0.0.1, which stands for a refusal"),
        [127, ..] => None,
        _ => Some("it answers with an address outside of 127.0.0.0/8"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_bits_weigh_what_they_are_told_to() {
        let weights = Weights {
            other: 1.0,
            codes: vec![
                ("127.0.0.4".parse().unwrap(), 4.0),
                ("&8".parse().unwrap(), 2.0),
                ("&64".parse().unwrap(), 0.5),
            ],
        };
        for (answers, weight) in [
            (&["127.0.0.2"][..], 1.0),
            (&["127.0.0.4"], 4.0),
            (&["127.0.0.8"], 2.0),
            (&["127.0.0.72"], 2.5),
            (&["127.0.0.2", "127.0.0.4", "127.0.0.64"], 4.5),
        ] {
            let answers: Vec<Ipv4Addr> = answers.iter().map(|text| text.parse().unwrap()).collect();
            assert!((weights.of(&answers) - weight).abs() < 1e-9, "{answers:?}");
        }
        for wrong in ["", "&0", "&256", "&", "10.0.0.1", "127.0.0", "4"] {
            assert!(wrong.parse::<Code>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_code_is_no_listing() {
        let objects =
            |text: &str| objection_to(&["127.0.0.2".parse().unwrap(), text.parse().unwrap()]).is_some();
        assert!(!objects("127.0.0.4") && !objects("127.0.1.2"));
        for text in ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.0.0.1", "192.0.2.1"] {
            assert!(objects(text), "{text}");
        }
    }
}
