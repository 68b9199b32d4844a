//! An account gets another key (RFC 8555 §7.3.5). The client library would make the new key itself and tell it only when the CA has
//! taken it: what a crash in between loses is the account. Here the key is on disk before the CA hears of it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, Request, header};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient as _, Problem};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::AcmeError;
use crate::ca::CaClient;

/// A CA may refuse good nonces (RFC 8555 §6.5) so often.
const NONCES: usize = 5;
/// The uncompressed form of a point (SEC 1 §2.3.3): a 4, then both coordinates.
const POINT: usize = 65;

/// A key of an account: ECDSA on P-256.
pub(crate) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    pub(crate) fn generate() -> Result<Self, AcmeError> {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = pair.map_err(|_| AcmeError::NoAnswer("there are no random numbers".to_owned()))?;
        Self::from_pkcs8(document.as_ref())
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, AcmeError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| AcmeError::NoAnswer("the account's key cannot be read".to_owned()))?;
        Ok(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// PKCS #8, in DER.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key (RFC 7517 §4, RFC 7518 §6.2.1).
    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..POINT).unwrap_or_default().split_at(POINT / 2);
        json!({ "crv": "P-256", "kty": "EC", "x": encoded(x), "y": encoded(y) })
    }

    /// In the flattened form that ACME uses (RFC 8555 §6.2).
    fn signed(&self, protected: &Value, payload: &Value) -> Result<Value, AcmeError> {
        let (protected, payload) = (encoded(protected.to_string()), encoded(payload.to_string()));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .map_err(|_| AcmeError::NoAnswer("there are no random numbers".to_owned()))?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": encoded(signature) }))
    }
}

fn encoded(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// Whose key is changed, and at which CA.
pub(crate) struct Rekey<'a> {
    pub(crate) client: &'a CaClient,
    pub(crate) directory: &'a str,
    /// The account's address.
    pub(crate) account: &'a str,
}

impl Rekey<'_> {
    /// Asks the CA to take `new` for `old`. After an error it may have done so: both are to be kept until the CA has shown which
    /// one it knows.
    pub(crate) async fn change(&self, old: &AccountKey, new: &AccountKey) -> Result<(), AcmeError> {
        let directory = self.directory().await?;
        let place = |name: &str| directory[name].as_str().map(str::to_owned);
        let url = place("keyChange").ok_or_else(|| {
            AcmeError::NoAnswer("the CA has no address to change an account's key at".to_owned())
        })?;
        let mut nonce = self.nonce(&place("newNonce").unwrap_or_default()).await?;
        let inner = new.signed(
            &json!({ "alg": "ES256", "jwk": new.jwk(), "url": url }),
            &json!({ "account": self.account, "oldKey": old.jwk() }),
        )?;
        for _ in 0..NONCES {
            let protected = json!({ "alg": "ES256", "kid": self.account, "nonce": nonce, "url": url });
            let body = old.signed(&protected, &inner)?.to_string();
            let request = Request::builder()
                .method(Method::POST)
                .uri(&url)
                .header(header::CONTENT_TYPE, "application/jose+json")
                .body(BodyWrapper::from(body.into_bytes()));
            let answer = self.ask(request).await?;
            let fresh = replay_nonce(&answer);
            if answer.parts.status.is_success() {
                return Ok(());
            }
            let problem = self.problem(answer).await?;
            match fresh {
                Some(fresh) if crate::error::kind(&problem) == "badNonce" => nonce = fresh,
                _ => return Err(self.failed(problem.into())),
            }
        }
        Err(AcmeError::NoAnswer("the CA refused its own nonces again and again".to_owned()))
    }

    async fn directory(&self) -> Result<Value, AcmeError> {
        let answer = self.ask(Request::builder().uri(self.directory).body(BodyWrapper::default())).await?;
        let mut answer = answer;
        let body = answer.body.into_bytes().await.map_err(|error| self.unreachable(&error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| self.unreachable(&error.to_string()))
    }

    async fn nonce(&self, url: &str) -> Result<String, AcmeError> {
        let request = Request::builder().method(Method::HEAD).uri(url).body(BodyWrapper::default());
        replay_nonce(&self.ask(request).await?).ok_or_else(|| self.unreachable("it gives no nonce"))
    }

    async fn problem(&self, mut answer: BytesResponse) -> Result<Problem, AcmeError> {
        let status = answer.parts.status;
        let body = answer.body.into_bytes().await.map_err(|error| self.unreachable(&error.to_string()))?;
        serde_json::from_slice(&body).map_err(|_| self.unreachable(&format!("it answers with {status}")))
    }

    async fn ask(
        &self,
        request: http::Result<Request<BodyWrapper<bytes::Bytes>>>,
    ) -> Result<BytesResponse, AcmeError> {
        let request = request.map_err(|error| self.unreachable(&error.to_string()))?;
        self.client.request(request).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: instant_acme::Error) -> AcmeError {
        AcmeError::of_client(error, self.directory, self.client.patience().wanted())
    }

    fn unreachable(&self, reason: &str) -> AcmeError {
        AcmeError::Unreachable { directory: self.directory.to_owned(), reason: reason.to_owned() }
    }
}

fn replay_nonce(answer: &BytesResponse) -> Option<String> {
    answer.parts.headers.get("replay-nonce")?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn what_a_key_signs_verifies_under_the_public_key_that_it_names() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(key.jwk(), again.jwk());
        let signed = key.signed(&json!({ "alg": "ES256" }), &json!({ "a": 1 })).unwrap();
        let decoded =
            |value: &Value| BASE64_URL_SAFE_NO_PAD.decode(value.as_str().unwrap_or_default()).unwrap();
        let jwk = again.jwk();
        let point = [vec![4], decoded(&jwk["x"]), decoded(&jwk["y"])].concat();
        let text =
            format!("{}.{}", signed["protected"].as_str().unwrap(), signed["payload"].as_str().unwrap());
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        assert!(public.verify(text.as_bytes(), &decoded(&signed["signature"])).is_ok());
        assert_eq!(decoded(&signed["payload"]), br#"{"a":1}"#);
    }
}
