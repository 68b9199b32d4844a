//! Certificate associations: what DNS publishes of a server's certificate (RFC 6698, RFC 7671), compared with one.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Chain;

/// DANE-TA: the certificate of an authority in the chain (RFC 7671 §5.2).
pub(crate) const DANE_TA: u8 = 2;
/// DANE-EE: the server's own certificate (RFC 7671 §5.1).
pub(crate) const DANE_EE: u8 = 3;

/// Octets of the data that are shown: the longest digest.
const SHOWN: usize = 64;

/// The content of a TLSA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Which certificate of a chain is meant: 2 an authority's, 3 the server's. For SMTP the others count for nothing
    /// (RFC 7672 §3.1.3).
    pub usage: u8,
    /// 0 the whole certificate, 1 its SubjectPublicKeyInfo.
    pub selector: u8,
    /// 0 as it is, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// That part, or its digest.
    pub data: Box<[u8]>,
}

impl Association {
    /// Whether it can be compared with anything. A set without any usable one counts as TLS without authentication (RFC 7672
    /// §2.2).
    pub fn is_usable(&self) -> bool {
        matches!(self.usage, DANE_TA | DANE_EE)
            && self.selector <= 1
            && match self.matching {
                0 => !self.data.is_empty(),
                1 => self.data.len() == 32,
                2 => self.data.len() == 64,
                _ => false,
            }
    }

    /// Whether the chain has the certificate that is meant, where it is meant to be. Of an authority this does not say that it
    /// signed anything.
    pub fn is_in(&self, chain: &Chain) -> bool {
        let certificates = chain.certificates();
        let candidates = match self.usage {
            DANE_EE => certificates.get(..1),
            DANE_TA => certificates.get(1..),
            _ => None,
        };
        self.is_usable() && candidates.unwrap_or_default().iter().any(|certificate| self.is_of(certificate))
    }

    pub(crate) fn is_of(&self, certificate: &[u8]) -> bool {
        let Some(part) = selected(self.selector, certificate) else { return false };
        match self.matching {
            0 => part == &*self.data,
            1 => Sha256::digest(part).as_slice() == &*self.data,
            2 => Sha512::digest(part).as_slice() == &*self.data,
            _ => false,
        }
    }
}

impl fmt::Display for Association {
    /// As a zone file has it, in lower case; of what is no digest only the beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usage, selector, matching, data } = self;
        write!(f, "{usage} {selector} {matching} ")?;
        let shown = &data[..data.len().min(SHOWN)];
        shown.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        if data.len() > SHOWN { f.write_str("...") } else { Ok(()) }
    }
}

fn selected(selector: u8, certificate: &[u8]) -> Option<&[u8]> {
    match selector {
        0 => Some(certificate),
        1 => {
            X509Certificate::from_der(certificate).ok().map(|(_, read)| read.tbs_certificate.subject_pki.raw)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Identity;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn chain() -> Chain {
        let own = Identity::self_signed(&["mx.example.net"], NOW).unwrap();
        let authority = Identity::self_signed(&["ca.example.net"], NOW).unwrap();
        Chain::new(&[own.chain(), authority.chain()].concat())
    }

    fn association(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Association {
        Association { usage, selector, matching, data: data.into() }
    }

    #[test]
    fn the_servers_certificate_is_found_first_and_an_authoritys_behind_it() {
        let chain = chain();
        for (place, usage) in [(0, DANE_EE), (1, DANE_TA)] {
            let certificate = &chain.certificates()[place];
            for selector in [0, 1] {
                let part = selected(selector, certificate).unwrap();
                let (short, long) = (Sha256::digest(part), Sha512::digest(part));
                for (matching, data) in [(0, part), (1, short.as_slice()), (2, long.as_slice())] {
                    assert!(association(usage, selector, matching, data).is_in(&chain));
                    let elsewhere = if usage == DANE_EE { DANE_TA } else { DANE_EE };
                    assert!(!association(elsewhere, selector, matching, data).is_in(&chain));
                }
            }
        }
    }

    #[test]
    fn what_has_no_meaning_for_smtp_is_in_no_chain() {
        let chain = chain();
        let whole = chain.certificates()[0].to_vec();
        let digest = Sha256::digest(&whole);
        assert!(association(3, 0, 1, &digest).is_in(&chain));
        for wrong in [
            association(0, 0, 1, &digest),
            association(1, 0, 1, &digest),
            association(4, 0, 1, &digest),
            association(3, 2, 1, &digest),
            association(3, 0, 3, &digest),
            association(3, 0, 2, &digest),
            association(3, 0, 1, &digest[..31]),
            association(3, 0, 0, &[]),
        ] {
            assert!(!wrong.is_usable() && !wrong.is_in(&chain), "{wrong:?}");
        }
        assert!(!association(3, 1, 1, &digest).is_in(&Chain::new(&[b"no certificate"])));
        assert!(!association(3, 0, 1, &digest).is_in(&Chain::new(&[] as &[&[u8]])));
    }
}
