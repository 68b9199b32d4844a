//! The key that serves mail, and the one that will: both are promised by TLSA records before they serve (RFC 7671 §8.1).

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData as _};
use serde::{Deserialize, Serialize};
use tls::Pin;
use zeroize::Zeroizing;

use crate::AcmeError;
use crate::folder::Folder;
use crate::roll::Watch;

const CURRENT: &str = "current.key";
const NEXT: &str = "next.key";
const FACTS: &str = "keys.json";

/// A private key, ECDSA on P-256.
pub(crate) struct Key {
    pem: Zeroizing<String>,
    pair: KeyPair,
}

impl Key {
    pub(crate) fn generate() -> Result<Self, AcmeError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
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
    /// Digests of the TLSA records that were written here, in hexadecimal, by host name.
    #[serde(default)]
    written: BTreeMap<String, Vec<String>>,
}

/// The two keys.
pub(crate) struct Keys {
    pub(crate) current: Key,
    pub(crate) next: Key,
    facts: Facts,
}

impl Keys {
    /// Makes what is not there. A key that cannot be read is told of, and replaced: mail goes on.
    pub(crate) fn load_or_make(folder: &Folder, now: Duration) -> Result<Self, AcmeError> {
        let (current, was_there) = load(folder, CURRENT)?;
        let (mut next, _) = load(folder, NEXT)?;
        // A roll was interrupted between its two files.
        if next.pin() == current.pin() {
            next = Key::generate()?;
            folder.write(NEXT, next.pem().as_bytes())?;
        }
        let read = folder.read(FACTS)?;
        let facts = read.and_then(|octets| serde_json::from_slice(&octets).ok()).filter(|_| was_there);
        let facts = facts.unwrap_or_else(|| Facts { made: now.as_secs(), ..Facts::default() });
        let keys = Self { current, next, facts };
        keys.keep(folder)?;
        Ok(keys)
    }

    /// The next key has become the present one.
    pub(crate) fn roll(&mut self, folder: &Folder, now: Duration) -> Result<(), AcmeError> {
        let next = Key::generate()?;
        folder.write(CURRENT, self.next.pem().as_bytes())?;
        folder.write(NEXT, next.pem().as_bytes())?;
        self.current = std::mem::replace(&mut self.next, next);
        self.facts.made = now.as_secs();
        self.facts.watch = Watch::default();
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
        folder.write(FACTS, &text)
    }
}

fn load(folder: &Folder, name: &str) -> Result<(Key, bool), AcmeError> {
    if let Some(octets) = folder.read(name)? {
        match std::str::from_utf8(&octets).ok().and_then(|pem| Key::read(pem).ok()) {
            Some(key) => return Ok((key, true)),
            None => {
                tracing::warn!(file = %folder.path(name).display(), "the key is damaged, a new one is made")
            }
        }
    }
    let key = Key::generate()?;
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

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn keys_and_what_is_known_of_them_outlive_a_restart() {
        let (_place, folder) = folder();
        let mut keys = Keys::load_or_make(&folder, NOW).unwrap();
        keys.written_is("mx.example.net", &[[7; 32]], &folder).unwrap();
        let again = Keys::load_or_make(&folder, NOW * 2).unwrap();
        assert_eq!((again.current.pin(), again.next.pin()), (keys.current.pin(), keys.next.pin()));
        assert_eq!(again.made(), NOW);
        assert_eq!(again.written("mx.example.net"), [[7; 32]]);
    }

    #[test]
    fn at_a_roll_the_next_key_is_the_present_one_also_where_it_was_interrupted() {
        let (_place, folder) = folder();
        let mut keys = Keys::load_or_make(&folder, NOW).unwrap();
        let next = keys.next.pin();
        keys.roll(&folder, NOW * 2).unwrap();
        assert_eq!((keys.current.pin(), keys.made()), (next, NOW * 2));
        assert_ne!(keys.next.pin(), next);
        folder.write(CURRENT, keys.next.pem().as_bytes()).unwrap();
        let again = Keys::load_or_make(&folder, NOW * 3).unwrap();
        assert_eq!(again.current.pin(), keys.next.pin());
        assert_ne!(again.next.pin(), again.current.pin());
    }

    #[test]
    fn a_damaged_key_is_replaced() {
        let (_place, folder) = folder();
        folder.write(CURRENT, b"nonsense").unwrap();
        let keys = Keys::load_or_make(&folder, NOW).unwrap();
        assert_eq!(Keys::load_or_make(&folder, NOW).unwrap().current.pin(), keys.current.pin());
    }
}
