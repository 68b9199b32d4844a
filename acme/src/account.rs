//! The account: one for each CA, its key kept beside the certificates.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use record::Clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ca::{CaClient, Patience};
use crate::folder::Folder;
use crate::keys::hexadecimal;
use crate::{AcmeError, Settings};

/// Octets of the digest that tells the accounts of different CAs apart.
const DIGEST: usize = 8;

#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Vec<String>,
    credentials: AccountCredentials,
}

/// An account that is open, and what its CA said last of patience.
pub(crate) struct OpenAccount {
    pub(crate) account: Account,
    pub(crate) patience: Patience,
}

/// The kept account, else a new one. By making one the terms of the CA are agreed to: whoever names a CA in the config has read them.
pub(crate) async fn open(
    settings: &Settings,
    folder: &Folder,
    clock: &Arc<dyn Clock>,
) -> Result<OpenAccount, AcmeError> {
    let client = CaClient::new(&settings.roots, Arc::clone(clock)).map_err(|error| {
        AcmeError::Unreachable { directory: settings.directory.clone(), reason: error.reason().to_string() }
    })?;
    let patience = client.patience();
    let failed = |error| AcmeError::of_client(error, &settings.directory, patience.wanted());
    let builder = Account::builder_with_http(Box::new(client));
    let contact: Vec<String> = settings.contact.iter().map(|address| format!("mailto:{address}")).collect();
    let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
    let name = file(settings);
    if let Some(kept) = kept(folder, &name)? {
        let credentials = copied(&kept.credentials);
        let account = builder.from_credentials(kept.credentials).await.map_err(failed)?;
        if kept.contact != contact && account.update_contacts(&contacts).await.is_ok() {
            keep(folder, &name, contact.clone(), credentials)?;
        }
        return Ok(OpenAccount { account, patience });
    }
    let external = settings
        .external_account
        .as_ref()
        .map(|external| ExternalAccountKey::new(external.kid.clone(), &external.hmac));
    let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) =
        builder.create(&new, settings.directory.clone(), external.as_ref()).await.map_err(failed)?;
    keep(folder, &name, contact.clone(), Some(credentials))?;
    tracing::info!(directory = settings.directory, account = account.id(), "the CA has opened an account");
    Ok(OpenAccount { account, patience })
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

fn keep(
    folder: &Folder,
    name: &str,
    contact: Vec<String>,
    credentials: Option<AccountCredentials>,
) -> Result<(), AcmeError> {
    let Some(credentials) = credentials else { return Ok(()) };
    let text =
        zeroize::Zeroizing::new(serde_json::to_vec(&Kept { contact, credentials }).unwrap_or_default());
    folder.write(name, &text)
}

/// They cannot be cloned.
fn copied(credentials: &AccountCredentials) -> Option<AccountCredentials> {
    let text = zeroize::Zeroizing::new(serde_json::to_vec(credentials).ok()?);
    serde_json::from_slice(&text).ok()
}
