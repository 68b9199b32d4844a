//! The account: one for each CA, its key kept beside the certificates.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use record::Clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::ca::{CaClient, Patience};
use crate::folder::Folder;
use crate::keys::hexadecimal;
use crate::rekey::{AccountKey, Rekey};
use crate::{AcmeError, Settings};

/// Octets of the digest that tells the accounts of different CAs apart.
const DIGEST: usize = 8;

/// How long a key of an account serves before it gets a successor by itself.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(365 * 86_400);

#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Vec<String>,
    credentials: AccountCredentials,
    /// Since when the key serves, in seconds since 1970.
    #[serde(default)]
    made: u64,
    /// A key that the CA was asked to take, and may have taken: PKCS #8, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<Zeroizing<String>>,
}

impl Kept {
    fn keep(&self, folder: &Folder, name: &str) -> Result<(), AcmeError> {
        let text = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        folder.write(name, &text)
    }
}

/// An account that is open, and what its CA said last of patience.
pub(crate) struct OpenAccount {
    pub(crate) account: Account,
    pub(crate) patience: Patience,
}

/// Whose account it is, and where it is kept.
#[derive(Clone, Copy)]
pub(crate) struct Office<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a Folder,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

impl Office<'_> {
    /// The kept account, else a new one. By making one the terms of the CA are agreed to: whoever names a CA in the config has read
    /// them.
    pub(crate) async fn open(self) -> Result<OpenAccount, AcmeError> {
        let client = self.client()?;
        let patience = client.patience();
        let (contact, name) = (self.contact(), file(self.settings));
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        let Some(mut kept) = kept(self.folder, &name)? else {
            let account = self.new_account(client, &contacts).await?;
            return Ok(OpenAccount { account, patience });
        };
        let account = match kept.successor.take() {
            Some(successor) => self.settle(&mut kept, &successor, &contacts).await?,
            None => {
                let builder = Account::builder_with_http(Box::new(client));
                let opened = builder.from_credentials(copied(&kept.credentials)?).await;
                opened.map_err(|error| self.failed(error, &patience))?
            }
        };
        if kept.contact != contact && account.update_contacts(&contacts).await.is_ok() {
            kept.contact = contact.clone();
            kept.keep(self.folder, &name)?;
        }
        Ok(OpenAccount { account, patience })
    }

    async fn new_account(self, client: CaClient, contacts: &[&str]) -> Result<Account, AcmeError> {
        let Self { settings, folder, clock } = self;
        let patience = client.patience();
        let external = settings
            .external_account
            .as_ref()
            .map(|external| ExternalAccountKey::new(external.kid.clone(), &external.hmac));
        let new =
            NewAccount { contact: contacts, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = Account::builder_with_http(Box::new(client))
            .create(&new, settings.directory.clone(), external.as_ref())
            .await
            .map_err(|error| self.failed(error, &patience))?;
        let kept =
            Kept { contact: self.contact(), credentials, made: clock.now().as_secs(), successor: None };
        kept.keep(folder, &file(settings))?;
        tracing::info!(
            directory = settings.directory,
            account = account.id(),
            "the CA has opened an account"
        );
        Ok(account)
    }

    /// A change of the key was begun, and nobody knows how it ended: the CA shows which of the two it takes.
    async fn settle(
        self,
        kept: &mut Kept,
        successor: &Zeroizing<String>,
        contacts: &[&str],
    ) -> Result<Account, AcmeError> {
        let (name, old) = (file(self.settings), copied(&kept.credentials)?);
        let new = with_key(&kept.credentials, successor)?;
        let patience = self.client()?.patience();
        let mut last = None;
        for (credentials, is_new) in [(new, true), (old, false)] {
            let again = copied(&credentials)?;
            let builder = Account::builder_with_http(Box::new(self.client()?));
            let account =
                builder.from_credentials(credentials).await.map_err(|error| self.failed(error, &patience))?;
            // The smallest thing that a CA does for its account only.
            match account.update_contacts(contacts).await {
                Ok(()) => {
                    if is_new {
                        (kept.credentials, kept.made) = (again, self.clock.now().as_secs());
                        tracing::info!(directory = self.settings.directory, "the account has a new key");
                    }
                    kept.successor = None;
                    kept.keep(self.folder, &name)?;
                    return Ok(account);
                }
                Err(error) => last = Some(self.failed(error, &patience)),
            }
        }
        Err(last.unwrap_or(AcmeError::TimedOut))
    }

    /// Gives the account another key.
    pub(crate) async fn roll(self) -> Result<(), AcmeError> {
        // What an earlier change has left is settled first; and there is an account then.
        let account = self.open().await?.account;
        let name = file(self.settings);
        let Some(mut kept) = kept(self.folder, &name)? else { return Ok(()) };
        let old = AccountKey::from_pkcs8(kept.credentials.private_key().secret_pkcs8_der())?;
        let new = AccountKey::generate()?;
        kept.successor = Some(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(new.pkcs8())));
        kept.keep(self.folder, &name)?;
        let client = self.client()?;
        let rekey = Rekey { client: &client, directory: &self.settings.directory, account: account.id() };
        rekey.change(&old, &new).await?;
        self.open().await.map(|_| ())
    }

    /// Since when the account's key serves, since 1970; `None` where there is no account.
    pub(crate) fn key_since(self) -> Result<Option<Duration>, AcmeError> {
        let name = file(self.settings);
        let Some(mut kept) = kept(self.folder, &name)? else { return Ok(None) };
        if kept.made == 0 {
            // It was made before that was written down.
            kept.made = self.clock.now().as_secs();
            kept.keep(self.folder, &name)?;
        }
        Ok(Some(Duration::from_secs(kept.made)))
    }

    fn client(self) -> Result<CaClient, AcmeError> {
        CaClient::new(&self.settings.roots, Arc::clone(self.clock)).map_err(|error| AcmeError::Unreachable {
            directory: self.settings.directory.clone(),
            reason: error.reason().to_string(),
        })
    }

    fn contact(self) -> Vec<String> {
        self.settings.contact.iter().map(|address| format!("mailto:{address}")).collect()
    }

    fn failed(self, error: instant_acme::Error, patience: &Patience) -> AcmeError {
        AcmeError::of_client(error, &self.settings.directory, patience.wanted())
    }
}

/// The CA does not know the account any more: the next time a new one is made.
pub(crate) fn forget(settings: &Settings, folder: &Folder) -> Result<(), AcmeError> {
    folder.remove(&file(settings))
}

fn file(settings: &Settings) -> String {
    let kid = settings.external_account.as_ref().map_or("", |external| external.kid.as_str());
    let digest = Sha256::digest(format!("{}\n{kid}", settings.directory));
    format!("account-{}.json", hexadecimal(&digest[..DIGEST]))
}

/// `None` also for a damaged one.
fn kept(folder: &Folder, name: &str) -> Result<Option<Kept>, AcmeError> {
    let Some(octets) = folder.read(name)? else { return Ok(None) };
    let kept = serde_json::from_slice(&octets);
    if kept.is_err() {
        let file = folder.path(name);
        tracing::warn!(file = %file.display(), "the account is damaged, a new one is made");
    }
    Ok(kept.ok())
}

/// They cannot be cloned.
fn copied(credentials: &AccountCredentials) -> Result<AccountCredentials, AcmeError> {
    changed(credentials, |_| {})
}

/// The same account under another key.
fn with_key(credentials: &AccountCredentials, pkcs8: &str) -> Result<AccountCredentials, AcmeError> {
    changed(credentials, |text| text["key_pkcs8"] = pkcs8.into())
}

fn changed(
    credentials: &AccountCredentials,
    change: impl FnOnce(&mut serde_json::Value),
) -> Result<AccountCredentials, AcmeError> {
    let damaged = |error: serde_json::Error| AcmeError::NoAnswer(format!("the account is damaged: {error}"));
    let mut text = serde_json::to_value(credentials).map_err(damaged)?;
    change(&mut text);
    serde_json::from_value(text).map_err(damaged)
}
