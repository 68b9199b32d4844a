//! Signs messages in the name of a domain: RFC 6376 with RSA (RFC 8301: SHA-256, 2048 bits) and with Ed25519 (RFC 8463).
//!
//! Relaxed for fields and body, since relays fold lines anew. What readers look at is named once more than it is there, so that
//! nobody adds a second one (RFC 6376 §8.15); lists may add what is theirs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{Algorithm as MailAuthAlgorithm, Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter as _, Writable};
use mail_auth::dkim::streaming::DkimSigningStream;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::authenticator::MAX_HEADER;
use crate::error::EvidenceError;

/// Fields that nobody may add another one of. `From` has to be signed (RFC 6376 §5.4).
const ALONE: [&str; 6] = ["From", "Reply-To", "Subject", "Date", "To", "Cc"];
/// Fields that are signed where they are.
const AS_THEY_ARE: [&str; 16] = [
    "Sender",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Help",
    "List-Owner",
    "List-Post",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "TLS-Required",
    "Feedback-ID",
];

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What everybody verifies.
    Rsa2048,
    /// Smaller and faster; not everybody knows it yet.
    Ed25519,
}

impl Algorithm {
    /// As signatures write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

/// A key and the selector that its record is published under.
pub struct DkimKey {
    selector: Box<str>,
    pair: Pair,
    record: Box<str>,
}

enum Pair {
    Rsa(RsaKey<Sha256>),
    Ed25519(Ed25519Key),
}

impl DkimKey {
    /// A new private key: PKCS #8 in PEM. An RSA key takes some tenths of a second.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Zeroizing<String>, EvidenceError> {
        let made = match algorithm {
            Algorithm::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Algorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        let made = made.map_err(|error| EvidenceError::SigningKey(error.to_string().into()))?;
        Ok(Zeroizing::new(made.serialize_pem()))
    }

    /// From a private key as [`generate`](Self::generate) makes it, or as `openssl genpkey` does.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is of neither kind.
    pub fn from_pem(selector: &str, pem: &str) -> Result<Self, EvidenceError> {
        let unreadable = |why: &str| EvidenceError::SigningKey(why.into());
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| unreadable("there is no PKCS #8 private key in PEM"))?;
        let public =
            KeyPair::try_from(&der).map_err(|_| unreadable("neither an RSA nor an Ed25519 private key"))?;
        let (pair, kind, published) = if public.is_compatible(&rcgen::PKCS_ED25519) {
            let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der());
            (key.map(Pair::Ed25519), "ed25519", public.public_key_raw().to_vec())
        } else {
            let key = RsaKey::from_key_der(PrivateKeyDer::Pkcs8(der));
            (key.map(Pair::Rsa), "rsa", public.subject_public_key_info())
        };
        let pair = pair.map_err(|error| unreadable(&error.to_string()))?;
        let published = STANDARD.encode(&published);
        Ok(Self {
            selector: selector.into(),
            pair,
            record: format!("v=DKIM1; k={kind}; p={published}").into(),
        })
    }

    /// The selector.
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rsa2048,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// A signature over these octets, as they are.
    pub(crate) fn sign_octets(&self, octets: impl Writable) -> Result<Vec<u8>, EvidenceError> {
        let signed = match &self.pair {
            Pair::Rsa(key) => key.sign(octets),
            Pair::Ed25519(key) => key.sign(octets),
        };
        signed.map_err(|error| EvidenceError::SigningKey(error.to_string().into()))
    }

    /// The text to publish at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.1).
    pub fn record(&self) -> &str {
        &self.record
    }

    /// Whether a published text has this key.
    pub fn is_published_in(&self, text: &str) -> bool {
        is_same_key(text, &self.record)
    }
}

/// Whether two texts as of [`DkimKey::record`] have the same key: other tags, spaces and order do not matter.
pub fn is_same_key(one: &str, other: &str) -> bool {
    let key = |text: &str| {
        let mut tags = text.split(';').filter_map(|tag| tag.split_once('='));
        let (_, value) = tags.find(|(name, _)| name.trim() == "p")?;
        Some(value.split_ascii_whitespace().collect::<String>())
    };
    key(one).is_some_and(|key_of_one| !key_of_one.is_empty() && Some(key_of_one) == key(other))
}

impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DkimKey").field("selector", &self.selector).finish_non_exhaustive()
    }
}

/// What a header section says of who signs it and of who is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorship {
    /// The domain of all addresses in `From`, in lower case; `None` if they have several, or none.
    pub domain: Option<Box<str>>,
    /// The domains that signed it already.
    pub signed_by: Vec<Box<str>>,
}

impl Authorship {
    /// Reads a header section, or a message that begins with it.
    pub fn of(header: &[u8]) -> Self {
        let none = Self { domain: None, signed_by: Vec::new() };
        if header.len() > MAX_HEADER {
            return none;
        }
        let Some(parsed) = AuthenticatedMessage::parse(header) else { return none };
        let domain = |address: &String| {
            address.rsplit_once('@').map(|(_, domain)| domain.trim_end_matches('.').to_lowercase())
        };
        let mut domains: Vec<_> = parsed.from.iter().map(domain).collect();
        domains.dedup();
        let domain = match domains.as_slice() {
            [Some(domain)] => Some(domain.as_str().into()),
            _ => None,
        };
        let signed_by = parsed.dkim_headers.iter().map(|one| one.header.d.to_lowercase().into()).collect();
        Self { domain, signed_by }
    }
}

/// Whether a message came in through the Postern of this name, without AUTH, before its server sent it on: forwarded mail may only
/// pretend to be from here, and a signature would make it true. The field that counts is the uppermost of Postern's own, which nobody
/// outside can put there.
pub fn came_from_outside(header: &[u8], hostname: &str) -> bool {
    let text = String::from_utf8_lossy(header).replace("\r\n\t", " ").replace("\r\n ", " ");
    let by = format!("by {hostname} (Postern) with ");
    let received = |line: &&str| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("received:"));
    let protocol = text.lines().filter(received).find_map(|line| line.split_once(&by)?.1.split(' ').next());
    // RFC 3848: an `A` at the end says that the client authenticated.
    protocol.is_some_and(|protocol| !protocol.ends_with('A'))
}

type Signer<'a, K> = DkimSigner<Shared<'a, K>, Done>;

/// A message that is being signed, with each key.
pub struct Signing<'a> {
    /// Octets of the header section, the empty line behind it included.
    header: usize,
    /// Each with the place of its key among those that were named.
    rsa: Vec<(Signer<'a, RsaKey<Sha256>>, usize)>,
    ed25519: Vec<(Signer<'a, Ed25519Key>, usize)>,
}

impl<'a> Signing<'a> {
    /// For a message that begins with this header section, in the name of `domain`; the first key's signature comes first.
    pub fn new(keys: &[&'a DkimKey], domain: &str, header: &[u8]) -> Self {
        let fields = fields_to_sign(header);
        let mut signing = Self { header: header.len(), rsa: Vec::new(), ed25519: Vec::new() };
        for (at, key) in keys.iter().enumerate() {
            match &key.pair {
                Pair::Rsa(pair) => signing.rsa.push((signer(pair, domain, &key.selector, &fields), at)),
                Pair::Ed25519(pair) => {
                    signing.ed25519.push((signer(pair, domain, &key.selector, &fields), at));
                }
            }
        }
        signing
    }

    /// Takes all of the message, from its first octet on, in pieces; gives the fields for its top, each with its CRLF. The time
    /// in them is now.
    ///
    /// # Errors
    ///
    /// A piece cannot be had, or the cryptography fails.
    pub fn sign<P: AsRef<[u8]>>(
        &self,
        pieces: impl Iterator<Item = std::io::Result<P>>,
    ) -> Result<String, EvidenceError> {
        let mut rsa: Vec<_> = self.rsa.iter().map(|(signer, at)| (signer.sign_streaming(), *at)).collect();
        let mut ed25519: Vec<_> =
            self.ed25519.iter().map(|(signer, at)| (signer.sign_streaming(), *at)).collect();
        let mut write = |octets: &[u8]| {
            rsa.iter_mut().for_each(|(stream, _)| stream.write(octets));
            ed25519.iter_mut().for_each(|(stream, _)| stream.write(octets));
        };
        let (mut header, mut body) = (self.header, RelaxedBody::default());
        for piece in pieces {
            let piece = piece.map_err(EvidenceError::Content)?;
            let piece = piece.as_ref();
            let (of_header, of_body) = piece.split_at(header.min(piece.len()));
            header -= of_header.len();
            write(of_header);
            body.write(of_body, &mut write);
        }
        let mut signed = Vec::new();
        for (stream, at) in rsa {
            signed.push((at, finish(stream)?));
        }
        for (stream, at) in ed25519 {
            signed.push((at, finish(stream)?));
        }
        signed.sort_by_key(|(at, _)| *at);
        Ok(signed.into_iter().map(|(_, field)| field).collect())
    }
}

impl fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

fn finish<T: SigningKey>(stream: DkimSigningStream<'_, T>) -> Result<String, EvidenceError> {
    let signed = stream.finish().map_err(|error| EvidenceError::SigningKey(error.to_string().into()))?;
    Ok(signed.to_header())
}

fn signer<'a, K: SigningKey>(
    key: &'a K,
    domain: &str,
    selector: &str,
    fields: &[&'static str],
) -> Signer<'a, K> {
    DkimSigner::from_key(Shared(key))
        .domain(domain)
        .selector(selector)
        .headers(fields.iter().copied())
        .header_canonicalization(Canonicalization::Relaxed)
        .body_canonicalization(Canonicalization::Relaxed)
}

/// A body in its relaxed form (RFC 6376 §3.4.4). mail-auth 0.13 makes the same of it but where it ends in lines of spaces and tabs:
/// those it keeps as empty lines, and no other verifier does.
#[derive(Debug, Default)]
pub(crate) struct RelaxedBody {
    /// What was read since the last octet that is none of these, and means something only if another one follows.
    line_ends: u64,
    space: bool,
}

impl RelaxedBody {
    pub(crate) fn write(&mut self, mut octets: &[u8], write: &mut impl FnMut(&[u8])) {
        while let Some((&first, rest)) = octets.split_first() {
            match first {
                b' ' | b'\t' => self.space = true,
                b'\r' => {}
                b'\n' => {
                    self.line_ends += 1;
                    self.space = false;
                }
                _ => {
                    self.catch_up(write);
                    let is_white = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
                    let (text, behind) =
                        octets.split_at(octets.iter().position(is_white).unwrap_or(octets.len()));
                    write(text);
                    octets = behind;
                    continue;
                }
            }
            octets = rest;
        }
    }

    fn catch_up(&mut self, write: &mut impl FnMut(&[u8])) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            write(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            write(b" ");
        }
    }
}

/// A key that signs more than one message.
struct Shared<'a, K>(&'a K);

impl<K: SigningKey> SigningKey for Shared<'_, K> {
    type Hasher = K::Hasher;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> MailAuthAlgorithm {
        self.0.algorithm()
    }
}

/// Named twice, mail-auth signs what is there and that there is no more of it.
fn fields_to_sign(header: &[u8]) -> Vec<&'static str> {
    let names: Vec<&[u8]> = header
        .split(|&octet| octet == b'\n')
        .take_while(|line| !matches!(line, &[] | &[b'\r']))
        .filter_map(|line| line.split(|&octet| octet == b':').next())
        .map(<[u8]>::trim_ascii_end)
        .collect();
    let is_there = |field: &str| names.iter().any(|name| name.eq_ignore_ascii_case(field.as_bytes()));
    let mut fields = Vec::new();
    for field in ALONE {
        fields.push(field);
        if is_there(field) {
            fields.push(field);
        }
    }
    fields.extend(AS_THEY_ARE.into_iter().filter(|field| is_there(field)));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: Ann <ann@Corp.Example>\r\nTo: bob@world.example\r\nTo: carl@world.example\r\n\
        Subject: Quarterly\r\n  figures\r\nList-Id: <x.corp.example>\r\nX-Other: 1\r\n\r\nHello  there.\r\n\r\n";

    fn key(algorithm: Algorithm) -> DkimKey {
        DkimKey::from_pem("s1", &DkimKey::generate(algorithm).unwrap()).unwrap()
    }

    fn sign(key: &DkimKey, size: usize) -> String {
        let pieces = MESSAGE.chunks(size).map(Ok);
        Signing::new(&[key], "corp.example", MESSAGE).sign(pieces).unwrap()
    }

    #[test]
    fn what_readers_look_at_is_named_once_more_than_it_is_there() {
        let signed = sign(&key(Algorithm::Ed25519), MESSAGE.len());
        let unfolded = signed.replace("\r\n\t", "");
        assert!(
            unfolded.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; s=s1; d=corp.example; "),
            "{unfolded}"
        );
        assert!(signed.ends_with("\r\n") && !signed.trim_end().contains("\r\n\r\n"));
        let h = unfolded.split("h=").nth(1).unwrap().split(';').next().unwrap();
        let count = |name: &str| h.split(':').filter(|one| one.trim() == name).count();
        for (name, times) in
            [("From", 2), ("To", 3), ("Cc", 1), ("Reply-To", 1), ("List-Id", 1), ("Sender", 0)]
        {
            assert_eq!(count(name), times, "{name} in {h}");
        }
        assert_eq!(count("X-Other"), 0);
    }

    /// The same message in other pieces has the same body hash.
    #[test]
    fn pieces_make_no_difference() {
        let key = key(Algorithm::Rsa2048);
        let hash = |signed: &str| {
            let unfolded = signed.replace("\r\n\t", "");
            unfolded.split("bh=").nth(1).unwrap().split(';').next().unwrap().to_owned()
        };
        let whole = hash(&sign(&key, MESSAGE.len()));
        for size in [1, 2, 3, 7, 50] {
            assert_eq!(hash(&sign(&key, size)), whole, "{size}");
        }
    }

    #[test]
    fn lines_of_white_at_the_end_are_no_lines() {
        let relaxed = |body: &str, size: usize| {
            let (mut relaxed, mut out) = (RelaxedBody::default(), Vec::new());
            body.as_bytes()
                .chunks(size)
                .for_each(|piece| relaxed.write(piece, &mut |octets| out.extend(octets)));
            String::from_utf8(out).unwrap()
        };
        for (body, expected) in [
            ("", ""),
            (" \r\n\t\r\n\r\n", ""),
            ("a \t b \r\n", "a b"),
            ("a\r\n \r\n\r\n", "a"),
            ("\r\n a\r\n \r\n\tb \r\n \r\n", "\r\n a\r\n\r\n b"),
            ("no end", "no end"),
        ] {
            for size in [1, 2, 100] {
                assert_eq!(relaxed(body, size), expected, "{body:?}");
            }
        }
    }

    #[test]
    fn records_tell_the_key_and_are_known_again() {
        let (rsa, ed25519) = (key(Algorithm::Rsa2048), key(Algorithm::Ed25519));
        assert!(rsa.record().starts_with("v=DKIM1; k=rsa; p=MIIB"), "{}", rsa.record());
        assert!(ed25519.record().starts_with("v=DKIM1; k=ed25519; p="), "{}", ed25519.record());
        assert_eq!(ed25519.record().split("p=").nth(1).map(str::len), Some(44));
        let other = format!("k=rsa;  p={} ;t=s", rsa.record().split("p=").nth(1).unwrap());
        assert!(rsa.is_published_in(&other) && !ed25519.is_published_in(&other));
        assert!(!rsa.is_published_in("v=DKIM1; p="), "revoked");
    }

    #[test]
    fn the_author_is_one_domain_or_none() {
        let of = |text: &str| Authorship::of(text.as_bytes());
        assert_eq!(of("From: Ann <ann@Corp.Example>\r\n\r\nx").domain.as_deref(), Some("corp.example"));
        assert_eq!(of("From: a@one.example, b@one.example\r\n\r\nx").domain.as_deref(), Some("one.example"));
        assert_eq!(of("From: a@one.example, b@two.example\r\n\r\nx").domain, None);
        assert_eq!(of("Subject: nobody\r\n\r\nx").domain, None);
    }

    #[test]
    fn who_signed_already_is_known() {
        let signed = [sign(&key(Algorithm::Ed25519), 9).as_bytes(), MESSAGE].concat();
        assert_eq!(Authorship::of(&signed).signed_by, ["corp.example".into()]);
        assert_eq!(Authorship::of(MESSAGE).signed_by, Vec::<Box<str>>::new());
    }

    #[test]
    fn what_is_no_key_is_an_error() {
        for pem in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(DkimKey::from_pem("s", pem).is_err());
        }
        let ecdsa = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(DkimKey::from_pem("s", &ecdsa.serialize_pem()).is_err(), "not for DKIM");
    }

    #[test]
    fn the_uppermost_field_of_ones_own_tells_where_a_message_came_from() {
        let came = |header: &str| came_from_outside(header.as_bytes(), "mx.test");
        let field = |protocol: &str| {
            format!(
                "Received: from x.test ([192.0.2.1])\r\n\tby mx.test (Postern) with {protocol} id 0000000000001.1\r\n"
            )
        };
        assert!(!came("From: a@x.test\r\n\r\n"), "from within");
        assert!(!came("Received: from x by y.test with ESMTP\r\n\r\n"));
        assert!(came(&field("ESMTPS")) && came(&field("ESMTP")) && came(&field("UTF8SMTPS")));
        assert!(!came(&field("ESMTPSA")) && !came(&field("UTF8SMTPSA")));
        // What is below was there when the message came.
        assert!(came(&format!("{}{}", field("ESMTPS"), field("ESMTPSA"))), "forged");
        assert!(!came(&format!("X-A: by mx.test (Postern) with ESMTPS\r\n{}", field("ESMTPSA"))));
    }
}
