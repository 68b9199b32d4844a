//! What goes to a browser and has to come back as it was.

use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::ceremonies::LIFE;
use crate::refusal::Refusal;

/// Octets of an HMAC-SHA-256.
const TAG: usize = 32;
/// Octets of the moment.
const MOMENT: usize = 8;
/// Characters of what is opened at most; what is sealed here has some 200.
const MAX_SEALED: usize = 1024;

/// A key that nothing outside of this process knows.
pub(crate) struct Seal(hmac::Key);

impl Seal {
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; TAG]>()))
    }

    /// `for_what` is what it has to be opened for again: it is sealed along, and not sent.
    pub(crate) fn close(&self, octets: &[u8], for_what: &[&str], now: Duration) -> String {
        let octets = [octets, &now.as_secs().to_be_bytes()].concat();
        let tag = hmac::sign(&self.0, &signed(&octets, for_what));
        BASE64URL_NOPAD.encode(&[&octets, tag.as_ref()].concat())
    }

    /// What was closed at most [`LIFE`] ago, for the same.
    pub(crate) fn open(&self, sealed: &str, for_what: &[&str], now: Duration) -> Result<Vec<u8>, Refusal> {
        if sealed.len() > MAX_SEALED {
            return Err(Refusal::Other);
        }
        let octets = BASE64URL_NOPAD.decode(sealed.as_bytes()).map_err(|_| Refusal::Other)?;
        let (octets, tag) = octets.split_last_chunk::<TAG>().ok_or(Refusal::Other)?;
        hmac::verify(&self.0, &signed(octets, for_what), tag).map_err(|_| Refusal::Other)?;
        let (octets, moment) = octets.split_last_chunk::<MOMENT>().ok_or(Refusal::Other)?;
        let age = now.as_secs().saturating_sub(u64::from_be_bytes(*moment));
        if age < LIFE.as_secs() { Ok(octets.to_vec()) } else { Err(Refusal::Late) }
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

/// Each part with its length before it: no two lists of parts make the same octets.
fn signed(octets: &[u8], for_what: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in for_what.iter().map(|part| part.as_bytes()).chain([octets]) {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    #[test]
    fn what_was_sealed_opens_for_the_same_and_for_a_while() {
        let (seal, other) = (Seal::new(), Seal::new());
        let sealed = seal.close(b"state", &["login", "a"], NOW);
        assert_eq!(seal.open(&sealed, &["login", "a"], NOW), Ok(b"state".to_vec()));
        assert_eq!(seal.open(&sealed, &["logina", ""], NOW), Err(Refusal::Other));
        assert_eq!(seal.open(&sealed, &["login"], NOW), Err(Refusal::Other));
        assert_eq!(other.open(&sealed, &["login", "a"], NOW), Err(Refusal::Other));
        let nearly = NOW + LIFE - Duration::from_secs(1);
        assert!(seal.open(&sealed, &["login", "a"], nearly).is_ok());
        assert_eq!(seal.open(&sealed, &["login", "a"], NOW + LIFE), Err(Refusal::Late));
        for at in 0..sealed.len() {
            let mut broken = sealed.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            let broken = String::from_utf8(broken).unwrap();
            assert!(seal.open(&broken, &["login", "a"], NOW).is_err(), "{at}");
        }
        for nothing in ["", "A", "AAAA", &"A".repeat(64), &"A".repeat(5000)] {
            assert_eq!(seal.open(nothing, &[], NOW), Err(Refusal::Other));
        }
    }
}
