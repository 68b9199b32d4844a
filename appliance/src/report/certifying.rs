//! What is known of the certificates that Postern orders, and of the records that belong to its keys.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How ordering goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertifyingState {
    /// The CA's directory; `None`: nothing is ordered.
    pub directory: Option<String>,
    /// Why nothing is ordered though the config wants it; what to do is in it.
    pub hindrance: Option<String>,
    /// The certificates that are ordered.
    pub orders: Vec<OrderState>,
    /// Names that are not asked for.
    pub not_asked: Vec<LeftOutState>,
    /// Hosts whose mail is taken, and their TLSA records.
    pub tlsa: Vec<TlsaState>,
    /// From when on the next key may serve, in seconds since 1970; `None`: its records are not seen everywhere.
    pub next_key_ready: Option<u64>,
    /// The keys for mail: ECDSA, then RSA where there are some.
    #[serde(default)]
    pub keys: Vec<KeyState>,
    /// The account with the CA, where there is one.
    #[serde(default)]
    pub account: Option<AccountState>,
    /// The public web server's ports.
    pub web: Vec<WebState>,
}

/// The key that serves, and the one that will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyState {
    /// SHA-256 of the public key that serves, in hexadecimal, as TLSA records have it.
    pub current: String,
    /// The same of the key that will.
    pub next: String,
    /// From when on the next key may serve, in seconds since 1970; `None`: its records are not seen everywhere.
    pub next_ready: Option<u64>,
    /// Whether it could serve now.
    pub next_may_serve: bool,
    /// Whether a certificate of the CA has the present one.
    pub serves: bool,
    /// What a person wants of it.
    pub order: Option<KeyOrder>,
}

/// When the next key is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// As soon as its records have been seen long enough.
    Soon,
    /// At once, whatever is published.
    AtOnce,
}

/// The account with the CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountState {
    /// Since when its key serves, in seconds since 1970.
    pub key_since: u64,
    /// How many changes of the key have ended since the start.
    pub changes: u64,
    /// Why the last one came to nothing.
    pub problem: Option<String>,
}

/// Which key is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "key", content = "when")]
pub enum RollOrder {
    /// The one that serves mail.
    Mail(KeyOrder),
    /// The one of the account with the CA.
    Account,
}

/// A certificate, or the want of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderState {
    /// What it is called: `mail`, or the policy host's name.
    pub id: String,
    /// The names that it should have.
    pub names: Vec<String>,
    /// The end of what there is, in seconds since 1970.
    pub expires: Option<u64>,
    /// When it is renewed, in seconds since 1970.
    pub renews: Option<u64>,
    /// When the CA is asked again after a failure, in seconds since 1970.
    pub again: Option<u64>,
    /// What went wrong last.
    pub problem: Option<String>,
    /// What to do about it; empty if nothing.
    pub advice: String,
    /// Whether it is not ordered before its TLSA records have been seen long enough.
    #[serde(default)]
    pub waits: bool,
    /// Whether an order is open.
    pub under_way: bool,
    /// How many orders have ended since the start.
    pub attempts: u64,
    /// Names that the CA would not validate.
    pub left_out: Vec<LeftOutState>,
}

/// A name without a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOutState {
    /// The name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A host whose mail is taken, and what of its keys is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsaState {
    /// The host.
    pub host: String,
    /// The records to publish at `_25._tcp.HOST`, the present key's first.
    pub publish: Vec<String>,
    /// What is published, as far as it is known.
    pub published: Vec<String>,
    /// How the two go together.
    pub state: TlsaMatch,
    /// In words, with what to do.
    pub words: String,
}

/// How published TLSA records go with the certificate that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsaMatch {
    /// There are none, or they are not signed: nobody looks at them.
    Nothing,
    /// They match, and the next key's is among them.
    Right,
    /// They match, and the next key's is missing.
    NextMissing,
    /// They do not match: whoever verifies by DANE does not deliver.
    Wrong,
    /// They could not be looked up.
    Unclear,
}

/// A port of the public web server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebState {
    /// Where, as bound.
    pub address: SocketAddr,
    /// Whether TLS comes first.
    pub tls: bool,
    /// Why it does not listen; `None` if it does.
    pub problem: Option<String>,
}
