//! The key that serves mail, and the one that will: both are promised by TLSA records before they serve (RFC 7671 §8.1).

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData as _};
use serde::{Deserialize, Serialize};
use tls::Pin;
use zeroize::Zeroizing;

use crate::AcmeError;
use crate::folder::Folder;
use crate::roll::{self, Order, Seen, Watch};

const CURRENT: &str = "current";
const NEXT: &str = "next";
const FACTS: &str = "keys";

/// What kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// ECDSA on P-256.
    EcdsaP256,
    /// RSA with 2048 bits: for those who can verify nothing else.
    Rsa2048,
}

impl Algorithm {
    fn file(self, name: &str, extension: &str) -> String {
        match self {
            Self::EcdsaP256 => format!("{name}.{extension}"),
            Self::Rsa2048 => format!("{name}-rsa.{extension}"),
        }
    }
}

/// A private key.
pub(crate) struct Key {
    pem: Zeroizing<String>,
    pair: KeyPair,
}

impl Key {
    /// RSA takes some tenths of a second.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, AcmeError> {
        let pair = match algorithm {
            Algorithm::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            Algorithm::Rsa2048 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?
            }
        };
        Ok(Self { pem: Zeroizing::new(pair.serialize_pem()), pair })
    }

    pub(crate) fn read(pem: &str) -> Result<Self, AcmeError> {
        Ok(Self { pair: KeyPair::from_pem(pem)?, pem: Zeroizing::new(pem.to_owned()) })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::of_public_key(&self.pair.subject_public_key_info())
    }
}

/// What is known of the two beside themselves.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Facts {
    /// When the present key began to serve, since 1970.
    made: u64,
    #[serde(default)]
    watch: Watch,
    /// What a person wants of the next key.
    #[serde(default)]
    order: Option<Order>,
    /// Digests of the TLSA records that were written here, in hexadecimal, by host name; of all kinds of keys with the first.
    #[serde(default)]
    written: BTreeMap<String, Vec<String>>,
}

/// The two keys of a kind.
pub(crate) struct Keys {
    pub(crate) current: Key,
    pub(crate) next: Key,
    algorithm: Algorithm,
    facts: Facts,
}

impl Keys {
    /// Makes what is not there. A key that cannot be read is told of, and replaced: mail goes on.
    pub(crate) fn load_or_make(
        algorithm: Algorithm,
        folder: &Folder,
        now: Duration,
    ) -> Result<Self, AcmeError> {
        let (current, was_there) = load(folder, algorithm, CURRENT)?;
        let (mut next, _) = load(folder, algorithm, NEXT)?;
        // A roll was interrupted between its two files.
        if next.pin() == current.pin() {
            next = Key::generate(algorithm)?;
            folder.write(&algorithm.file(NEXT, "key"), next.pem().as_bytes())?;
        }
        let read = folder.read(&algorithm.file(FACTS, "json"))?;
        let facts = read.and_then(|octets| serde_json::from_slice(&octets).ok()).filter(|_| was_there);
        let facts = facts.unwrap_or_else(|| Facts { made: now.as_secs(), ..Facts::default() });
        let keys = Self { current, next, algorithm, facts };
        keys.keep(folder)?;
        Ok(keys)
    }

    /// `None`: there are none of this kind.
    pub(crate) fn load_if_there(
        algorithm: Algorithm,
        folder: &Folder,
        now: Duration,
    ) -> Result<Option<Self>, AcmeError> {
        match folder.read(&algorithm.file(CURRENT, "key"))? {
            Some(_) => Self::load_or_make(algorithm, folder, now).map(Some),
            None => Ok(None),
        }
    }

    /// The next key has become the present one.
    pub(crate) fn roll(&mut self, folder: &Folder, now: Duration) -> Result<(), AcmeError> {
        let next = Key::generate(self.algorithm)?;
        folder.write(&self.algorithm.file(CURRENT, "key"), self.next.pem().as_bytes())?;
        folder.write(&self.algorithm.file(NEXT, "key"), next.pem().as_bytes())?;
        self.current = std::mem::replace(&mut self.next, next);
        self.facts.made = now.as_secs();
        self.facts.watch = Watch::default();
        self.facts.order = None;
        self.keep(folder)
    }

    /// Whether a certificate that is ordered now gets the next key.
    pub(crate) fn takes_next(&self, seen: Seen, now: Duration) -> bool {
        roll::takes_next(seen, self.watch(), self.made(), self.facts.order, now)
    }

    /// What a person wants of the next key.
    pub(crate) fn order(&self) -> Option<Order> {
        self.facts.order
    }

    pub(crate) fn order_is(&mut self, order: Order, folder: &Folder) -> Result<(), AcmeError> {
        self.facts.order = Some(order);
        self.keep(folder)
    }

    pub(crate) fn made(&self) -> Duration {
        Duration::from_secs(self.facts.made)
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.facts.watch
    }

    /// Kept, if it is another one.
    pub(crate) fn watch_is(&mut self, watch: Watch, folder: &Folder) -> Result<(), AcmeError> {
        if self.facts.watch == watch {
            return Ok(());
        }
        self.facts.watch = watch;
        self.keep(folder)
    }

    /// What was written of a host, and is ours to remove.
    pub(crate) fn written(&self, host: &str) -> Vec<[u8; 32]> {
        self.facts.written.get(host).into_iter().flatten().filter_map(|text| digest(text)).collect()
    }

    pub(crate) fn written_is(
        &mut self,
        host: &str,
        digests: &[[u8; 32]],
        folder: &Folder,
    ) -> Result<(), AcmeError> {
        let digests = digests.iter().map(|digest| hexadecimal(digest)).collect();
        self.facts.written.insert(host.to_owned(), digests);
        self.keep(folder)
    }

    fn keep(&self, folder: &Folder) -> Result<(), AcmeError> {
        let text = serde_json::to_vec(&self.facts).unwrap_or_default();
        folder.write(&self.algorithm.file(FACTS, "json"), &text)
    }
}

fn load(folder: &Folder, algorithm: Algorithm, name: &str) -> Result<(Key, bool), AcmeError> {
    let name = &algorithm.file(name, "key");
    if let Some(octets) = folder.read(name)? {
        match std::str::from_utf8(&octets).ok().and_then(|pem| Key::read(pem).ok()) {
            Some(key) => return Ok((key, true)),
            None => {
                tracing::warn!(file = %folder.path(name).display(), "the key is damaged, a new one is made")
            }
        }
    }
    let key = Key::generate(algorithm)?;
    folder.write(name, key.pem().as_bytes())?;
    Ok((key, false))
}

pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let octet = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let octets: Vec<u8> = (0..32).map_while(octet).collect();
    octets.try_into().ok().filter(|_| text.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: Algorithm = Algorithm::EcdsaP256;
    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn keys_and_what_is_known_of_them_outlive_a_restart() {
        let (_place, folder) = folder();
        let mut keys = Keys::load_or_make(EC, &folder, NOW).unwrap();
        keys.written_is("mx.example.net", &[[7; 32]], &folder).unwrap();
        let again = Keys::load_or_make(EC, &folder, NOW * 2).unwrap();
        assert_eq!((again.current.pin(), again.next.pin()), (keys.current.pin(), keys.next.pin()));
        assert_eq!(again.made(), NOW);
        assert_eq!(again.written("mx.example.net"), [[7; 32]]);
    }

    #[test]
    fn at_a_roll_the_next_key_is_the_present_one_also_where_it_was_interrupted() {
        let (_place, folder) = folder();
        let mut keys = Keys::load_or_make(EC, &folder, NOW).unwrap();
        let next = keys.next.pin();
        keys.roll(&folder, NOW * 2).unwrap();
        assert_eq!((keys.current.pin(), keys.made()), (next, NOW * 2));
        assert_ne!(keys.next.pin(), next);
        folder.write("current.key", keys.next.pem().as_bytes()).unwrap();
        let again = Keys::load_or_make(EC, &folder, NOW * 3).unwrap();
        assert_eq!(again.current.pin(), keys.next.pin());
        assert_ne!(again.next.pin(), again.current.pin());
    }

    #[test]
    fn keys_of_two_kinds_do_not_get_into_each_others_way_and_an_order_ends_with_the_roll() {
        let (_place, folder) = folder();
        let ecdsa = Keys::load_or_make(EC, &folder, NOW).unwrap();
        assert!(Keys::load_if_there(Algorithm::Rsa2048, &folder, NOW).unwrap().is_none());
        let mut rsa = Keys::load_or_make(Algorithm::Rsa2048, &folder, NOW).unwrap();
        rsa.order_is(Order::Soon, &folder).unwrap();
        let mut rsa = Keys::load_if_there(Algorithm::Rsa2048, &folder, NOW).unwrap().unwrap();
        assert_eq!(rsa.order(), Some(Order::Soon));
        assert!(rsa.takes_next(Seen::Nothing, NOW));
        let next = rsa.next.pin();
        rsa.roll(&folder, NOW).unwrap();
        assert_eq!((rsa.current.pin(), rsa.order()), (next, None));
        assert!(!rsa.takes_next(Seen::Nothing, NOW));
        assert_eq!(Keys::load_or_make(EC, &folder, NOW).unwrap().current.pin(), ecdsa.current.pin());
    }

    #[test]
    fn a_damaged_key_is_replaced() {
        let (_place, folder) = folder();
        folder.write("current.key", b"nonsense").unwrap();
        let keys = Keys::load_or_make(EC, &folder, NOW).unwrap();
        assert_eq!(Keys::load_or_make(EC, &folder, NOW).unwrap().current.pin(), keys.current.pin());
    }
}
