//! What is kept of a passkey, in a form of our own: that of the library may change with it.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use webauthn_rp::AuthenticatedCredential;
use webauthn_rp::request::register::UserHandle64;
use webauthn_rp::response::register::{
    AuthenticatorExtensionOutputStaticState, CompressedP256PubKey, CompressedP384PubKey, CompressedPubKey,
    CredentialProtectionPolicy, DynamicState, Ed25519PubKey, RsaPubKey, StaticState, UncompressedPubKey,
};
use webauthn_rp::response::{AuthenticatorAttachment, Backup, CredentialId};

use crate::refusal::Refusal;

/// A key as the library has it.
pub(crate) type Key = CompressedPubKey<[u8; 32], [u8; 32], [u8; 48], Vec<u8>>;

/// Octets of a handle: as many as there may be (§5.4.3).
const HANDLE: usize = 64;
/// SEC 1 §2.3.3: what stands before the x of a point whose y is even; the next one where it is odd.
const EVEN: u8 = 2;

/// By which an authenticator knows a user: random, and nothing of the name in it (§14.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(pub(crate) [u8; HANDLE]);

impl Handle {
    /// A new one.
    pub fn new() -> Self {
        let halves: [[u8; HANDLE / 2]; 2] = rand::random();
        let mut octets = [0; HANDLE];
        octets.copy_from_slice(halves.as_flattened());
        Self(octets)
    }

    pub(crate) fn library(&self) -> UserHandle64 {
        UserHandle64::from(self.0)
    }

    /// The library's handles are as long.
    pub(crate) fn of(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        BASE64URL_NOPAD.encode(&handle.0)
    }
}

impl TryFrom<String> for Handle {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let octets = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| "not base64url")?;
        Self::of(&octets).ok_or("not 64 octets")
    }
}

/// The algorithms that are offered, by their names in COSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Algorithm {
    /// Ed25519 (RFC 8032).
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    /// Of the TPMs that Windows uses.
    #[serde(rename = "RS256")]
    Rs256,
}

/// Whether a passkey may be, and is, on more than one device (§6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Copies {
    Never,
    Possible,
    Exist,
}

impl From<Backup> for Copies {
    fn from(backup: Backup) -> Self {
        match backup {
            Backup::NotEligible => Self::Never,
            Backup::Eligible => Self::Possible,
            Backup::Exists => Self::Exist,
        }
    }
}

impl From<Copies> for Backup {
    fn from(copies: Copies) -> Self {
        match copies {
            Copies::Never => Self::NotEligible,
            Copies::Possible => Self::Eligible,
            Copies::Exist => Self::Exists,
        }
    }
}

/// A passkey that was taken. All octets are in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    id: String,
    algorithm: Algorithm,
    /// The key's octets as RFC 8032 has them, a compressed point as SEC 1 has it, or four octets of the exponent and the modulus.
    public_key: String,
    /// What its authenticator has counted; 0 where it does not count.
    counter: u32,
    copies: Copies,
}

impl Credential {
    pub(crate) fn new(id: &[u8], key: UncompressedPubKey<'_>, state: DynamicState) -> Self {
        let point = |x: &[u8], is_odd: bool| [&[EVEN + u8::from(is_odd)], x].concat();
        let (algorithm, octets) = match key {
            UncompressedPubKey::Ed25519(key) => (Algorithm::EdDsa, key.inner().to_vec()),
            UncompressedPubKey::P256(key) => (Algorithm::Es256, point(key.x(), key.y_is_odd())),
            UncompressedPubKey::P384(key) => (Algorithm::Es384, point(key.x(), key.y_is_odd())),
            UncompressedPubKey::Rsa(key) => (Algorithm::Rs256, [&key.e().to_be_bytes(), *key.n()].concat()),
        };
        Self {
            id: BASE64URL_NOPAD.encode(id),
            algorithm,
            public_key: BASE64URL_NOPAD.encode(&octets),
            counter: state.sign_count,
            copies: state.backup.into(),
        }
    }

    /// Its identifier, in base64url; no two passkeys have the same.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this is its identifier.
    pub(crate) fn is(&self, id: &[u8]) -> bool {
        BASE64URL_NOPAD.encode(id) == self.id
    }

    pub(crate) fn id_octets(&self) -> Option<CredentialId<Vec<u8>>> {
        CredentialId::try_from(BASE64URL_NOPAD.decode(self.id.as_bytes()).ok()?).ok()
    }

    fn key(&self) -> Option<Key> {
        let octets = BASE64URL_NOPAD.decode(self.public_key.as_bytes()).ok()?;
        Some(match self.algorithm {
            Algorithm::EdDsa => Key::Ed25519(Ed25519PubKey::from(<[u8; 32]>::try_from(octets).ok()?)),
            Algorithm::Es256 => Key::P256(CompressedP256PubKey::from(point(&octets)?)),
            Algorithm::Es384 => Key::P384(CompressedP384PubKey::from(point(&octets)?)),
            Algorithm::Rs256 => {
                let (exponent, modulus) = octets.split_first_chunk()?;
                Key::Rsa(RsaPubKey::try_from((modulus.to_vec(), u32::from_be_bytes(*exponent))).ok()?)
            }
        })
    }

    /// For the library to look at an answer with.
    pub(crate) fn library<'a>(
        &self,
        id: CredentialId<&'a [u8]>,
        handle: &'a UserHandle64,
    ) -> Result<AuthenticatedCredential<'a, 'a, HANDLE, Key>, Refusal> {
        let damaged = || Refusal::Invalid("what is kept of it is damaged".to_owned());
        let key = self.key().ok_or_else(damaged)?;
        // No extension is asked for at a login.
        let extensions = AuthenticatorExtensionOutputStaticState {
            cred_protect: CredentialProtectionPolicy::None,
            hmac_secret: None,
        };
        let state = DynamicState {
            user_verified: true,
            backup: self.copies.into(),
            sign_count: self.counter,
            authenticator_attachment: AuthenticatorAttachment::None,
        };
        let kept = StaticState { credential_public_key: key, extensions };
        AuthenticatedCredential::new(id, handle, kept, state).map_err(|error| Refusal::invalid(&error))
    }

    /// The same after a login.
    #[must_use]
    pub(crate) fn after(&self, state: DynamicState) -> Self {
        Self { counter: state.sign_count, copies: state.backup.into(), ..self.clone() }
    }
}

/// The x of a point, and whether its y is odd.
fn point<const LENGTH: usize>(octets: &[u8]) -> Option<([u8; LENGTH], bool)> {
    let (sign, x) = octets.split_first()?;
    let is_odd = *sign == EVEN + 1;
    (is_odd || *sign == EVEN).then_some((x.try_into().ok()?, is_odd))
}
