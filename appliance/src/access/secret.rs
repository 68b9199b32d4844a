//! Random secrets, and what is kept of them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Letters and digits that people do not mistake for each other (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Of a code that is typed: 80 bits.
const CODE_LENGTH: usize = 16;
/// What is looked at of anything that claims to be a secret.
const MAX_SECRET: usize = 256;

/// 256 random bits as text.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// 80 random bits for people to type, such as `7KQ4-M2XD-0VRE-93TN`.
pub(super) fn code() -> String {
    let octets: [u8; CODE_LENGTH] = rand::random();
    let letters: Vec<char> =
        octets.iter().map(|octet| char::from(ALPHABET[usize::from(octet % 32)])).collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

/// SHA-256 of a secret: as good as the secret itself for comparing, and of no use to who finds it. Only for what is random.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(secret: &str) -> Self {
        let octets = secret.as_bytes();
        Self(Sha256::digest(octets.get(..MAX_SECRET).unwrap_or(octets)).into())
    }

    /// Of a code as somebody typed it.
    pub(super) fn of_code(typed: &str) -> Self {
        let plain = typed.chars().take(MAX_SECRET).filter(|letter| !letter.is_whitespace() && *letter != '-');
        let plain: String = plain
            .map(|letter| match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                letter => letter,
            })
            .collect();
        Self::of(&plain)
    }

    /// A part of it, by which something is named that has the secret.
    pub(super) fn label(&self) -> String {
        HEXLOWER.encode(&self.0[..6])
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        HEXLOWER.encode(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let octets = HEXLOWER.decode(text.as_bytes()).map_err(|_| "not hexadecimal")?;
        octets.try_into().map(Self).map_err(|_| "not 32 octets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code = code();
        assert_eq!((code.len(), code.matches('-').count()), (19, 3), "{code}");
        let typed =
            format!(" {} ", code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"));
        assert!(Digest::of_code(&typed) == Digest::of_code(&code), "{typed}");
        assert!(Digest::of_code("") != Digest::of_code(&code));
        assert!(secret() != secret());
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let digest = Digest::of("x");
        let text = serde_json::to_string(&digest).unwrap();
        assert!(serde_json::from_str::<Digest>(&text).unwrap() == digest);
        assert!(serde_json::from_str::<Digest>("\"00\"").is_err());
    }
}
