//! An authenticator in software, for tests: with AWS-LC, so that what is looked at by one library is made by another.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// With one passkey, once it was [asked to make it](Self::make).
pub(crate) struct Soft {
    key: Key,
    pub(crate) id: Vec<u8>,
    /// Of the user, as it was told.
    pub(crate) handle: String,
    pub(crate) counter: u32,
    /// Whether it verifies its user.
    pub(crate) verifies: bool,
    /// The name that it takes the page for; without, the one that it is asked for.
    pub(crate) name: Option<String>,
}

/// Flags of authenticator data (§6.1): user present, user verified, attested credential data included.
const PRESENT: u8 = 1;
const VERIFIED: u8 = 4;
const ATTESTED: u8 = 64;

impl Soft {
    pub(crate) fn with_p256(id: u8) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::new(Key::P256(key), id)
    }

    pub(crate) fn with_ed25519(id: u8) -> Self {
        Self::new(Key::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[id; 32]).unwrap()), id)
    }

    fn new(key: Key, id: u8) -> Self {
        Self { key, id: vec![id; 20], handle: String::new(), counter: 1, verifies: true, name: None }
    }

    /// The same, which has counted so far.
    pub(crate) fn counting_from(self, counter: u32) -> Self {
        Self { counter, ..self }
    }

    /// RFC 9052 §7, in CTAP2's canonical form.
    fn cose(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], x, &[0x22, 0x58, 32], y].concat()
            }
            Key::Ed25519(key) => {
                [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32][..], key.public_key().as_ref()].concat()
            }
        }
    }

    fn data(&self, name: &str, more: u8) -> Vec<u8> {
        let name = self.name.as_deref().unwrap_or(name);
        let flags = PRESENT | if self.verifies { VERIFIED } else { 0 } | more;
        [&Sha256::digest(name)[..], &[flags], &self.counter.to_be_bytes()].concat()
    }

    /// What it answers to options that ask it for a passkey.
    pub(crate) fn make(&mut self, options: &Value, origin: &str) -> Value {
        self.handle = options["user"]["id"].as_str().unwrap().to_owned();
        let client = client("webauthn.create", options, origin);
        let mut data = self.data(options["rp"]["id"].as_str().unwrap(), ATTESTED);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend([self.id.clone(), self.cose()].concat());
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).unwrap());
        object.extend(data);
        self.counter += 1;
        self.answer(json!({ "clientDataJSON": encoded(&client), "attestationObject": encoded(&object) }))
    }

    /// What it answers to options of a login.
    pub(crate) fn log_in(&mut self, options: &Value, origin: &str) -> Value {
        let client = client("webauthn.get", options, origin);
        let data = self.data(options["rpId"].as_str().unwrap(), 0);
        let signed = [&data[..], &Sha256::digest(&client)].concat();
        let signature = match &self.key {
            Key::P256(key) => key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(&signed).as_ref().to_vec(),
        };
        self.counter += 1;
        self.answer(json!({
            "clientDataJSON": encoded(&client),
            "authenticatorData": encoded(&data),
            "signature": encoded(&signature),
            "userHandle": self.handle,
        }))
    }

    fn answer(&self, response: Value) -> Value {
        let id = encoded(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {}, "response": response })
    }
}

fn client(kind: &str, options: &Value, origin: &str) -> Vec<u8> {
    // In the order of §5.8.1.1.
    format!(
        r#"{{"type":"{kind}","challenge":{},"origin":"{origin}","crossOrigin":false}}"#,
        options["challenge"]
    )
    .into_bytes()
}

pub(crate) fn encoded(octets: &[u8]) -> String {
    BASE64URL_NOPAD.encode(octets)
}
